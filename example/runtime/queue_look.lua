-- LOOK, by which people see the state of the queue. Continues queue_count.lua.

local SILENT = 5000 -- ms, as LEASE in queue.py: a worker that has not shown up for longer is dead

local wrong = {} -- keys that hold something else

-- The reply to if_right_type of this key; `otherwise` where the key holds something else.
local function known(key, reply, otherwise)
  if not reply then wrong[#wrong + 1] = key end
  return reply or otherwise
end

-- The time in ms since which an item is due in a sorted set, or nil.
local function due_since(now)
  local since
  for _, zset in ipairs({ retry, suspects, later }) do
    local first = known(zset, if_right_type('ZRANGE', zset, 0, 0, 'WITHSCORES'), {})
    local at = first[2] and due_at(first[2], now)
    if at and at <= now then since = math.min(since or at, at) end
  end
  return since
end

-- How Redis says that the user may not run a command: its releases word it differently.
local NO_RIGHT = { "can't run", "can't access", 'permissions to' }

-- Why Redis would refuse to write, or ''. The command is one that needs memory, and adds nothing.
-- A user who may not run it may still look.
local function refusal()
  local reply = redis.pcall('ZADD', absent, 'XX', 0, '')
  local why = type(reply) == 'table' and reply.err or ''
  for _, words in ipairs(NO_RIGHT) do
    if string.find(why, words, 1, true) then return '' end
  end
  return why
end

-- LOOK: the queue at this moment; changes nothing.
-- Returns {now, waiting, in_hand, held, retrying, later, dead, workers, listed, put_off, due,
-- totals, samples, ticks, wrong, refusal}. `waiting` counts items on the list, and those that are
-- due; retrying and later are not due. `workers` counts those that live. `listed` counts items on
-- the list or on the way from there to a hand, `held` those in a hand, `put_off` all that are in
-- the key `later`. `due` is the time in ms since which an item is due, or ''. The totals and the
-- ticks are {field, value, …}. `wrong` are the keys that hold something else, and count as empty.
public.look = function()
  local now = clock()
  redis.call('LLEN', inbox) -- raises WRONGTYPE, since a queue that is no list must not look empty
  local size = sizes(now)
  local alive = known(workers, if_right_type('ZCOUNT', workers, now - SILENT, '+inf'), 0)
  return {
    now, size.waiting, size.in_hand, size.held, size.retry + size.suspects, size.later,
    known(dead, if_right_type('XLEN', dead), 0), alive, size.listed,
    if_right_type('ZCOUNT', later, '-inf', '+inf') or 0, due_since(now) or '',
    known(totals, if_right_type('HGETALL', totals), {}),
    known(samples, if_right_type('LRANGE', samples, 0, -1), {}),
    known(ticks, if_right_type('HGETALL', ticks), {}),
    wrong, refusal(),
  }
end
