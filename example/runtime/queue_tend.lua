-- TEND, by which workers look after each other. Continues queue.lua.

-- Charge a death to an item. A suspect is due after `delay` ms for each death, another item at
-- once. `losses` counts the items that are given up, and those that the dead list, which keeps
-- `most`, loses.
local function charge(name, id, value, now, delay, losses)
  local deaths, failures, item, mark = split(value)
  deaths = deaths + 1
  if deaths >= DEATHS then
    local why = 'killed its worker'
    losses.given_up = losses.given_up + 1
    count('killed', 1)
    losses.lost = losses.lost + bury(name, id, deaths, failures, item, mark, why, losses.most)
  else
    local due = deaths >= SUSPECT and now + delay * deaths or now
    park(name, id, deaths, failures, item, mark, due)
    count('redelivered', 1)
  end
end

-- Charge a death to all that a consumer has in hand.
local function charge_all(name, now, delay, losses)
  local item = peek_next(name)
  -- One by one: if Redis refuses a later one, an earlier one is not charged again.
  for _, id in ipairs(ids_of(name)) do
    charge(name, id, redis.call('HGET', hands .. name, id), now, delay, losses)
    redis.call('HDEL', hands .. name, id)
  end
  if item then
    charge(name, 0, '0 0 ' .. item, now, delay, losses)
    empty_next(name)
    count('taken', 1)
  end
end

-- Remove a consumer that is dead. What it had in hand is charged, or put back if it was told to
-- stop.
local function reap(name, now, delay, losses)
  if not registered(name) then return end
  if redis.call('HEXISTS', hands .. name, 'stop') == 1 then
    put_all_back(name, ids_of(name))
    settle_next(name, 0)
  else
    charge_all(name, now, delay, losses)
  end
  remove(name)
end

-- Redis's clock may have been set back: whatever waits becomes due within `most` ms.
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

-- {id, value, …} of the items in the hand below `first` that are not among the ids from ARGV[from]
-- on.
local function unknown_to_me(first, from)
  local known, unknown = {}, {}
  each_id(from, function(id) known[id] = true end)
  for _, id in ipairs(ids_of(me)) do
    if id < first and not known[id] then
      unknown[#unknown + 1] = id
      unknown[#unknown + 1] = redis.call('HGET', hand, id)
    end
  end
  return unknown
end

-- TEND first last since lease gap delay most dead_limit named name… [lo hi]…: every worker sends
-- this each second.
-- Reaps the `named` consumers whose names follow, and those that have not shown up for `lease`
-- ms. The latter are spared for `lease` ms after a gap, since no consumer could show up while none
-- could reach Redis. A gap is more than `gap` ms between now and `last`, Redis's time at the last
-- TEND of `me`. `since` is when the last gap ended.
-- The items of the dead are due at once, a suspect after `delay` ms for each death. No item that
-- waits is due later than in `most` ms.
-- Returns {now, since, names, unknown, given_up, lost}: the two times for the next TEND; the names
-- of all consumers; {id, value, …} of items in the hand that the worker does not know, since it
-- knows the ids lo..hi and those from `first` on (Redis was rolled back, so they are done again);
-- how many items were given up; how many the dead list, which keeps `dead_limit`, lost for them.
request.tend = function()
  local first, last, since = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
  local lease, gap, delay, most = unpack(ARGV, 8, 11)
  local losses = { most = tonumber(ARGV[12]), given_up = 0, lost = 0 }
  local named, now = tonumber(ARGV[13]), clock()
  redis.call('ZADD', workers, now, me)
  for i = 14, 13 + named do reap(ARGV[i], now, delay, losses) end
  if now < last or now - last > tonumber(gap) then since = now end
  if now - since >= tonumber(lease) then
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - lease)) do
      reap(name, now, delay, losses)
    end
  end
  -- Where the clock was set back, a stamp from the future would take too long to grow old.
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', workers, '(' .. now + 100, '+inf')) do
    redis.call('ZADD', workers, now, name)
  end
  bring_forward(retry, now, most)
  bring_forward(suspects, now, most)
  local names = redis.call('ZRANGE', workers, 0, -1)
  sample(now)
  return { now, since, names, unknown_to_me(first, 14 + named), losses.given_up, losses.lost }
end
