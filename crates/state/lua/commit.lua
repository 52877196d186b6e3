-- Commits changes of operations of one partition, each if its record is still as it was loaded.
--
-- Of each change in turn:
-- KEYS: the record, the timers of its partition, the lists that it comes into, those that it leaves
-- ARGV: 1  how many keys it has
--       2  how many lists it comes into
--       3  the revision that was loaded, 8 bytes; empty if there was no record
--       4  the new revision and record; empty to remove it
--       5  when its timer is due, in microseconds; empty to remove it
--       6  when the timer of the loaded record was due, in microseconds; empty if there was none
--       7  the operation's id
--       8  its create time, in microseconds
--
-- Returns of each change 1 if it is committed, 0 if the record is another one: then nothing was
-- written; or a text if one of its keys can't be used, which says nothing about the others.

-- Takes away the timer that is not in the set itself.
local function unset_timer(timers, was_due, id)
  if was_due ~= '' and take_timer(timers, start_of(timers, was_due), id) then
    return
  end
  -- It is not where it should be: whoever set it had another opinion on when it is due.
  for _, start in ipairs(redis.call('ZRANGE', 'ls:packs:' .. timers, 0, -1)) do
    if take_timer(timers, start, id) then
      return
    end
  end
end

-- Commits the change whose keys and arguments stand behind these.
local function commit(key, argument)
  local record, timers = KEYS[key + 1], KEYS[key + 2]
  local keys, adds, loaded, value, due, was_due, id, created =
    unpack(ARGV, argument + 1, argument + 8)
  -- Texts, as Redis writes a number of Lua with all its digits first.
  if redis.call('GETRANGE', record, '0', '7') ~= loaded then
    return 0
  end
  -- The record comes last: should Redis refuse a write in between, the change can be repeated.
  local last = key + 2 + adds
  for i = key + 3, last do
    redis.call('ZADD', KEYS[i], created, id)
  end
  for i = last + 1, key + keys do
    if redis.call('ZREM', KEYS[i], id) == 0 then
      take(KEYS[i], start_of(KEYS[i], created), id)
    end
  end
  if value == '' then
    if redis.call('ZREM', timers, id) == 0 and loaded ~= '' then
      unset_timer(timers, was_due, id)
    end
    redis.call('DEL', record)
  else
    if redis.call('ZADD', timers, due, id) == 1 and loaded ~= '' then
      unset_timer(timers, was_due, id)
    end
    redis.call('SET', record, value)
  end
  return 1
end

local answers = {}
local key, argument = 0, 0
while argument < #ARGV do
  local is_done, answer = pcall(commit, key, argument)
  if not is_done then
    local text = type(answer) == 'table' and answer.err or answer
    if not string.find(text, 'WRONGTYPE', 1, true) then
      -- That Redis is full, or a replica by now, concerns all of them.
      return redis.error_reply(text)
    end
    answer = text
  end
  answers[#answers + 1] = answer
  key, argument = key + ARGV[argument + 1], argument + 8
end
return answers
