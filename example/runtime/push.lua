-- Push on the queue from your own code. ARGV[1] says which request it is.

local inbox, later, once = unpack(KEYS)
local LOT = 1000 -- Lua's stack holds some 8,000

local function push(limit, from)
  if redis.call('LLEN', inbox) + #ARGV - from + 1 > limit then return 'full' end
  for i = from, #ARGV, LOT do
    redis.call('LPUSH', inbox, unpack(ARGV, i, math.min(i + LOT - 1, #ARGV)))
  end
  return 'pushed'
end

-- When an item is due, in ms. One that is due at once has a time that is past whatever the clock
-- will say, should it be set back: its seconds since the epoch, taken for ms. These are in order,
-- too.
local function due(after, at)
  if at ~= '' then return at end
  local time = redis.call('TIME')
  if after == '' then return time[1] + time[2] / 1e6 end
  return time[1] * 1000 + time[2] / 1000 + after
end

-- An item in `later` is "name#number deaths failures item", with a mark as queue.lua explains. No
-- two are equal, since each request has a name of its own. The zeros keep those in order that are
-- due at the same time.
local function put_off(limit, name, when, mark, from)
  if redis.call('ZCARD', later) + #ARGV - from + 1 > limit then return 'full' end
  for i = from, #ARGV do
    redis.call('ZADD', later, when, string.format('%s#%07d 0 0%s ', name, i, mark) .. ARGV[i])
  end
  return 'pushed'
end

local request = {}

-- PUSH limit item…: push all of these, or none if more than `limit` would wait then. Returns
-- 'pushed' or 'full'.
request.push = function()
  return push(tonumber(ARGV[2]), 3)
end

-- LATER limit name after at item…: the same for a later time: in `after` ms, or `at` that time in
-- ms; at once if both are ''.
request.later = function()
  return put_off(tonumber(ARGV[2]), ARGV[3], due(ARGV[4], ARGV[5]), '', 6)
end

-- ONCE limit name after at digest key item: the same, or 'there' if an item with this key waits or
-- is in hand.
request.once = function()
  local digest, key = ARGV[6], ARGV[7]
  if redis.call('HEXISTS', once, digest) == 1 then return 'there' end
  local when = due(ARGV[4], ARGV[5])
  redis.call('HSET', once, digest, key)
  local done, outcome = pcall(put_off, tonumber(ARGV[2]), ARGV[3], when, ':' .. digest, 8)
  -- If the item was not pushed, nothing else would ever free the key.
  if not done or outcome == 'full' then redis.call('HDEL', once, digest) end
  if not done then error(outcome) end
  return outcome
end

return request[ARGV[1]]()
