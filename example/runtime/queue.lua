-- The queue's requests, each one atomic step in Redis. ARGV[4] says which one.
--
-- What a worker has in hand is a hash: id -> "deaths failures item", and `n`, the id that
-- follows the last one taken. The worker chooses the ids and never uses one twice, so a request
-- whose reply was lost can be sent again.
--
-- An idle worker waits by BLMOVE, which runs no script: it moves an item to the worker's list
-- `next`. The worker starts it at once, and its next STEP moves it into the hand.
--
-- A consumer is one connection of a worker, and exists as long as it is in `workers`. On its next
-- connection the worker joins under a new name, and takes over the hand. So whatever was under way
-- on the old one comes too late: a script says GONE, and BLMOVE finds no list where `next` was.
-- The same befalls a worker that was taken for dead, whose hand was given to others.

-- KEYS[8] never exists: see queue.py.
local inbox, workers, retry, suspects, chosen, dead, ticks = unpack(KEYS, 1, 7)
local nexts, hands, me, kind = unpack(ARGV, 1, 4) -- no caller can know the keys of all others
local hand = hands .. me
local GRAVE = 3600 -- seconds; TCP gives up long before, and with it every request under way
local GONE = redis.error_reply('GONE this consumer is not registered')
local given_up = 0
local SUSPECT, DEATHS = 2, 4 -- deaths until an item runs alone, and until it is given up
local request = {}

local function clock() -- ms
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function split(value)
  local deaths, failures, item = string.match(value, '^(%d+) (%d+) (.*)$')
  return tonumber(deaths), tonumber(failures), item
end

local function registered(name)
  return tonumber(redis.call('ZSCORE', workers, name) or nil)
end

-- For each id in the ranges lo hi lo hi … from ARGV[from] on: visit(id).
local function each_id(from, visit)
  for i = from, #ARGV, 2 do
    for id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) do visit(id) end
  end
end

-- An item waits for `due`: a suspect apart, since it must run alone.
local function park(name, id, deaths, failures, item, due)
  local member = string.format('%s#%d %d %d ', name, id, deaths, failures) .. item
  redis.call('ZADD', deaths >= SUSPECT and suspects or retry, due, member)
end

local function bury(name, id, deaths, failures, item, why)
  local buried = redis.pcall(
    'XADD', dead, '*', 'item', item, 'why', why, 'failures', failures, 'deaths', deaths)
  -- The dead list is something else: try again later, rather than lose it.
  if buried.err then park(name, id, deaths, failures, item, clock() + 60000) end
end

-- An item in hand that was not done goes to where it came from, to be the next.
local function put_back(id, value)
  local deaths, failures, item = split(value)
  if deaths + failures == 0 then
    local pushed = redis.pcall('RPUSH', inbox, item)
    if type(pushed) == 'number' then return end -- else it is not a list any more
  end
  park(me, id, deaths, failures, item, clock())
end

-- What BLMOVE has moved to `next` becomes the id `started`, if the worker has started it, else the
-- next item again. `same` is what it should be, where that is not certain.
local function settle_next(name, started, same)
  local item = redis.pcall('RPOP', nexts .. name)
  if not item or item.err then return end
  if started > 0 and item == (same or item) then
    redis.call('HSET', hand, started, '0 0 ' .. item, 'n', started + 1)
  else
    put_back(-clock(), '0 0 ' .. item)
  end
end

local function remove(name)
  redis.call('DEL', hands .. name)
  redis.call('SET', nexts .. name, 'gone', 'EX', GRAVE)
  redis.call('ZREM', workers, name)
end

local function reap(name, delay)
  if not registered(name) then return end
  local now, held = clock(), redis.call('HGETALL', hands .. name)
  local function charge(id, value)
    local deaths, failures, item = split(value)
    deaths = deaths + 1
    if deaths >= DEATHS then
      bury(name, id, deaths, failures, item, 'killed its worker')
      given_up = given_up + 1
    else
      local due = deaths >= SUSPECT and now + delay * deaths or now
      park(name, id, deaths, failures, item, due)
    end
  end
  -- One by one: should a later one be refused, an earlier one is not parked again.
  for i = 1, #held, 2 do
    if held[i] ~= 'n' then
      charge(held[i], held[i + 1])
      redis.call('HDEL', hands .. name, held[i])
    end
  end
  local started = redis.call('RPOP', nexts .. name)
  if started then charge(0, '0 0 ' .. started) end
  remove(name)
end

-- JOIN former started item: register the consumer `me`, in the place of `former`, if that is not
-- ''. What was started last is `item`; after a roll-back of Redis, it may be another one's turn.
-- Returns 1 if me has the hand of `former` now, or 0 if that was given to others.
request.join = function()
  local former, started = ARGV[5], tonumber(ARGV[6])
  if redis.call('TYPE', nexts .. me).ok == 'string' then return GONE end
  redis.call('ZADD', workers, clock(), me)
  local alive = registered(former)
  if alive then
    if redis.call('EXISTS', hands .. former) == 1 then redis.call('RENAME', hands .. former, hand) end
    if redis.call('GET', chosen) == former then redis.call('SET', chosen, me) end
  end
  if former ~= '' then
    settle_next(former, started, ARGV[7])
    remove(former)
  end
  return (alive or redis.call('EXISTS', hand) == 1) and 1 or 0
end

-- STEP first want bytes started [lo hi]…: the worker's heartbeat.
-- What is in `next` becomes the id `started`, or the next item again if that is 0.
-- Drops the ids lo..hi, which are done, and takes up to `want` items, at least one and little
-- more than `bytes`, as first, first + 1, …: suspects if they are me's to run, due retries, then
-- the inbox. Returns {items, history, hold}: history is {position, deaths, failures, …} of items
-- that have one; hold is 1 if me must end what it has before it takes, or waits for, more.
-- Against lost replies: if `first` was taken already, returns what that step took. Should that be
-- too much for `bytes`, hold is 1 as well: what me waited for would get the id of another item.
request.step = function()
  local first, want, budget = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local now = clock()
  if now - registered(me) > 200 then redis.call('ZADD', workers, now, me) end
  settle_next(me, tonumber(ARGV[8]))
  for i = 9, #ARGV, 2 do
    local ids = {}
    for id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) do ids[#ids + 1] = id end
    redis.call('HDEL', hand, unpack(ids)) -- callers keep a range below Lua's limit of some 8,000
  end

  local items, history, fields, used = {}, {}, {}, {}
  local function add(value, item, deaths, failures)
    local n = #items + 1
    items[n] = item
    fields[2 * n - 1], fields[2 * n] = first + n - 1, value
    if deaths + failures > 0 then
      for _, x in ipairs({ n, deaths, failures }) do history[#history + 1] = x end
    end
  end

  local hold = 0
  local last = tonumber(redis.call('HGET', hand, 'n') or first)
  if first < last then
    for id = first, last - 1 do
      local value = redis.call('HGET', hand, id)
      local deaths, failures, item = split(value)
      if budget <= 0 and #items > 0 then
        hold = 1 -- the rest by the next step
        break
      end
      budget = budget - #item
      add(value, item, deaths, failures)
    end
  end
  if first < last or want == 0 then
    if redis.call('GET', chosen) == me then hold = 1 end
    return { items, history, hold }
  end

  local function take_due(zset, limit)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit)) do
      local value = string.match(member, '^%S+ (.*)$')
      local deaths, failures, item = split(value)
      if #items > 0 and budget < #item then return end
      budget = budget - #item
      add(value, item, deaths, failures)
      used[#used + 1] = { zset, member }
    end
  end

  if redis.call('EXISTS', suspects, chosen, retry) > 0 then
    -- One worker at a time is chosen for suspects; it empties its hand first, so they run alone.
    local owner = redis.call('GET', chosen)
    local waiting = redis.call('ZCOUNT', suspects, '-inf', now) > 0
    if waiting and not (owner and registered(owner)) then
      redis.call('SET', chosen, me)
      owner = me
    end
    if owner == me then
      if redis.call('HEXISTS', hand, 'n') == 1 and redis.call('HLEN', hand) > 1 then
        return { items, history, 1 }
      end
      if waiting then
        take_due(suspects, 1)
        want, hold = 1, 1
      else
        redis.call('DEL', chosen)
      end
    end
    if #items < want then take_due(retry, math.min(want, 16)) end -- few: they may be huge
  end
  local ask = 1 -- few at first: they may be huge
  while #items < want and (budget > 0 or #items == 0) do
    local popped = redis.pcall('RPOP', inbox, math.min(ask, want - #items))
    if not popped or popped.err then break end -- not a list: keep what we have
    local kept = 0
    for _, item in ipairs(popped) do
      if budget <= 0 and #items > 0 then break end
      kept = kept + 1
      budget = budget - #item
      add('0 0 ' .. item, item, 0, 0)
    end
    for i = #popped, kept + 1, -1 do redis.call('RPUSH', inbox, popped[i]) end
    if #popped < ask then break end
    ask = math.min(2 * ask, 16)
  end

  if #items > 0 then
    fields[#fields + 1], fields[#fields + 2] = 'n', first + #items
    redis.call('HSET', hand, unpack(fields)) -- callers keep `want` below 4,000
  end
  for _, each in ipairs(used) do redis.call('ZREM', each[1], each[2]) end
  return { items, history, hold }
end

-- FAIL id delay attempts why: charge one failure to an item in hand.
-- It is due again after `delay` ms, or dead if that makes `attempts`.
-- Against repeats: an item that is no longer in hand was charged before.
request.fail = function()
  local id, delay, attempts, why = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
  local value = redis.call('HGET', hand, id)
  if not value then return end
  local deaths, failures, item = split(value)
  failures = failures + 1
  if failures >= attempts then
    bury(me, id, deaths, failures, item, why)
  else
    park(me, id, deaths, failures, item, clock() + delay)
  end
  redis.call('HDEL', hand, id)
end

-- GIVE [lo hi]…: give back items that were not started, so that others need not wait for me.
-- By ids, highest first: a repeat finds none of them, and the inbox keeps its order.
request.give = function()
  local ids = {}
  each_id(5, function(id) ids[#ids + 1] = id end)
  table.sort(ids, function(a, b) return a > b end)
  for _, id in ipairs(ids) do
    local value = redis.call('HGET', hand, id)
    if value then
      put_back(id, value)
      redis.call('HDEL', hand, id)
    end
  end
end

-- LEAVE: give back everything, and exist no more.
request.leave = function()
  local ids = {}
  for _, id in ipairs(redis.call('HKEYS', hand)) do
    if id ~= 'n' then ids[#ids + 1] = tonumber(id) end
  end
  table.sort(ids, function(a, b) return a > b end)
  for _, id in ipairs(ids) do
    put_back(id, redis.call('HGET', hand, id))
    redis.call('HDEL', hand, id)
  end
  settle_next(me, 0)
  remove(me)
end

-- TEND first last since lease gap delay deaths name… [lo hi]…: each second, by every worker.
-- Reaps the `deaths` consumers named here, which are known to be dead, and those who have not
-- shown up for `lease` ms. What they had in hand is due at once; suspects after `delay` ms a death.
-- Not in the first `lease` ms after a `gap`: when nobody could reach Redis, nobody could show up.
-- `last` and `since` are Redis's time at my last TEND and at the end of the last gap; returns both
-- as of now, then all consumers, then {id, value, …} of ids below `first` in my hand beyond
-- lo..hi, the ids that I know: those are from before a roll-back of Redis, to be done again.
request.tend = function()
  local first, last, since = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local lease, gap, delay = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  local deaths = tonumber(ARGV[11])
  local now = clock()
  redis.call('ZADD', workers, now, me)
  for i = 12, 11 + deaths do reap(ARGV[i], delay) end
  if now < last or now - last > gap then since = now end
  if now - since >= lease then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - lease)) do
      reap(name, delay)
    end
  end
  -- The clock was set back: a stamp from the future would take as long to grow old.
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. now + 100, '+inf')) do
    redis.call('ZADD', workers, now, name)
  end

  local known, unknown = {}, {}
  each_id(12 + deaths, function(id) known[id] = true end)
  for _, field in ipairs(redis.call('HKEYS', hand)) do
    local id = tonumber(field)
    if id and id < first and not known[id] then
      unknown[#unknown + 1] = id
      unknown[#unknown + 1] = redis.call('HGET', hand, id)
    end
  end
  return { now, since, redis.call('ZRANGE', workers, 0, -1), unknown, given_up }
end

-- TICK slot next item limit: push `item` for the schedule entry `me`, once for each slot.
-- Times in ms. Returns {outcome, the entry's last slot before, Redis's time}. The outcome is
-- 'pushed', or 'early' before `slot`, 'late' from `next` on, 'taken' if this slot or a later one
-- is on record, 'full' if the queue holds `limit` items (the slot counts as used then).
-- Against beats that race, restart, or sleep.
request.tick = function()
  local slot, following, limit = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
  local last, now = tonumber(redis.call('HGET', ticks, me) or 0), clock()
  if last >= slot then return { 'taken', last, now } end
  if now < slot then return { 'early', last, now } end
  if now >= following then return { 'late', last, now } end
  local full = redis.call('LLEN', inbox) >= limit
  -- Before the record: a push that Redis refuses leaves the slot open.
  if not full then redis.call('LPUSH', inbox, ARGV[7]) end
  redis.call('HSET', ticks, me, slot)
  return { full and 'full' or 'pushed', last, now }
end

if kind ~= 'tick' then
  -- Never refused for lack of memory; after a first write, nothing in a script is.
  redis.call('HDEL', hand, '')
  if kind ~= 'join' and not registered(me) then return GONE end
end
return request[kind]()
