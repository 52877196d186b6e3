-- Whether an operation stands in a set.
--
-- KEYS[1]   the set
-- ARGV[1]   the operation's id
-- ARGV[2]   its score there
--
-- Returns 1 if it does, else 0.

local function stands(set)
  local found = redis.call('ZSCORE', set, ARGV[1])
  return found and tonumber(found) == tonumber(ARGV[2])
end

local start = start_of(KEYS[1], ARGV[2])
if stands(KEYS[1]) or stands(pack_of(KEYS[1], start)) then
  return 1
end
return 0
