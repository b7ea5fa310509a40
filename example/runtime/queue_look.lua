-- LOOK, by which people see the state of the queue. Continues queue_count.lua.

local SILENT = 5000 -- ms, as LEASE in queue.py: a worker that has not shown up for longer is dead

-- The time in ms since which an item is due in a sorted set, or nil.
local function due_since(now)
  local since
  for _, zset in ipairs({ retry, suspects, later }) do
    local first = if_right_type('ZRANGE', zset, 0, 0, 'WITHSCORES') or {}
    local at = first[2] and due_at(first[2], now)
    if at and at <= now then since = math.min(since or at, at) end
  end
  return since
end

-- LOOK: the queue at this moment; changes nothing.
-- Returns {now, waiting, in_hand, held, retrying, later, dead, workers, listed, due, totals,
-- samples, ticks}. `waiting` counts items on the list, and those that are due; retrying and later
-- are not due. `workers` counts those that live. `listed` counts items on the list or on the way
-- from there to a hand, `held` those in a hand. `due` is the time in ms since which an item is due,
-- or ''. The totals and the ticks are {field, value, …}.
public.look = function()
  local now = clock()
  redis.call('LLEN', inbox) -- raises WRONGTYPE, since a queue that is no list must not look empty
  local size = sizes(now)
  local alive = redis.call('ZCOUNT', workers, now - SILENT, '+inf')
  return {
    now, size.waiting, size.in_hand, size.held, size.retry + size.suspects, size.later,
    if_right_type('XLEN', dead) or 0, alive, size.listed, due_since(now) or '',
    if_right_type('HGETALL', totals) or {}, if_right_type('LRANGE', samples, 0, -1) or {},
    if_right_type('HGETALL', ticks) or {},
  }
end
