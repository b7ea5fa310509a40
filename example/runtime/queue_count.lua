-- Counting, for people who look at the queue. Goes on from queue.lua. Nothing here may cost an item:
-- what Redis refuses is left out.
--
-- `totals` is a hash of running numbers: `taken` into a hand, of which so many `again`, from where
-- they were put off, and not from the list. Out of a hand: put `back` on the list, or `parked`;
-- `failed` attempts, of which so many will be `retried`; `redelivered` since their workers died, or
-- `killed` as they had died too often; the rest is done. Given up: `dead`. Pushed for a later time
-- that `came`. `run0` … in classes of run times (see runs.py), and `run_ms`, their sum.
-- `missed:<entry>` ticks.
--
-- `samples` is a list, the newest at its end, of "time waiting in_hand pushed taken done failed
-- listed run0 …": see snapshot.py.

local SAMPLES = 600 -- one a second at most
local RUNS = 12 -- the last class of run times

-- Add what this request has counted. Once for each kind, and at the end: should Redis refuse it,
-- items are where they belong.
local function flush()
  for kind, n in pairs(counts) do
    redis.pcall('HINCRBY', totals, kind, n)
  end
  counts = {}
end

local function total(kind)
  return tonumber(redis.call('HGET', totals, kind) or 0)
end

-- What was taken and is neither in a hand nor came out of one otherwise. The many items that are
-- done cost no counting.
local function done(held)
  local others = { 'failed', 'redelivered', 'killed', 'back', 'parked' }
  local left = total('taken') - held
  for _, kind in ipairs(others) do left = left - total(kind) end
  return math.max(0, left)
end

-- What a sample and LOOK tell of the queue's size.
local function sizes(now)
  local found = { waiting = if_right_type('LLEN', inbox) or 0, held = 0, in_hand = 0 }
  found.listed = found.waiting
  for _, name in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    local its = hands .. name
    local moved = if_right_type('LLEN', nexts .. name) or 0
    local others = redis.call('HEXISTS', its, 'n') + redis.call('HEXISTS', its, 'stop')
    local held = redis.call('HLEN', its) - others
    found.held = found.held + held
    found.in_hand = found.in_hand + held + moved
    found.listed = found.listed + moved
  end
  for kind, zset in pairs({ retry = retry, suspects = suspects, later = later }) do
    local all = if_right_type('ZCOUNT', zset, '-inf', '+inf') or 0
    local due = all > 0 and redis.call('ZCOUNT', zset, '-inf', now) or 0
    found[kind] = all - due
    found.waiting = found.waiting + due
  end
  return found
end

local function write_sample(now)
  flush()
  local size = sizes(now)
  local listed = size.listed + total('taken') - total('again') - total('back')
  local numbers = {
    now, size.waiting, size.in_hand, listed + total('came'),
    total('taken'), done(size.held), total('failed'), listed,
  }
  for class = 0, RUNS do numbers[#numbers + 1] = total('run' .. class) end
  for i, number in ipairs(numbers) do numbers[i] = string.format('%.0f', number) end
  redis.call('RPUSH', samples, table.concat(numbers, ' '))
  redis.call('LTRIM', samples, -SAMPLES, -1)
end

-- Take a sample, unless somebody has done so in this second.
local function sample(now)
  local newest = redis.pcall('LRANGE', samples, -1, -1)[1]
  local last = tonumber(newest and string.match(newest, '^%d+') or 0)
  -- Where the clock was set back, samples of the future would tell nonsense.
  if last > now + 2000 then redis.pcall('LTRIM', samples, 1, 0) end
  local second = math.floor(now / 1000)
  if second > math.floor(last / 1000) or last > now + 2000 then pcall(write_sample, now) end
end

-- RAN milliseconds [class number]…: add to the run times. A repeat adds them again.
request.ran = function()
  count('run_ms', tonumber(ARGV[5]))
  for i = 6, #ARGV, 2 do count('run' .. ARGV[i], tonumber(ARGV[i + 1])) end
end

-- SAMPLE [entry missed]…: by every beat, each second. Adds how many ticks of schedule entries were
-- missed. Returns Redis's time, ms.
public.sample = function()
  local now = clock()
  for i = 5, #ARGV, 2 do count('missed:' .. ARGV[i], tonumber(ARGV[i + 1])) end
  sample(now)
  return now
end
