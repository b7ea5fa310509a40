-- Requests by which people read and repair the dead list and the retries. Continues queue.lua.

-- The value of an entry's field; false where somebody else has added an entry without it.
local function field_of(entry, name)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == name then return entry[2][i + 1] end
  end
  return false
end

-- DEAD before count most: the last `count` entries before the id `before` ('+' for the very last),
-- newest first. Returns {id, item, bytes, why, failures, deaths} of each. Items are cut to `most`
-- bytes. What an entry lacks is nil. Changes nothing.
public.dead = function()
  local found = {}
  for i, entry in ipairs(redis.call('XREVRANGE', dead, ARGV[5], '-', 'COUNT', ARGV[6])) do
    local item = field_of(entry, 'item')
    found[i] = {
      entry[1], item and string.sub(item, 1, tonumber(ARGV[7])), item and #item,
      field_of(entry, 'why'), field_of(entry, 'failures'), field_of(entry, 'deaths'),
    }
  end
  return found
end

-- REQUEUE lo hi: push the dead items from the id `lo` to `hi` again, the oldest first, without
-- their deaths and failures. Looks at FEW entries at most; one that holds no item stays. Returns
-- {how many, the last id that it has looked at, or nil}.
public.requeue = function()
  local found, count = redis.call('XRANGE', dead, ARGV[5], ARGV[6], 'COUNT', FEW), 0
  redis.call('XDEL', dead, '0-0') -- rule 3
  for _, entry in ipairs(found) do
    local item = field_of(entry, 'item')
    if item then
      redis.call('LPUSH', inbox, item)
      redis.call('XDEL', dead, entry[1])
      count = count + 1
    end
  end
  return { count, #found > 0 and found[#found][1] }
end

-- DROP [id]: delete a dead item, or all. Returns how many.
public.drop = function()
  if ARGV[5] then return redis.call('XDEL', dead, ARGV[5]) end
  return redis.call('XTRIM', dead, 'MAXLEN', 0)
end

-- HURRY: make items due now that wait for their next attempt, FEW of each kind at most. Returns
-- {how many, how many are left}.
public.hurry = function()
  local now, count, left = clock(), 0, 0
  for _, zset in ipairs({ retry, suspects }) do
    local found = redis.call('ZRANGEBYSCORE', zset, '(' .. now, '+inf', 'LIMIT', 0, FEW)
    for _, member in ipairs(found) do redis.call('ZADD', zset, now, member) end
    count = count + #found
    left = left + redis.call('ZCOUNT', zset, '(' .. now, '+inf')
  end
  return { count, left }
end
