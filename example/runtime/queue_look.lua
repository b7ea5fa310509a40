-- LOOK, by which people see how the queue does. Goes on from queue_count.lua.

local SILENT = 5000 -- ms, as LEASE in queue.py: whoever shows up less often is dead

-- Since when, in ms, something waits whose time has come; or nil.
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
-- samples, ticks}. `waiting` is what is on the list, or due; retrying and later are not due.
-- `workers` is how many live. `listed` is how many are on the list or on the way from there to a
-- hand, `held` how many are in one. `due` is since when something is due, ms, or ''. The totals and
-- the ticks are {field, value, …}.
public.look = function()
  local now = clock()
  local size = sizes(now)
  local alive = redis.call('ZCOUNT', workers, now - SILENT, '+inf')
  return {
    now, size.waiting, size.in_hand, size.held, size.retry + size.suspects, size.later,
    if_right_type('XLEN', dead) or 0, alive, size.listed, due_since(now) or '',
    if_right_type('HGETALL', totals) or {}, if_right_type('LRANGE', samples, 0, -1) or {},
    if_right_type('HGETALL', ticks) or {},
  }
end
