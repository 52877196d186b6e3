-- Reads what stands in lists behind a place, the latest first.
--
-- KEYS      the lists
-- ARGV[1]   the create time of the place, in microseconds; empty for the lists' beginning
-- ARGV[2]   how many that are earlier are wanted
--
-- Returns how many a run has at most, then runs of members with their scores, in turns those of that
-- very time and those that are earlier. A run that has as many as it may is cut: there may be more
-- behind it. No other run goes further than one that is cut.

local time, wanted = ARGV[1], tonumber(ARGV[2])
local from = time == '' and '+inf' or '(' .. time
-- How many a run has at most, where one was cut, and the runs.
local most, to, runs

local function of_that_time(set)
  if time == '' then
    return {}
  end
  return redis.call('ZRANGE', set, time, time, 'BYSCORE', 'REV', 'WITHSCORES')
end

local function earlier(set, limit)
  return redis.call('ZRANGE', set, from, to, 'BYSCORE', 'REV', 'LIMIT', 0, limit, 'WITHSCORES')
end

local function add(same, found)
  runs[#runs + 1], runs[#runs + 2] = same, found
  if #found == 2 * most then
    to = found[#found]
  end
end

-- What is packed of a list.
local function packed(set)
  local key, latest = 'ls:packs:' .. set, time == '' and '+inf' or time
  local same, found, nth = {}, {}, 0
  while #found < 2 * most do
    local start = redis.call(
      'ZRANGE', key, latest, '-inf', 'BYSCORE', 'REV', 'LIMIT', nth, 1)[1]
    if not start then
      break
    end
    local pack = pack_of(set, start)
    if nth == 0 then
      same = of_that_time(pack)
    end
    for _, text in ipairs(earlier(pack, most - #found / 2)) do
      found[#found + 1] = text
    end
    if to ~= '-inf' and tonumber(start) < tonumber(to) then
      break
    end
    nth = nth + 1
  end
  return same, found
end

local function look(limit)
  most, to, runs = limit, '-inf', { limit }
  for _, set in ipairs(KEYS) do
    add(of_that_time(set), earlier(set, most))
    local same, found = packed(set)
    if #same > 0 or #found > 0 then
      add(same, found)
    end
  end
end

-- How many are certain to be all that there are up to the last of them.
local function certain()
  local count = 0
  for nth = 3, #runs, 2 do
    for place = 2, #runs[nth], 2 do
      if tonumber(runs[nth][place]) > tonumber(to) then
        count = count + 1
      end
    end
  end
  return count
end

-- As a rule each list has its share of them. What is not read need not be sent, and in long lists
-- each place costs a look into memory far away.
local share = math.ceil(wanted / #KEYS) + 4
look(math.min(share, wanted))
if to ~= '-inf' and most < wanted and certain() < wanted then
  look(wanted)
end
return runs
