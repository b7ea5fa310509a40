-- The queue's requests. Each is one atomic step in Redis; ARGV[4] says which one. queue_count.lua
-- and others continue this file; queue.py joins them to one script.
--
-- Three rules keep items safe when Redis refuses a command in the middle of a script:
-- 1. Each request of a worker begins with a removal of nothing (see queue_answer.lua). At maxmemory
--    Redis refuses a script whose first write may need memory. A removal does not, and once a
--    script has written, Redis lets it finish: so workers can still confirm items.
-- 2. A script adds an item to its new place before it removes it from the old one.
-- 3. Before that it tries the command that will remove the item, on a key that never exists. If the
--    user may not run it, Redis refuses the script while the item is in one place only.
--
-- What a worker has in hand is a hash: id -> "deaths failures item". If the item was pushed with a
-- key, it is "deaths failures:mark item", where the mark is the key's digest. The hash's field `n`
-- is the id that follows the last one taken. The field `stop` is there once the worker was told to
-- stop. The worker chooses the ids and never uses one twice, so it can repeat a request whose reply
-- was lost.
--
-- An idle worker waits by BLMOVE, which runs no script: it moves an item to the worker's list
-- `next`. The worker starts the item at once, and its next STEP moves the item into the hand.
--
-- A consumer is used on one connection only. It exists as long as it is in `workers`. On its next
-- connection the worker joins under a new name, and takes over the hand. A request that is still
-- under way on the old connection comes too late: a script says GONE, and BLMOVE finds a string
-- where `next` was. The same happens to a worker that was taken for dead, whose hand was given to
-- others.

-- docs/queue.md says what is in which key. KEYS[12], `absent`, never exists: see queue.py.
local inbox, workers, retry, suspects, alone, dead, ticks = unpack(KEYS, 1, 7)
local totals, samples, later, once, absent = unpack(KEYS, 8, 12)
-- No caller knows the keys of all consumers. `nexts` and `hands` are what they begin with.
local nexts, hands, me, kind = unpack(ARGV, 1, 4)
local hand = hands .. me
local seen -- when `me` showed up last, ms; nil if it is not registered
local GRAVE = 3600 -- seconds; TCP gives up long before, and with it every request under way
local GONE = redis.error_reply('GONE this consumer is not registered')
local SUSPECT, DEATHS = 2, 4 -- deaths until an item runs alone, and until it is given up
local FEW = 16 -- items to look at in one go, since they may be huge
local request = {} -- by the consumer `me`
local public = {} -- by anybody
local counts = {} -- kind -> number, of this request: see queue_count.lua

local function count(kind, n)
  counts[kind] = (counts[kind] or 0) + n
end

local function clock() -- ms
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The time of a score in ms. What is due at once has seconds instead: push.lua says why.
local function due_at(score, now)
  local time = tonumber(score)
  return time < 1e10 and math.min(time * 1000, now) or time
end

-- The deaths, failures, item and mark of what a hand holds. Whatever else is found there is an item.
local function split(value)
  local deaths, failures, mark, item = string.match(value, '^(%d+) (%d+)(:?%x*) (.*)$')
  if not item then return 0, 0, value, '' end
  return tonumber(deaths), tonumber(failures), item, mark
end

-- What a hand holds of a member of a sorted set: see `park`. Whatever else is found there is an item.
local function value_of(member)
  return string.match(member, '^%S+ (%d+ %d+:?%x* .*)$') or '0 0 ' .. member
end

local function registered(name)
  return tonumber(redis.call('ZSCORE', workers, name) or nil)
end

-- The reply of a command, or nil if the key holds something else. Raises any other error.
local function if_right_type(...)
  local reply = redis.pcall(...)
  local why = type(reply) == 'table' and reply.err
  if not why then return reply end
  if not string.find(why, 'WRONGTYPE', 1, true) then redis.call(...) end -- raises it
end

-- For each id in the ranges lo hi lo hi … from ARGV[from] on: visit(id).
local function each_id(from, visit)
  for i = from, #ARGV, 2 do
    for id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) do visit(id) end
  end
end

local function ids_of(name)
  local ids = {}
  for _, field in ipairs(redis.call('HKEYS', hands .. name)) do
    ids[#ids + 1] = tonumber(field) -- not for `n` and `stop`
  end
  return ids
end

-- The item in `next`, or nil. After the consumer's end `next` is a string.
local function peek_next(name)
  local items = if_right_type('LRANGE', nexts .. name, -1, -1)
  return items and items[1]
end

local function empty_next(name)
  redis.call('LTRIM', nexts .. name, 1, 0)
end

-- Where an item waits for its next attempt. Suspects wait apart, since each must run alone.
local function waiting_room(deaths)
  return deaths >= SUSPECT and suspects or retry
end

-- Have an item wait until `due`, in `zset` if that is not nil.
local function park(name, id, deaths, failures, item, mark, due, zset)
  local member = string.format('%s#%d %d %d%s ', name, id, deaths, failures, mark) .. item
  redis.call('ZADD', zset or waiting_room(deaths), due, member)
end

-- Free the key of an item with this mark: another item with the key may be pushed.
local function free(mark)
  if mark ~= '' then redis.call('HDEL', once, string.sub(mark, 2)) end
end

-- Put an item on the dead list, which keeps the last `most`. Returns how many it loses for this
-- one.
local function bury(name, id, deaths, failures, item, mark, why, most)
  local before = if_right_type('XLEN', dead)
  -- Where the dead list is no stream, try again later rather than lose the item.
  if not before then
    park(name, id, deaths, failures, item, mark, clock() + 60000)
    return 0
  end
  redis.call('XADD', dead, 'MAXLEN', most, '*',
    'item', item, 'why', why, 'failures', failures, 'deaths', deaths)
  count('dead', 1)
  free(mark)
  return math.max(0, before + 1 - most)
end

-- Put an item of a hand back to where it came from, to be the next one. The id `id` makes it unique
-- where it waits in a sorted set.
local function put_back(name, id, value)
  local deaths, failures, item, mark = split(value)
  local fresh = deaths + failures == 0 and mark == ''
  if fresh and if_right_type('RPUSH', inbox, item) then return count('back', 1) end
  count('parked', 1)
  park(name, id, deaths, failures, item, mark, clock())
end

-- Put these ids of a hand back, if they are in it. The highest goes first: so the inbox keeps its
-- order.
local function put_all_back(name, ids)
  table.sort(ids, function(a, b) return a > b end)
  for _, id in ipairs(ids) do
    local value = redis.call('HGET', hands .. name, id)
    if value then
      put_back(name, id, value)
      redis.call('HDEL', hands .. name, id)
    end
  end
end

-- Settle the item that BLMOVE has moved to `next`. If the worker has started it, it becomes the id
-- `started` of its hand. If not, `started` is 0, and the item goes back to be the next one. `same`
-- is the item that the worker has started; it is given where another one may be in `next`.
local function settle_next(name, started, same)
  local item = peek_next(name)
  if not item then return end
  count('taken', 1)
  if started > 0 and item == (same or item) then
    redis.call('HSET', hand, started, '0 0 ' .. item, 'n', started + 1)
  else
    put_back(name, -clock(), '0 0 ' .. item) -- no item in hand has a negative id
  end
  empty_next(name)
end

local function remove(name)
  redis.call('HDEL', hands .. name, 'n', 'stop')
  redis.call('SET', nexts .. name, 'gone', 'EX', GRAVE)
  redis.call('ZREM', workers, name)
end

-- JOIN former started item: register the consumer `me`, in the place of `former` if that is not ''.
-- Returns 1 if `me` has the hand of `former` now, 0 if that was given to others. The worker has
-- started `item` as the id `started`. After a roll-back of Redis, another one may be in `next`.
request.join = function()
  local former, started = ARGV[5], tonumber(ARGV[6])
  if redis.call('TYPE', nexts .. me).ok == 'string' then return GONE end
  redis.call('ZADD', workers, clock(), me)
  local alive = registered(former)
  if alive then
    if redis.call('EXISTS', hands .. former) == 1 then
      redis.call('RENAME', hands .. former, hand)
    end
    if redis.call('GET', alone) == former then redis.call('SET', alone, me) end
  end
  if former ~= '' then
    settle_next(former, started, ARGV[7])
    remove(former)
  end
  return (alive or redis.call('EXISTS', hand) == 1) and 1 or 0
end

-- FAIL id delay attempts why dead_limit exact: charge one failure to an item in hand. It is due
-- again after `delay` ms, or dead if it has failed `attempts` times now. `exact` is 1 if the task
-- itself has asked for that delay. Returns how many items the dead list loses for it. A repeat does
-- nothing, since the item is no longer in hand.
request.fail = function()
  local id, delay, attempts, why = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
  local value, lost = redis.call('HGET', hand, id), 0
  if not value then return lost end
  local deaths, failures, item, mark = split(value)
  failures = failures + 1
  if failures >= attempts then
    lost = bury(me, id, deaths, failures, item, mark, why, tonumber(ARGV[9]))
  else
    local zset = ARGV[10] == '1' and later or nil
    park(me, id, deaths, failures, item, mark, clock() + delay, zset)
    count('retried', 1)
  end
  redis.call('HDEL', hand, id)
  count('failed', 1)
  return lost
end

-- FREE [lo hi]…: drop these ids, which are done, and free their keys. A repeat does nothing, since
-- the ids are no longer in hand; other items may have their keys by then.
request.free = function()
  each_id(5, function(id)
    local value = redis.call('HGET', hand, id)
    if not value then return end
    free(select(4, split(value)))
    redis.call('HDEL', hand, id)
  end)
end

-- GIVE [lo hi]…: give back items that the worker has not started, for others to take. A repeat does
-- nothing, since the ids are no longer in hand.
request.give = function()
  local ids = {}
  each_id(5, function(id) ids[#ids + 1] = id end)
  put_all_back(me, ids)
end

-- STOP: the worker was told to stop. However it ends from now on, no item in its hand is charged.
request.stop = function()
  redis.call('HSET', hand, 'stop', 1)
end

-- LEAVE: give everything back, and end this consumer.
request.leave = function()
  put_all_back(me, ids_of(me))
  settle_next(me, 0)
  remove(me)
end

-- TICK tick next item limit: push `item` for the schedule entry `me`, once for each tick. So any
-- number of beats may run, restart or sleep. Times are in ms. Returns {outcome, the entry's last
-- tick before, Redis's time}. The outcome is 'pushed', 'early' before `tick`, 'late' from `next`
-- on, 'taken' if this tick or a later one is on record, or 'full' if the queue holds `limit` items;
-- the tick counts as used then.
public.tick = function()
  local tick, following, limit = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
  local last, now = tonumber(redis.call('HGET', ticks, me) or 0), clock()
  if last >= tick then return { 'taken', last, now } end
  if now < tick then return { 'early', last, now } end
  if now >= following then return { 'late', last, now } end
  local full = redis.call('LLEN', inbox) >= limit
  -- This changes nothing. If Redis refuses to write the record, it does so before the push.
  redis.call('HSET', ticks, me, last)
  -- The push comes before the new record: if Redis refuses it, the tick stays open.
  if not full then redis.call('LPUSH', inbox, ARGV[7]) end
  redis.call('HSET', ticks, me, tick)
  return { full and 'full' or 'pushed', last, now }
end
