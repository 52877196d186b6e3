-- Places that are packed away: what all scripts know. It stands before each of them.
--
-- A place in a long sorted set takes three times the memory that it takes in a short one. So what
-- stands in a long set is moved to packs (pack.lua): sorted sets that stay short. To a set belong
--
--   ls:packs:SET        the starts of its packs, each scored by itself
--   ls:pack:START:SET   those from START on up to the next pack's start, by the scores of the set
--   ls:packed:SET       how many they are in all; only of timers
--
-- Those of one score are in one pack. No pack is empty. They have the set's hash tag.

local function pack_of(set, start)
  return 'ls:pack:' .. start .. ':' .. set
end

-- The start of the pack where a score belongs.
local function start_of(set, score)
  local key = 'ls:packs:' .. set
  return redis.call('ZRANGE', key, score, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1] or '0'
end

-- Takes a member out of a pack; whether it was there.
local function take(set, start, id)
  local pack = pack_of(set, start)
  if redis.call('ZREM', pack, id) == 0 then
    return false
  end
  if redis.call('EXISTS', pack) == 0 then
    redis.call('ZREM', 'ls:packs:' .. set, start)
  end
  return true
end

-- The same of timers, which are counted.
local function take_timer(timers, start, id)
  if not take(timers, start, id) then
    return false
  end
  if redis.call('INCRBY', 'ls:packed:' .. timers, -1) < 1 then
    redis.call('DEL', 'ls:packed:' .. timers)
  end
  return true
end
