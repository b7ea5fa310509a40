-- TRY, which tries every command that the requests need. Continues queue.lua.

-- Try the commands `needs`. None of them changes anything. Some give the error `says` if the server
-- knows them and the user may run them. Adds to `lacks` what is missing: 'unknown NAME' if the
-- server has no such command, 'refused NAME' if the user may not run it, 'keys' if the user may not
-- use the keys, 'type KEY' if something else is stored there.
-- Returns an error that has another cause, for instance that the server is a replica.
local function try(needs, lacks)
  for _, command in ipairs(needs) do
    local reply = redis.pcall(unpack(command))
    local why = type(reply) == 'table' and reply.err or ''
    local function says(text) return string.find(why, text, 1, true) end
    if says('nknown') then
      lacks[#lacks + 1] = 'unknown ' .. command[1]
    elseif says("can't run") or says('permissions to run') then
      lacks[#lacks + 1] = 'refused ' .. command[1]
    elseif says("can't access") or says('permissions to access') then
      lacks[#lacks + 1] = 'keys'
    elseif says('WRONGTYPE') and not command.says then
      lacks[#lacks + 1] = 'type ' .. command[2]
    elseif why ~= '' and not (command.says and says(command.says)) then
      return reply
    end
  end
end

-- LPUSH and RPUSH change nothing if `key` is no list. It is none, unless the command that should
-- have made it was refused; then they are not tried.
local function try_on_other_type(command, key, lacks)
  if #lacks > 0 and redis.pcall('EXISTS', key) ~= 1 then return nil end
  return try({ { command, key, '', says = 'WRONGTYPE' } }, lacks)
end

local trial = {}

-- Every command of a worker's requests. The first one removes nothing: see rule 1.
trial.worker = function(lacks)
  local next = nexts .. me
  local other_cause = try({
    { 'HDEL', hand, '' }, { 'LTRIM', next, 0, -1 }, { 'ZREM', absent, '' }, { 'DEL', absent },
    { 'TIME' }, { 'TYPE', next }, { 'EXISTS', absent }, { 'LRANGE', next, 0, 0 },
    { 'HGET', hand, '' }, { 'HEXISTS', hand, '' }, { 'HKEYS', absent }, { 'HLEN', absent },
    { 'LLEN', inbox },
    { 'HINCRBY', absent, '', 'a', says = 'not an integer' },
    { 'HSET', hand, 'a', 'b', 'c', says = 'wrong number of arguments' },
    { 'RENAME', absent, absent, says = 'no such key' },
    { 'GET', alone }, { 'SET', absent, '', 'EX', 1, 'XX' }, { 'XLEN', absent },
    { 'XADD', absent, '*', 'a', 'b', 'c', says = 'wrong number of arguments' },
    { 'ZADD', workers, 'XX', 0, me }, { 'ZSCORE', workers, me }, { 'ZRANGE', workers, 0, 0 },
    { 'ZCOUNT', suspects, 0, 0 }, { 'ZRANGEBYSCORE', retry, 0, 0, 'LIMIT', 0, 1 },
  }, lacks)
  -- Not where it could not be removed again: others would take it for a worker that has died.
  if redis.pcall('ZREM', absent, '') == 0 then redis.pcall('ZADD', workers, 0, me) end
  other_cause = other_cause or try_on_other_type('RPUSH', workers, lacks)
  redis.pcall('ZREM', workers, me)
  return other_cause
end

-- What only a sample needs is tried on `absent`: a key that holds something else costs no push.
trial.beat = function(lacks)
  return try({
    { 'TIME' }, { 'LLEN', inbox }, { 'HGET', ticks, me }, { 'HSET', ticks, '', 0 },
    { 'HEXISTS', absent, '' }, { 'HLEN', absent },
    { 'HINCRBY', absent, '', 'a', says = 'not an integer' },
    { 'LRANGE', absent, 0, 0 }, { 'LTRIM', absent, 0, -1 },
    { 'ZCOUNT', absent, 0, 0 }, { 'ZRANGE', absent, 0, 0 },
  }, lacks) or try_on_other_type('LPUSH', ticks, lacks) or try_on_other_type('RPUSH', ticks, lacks)
end

-- TRY role: returns a list of what the server or the user's rights lack for a 'worker' or for
-- 'beat'. `me` must be a name that no consumer has. For beat it leaves a tick without a name.
public.try = function()
  local lacks = {}
  return trial[ARGV[5]](lacks) or lacks
end
