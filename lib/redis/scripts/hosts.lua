-- Counts the hosts that share the limits of one prefix.
-- KEYS[1]  sorted set: host -> when it was last heard of (ms since 1970, server's clock)
-- ARGV[1]  the host that calls
-- ARGV[2]  how long a host counts that is not heard of any more, in ms
-- ARGV[3]  'join', or 'leave' if the host goes
-- Answers how many there are, the caller included unless it goes.
local key, host, life_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[3] == 'leave' then
  redis.call('ZREM', key, host)
else
  redis.call('ZADD', key, string.format('%.0f', now_ms), host)
  redis.call('PEXPIRE', key, string.format('%.0f', life_ms))
end
-- The gone; and those of a time to come, if the clock was set back or another server has taken over.
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now_ms - life_ms))
redis.call('ZREMRANGEBYSCORE', key, string.format('%.0f', now_ms + life_ms), '+inf')
return redis.call('ZCARD', key)
