-- STEP, by which a worker confirms items and takes more. Continues queue.lua.

-- The items that a STEP returns, and what it has to record and to remove for them.
local function new_batch(first, want, bytes)
  return {
    first = first, want = want, bytes = bytes, must_empty = 0,
    items = {}, history = {}, fields = {}, removals = {}, from_inbox = 0,
  }
end

-- Add an item; `value` is what the hand holds of it. Returns false if the item is too large to come
-- with the others.
local function add(batch, value, deaths, failures, item, mark)
  local n = #batch.items + 1
  if n > 1 and #item > batch.bytes then return false end
  batch.items[n] = item
  batch.bytes = batch.bytes - #item
  batch.fields[2 * n - 1], batch.fields[2 * n] = batch.first + n - 1, value
  if deaths + failures > 0 or mark ~= '' then
    for _, x in ipairs({ n, deaths, failures, mark }) do batch.history[#batch.history + 1] = x end
  end
  return true
end

local function reply_of(batch)
  return { batch.items, batch.history, batch.must_empty }
end

-- Drop the ids that the worker has done.
local function acknowledge(from)
  for i = from, #ARGV, 2 do
    local ids = {}
    for id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]) do ids[#ids + 1] = id end
    redis.call('HDEL', hand, unpack(ids)) -- callers keep a range below Lua's limit of some 8,000
  end
end

-- If the same STEP has taken items before, its reply was lost: return them again. If they do not
-- all fit into the batch, must_empty is 1. Otherwise the worker might wait by BLMOVE, and give the
-- item that comes the id of one that it has not seen yet.
local function repeat_answer(batch)
  local last = tonumber(redis.call('HGET', hand, 'n') or batch.first)
  for id = batch.first, last - 1 do
    local value = redis.call('HGET', hand, id)
    if not add(batch, value, split(value)) then
      batch.must_empty = 1
      break
    end
  end
  return batch.first < last
end

-- WEIGH id: an item in hand, without its bytes: {how many they are, deaths, failures, mark}. It is
-- {0, 0, 0, ''} if there is none.
request.weigh = function()
  local value = redis.call('HGET', hand, ARGV[5])
  if not value then return { 0, 0, 0, '' } end
  local deaths, failures, item, mark = split(value)
  return { #item, deaths, failures, mark }
end

local function take_due(batch, zset, now, limit)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit)) do
    local value = value_of(member)
    if not add(batch, value, split(value)) then return end
    batch.removals[#batch.removals + 1] = { zset, member }
  end
end

-- Move items from `later` whose time has come to where all items that are due wait. No more than
-- are wanted: QUEUE_LIMIT bounds only what is in `later`.
local function promote(now, limit)
  local found = redis.call('ZRANGEBYSCORE', later, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  if #found > 0 then redis.call('ZREM', absent, '') end -- rule 3
  for i = 1, #found, 2 do
    local member, due = found[i], due_at(found[i + 1], now)
    local deaths, failures = split(value_of(member))
    if deaths + failures == 0 then count('came', 1) end
    redis.call('ZADD', waiting_room(deaths), due, member)
    redis.call('ZREM', later, member)
  end
end

-- Suspects run alone: one worker at a time has the turn for them, and empties its hand first. If
-- the turn is free and suspects are due, it goes to `me`. It ends when none are left. Returns
-- whether `me` has it.
local function have_turn_alone(now)
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

-- As `add`, for items that are fresh, from the last one on. Most of a STEP's time is spent here.
-- Returns how many of them fit.
local function add_fresh(batch, found)
  local items, fields, bytes = batch.items, batch.fields, batch.bytes
  local n, before = #items, #items
  for i = #found, 1, -1 do
    local item = found[i]
    if n > 0 and #item > bytes then break end
    bytes = bytes - #item
    n = n + 1
    items[n], fields[2 * n - 1], fields[2 * n] = item, batch.first + n - 1, '0 0 ' .. item
  end
  batch.bytes = bytes
  return n - before
end

local function take_inbox(batch)
  local ask = 1 -- one at first, since it may be huge
  while #batch.items < batch.want do
    ask = math.min(ask, FEW, batch.want - #batch.items)
    local taken = batch.from_inbox
    local found = if_right_type('LRANGE', inbox, -taken - ask, -taken - 1)
    if not found then return end
    local fit = add_fresh(batch, found)
    batch.from_inbox = taken + fit
    if fit < ask then return end
    ask = 2 * ask
  end
end

local function move_to_hand(batch)
  if #batch.items == 0 then return end
  if #batch.removals > 0 then redis.call('ZREM', absent, '') end -- rule 3
  local fields = batch.fields
  fields[#fields + 1], fields[#fields + 2] = 'n', batch.first + #batch.items
  redis.call('HSET', hand, unpack(fields)) -- callers keep `want` below 4,000
  for _, each in ipairs(batch.removals) do redis.call('ZREM', each[1], each[2]) end
  if batch.from_inbox > 0 then redis.call('LTRIM', inbox, 0, -batch.from_inbox - 1) end
  count('taken', #batch.items)
  if #batch.removals > 0 then count('again', #batch.removals) end
end

-- STEP first want bytes started [lo hi]…: confirm what has ended, and take more.
-- Settles what is in `next` (see settle_next), and drops the ids lo..hi, which are done. Then takes
-- up to `want` items of `bytes` altogether, or one larger item, as first, first + 1, …. If `me` has
-- the turn for suspects, that is one of them; otherwise due retries, then items of the inbox.
-- Returns {items, history, must_empty}. history is {position, deaths, failures, mark, …} of the
-- items that have one. must_empty is 1 if all in hand must end before the worker takes or awaits
-- more.
request.step = function()
  local batch = new_batch(tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
  local now = clock()
  if now - seen > 200 then redis.call('ZADD', workers, now, me) end
  settle_next(me, tonumber(ARGV[8]))
  acknowledge(9)
  if repeat_answer(batch) or batch.want == 0 then
    if redis.call('GET', alone) == me then batch.must_empty = 1 end
    return reply_of(batch)
  end
  if redis.call('EXISTS', suspects, alone, retry, later) > 0 then
    local few = math.min(batch.want, FEW)
    promote(now, few)
    if have_turn_alone(now) then
      batch.must_empty = 1
      if #ids_of(me) == 0 then take_due(batch, suspects, now, 1) end
      move_to_hand(batch)
      return reply_of(batch)
    end
    take_due(batch, retry, now, few)
  end
  take_inbox(batch)
  move_to_hand(batch)
  return reply_of(batch)
end
