-- Read results. ARGV: their keys. Answer, for each that exists: its place in ARGV, the document, when it
-- expires in ms since the epoch (-1: never), and the mark of a document that does not show its state.
local MARK = ':umbel-state'
local time, now
local answer = {}

-- PEXPIRETIME is Redis 7's; before it, the time left is all there is.
local function ends(key)
  local found = redis.pcall('PEXPIRETIME', key)
  if type(found) == 'number' then
    return found
  end
  local left = redis.call('PTTL', key)
  if left < 0 then
    return left
  end
  if not time then
    time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return now + left
end

for place, key in ipairs(ARGV) do
  local document = redis.call('GET', key)
  if document then
    local mark = ''
    if string.byte(document) ~= 123 then
      mark = redis.call('GET', key .. MARK) or ''
    end
    answer[#answer + 1] = { place, document, ends(key), mark }
  end
end
return answer
