-- The queue's requests, each one atomic step in Redis. ARGV[1] says which one.
--
-- What a worker has in hand is a hash: id -> "deaths failures item", and `n`, the id that
-- follows the last one taken. The worker chooses the ids and never uses one twice. So each
-- request can be sent again until its reply has come, and one that arrives late, after its sender
-- gave it up, finds nothing left to do.
--
-- A consumer exists as long as it is in `workers`. One that is not gets GONE and must join under a
-- new name: its hand was given to others.

local inbox, aside, workers, retry, suspects, chosen, dead, ticks = unpack(KEYS, 1, 8)
local hands, me = ARGV[2], ARGV[3] -- the hands of others have keys that no caller can know
local hand = hands .. me
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

-- An item that was not done goes to where it came from, to be the next.
local function put_back(id, value)
  local deaths, failures, item = split(value)
  if deaths + failures == 0 then
    local pushed = redis.pcall('RPUSH', inbox, item)
    if type(pushed) == 'number' then return end -- else it is not a list any more
  end
  park(me, id, deaths, failures, item, clock())
end

local function reap(name, delay)
  if not registered(name) then return end
  local now, held = clock(), redis.call('HGETALL', hands .. name)
  for i = 1, #held, 2 do
    if held[i] ~= 'n' then
      local deaths, failures, item = split(held[i + 1])
      deaths = deaths + 1
      if deaths >= DEATHS then
        bury(name, held[i], deaths, failures, item, 'killed its worker')
        given_up = given_up + 1
      else
        local due = deaths >= SUSPECT and now + delay * deaths or now
        park(name, held[i], deaths, failures, item, due)
      end
      -- One by one: should a later one be refused, this one is not parked again.
      redis.call('HDEL', hands .. name, held[i])
    end
  end
  redis.call('DEL', hands .. name)
  redis.call('ZREM', workers, name)
end

-- JOIN: register the consumer `me`.
request.join = function()
  redis.call('ZADD', workers, clock(), me)
end

-- STEP first want bytes [lo hi]…: the worker's heartbeat.
-- Drops the ids lo..hi, which are done, and takes up to `want` items, at least one and little
-- more than `bytes`, as first, first + 1, …: suspects if they are me's to run, due retries, what
-- BLMOVE put aside, then the inbox. Returns {items, history, hold}: history is {position, deaths,
-- failures, …} of items that have one; hold is 1 if me must end what it has before it gets more.
-- Against lost replies: if `first` was taken already, returns what that step took.
request.step = function()
  local first, want, budget = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local now = clock()
  if now - registered(me) > 200 then redis.call('ZADD', workers, now, me) end
  for i = 7, #ARGV, 2 do
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

  local last = tonumber(redis.call('HGET', hand, 'n') or first)
  if first < last then
    for id = first, last - 1 do
      local value = redis.call('HGET', hand, id)
      if value then -- else I am a late repeat, whose reply nobody reads
        local deaths, failures, item = split(value)
        if budget <= 0 and #items > 0 then break end -- the rest by the next step
        budget = budget - #item
        add(value, item, deaths, failures)
      end
    end
    return { items, history, 0 }
  end
  if want == 0 then return { items, history, 0 } end

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

  local hold = 0
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
  for _, list in ipairs({ aside, inbox }) do
    local ask = list == aside and 16 or 1
    while #items < want and (budget > 0 or #items == 0) do
      -- Few at first: they may be huge.
      local popped = redis.pcall('RPOP', list, math.min(ask, want - #items))
      if not popped or popped.err then break end -- not a list: keep what we have
      local kept = 0
      for _, item in ipairs(popped) do
        if budget <= 0 and #items > 0 then break end
        kept = kept + 1
        budget = budget - #item
        add('0 0 ' .. item, item, 0, 0)
      end
      for i = #popped, kept + 1, -1 do redis.call('RPUSH', list, popped[i]) end
      if #popped < ask then break end
      ask = math.min(2 * ask, 16)
    end
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
  local id, delay, attempts, why = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
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
-- By ids, highest first: a late repeat finds none of them, and the inbox keeps its order.
request.give = function()
  local ids = {}
  each_id(4, function(id) ids[#ids + 1] = id end)
  table.sort(ids, function(a, b) return a > b end)
  for _, id in ipairs(ids) do
    local value = redis.call('HGET', hand, id)
    if value then
      put_back(id, value)
      redis.call('HDEL', hand, id)
    end
  end
end

-- LEAVE: give back everything in hand, and exist no more. A late STEP of mine finds me GONE.
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
  redis.call('DEL', hand)
  redis.call('ZREM', workers, me)
end

-- TEND first last since lease gap delay deaths name… [lo hi]…: each second, by every worker.
-- Reaps the `deaths` consumers named here, which are known to be dead, and those who have not
-- shown up for `lease` ms. What they had in hand is due at once; suspects after `delay` ms a death.
-- Not in the first `lease` ms after a `gap`: when nobody could reach Redis, nobody could show up.
-- `last` and `since` are Redis's time at my last TEND and at the end of the last gap; returns both
-- as of now, then all consumers, then {id, value, …} of ids below `first` in my hand beyond
-- lo..hi, the ids that I know: those are from before a roll-back of Redis, to be done again.
request.tend = function()
  local first, last, since = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local lease, gap, delay = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  local deaths = tonumber(ARGV[10])
  local now = clock()
  redis.call('ZADD', workers, now, me)
  for i = 11, 10 + deaths do reap(ARGV[i], delay) end
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
  each_id(11 + deaths, function(id) known[id] = true end)
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
  local slot, following, limit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
  local last, now = tonumber(redis.call('HGET', ticks, me) or 0), clock()
  if last >= slot then return { 'taken', last, now } end
  if now < slot then return { 'early', last, now } end
  if now >= following then return { 'late', last, now } end
  local full = redis.call('LLEN', inbox) + redis.call('LLEN', aside) >= limit
  -- Before the record: a push that Redis refuses leaves the slot open.
  if not full then redis.call('LPUSH', inbox, ARGV[6]) end
  redis.call('HSET', ticks, me, slot)
  return { full and 'full' or 'pushed', last, now }
end

if ARGV[1] ~= 'tick' then
  -- Never refused for lack of memory; after a first write, nothing in a script is.
  redis.call('HDEL', hand, '')
  if ARGV[1] ~= 'join' and not registered(me) then
    return redis.error_reply('GONE this consumer is not registered')
  end
end
return request[ARGV[1]]()
