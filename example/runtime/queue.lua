-- The queue's requests. Each is one atomic step in Redis; ARGV[4] says which one.
--
-- Three rules keep items safe when Redis refuses a command in the middle of a script:
-- 1. Each script of a worker begins with harmless removals (see the end of this file). At maxmemory
--    Redis refuses a script whose first write may need memory. A removal does not, and once a
--    script has written, Redis lets it finish: so workers can still confirm items.
-- 2. These removals are the very commands by which the scripts take items away. If the user may
--    not run one of them, Redis refuses the script before it has changed anything.
-- 3. A script adds an item to its new place before it removes it from the old one.
--
-- What a worker has in hand is a hash: id -> "deaths failures item". Its field `n` is the id that
-- follows the last one taken; the field `stop` is there once the worker was told to stop. The
-- worker chooses the ids and never uses one twice, so it can repeat a request whose reply was lost.
--
-- An idle worker waits by BLMOVE, which runs no script: it moves an item to the worker's list
-- `next`. The worker starts the item at once, and its next STEP moves the item into the hand.
--
-- A consumer is one connection of a worker. It exists as long as it is in `workers`. On its next
-- connection the worker joins under a new name, and takes over the hand. A request that is still
-- under way on the old connection comes too late: a script says GONE, and BLMOVE finds a string
-- where `next` was. The same happens to a worker that was taken for dead, whose hand was given to
-- others.

-- KEYS[8], `absent`, never exists: see queue.py.
local inbox, workers, retry, suspects, alone, dead, ticks, absent = unpack(KEYS, 1, 8)
local nexts, hands, me, kind = unpack(ARGV, 1, 4) -- no caller can know the keys of all others
local hand = hands .. me
local GRAVE = 3600 -- seconds; TCP gives up long before, and with it every request under way
local GONE = redis.error_reply('GONE this consumer is not registered')
local SUSPECT, DEATHS = 2, 4 -- deaths until an item runs alone, and until it is given up
local FEW = 16 -- items to look at in one go, since they may be huge
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

local function highest_first(ids)
  table.sort(ids, function(a, b) return a > b end)
  return ids
end

-- The ids in a hand, as text.
local function ids_of(name)
  local ids = {}
  for _, field in ipairs(redis.call('HKEYS', hands .. name)) do
    if tonumber(field) then ids[#ids + 1] = field end
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

-- Have an item wait until `due`. Suspects wait apart, since each must run alone.
local function park(name, id, deaths, failures, item, due)
  local member = string.format('%s#%d %d %d ', name, id, deaths, failures) .. item
  redis.call('ZADD', deaths >= SUSPECT and suspects or retry, due, member)
end

local function bury(name, id, deaths, failures, item, why)
  local buried = if_right_type(
    'XADD', dead, '*', 'item', item, 'why', why, 'failures', failures, 'deaths', deaths)
  -- Where the dead list is no stream, try again later rather than lose the item.
  if not buried then park(name, id, deaths, failures, item, clock() + 60000) end
end

-- Put an item of a hand back to where it came from, to be the next one.
local function put_back(name, id, value)
  local deaths, failures, item = split(value)
  if deaths + failures == 0 and if_right_type('RPUSH', inbox, item) then return end
  park(name, id, deaths, failures, item, clock())
end

-- Put these ids of a hand back. Highest first: so the inbox keeps its order.
local function put_all_back(name, ids)
  for _, id in ipairs(highest_first(ids)) do
    local value = redis.call('HGET', hands .. name, id)
    if value then
      put_back(name, id, value)
      redis.call('HDEL', hands .. name, id)
    end
  end
end

-- What BLMOVE has moved to `next` becomes the id `started`, if the worker has started it, else the
-- next item again. `same` is what it should be, where that is not certain.
local function settle_next(name, started, same)
  local item = peek_next(name)
  if not item then return end
  if started > 0 and item == (same or item) then
    redis.call('HSET', hand, started, '0 0 ' .. item, 'n', started + 1)
  else
    put_back(name, -clock(), '0 0 ' .. item)
  end
  empty_next(name)
end

local function remove(name)
  redis.call('HDEL', hands .. name, 'n', 'stop')
  redis.call('SET', nexts .. name, 'gone', 'EX', GRAVE)
  redis.call('ZREM', workers, name)
end

-- Adds to `lacks` what the user's rights or the server lack for `needs`: 'unknown NAME',
-- 'refused NAME' or 'keys'. Each of `needs` is a command that changes nothing; its `says`
-- is the error that it gives all the same. Returns an error that has another cause.
local function try(needs, lacks)
  for _, command in ipairs(needs) do
    local reply = redis.pcall(unpack(command))
    local why = type(reply) == 'table' and reply.err or ''
    local function says(text) return string.find(why, text, 1, true) end
    if says('nknown') then
      lacks[#lacks + 1] = 'unknown ' .. command[1]
    elseif says("can't run") or says('permissions to run') then
      lacks[#lacks + 1] = 'refused ' .. command[1]
    elseif says("can't access") or says('permissions to access') then
      lacks[#lacks + 1] = 'keys'
    elseif why ~= '' and not (command.says and says(command.says)) then
      return reply
    end
  end
end

-- LPUSH and RPUSH cannot help making a list, unless `key` holds something else. It does, unless
-- something is lacking already.
local function try_on_other_type(command, key, lacks)
  if #lacks > 0 and redis.pcall('EXISTS', key) ~= 1 then return nil end
  return try({ { command, key, '', says = 'WRONGTYPE' } }, lacks)
end

local trial = {}

-- Every command of a worker's scripts; the first one obeys rule 1.
trial.worker = function(lacks)
  local next = nexts .. me
  local other_cause = try({
    { 'HDEL', hand, '' }, { 'LTRIM', next, 0, -1 }, { 'ZREM', absent, '' }, { 'DEL', absent },
    { 'TIME' }, { 'TYPE', next }, { 'EXISTS', absent }, { 'LRANGE', next, 0, 0 },
    { 'HGET', hand, '' }, { 'HEXISTS', hand, '' }, { 'HKEYS', absent }, { 'HSTRLEN', absent, '' },
    { 'HSET', hand, 'a', 'b', 'c', says = 'wrong number of arguments' },
    { 'RENAME', absent, absent, says = 'no such key' },
    { 'GET', alone }, { 'SET', absent, '', 'EX', 1, 'XX' },
    { 'XADD', absent, '*', 'a', 'b', 'c', says = 'wrong number of arguments' },
    { 'ZADD', workers, 0, me }, { 'ZSCORE', workers, me }, { 'ZRANGE', workers, 0, 0 },
    { 'ZCOUNT', suspects, 0, 0 }, { 'ZRANGEBYSCORE', retry, 0, 0, 'LIMIT', 0, 1 },
  }, lacks) or try_on_other_type('RPUSH', workers, lacks)
  redis.pcall('ZREM', workers, me)
  return other_cause
end

trial.beat = function(lacks)
  return try({ { 'TIME' }, { 'LLEN', inbox }, { 'HGET', ticks, me }, { 'HSET', ticks, '', 0 } }, lacks)
    or try_on_other_type('LPUSH', ticks, lacks)
end

-- TRY role: what the server or the user's rights lack for a 'worker' or for 'beat', as a list.
-- To be asked with a name that nobody has. Leaves nothing behind but an empty tick.
request.try = function()
  local lacks = {}
  return trial[ARGV[5]](lacks) or lacks
end

-- JOIN former started item: register the consumer `me` in the place of `former`, if that is not
-- ''. Returns 1 if `me` has the hand of `former` now, 0 if that was given to others. What was
-- started last is `item`; after a roll-back of Redis, another one may be in its place.
request.join = function()
  local former, started = ARGV[5], tonumber(ARGV[6])
  if redis.call('TYPE', nexts .. me).ok == 'string' then return GONE end
  redis.call('ZADD', workers, clock(), me)
  local alive = registered(former)
  if alive then
    if redis.call('EXISTS', hands .. former) == 1 then redis.call('RENAME', hands .. former, hand) end
    if redis.call('GET', alone) == former then redis.call('SET', alone, me) end
  end
  if former ~= '' then
    settle_next(former, started, ARGV[7])
    remove(former)
  end
  return (alive or redis.call('EXISTS', hand) == 1) and 1 or 0
end

-- What a STEP returns, and what it has to record and to remove for that.
local function new_batch(first, want, budget)
  return {
    first = first, want = want, budget = budget, hold = 0,
    items = {}, history = {}, fields = {}, removals = {}, from_inbox = 0,
  }
end

local function fits(batch, item)
  return #batch.items == 0 or #item <= batch.budget
end

local function add(batch, value)
  local deaths, failures, item = split(value)
  if not fits(batch, item) then return false end
  local n, fields = #batch.items + 1, batch.fields
  batch.items[n] = item
  batch.budget = batch.budget - #item
  fields[#fields + 1], fields[#fields + 2] = batch.first + n - 1, value
  if deaths + failures > 0 then
    for _, x in ipairs({ n, deaths, failures }) do batch.history[#batch.history + 1] = x end
  end
  return true
end

local function reply_of(batch)
  return { batch.items, batch.history, batch.hold }
end

-- Drop the ids that the worker has done.
local function acknowledge(from)
  for i = from, #ARGV, 2 do
    local ids = {}
    for id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) do ids[#ids + 1] = id end
    redis.call('HDEL', hand, unpack(ids)) -- callers keep a range below Lua's limit of some 8,000
  end
end

-- If the batch was taken before, and the reply was lost: the same again. Should that be too much,
-- `hold` is 1: what the worker waited for would get the id of an item that it has not seen yet.
local function repeat_answer(batch)
  local last = tonumber(redis.call('HGET', hand, 'n') or batch.first)
  for id = batch.first, last - 1 do
    if not add(batch, redis.call('HGET', hand, id)) then
      batch.hold = 1
      break
    end
  end
  return batch.first < last
end

local function take_due(batch, zset, now, limit)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit)) do
    if not add(batch, string.match(member, '^%S+ (.*)$')) then return end
    batch.removals[#batch.removals + 1] = { zset, member }
  end
end

-- One worker at a time has the turn to run suspects. It empties its hand first: so they run alone.
-- Whether it is me who has it, and so must take nothing else.
local function my_turn_alone(now)
  local owner = redis.call('GET', alone)
  local waiting = redis.call('ZCOUNT', suspects, '-inf', now) > 0
  if waiting and not (owner and registered(owner)) then
    redis.call('SET', alone, me)
    owner = me
  end
  if owner == me and not waiting and #ids_of(me) == 0 then
    redis.call('DEL', alone)
    return false
  end
  return owner == me
end

local function take_inbox(batch)
  local ask = 1 -- few at first
  while #batch.items < batch.want do
    ask = math.min(2 * ask, FEW, batch.want - #batch.items)
    local taken = batch.from_inbox
    local found = if_right_type('LRANGE', inbox, -taken - ask, -taken - 1)
    if not found then return end
    for i = #found, 1, -1 do
      if not add(batch, '0 0 ' .. found[i]) then return end
      batch.from_inbox = batch.from_inbox + 1
    end
    if #found < ask then return end
  end
end

-- Rule 3: into the hand first, then out of the queue.
local function move_to_hand(batch)
  if #batch.items == 0 then return end
  local fields = batch.fields
  fields[#fields + 1], fields[#fields + 2] = 'n', batch.first + #batch.items
  redis.call('HSET', hand, unpack(fields)) -- callers keep `want` below 4,000
  for _, each in ipairs(batch.removals) do redis.call('ZREM', each[1], each[2]) end
  if batch.from_inbox > 0 then redis.call('LTRIM', inbox, 0, -batch.from_inbox - 1) end
end

-- STEP first want bytes started [lo hi]…: the worker's heartbeat.
-- What is in `next` becomes the id `started`, or the next item again if that is 0.
-- Drops the ids lo..hi, which are done, and takes up to `want` items of `bytes` altogether, or one
-- larger item, as first, first + 1, …: suspects if it is my turn for them, due retries, then the
-- inbox. Returns {items, history, hold}: history is {position, deaths, failures, …} of items that
-- have one; hold is 1 if me must end what it has before it takes, or waits for, more.
request.step = function()
  local batch = new_batch(tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
  local now = clock()
  if now - registered(me) > 200 then redis.call('ZADD', workers, now, me) end
  settle_next(me, tonumber(ARGV[8]))
  acknowledge(9)
  if repeat_answer(batch) or batch.want == 0 then
    if redis.call('GET', alone) == me then batch.hold = 1 end
    return reply_of(batch)
  end
  if redis.call('EXISTS', suspects, alone, retry) > 0 then
    if my_turn_alone(now) then
      batch.hold = 1
      if #ids_of(me) == 0 then take_due(batch, suspects, now, 1) end
      move_to_hand(batch)
      return reply_of(batch)
    end
    take_due(batch, retry, now, math.min(batch.want, FEW))
  end
  take_inbox(batch)
  move_to_hand(batch)
  return reply_of(batch)
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
-- By ids: a repeat finds none of them.
request.give = function()
  local ids = {}
  each_id(5, function(id) ids[#ids + 1] = id end)
  put_all_back(me, ids)
end

-- STOP: I was told to stop. Whatever ends me from now on, nobody charges that to what I have in hand.
request.stop = function()
  redis.call('HSET', hand, 'stop', 1)
end

-- LEAVE: give back everything, and exist no more.
request.leave = function()
  put_all_back(me, ids_of(me))
  settle_next(me, 0)
  remove(me)
end

-- Charge a death to an item; returns 1 if it was given up. Suspects are due after `delay` ms a
-- death, others at once.
local function charge(name, id, value, now, delay)
  local deaths, failures, item = split(value)
  deaths = deaths + 1
  if deaths >= DEATHS then
    bury(name, id, deaths, failures, item, 'killed its worker')
    return 1
  end
  park(name, id, deaths, failures, item, deaths >= SUSPECT and now + delay * deaths or now)
  return 0
end

-- Give away what a consumer had in hand, and remove it. Returns how many items were given up.
local function reap(name, now, delay)
  if not registered(name) then return 0 end
  local given_up, item = 0, peek_next(name)
  if redis.call('HEXISTS', hands .. name, 'stop') == 1 then
    put_all_back(name, ids_of(name))
    settle_next(name, 0)
  else
    -- One by one: should a later one be refused, an earlier one is not charged again.
    for _, id in ipairs(ids_of(name)) do
      given_up = given_up + charge(name, id, redis.call('HGET', hands .. name, id), now, delay)
      redis.call('HDEL', hands .. name, id)
    end
    if item then
      charge(name, 0, '0 0 ' .. item, now, delay)
      empty_next(name)
    end
  end
  remove(name)
  return given_up
end

-- After Redis's clock was set back, what waits would be due too late: not later than `most` ms.
local function bring_forward(zset, now, most)
  local late, room = '(' .. now + most, 1e6 -- bytes to look at in one go
  repeat
    local found = redis.call('ZRANGEBYSCORE', zset, late, '+inf', 'LIMIT', 0, FEW)
    for _, member in ipairs(found) do
      redis.call('ZADD', zset, now + most, member)
      room = room - #member
    end
  until #found < FEW or room <= 0
end

-- Own items below `first` and beyond ARGV[from].., as {id, value, …}.
local function unknown_to_me(first, from)
  local known, unknown = {}, {}
  each_id(from, function(id) known[id] = true end)
  for _, field in ipairs(ids_of(me)) do
    local id = tonumber(field)
    if id < first and not known[id] then
      unknown[#unknown + 1] = id
      unknown[#unknown + 1] = redis.call('HGET', hand, id)
    end
  end
  return unknown
end

-- TEND first last since lease gap delay most deaths name… [lo hi]…: each second, by every worker.
-- Reaps the `deaths` consumers named here, which are known to be dead, and those who have not
-- shown up for `lease` ms. What they had in hand is due at once; suspects after `delay` ms a death.
-- Not in the first `lease` ms after a `gap`: when nobody could reach Redis, nobody could show up.
-- `last` and `since` are Redis's time at my last TEND and at the end of the last gap; returns both
-- as of now, then all consumers, then {id, value, …} of ids below `first` in my hand beyond
-- lo..hi, the ids that I know: those are from before a roll-back of Redis, to be done again. The
-- last is how many items were given up. No retry is due later than in `most` ms.
request.tend = function()
  local first, last, since = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local lease, gap, delay, most = unpack(ARGV, 8, 11)
  local deaths, now, given_up = tonumber(ARGV[12]), clock(), 0
  redis.call('ZADD', workers, now, me)
  for i = 13, 12 + deaths do given_up = given_up + reap(ARGV[i], now, delay) end
  if now < last or now - last > tonumber(gap) then since = now end
  if now - since >= tonumber(lease) then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - lease)) do
      given_up = given_up + reap(name, now, delay)
    end
  end
  -- The clock was set back: a stamp from the future would take as long to grow old.
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. now + 100, '+inf')) do
    redis.call('ZADD', workers, now, name)
  end
  bring_forward(retry, now, most)
  bring_forward(suspects, now, most)
  local names = redis.call('ZRANGE', workers, 0, -1)
  return { now, since, names, unknown_to_me(first, 13 + deaths), given_up }
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
  -- The same record again: if Redis refuses to record, it does so before the push.
  redis.call('HSET', ticks, me, last)
  -- Before the new record: a push that Redis refuses leaves the slot open.
  if not full then redis.call('LPUSH', inbox, ARGV[7]) end
  redis.call('HSET', ticks, me, slot)
  return { full and 'full' or 'pushed', last, now }
end

if kind ~= 'tick' and kind ~= 'try' then
  -- Rules 1 and 2: nothing of this is there to be removed.
  redis.call('HDEL', hand, '')
  redis.call('LTRIM', absent, 0, -1)
  redis.call('ZREM', absent, '')
  if kind ~= 'join' and not registered(me) then return GONE end
end
return request[kind]()
