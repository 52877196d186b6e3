-- Puts an operation's places right, if its record is still as it was loaded.
--
-- KEYS[1]      the record
-- KEYS[2]      the timers of its partition
-- KEYS[3 ..]   sets that it is to leave, then sets that it is to stand in
-- ARGV[1]      the revision that was loaded, 8 bytes; empty if there was no record
-- ARGV[2]      the operation's id
-- ARGV[3]      how many sets it is to leave
-- ARGV[4 ..]   its score in each set
--
-- Returns 1 if that is done, 0 if the record is another one: then nothing was written.

if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then
  return 0
end

local id = ARGV[2]

local function stands(set, score)
  local found = redis.call('ZSCORE', set, id)
  return found and tonumber(found) == tonumber(score)
end

for i = 3, #KEYS do
  local set, score = KEYS[i], ARGV[i + 1]
  local start = start_of(set, score)
  local is_here, is_packed = stands(set, score), stands(pack_of(set, start), score)
  if i < 3 + tonumber(ARGV[3]) then
    if is_here then
      redis.call('ZREM', set, id)
    end
    if is_packed and set == KEYS[2] then
      take_timer(set, start, id)
    elseif is_packed then
      take(set, start, id)
    end
  elseif not is_here and not is_packed then
    redis.call('ZADD', set, score, id)
  end
end
return 1
