-- The script begins: what all parts of it use, and the present in microseconds since 1970.
local floor, max, min = math.floor, math.max, math.min
local match, format = string.match, string.format
local call, pcall, pack = redis.call, redis.pcall, struct.pack

-- Tests bring the present with them, as ARGV[1].
local server_time = ARGV[1] == ''
local now
if server_time then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[1])
end
local now_text = format('%.0f', now)
