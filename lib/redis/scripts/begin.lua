-- The present in microseconds since 1970.
-- Tests bring the present with them, as ARGV[1].
local server_time = ARGV[1] == ''
local now, now_text
if server_time then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
  -- Six digits need no padding.
  now_text = #time[2] == 6 and time[1] .. time[2] or format('%.0f', now)
else
  now = tonumber(ARGV[1])
  now_text = format('%.0f', now)
end
