-- Reads timers up to a time, the earliest first.
--
-- KEYS[1]   the timers
-- ARGV[1]   up to when, in microseconds, or +inf
-- ARGV[2]   how many are wanted
--
-- Returns members with their scores: at most so many that stand in the set itself, then at most so
-- many that are packed.

local wanted = tonumber(ARGV[2])

local function earliest(set, limit)
  return redis.call(
    'ZRANGE', set, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
end

local found = earliest(KEYS[1], wanted)
local most, nth = #found + 2 * wanted, 0
while #found < most do
  local start = redis.call('ZRANGE', 'ls:packs:' .. KEYS[1], nth, nth)[1]
  if not start then
    break
  end
  local some = earliest(pack_of(KEYS[1], start), (most - #found) / 2)
  if #some == 0 then
    break
  end
  for _, text in ipairs(some) do
    found[#found + 1] = text
  end
  nth = nth + 1
end
return found
