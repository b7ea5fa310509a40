-- The end of the script: do what was asked. Goes on from all the others.

if public[kind] then
  local reply = public[kind]()
  flush()
  return reply
end
redis.call('LTRIM', absent, 0, -1) -- rules 1 and 3
if kind ~= 'step' then redis.call('HDEL', absent, '') end -- rule 3
seen = registered(me)
if kind ~= 'join' and not seen then return GONE end
local reply = request[kind]()
flush()
return reply
