-- What all scripts of the broker begin with.
--
-- ARGV of each script that includes this file begins with
--   1 prefix of umbel's own keys      2 kombu's hash of unacked messages    3 kombu's index of it
--   4 visibility timeout in s, or 0   5 number of the lists of a queue      6 length of kombu's key prefix
-- and goes on from 7.
--
-- A queue has a list for each priority that is kept apart; the first is named after the queue alone (its
-- base), and the names of the others go on behind that. Names are never taken apart to find the queue, since
-- a queue may be called what a list of another one is: beside each list goes the length of its base.
--
-- Keys of our own, all below the prefix:
--   owners             zset   owner -> end of its leases in ms; 0 for who has left
--   owner:ID           hash   node, host, pid; p: prefix of its keys, n: the last number of a key
--   node:NODE          set    the owners that a node renews
--   places:ID          set    the queues that an owner is attached to, where each has a slot of a cluster to itself
--   held:ID            hash   key -> one character for how it is held, the list and its base, and the envelope
--   inboxes:ID         set    the lists that an owner may be waiting for
--   inbox:ID:LIST      list   what a waiting owner was given by BLMOVE, and no script has leased yet
--   graves             zset   owners that were reclaimed, until when a late BLMOVE may still arrive
--   blocked:LIST       zset   connections that wait for a list, until when
--   bell:BASE          zset   connections that wait for any list of a queue, until when
--   far:BASE           zset   of these, those that wait for no list of that name
--   bells              zset   bases of the queues that somebody waits for, until when
--   parked             zset   fields in kombu's unacked hash that are ours -> due, in ms
--   dead, dead:KEY     zset, hash   dead letters by the time they died
--   dead-ends          zset   dead letters by when they expire, in ms, or inf
--   tags:N             set    tags of the publishes of half a minute
--   sent:CONNECTION    string tag of the first message that a connection pushed last (pushing.py), for a minute
--   queues             zset   names of queues -> last use
--   consumed           string that somebody consumed here
--   watch              hash   last: when a node was heard; ttl of its leases; mercy: until when nobody is dead;
--                             asked: that one has asked for what has expired
--
-- Envelopes are never decoded here. What umbel knows about one stands in front of it as its first key:
--   {"umbel": [deliveries, crashes], "body": ...   or with a third number, the second at which it is due

local P, UNACKED, INDEX, VISIBILITY = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local STEPS, KEYPREFIX = tonumber(ARGV[5]), tonumber(ARGV[6])
-- Lua's `unpack` has a limit of about 8,000 values, and an error half-way would not be rolled back.
local CHUNK = 1000
local OURS = '^{"umbel": %[(%d+), (%d+),? ?([%d.]*)%], ()'
local DAY = 86400

local call = redis.call

local time = call('TIME')
local NOW_US = tonumber(time[1]) * 1000000 + tonumber(time[2])
local NOW = math.floor(NOW_US / 1000)

local function number(value)
  return string.format('%.0f', value)
end

-- An error half-way rolls nothing back, so everything is read and checked first, and what is deleted is
-- deleted last.

-- Raise an error for a key that is no list.
local checked = {}
local function check(list)
  if not checked[list] then
    checked[list] = true
    call('LLEN', list)
  end
end

-- Begin to write, also where all memory is used (maxmemory). Redis then refuses a command that may need more,
-- but only as a script's first write; behind one that it never refuses it lets a script finish. Scripts that
-- keep leases and empty the queues begin with such a one: else a full server could not be emptied. Those that
-- bring more do not.
local function begin()
  call('DEL', P .. 'nothing')
end
