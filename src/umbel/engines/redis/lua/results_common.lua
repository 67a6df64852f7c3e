-- Storing results: for the result store itself, and for the broker's step that settles with them.
--
-- A result is RESULT_FIELDS arguments in a row:
--   1 "" or the number of its database and of the one to go back to, such as "1 0"
--   2 its key, which is also the channel on which it is told
--   3 the document
--   4 1 if it is a SUCCESS, 2 if it is PROGRESS, else 0
--   5 when it expires, in ms since the epoch; 0: never
--   6 "" or the mark of a document that does not show its state: the state, a colon, its SHA-1
-- These documents, keys and channels are Celery's (celery/backends/redis.py). The mark is ours, in a key
-- of its own behind the document's.

--#include results_document
local RESULT_FIELDS = 6
local MARK = ':umbel-state'

-- Tell whether what is stored under a key is in a state: a SUCCESS, for one, which no other state may replace.
-- Documents in JSON, msgpack and pickle begin with the state; in YAML it is a line; any other of ours has a mark.
-- What Celery has compressed shows nothing, and is replaced.
local function is_in(key, state)
  local head = redis.call('GETRANGE', key, 0, 79)
  if head == '' then
    return false
  end
  if string.byte(head) == 123 then -- {
    return string.find(head, '^{%s*"status":%s*"' .. state .. '"') ~= nil
  end
  local place = string.find(head, 'status', 1, true)
  if place and string.find(string.sub(head, place + 6, place + 20), state, 1, true) then
    return true
  end
  local mark = redis.call('GET', key .. MARK)
  if mark and string.sub(mark, 1, #state + 1) == state .. ':' then
    return string.sub(mark, #state + 2) == redis.sha1hex(redis.call('GET', key))
  end
  return string.find(redis.call('GET', key), '\nstatus: ' .. state .. '\n', 1, true) ~= nil
end

local function store_result(first)
  local key, expires = ARGV[first + 1], ARGV[first + 4]
  if ARGV[first + 5] ~= '' then
    if expires == '0' then
      redis.call('SET', key .. MARK, ARGV[first + 5])
    else
      redis.call('SET', key .. MARK, ARGV[first + 5], 'PXAT', expires)
    end
  end
  store_document(key, ARGV[first + 2], expires)
end

-- Do something in the database of the results whose fields begin at these places of ARGV, all in one.
local function in_their_database(places, action)
  in_database(#places > 0 and ARGV[places[1]] or '', action)
end

-- Return the places of those results that are to be stored. Reads all and writes nothing: a database that is
-- not there, or a key that holds something else, raises here, before the caller has written anything. `successes` are
-- keys that a SUCCESS is about to be stored under, if there are any.
local function storable_results(places, successes)
  local found = {}
  successes = successes or {}
  in_their_database(places, function()
    for _, first in ipairs(places) do
      local key = ARGV[first + 1]
      if ARGV[first + 3] == '1' then
        successes[key] = true
        found[#found + 1] = first
      elseif not successes[key] and not is_in(key, 'SUCCESS') and (ARGV[first + 3] == '0'
          or not (is_in(key, 'FAILURE') or is_in(key, 'REVOKED'))) then
        found[#found + 1] = first
      end
    end
  end)
  return found
end

-- Store the results whose fields begin at these places of ARGV.
local function store_results(places)
  in_their_database(places, function()
    for _, first in ipairs(places) do
      store_result(first)
    end
  end)
end
