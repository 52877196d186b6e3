-- Reads what stands in lists behind a place, the latest first.
--
-- KEYS      the lists
-- ARGV[1]   the create time of the place, in microseconds; empty for the lists' beginning
-- ARGV[2]   how many that are earlier are wanted
--
-- Returns runs of members with their scores, in turns those of that very time and those that are
-- earlier. A run that has as many as are wanted is cut: there may be more behind it. No other run
-- goes further than one that is cut.

local time, wanted = ARGV[1], tonumber(ARGV[2])
local from = time == '' and '+inf' or '(' .. time
-- Where a run was cut.
local to = '-inf'
local runs = {}

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
  if #found == 2 * wanted then
    to = found[#found]
  end
end

-- What is packed of a list.
local function packed(set)
  local key, latest = 'ls:packs:' .. set, time == '' and '+inf' or time
  local same, found, nth = {}, {}, 0
  while #found < 2 * wanted do
    local start = redis.call(
      'ZRANGE', key, latest, '-inf', 'BYSCORE', 'REV', 'LIMIT', nth, 1)[1]
    if not start then
      break
    end
    local pack = pack_of(set, start)
    if nth == 0 then
      same = of_that_time(pack)
    end
    for _, text in ipairs(earlier(pack, wanted - #found / 2)) do
      found[#found + 1] = text
    end
    if to ~= '-inf' and tonumber(start) < tonumber(to) then
      break
    end
    nth = nth + 1
  end
  return same, found
end

for _, set in ipairs(KEYS) do
  add(of_that_time(set), earlier(set, wanted))
  local same, found = packed(set)
  if #same > 0 or #found > 0 then
    add(same, found)
  end
end
return runs
