-- Push on the queue from one's own code, in one atomic step.
--
-- PUSH limit item…: all of these, or none if more than `limit` would wait then.
-- Returns how many were pushed.

local inbox, limit = KEYS[1], tonumber(ARGV[1])
local LOT = 1000 -- Lua's stack holds some 8,000

if redis.call('LLEN', inbox) + #ARGV - 1 > limit then return 0 end
for i = 2, #ARGV, LOT do
  redis.call('LPUSH', inbox, unpack(ARGV, i, math.min(i + LOT - 1, #ARGV)))
end
return #ARGV - 1
