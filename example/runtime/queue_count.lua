-- Counting, for people who look at the queue. Continues queue.lua. Nothing here may cost an item:
-- if Redis refuses a number, it is left out.
--
-- `totals` is a hash of running numbers of items:
--   taken         taken into a hand
--   again         those of them that did not come from the list, but from retry, suspects or later
--   back, parked  out of a hand without an attempt: back on the list, or where items wait apart
--   failed        attempts that failed
--   retried       those of them that will have a next attempt
--   redelivered   were in hand when their worker died
--   killed        the same, but given up, since too many of their workers died
--   dead          given up for any reason
--   came          pushed for a later time that has come
--   run0 …        attempts by class of run time (see runs.py); `run_ms` is the sum of the times
--   missed:ENTRY  ticks of a schedule entry that were not pushed
-- Items that are done are not counted: see `done`.
--
-- `samples` is a list, the newest at its end, of "time waiting in_hand pushed taken done failed
-- listed run0 …": see snapshot.py.

local SAMPLES = 600 -- one a second at most
local RUNS = 12 -- the last class of run times

-- Add what this request has counted to the totals. This is done last, so that items are where they
-- belong if Redis refuses it.
local function flush()
  for kind, n in pairs(counts) do
    redis.pcall('HINCRBY', totals, kind, n)
  end
  counts = {}
end

local function total(kind)
  return tonumber(redis.call('HGET', totals, kind) or 0)
end

-- How many items are done: those that were taken, are not in hand, and came out of it in no other
-- way. So the many items that are done cost no counting.
local function done(held)
  local others = { 'failed', 'redelivered', 'killed', 'back', 'parked' }
  local left = total('taken') - held
  for _, kind in ipairs(others) do left = left - total(kind) end
  return math.max(0, left)
end

-- The numbers of items and workers at this moment.
local function sizes(now)
  local found = { waiting = if_right_type('LLEN', inbox) or 0, held = 0, in_hand = 0 }
  found.listed = found.waiting
  for _, name in ipairs(if_right_type('ZRANGE', workers, 0, -1) or {}) do
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

-- Take a sample, unless there is one of this second.
local function sample(now)
  local newest = redis.pcall('LRANGE', samples, -1, -1)[1]
  local last = tonumber(newest and string.match(newest, '^%d+') or 0)
  -- If the clock was set back, drop the samples of the future.
  if last > now + 2000 then redis.pcall('LTRIM', samples, 1, 0) end
  local second = math.floor(now / 1000)
  if second > math.floor(last / 1000) or last > now + 2000 then pcall(write_sample, now) end
end

-- RAN milliseconds [class number]…: add to the run times. A repeat adds them again.
request.ran = function()
  count('run_ms', tonumber(ARGV[5]))
  for i = 6, #ARGV, 2 do count('run' .. ARGV[i], tonumber(ARGV[i + 1])) end
end

-- SAMPLE [entry missed]…: every beat sends this each second. Adds how many ticks of schedule
-- entries were missed. Returns Redis's time in ms.
public.sample = function()
  local now = clock()
  for i = 5, #ARGV, 2 do count('missed:' .. ARGV[i], tonumber(ARGV[i + 1])) end
  sample(now)
  return now
end
