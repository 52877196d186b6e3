-- Commits one change of one operation, if its record is still as it was loaded.
--
-- KEYS[1]      the record
-- KEYS[2]      the timers of its partition
-- KEYS[3 ..]   lists that it comes into, then lists that it leaves
-- ARGV[1]      the revision that was loaded, 8 bytes; empty if there was no record
-- ARGV[2]      the new revision and record; empty to remove it
-- ARGV[3]      when its timer is due, in microseconds; empty to remove it
-- ARGV[4]      the operation's id
-- ARGV[5]      its create time, in microseconds
-- ARGV[6]      how many lists it comes into
-- ARGV[7]      when the timer of the loaded record was due, in microseconds; empty if there was none
--
-- Returns 1 if it is committed, 0 if the record is another one: then nothing was written.

if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then
  return 0
end

local id = ARGV[4]

-- Takes away the timer that is not in the set itself.
local function unset_timer()
  local timers = KEYS[2]
  if ARGV[1] == '' or ARGV[7] ~= '' and take_timer(timers, start_of(timers, ARGV[7]), id) then
    return
  end
  -- It is not where it should be: whoever set it had another opinion on when it is due.
  for _, start in ipairs(redis.call('ZRANGE', 'ls:packs:' .. timers, 0, -1)) do
    if take_timer(timers, start, id) then
      return
    end
  end
end

-- The record comes last: should Redis refuse a write in between, the change can be repeated.
local adds = 2 + tonumber(ARGV[6])
for i = 3, adds do
  redis.call('ZADD', KEYS[i], ARGV[5], id)
end
for i = adds + 1, #KEYS do
  if redis.call('ZREM', KEYS[i], id) == 0 then
    take(KEYS[i], start_of(KEYS[i], ARGV[5]), id)
  end
end
if ARGV[2] == '' then
  if redis.call('ZREM', KEYS[2], id) == 0 then
    unset_timer()
  end
  redis.call('DEL', KEYS[1])
else
  if redis.call('ZADD', KEYS[2], ARGV[3], id) == 1 then
    unset_timer()
  end
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
