-- The dead list, and what people may have done about it. Goes on from queue.lua.

local MANY = 100 -- entries in one request, since they may be huge

local function field_of(entry, name)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == name then return entry[2][i + 1] end
  end
  return ''
end

-- DEAD before count most: the `count` entries that came last before the id `before`, '+' for all,
-- newest first. Returns {id, item, bytes, why, failures, deaths} of each, the items cut to `most`
-- bytes; changes nothing.
public.dead = function()
  local found = {}
  for i, entry in ipairs(redis.call('XREVRANGE', dead, ARGV[5], '-', 'COUNT', ARGV[6])) do
    local item = field_of(entry, 'item')
    found[i] = {
      entry[1], string.sub(item, 1, tonumber(ARGV[7])), #item,
      field_of(entry, 'why'), field_of(entry, 'failures'), field_of(entry, 'deaths'),
    }
  end
  return found
end

-- REQUEUE lo hi: push the dead from the id `lo` to `hi` again, the oldest first, with a clean
-- record; MANY of them at most. Returns how many.
public.requeue = function()
  local found = redis.call('XRANGE', dead, ARGV[5], ARGV[6], 'COUNT', MANY)
  redis.call('XDEL', dead, '0-0') -- rule 3
  for _, entry in ipairs(found) do
    redis.call('LPUSH', inbox, field_of(entry, 'item'))
    redis.call('XDEL', dead, entry[1])
  end
  return #found
end

-- DROP [id]: forget a dead item, or all. Returns how many.
public.drop = function()
  if ARGV[5] then return redis.call('XDEL', dead, ARGV[5]) end
  return redis.call('XTRIM', dead, 'MAXLEN', 0)
end

-- HURRY: what waits for its next attempt is due now; MANY of each kind at most. Returns
-- {how many, how many are left}.
public.hurry = function()
  local now, count, left = clock(), 0, 0
  for _, zset in ipairs({ retry, suspects }) do
    local found = redis.call('ZRANGEBYSCORE', zset, '(' .. now, '+inf', 'LIMIT', 0, MANY)
    for _, member in ipairs(found) do redis.call('ZADD', zset, now, member) end
    count = count + #found
    left = left + redis.call('ZCOUNT', zset, '(' .. now, '+inf')
  end
  return { count, left }
end
