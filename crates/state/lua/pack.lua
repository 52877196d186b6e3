-- Moves places of long sorted sets into packs. Which places there are stays the same.
--
-- KEYS[1]      timers: the latest are packed, as the next ones are about to change
-- KEYS[2 ..]   lists: the earliest are packed
-- ARGV[1]      how many places stay in each: those that change soon are better off where they are
--
-- Returns how many places were moved.

local STAY = tonumber(ARGV[1])
-- How many more there are when it is worth while to move them.
local SLACK = 128
-- How many places a pack has room for. Redis keeps up to 128 compactly; those of one score may be
-- more than there is room for.
local ROOM = 64
-- How many places of a set are moved at most.
local MOST = 8 * ROOM

-- Scores and members in turns, as ZADD takes them, of the places from one to another of what
-- ZRANGE has answered.
local function places(found, from, to)
  local arguments = {}
  -- The latest first: Redis looks for a place from the beginning.
  for at = to, from, -1 do
    arguments[#arguments + 1] = found[2 * at]
    arguments[#arguments + 1] = found[2 * at - 1]
  end
  return unpack(arguments)
end

-- Adds packs with these places, each of about as many; the first from `start` on.
local function add_packs(set, start, found)
  local count = #found / 2
  local each = math.ceil(count / math.ceil(count / ROOM))
  local from = 1
  while from <= count do
    local to = math.min(from + each - 1, count)
    while to < count and found[2 * to] == found[2 * to + 2] do
      to = to + 1
    end
    redis.call('ZADD', pack_of(set, start), places(found, from, to))
    redis.call('ZADD', 'ls:packs:' .. set, start, start)
    from = to + 1
    start = found[2 * from]
  end
end

-- Both in order.
local function merged(one, other)
  local all, at = {}, 1
  for place = 1, #one, 2 do
    while at < #other and tonumber(other[at + 1]) < tonumber(one[place + 1]) do
      all[#all + 1], all[#all + 2], at = other[at], other[at + 1], at + 2
    end
    all[#all + 1], all[#all + 2] = one[place], one[place + 1]
  end
  for place = at, #other do
    all[#all + 1] = other[place]
  end
  return all
end

-- Puts some places away, those of `found` from one on that belong into the same pack, and returns
-- the first that is left.
local function put(set, found, from)
  local start = start_of(set, found[2 * from])
  local pack = pack_of(set, start)
  local held = redis.call('ZCARD', pack)
  local last = redis.call('ZRANGE', pack, -1, -1, 'WITHSCORES')[2]
  local is_behind = not last or tonumber(found[2 * from]) > tonumber(last)
  local next = redis.call(
    'ZRANGE', 'ls:packs:' .. set, '(' .. start, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
  local run = {}
  for at = from, #found / 2 do
    local score = tonumber(found[2 * at])
    -- One that has long been full, as all have the same score, takes no others.
    local is_other = not is_behind and held > 2 * ROOM and score > tonumber(last)
    if is_other or next and score >= tonumber(next) then
      break
    end
    run[#run + 1], run[#run + 2] = found[2 * at - 1], found[2 * at]
  end
  local count = #run / 2
  if held > 0 and (held + count <= ROOM or not is_behind and held > 2 * ROOM) then
    redis.call('ZADD', pack, places(run, 1, count))
  elseif held == 0 then
    add_packs(set, start, run)
  elseif is_behind then
    add_packs(set, run[2], run)
  else
    local there = redis.call('ZRANGE', pack, 0, -1, 'WITHSCORES')
    redis.call('DEL', pack)
    add_packs(set, start, merged(there, run))
  end
  return from + count
end

-- Puts so many places from a rank on away one by one, and returns how many.
local function put_each(set, first, many)
  local found = redis.call('ZRANGE', set, first, first + many - 1, 'WITHSCORES')
  redis.call('ZREMRANGEBYRANK', set, first, first + many - 1)
  local from = 1
  while from <= many do
    from = put(set, found, from)
  end
  return many
end

-- The same of as many as make a pack, if they can become one as they are: if they lie between two
-- packs. Redis then copies them by itself. Otherwise nothing is done.
local function put_whole(set, first, count)
  local low = redis.call('ZRANGE', set, first, first, 'WITHSCORES')[2]
  local high = redis.call('ZRANGE', set, first + ROOM - 1, first + ROOM - 1, 'WITHSCORES')[2]
  local packs, start = 'ls:packs:' .. set, start_of(set, low)
  local last = redis.call('ZRANGE', pack_of(set, start), -1, -1, 'WITHSCORES')[2]
  if last and tonumber(last) >= tonumber(low)
      or redis.call('ZRANGE', packs, '(' .. start, high, 'BYSCORE', 'LIMIT', 0, 1)[1] then
    return nil
  end
  -- From the last to the first, as Redis looks for a place from the beginning.
  local behind = count - first - ROOM
  redis.call('ZRANGESTORE', pack_of(set, low), set, behind, behind + ROOM - 1, 'REV')
  redis.call('ZREMRANGEBYRANK', set, first, first + ROOM - 1)
  redis.call('ZADD', packs, low, low)
  return ROOM
end

local moved = 0
for i, set in ipairs(KEYS) do
  local count = redis.call('ZCARD', set)
  local many = count > STAY + SLACK and math.min(count - STAY, MOST) or 0
  many = many - many % ROOM
  local first = i == 1 and count - many or 0
  for left = count, count - many + 1, -ROOM do
    moved = moved + (put_whole(set, first, left) or put_each(set, first, ROOM))
    if i == 1 then
      redis.call('INCRBY', 'ls:packed:' .. set, ROOM)
    end
  end
end
return moved
