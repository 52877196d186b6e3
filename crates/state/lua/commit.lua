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
--
-- Returns 1 if it is committed, 0 if the record is another one: then nothing was written.

if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then
  return 0
end

-- The record comes last: should Redis refuse a write in between, the change can be repeated.
local adds = 2 + tonumber(ARGV[6])
for i = 3, adds do
  redis.call('ZADD', KEYS[i], ARGV[5], ARGV[4])
end
for i = adds + 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[4])
end
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[2], ARGV[4])
  redis.call('DEL', KEYS[1])
else
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
