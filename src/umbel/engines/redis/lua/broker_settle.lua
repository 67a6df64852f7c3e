--#include results_common
--#include broker_common
-- Settle deliveries, store their results, publish what follows them, and lease the next messages.
--
-- ARGV from 7, of what is many its number and then each:
--   owner; what it was given, or the last number that it knows (take_in): number and list; most messages to lease; lists
--   to take from, the most urgent of each queue first, then the next of each; lists that there are inboxes for; names of
--   queues to note; keys of plain acknowledgements; the database of results (results_common.lua), and of acknowledgements
--   with a SUCCESS, which are most, the key, the result's key, the document, and when it expires; other settlements, each
--   as key, action (A, R, P or D), 1 if crashed, due, reason, when a
--   dead letter expires in ms, 1 or 0 results, of a result its fields (results_common.lua), and the follow-ups, each
--   as list, length of its base, tag, due, and the envelope behind its label (broker_common.lua), which is copied
--   only where it has to be: a chain may have a long way before it.
-- Answer: false and the connections to wake when the owner was taken for dead; else
--   1 the first number of the leased keys       2 in how many ms the next parked message is due (-1: there is none;
--   3 the refused keys                            0: or there is more to park)
--   4 the connections to wake                   5 how many messages are of each list, inboxes first
--   6 the version of what has been revoked (state_common.lua), which `Consumer.revocations` tells
--   and from 7 on the envelopes; instead of one that came with this call, its number among the follow-ups.

local at = 6
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_number()
  return tonumber(take())
end
local function take_list()
  local count = take_number()
  local first = at + 1
  at = at + count
  return first, count
end

local refused = {}
local owner = take()
local given, given_list = take_number(), take()
local OWNER, HELD = P .. 'owner:' .. owner, P .. 'held:' .. owner
local limit = take_number()
local first_list, lists = take_list()
local queues = lists / STEPS
local first_inbox, inboxes = take_list()
local first_note, notes = take_list()
local first_ack, acks = take_list()
-- Reading these by their places takes a third of the time.
local results_database, successes = take(), take_number()
local first_success = at + 1
at = at + 4 * successes
local others = take_number()

local prefix_of_keys, last_key = take_in(owner, given, given_list)
if not prefix_of_keys then
  begin()
  -- Whoever emptied the server has deleted what says where to look, too.
  for place_of_inbox = first_inbox, first_inbox + inboxes - 1 do
    call('SADD', P .. 'inboxes:' .. owner, ARGV[place_of_inbox])
  end
  empty_inboxes(owner)
  bury_inboxes(owner)
  return { false, ring_all() }
end

-- Read the other settlements, and check all that they and the fetch may write to, before anything is written.
local lengths = {}
for number_of_list = 0, lists - 1 do
  local list = ARGV[first_list + number_of_list]
  lengths[number_of_list], checked[list] = call('LLEN', list), true
end
local settlements, settled, results = {}, {}, {}
local follow_ups = 0

for _ = 1, others do
  local item = {
    key = take(), action = take(), crashed = take_number(), due = take_number(),
    reason = take(), expires = take_number(), publish = {}, nth = follow_ups + 1,
  }
  local result = nil
  if take_number() == 1 then
    result = at + 1
    at = at + RESULT_FIELDS
  end
  for _ = 1, take_number() do
    item.publish[#item.publish + 1] = at + 1
    at = at + 5
  end
  follow_ups = follow_ups + #item.publish
  -- What is only acknowledged need not be read.
  local acknowledged = item.action == 'A'
  local value = call(acknowledged and 'HEXISTS' or 'HGET', HELD, item.key)
  if value and value ~= 0 and not settled[item.key] then
    settled[item.key] = true
    if not acknowledged then
      item.list, item.base, item.raw = held_parts(value)
      check(item.list)
    end
    for _, first in ipairs(item.publish) do
      check(ARGV[first])
    end
    if result then
      results[#results + 1] = result
    end
    settlements[#settlements + 1] = item
  else
    refused[#refused + 1] = item.key
  end
end
local succeeded = {}
for place_of_success = first_success, first_success + 4 * successes - 1, 4 do
  local key = ARGV[place_of_success]
  if call('HEXISTS', HELD, key) == 1 then
    succeeded[#succeeded + 1] = place_of_success
  else
    refused[#refused + 1] = key
  end
end
if limit > 0 or #settlements > 0 or #succeeded > 0 then
  check_parking()
end
in_database(results_database, function() end)
local stored = {}
if #results > 0 then
  for _, place_of_success in ipairs(succeeded) do
    stored[ARGV[place_of_success + 1]] = true
  end
end
results = storable_results(results, stored)

begin()
note_queues(first_note, notes)

-- What each settlement says.
local function bury(item)
  local _, crashes = parted(item.raw)
  local key = P .. 'dead:' .. item.key
  call('HSET', key, 'list', item.list, 'base', item.base, 'raw', item.raw, 'reason', item.reason,
    'died', number(NOW), 'crashes', crashes + item.crashed)
  if item.expires then
    call('PEXPIREAT', key, number(item.expires))
  end
  call('ZADD', P .. 'dead', number(NOW_US), item.key)
  call('ZADD', P .. 'dead-ends', item.expires and number(item.expires) or 'inf', item.key)
  NOW_US = NOW_US + 1 -- the next one died later
end

-- What may be done twice comes first, and what ends the holds last: whatever is refused half-way (a user who may
-- not write to all keys), the messages are still held, and tags and ids make the next settling of them the same.
store_results(results)
local back, gone, buried = {}, {}, false

-- Follow-ups for lists that this call takes from, and that had nothing: {number, labelled envelope, tag} by list. They are
-- leased as they came, and on their list only where there is no room for them.
local fresh = {}
local function had_nothing(list)
  for number_of_list = 0, limit > 0 and lists - 1 or -1 do
    if ARGV[first_list + number_of_list] == list then
      return lengths[number_of_list] == 0
    end
  end
  return false
end

local function unlabelled(list, base, value)
  return string.sub(value, #label(list, base) + 1)
end

local function follow_up(nth, list, base, tag, due, value)
  if due and due * 1000 > NOW or not had_nothing(list) then
    publish(list, base, tag, due, unlabelled(list, base, value))
  elseif is_new(tag) then
    fresh[list] = fresh[list] or {}
    fresh[list][#fresh[list] + 1] = { nth, value, tag }
  end
end

in_database(results_database, function()
  for nth, place_of_success in ipairs(succeeded) do
    gone[nth] = ARGV[place_of_success]
    store_document(ARGV[place_of_success + 1], ARGV[place_of_success + 2], ARGV[place_of_success + 3])
  end
end)
for _, item in ipairs(settlements) do
  gone[#gone + 1] = item.key
  for _, first in ipairs(item.publish) do
    follow_up(item.nth, ARGV[first], tonumber(ARGV[first + 1]), ARGV[first + 2], tonumber(ARGV[first + 3]),
      ARGV[first + 4])
    item.nth = item.nth + 1
  end
  if item.action == 'R' then
    local raw = marked(item.raw, 1, item.crashed, true)
    back[#back + 1] = { place(item.key), item.list, item.base, raw }
  elseif item.action == 'P' then
    park(item.key, item.list, item.base, marked(item.raw, 1, item.crashed), item.due)
  elseif item.action == 'D' then
    bury(item)
    buried = true
  end
end
give_back(back)
if buried then
  tidy_dead()
end

-- Leasing.
local base = last_key
local taken, parked_here, next_due = 0, 0, -1
local function base_of(list_number)
  return #ARGV[first_list + list_number % queues]
end
local answer = { number(base), '-1', refused, {}, {}, 0 }
local leased = answer[5]
local fields = {}
local key_prefix = prefix_of_keys .. '.'

local function hold(value, said)
  taken = taken + 1
  fields[2 * taken - 1] = key_prefix .. (base + taken)
  fields[2 * taken] = value
  answer[#answer + 1] = said
end
local function lease(prefix, raw)
  hold(prefix .. raw, raw)
end

-- Park what came to its list before its time.
local function not_due(raw, list, base)
  if string.byte(raw, 3) ~= 117 then -- u of umbel: most have no numbers of ours
    return false
  end
  local _, _, due = parted(raw)
  if due and due * 1000 > NOW then
    parked_here = parked_here + 1
    park(prefix_of_keys .. '-' .. number(NOW_US + parked_here), list, base, marked(raw, 0, 0), due)
    local due_ms = math.ceil(due * 1000)
    if next_due < 0 or due_ms < next_due then
      next_due = due_ms
    end
    return true
  end
  return false
end

if limit > 0 then
  next_due = return_due()
  local room = limit
  for number_of_inbox = 0, inboxes - 1 do
    local list = ARGV[first_inbox + number_of_inbox]
    local inbox = P .. 'inbox:' .. owner .. ':' .. list
    local found = call('LRANGE', inbox, 0, -1)
    local before = #answer
    for index = #found, 1, -1 do -- BLMOVE put the latest in front
      if not not_due(found[index], list, #list) then
        lease(label(list, #list), found[index])
      end
    end
    if #found > 0 then
      call('DEL', inbox)
    end
    leased[#leased + 1] = #answer - before
    room = room - (#answer - before)
  end
  for number_of_list = 0, lists - 1 do
    local list = ARGV[first_list + number_of_list]
    local base, before = base_of(number_of_list), #answer
    local may_have_some = lengths[number_of_list] > 0 or arrived[list]
    -- Whoever has much to park does it in steps, between which others are served.
    while may_have_some and room > 0 and parked_here < CHUNK do
      local found = call('RPOP', list, math.min(room, CHUNK - parked_here))
      if not found then
        break
      end
      local prefix = label(list, base)
      for _, raw in ipairs(found) do
        if not not_due(raw, list, base) then
          lease(prefix, raw)
          room = room - 1
        end
      end
    end
    for _, one in ipairs(fresh[list] or {}) do
      if room > 0 then
        hold(one[2], one[1])
        room = room - 1
      else
        call('LPUSH', list, unlabelled(list, base, one[2]))
        arrive(list, base, 1)
      end
    end
    leased[#leased + 1] = #answer - before
  end
  if #fields > 0 then
    with_all('HSET', HELD, fields)
  end
  if taken > 0 then
    call('HSET', OWNER, 'n', number(base + taken))
  end
  for _, items in pairs(fresh) do
    for _, one in ipairs(items) do
      note_tag(one[3])
    end
  end
end
with_all('HDEL', HELD, gone)
for place_of_ack = first_ack, first_ack + acks - 1 do
  if call('HDEL', HELD, ARGV[place_of_ack]) == 0 then
    refused[#refused + 1] = ARGV[place_of_ack]
  end
end
if parked_here >= CHUNK then
  next_due = NOW
end
answer[6] = limit > 0 and call('GET', P .. 'version:revoked') or 0
answer[2] = next_due < 0 and '-1' or number(math.max(next_due - NOW, 0))
answer[4] = ring_all()
return answer
