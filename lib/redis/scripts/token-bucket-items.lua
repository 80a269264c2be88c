-- All items, one after the other. What is asked most, to consume from a bucket that is neither blocked nor leased, is done
-- here in one piece: the rest of the script is not even made. The arithmetic is that of bucket.lua in parts of a
-- microsecond, p to each, where all of a bucket's are below 2^53.
local p, q, tail, whole
if policy_count == 1 then
  local capacity
  capacity, p, q = match(ARGV[3], '^(%d+) (%d+) (%d+)$')
  if capacity and capacity * q < 2251799813685248 then
    tail, whole = p .. ' ' .. q, capacity * q
    p, q = tonumber(p), tonumber(q)
  end
end
local least_ttl_ms = server_time and 1 or 3600000

-- The reply to a plain consume; nil if it is not one, or needs more thought.
local function decide_plainly(key, cost)
  local value = pcall('GET', key)
  local spent = 0
  if value then
    if type(value) == 'table' then return end
    local written, full_at, f, rate = match(value, '^(%-?%d+) (%-?%d+) (%d+) (.+)$')
    if rate ~= tail or written - now > 0 then return end
    local left = full_at - now
    if left >= 0 then
      spent = left * p + f
      if spent > whole + whole then return end
    end
  end
  local price = cost * q
  if price > whole then return end
  local after = spent + price
  if after > whole then
    local remaining = spent < whole and floor((whole - spent) / q) or 0
    return pack('<dddddd', 1, remaining, floor((after - whole + p - 1) / p), floor((spent + p - 1) / p), 0, 0)
  end
  local us = floor(after / p)
  local f = after - us * p
  local reset = us
  local text
  if f == 0 then
    text = now_text .. format(' %.0f 0 ', now + us) .. tail
  else
    text = now_text .. format(' %.0f %.0f ', now + us, f) .. tail
    reset = us + 1
  end
  local ttl_ms = floor((reset + 999) / 1000)
  if ttl_ms < least_ttl_ms then ttl_ms = least_ttl_ms end
  call('SET', key, text, 'PX', format('%.0f', ttl_ms))
  return pack('<dddddd', 0, floor((whole - after) / q), 0, reset, 0, cost)
end

local decide

local function reply_to(i)
  local cost = tail and tonumber(ARGV[2 + policy_count + i])
  local reply = cost and cost > 0 and decide_plainly(KEYS[i], cost)
  if reply then return reply end
  decide = decide or make_decide()
  return decide(i)
end

if #KEYS == 1 then return reply_to(1) end
local replies = {}
for i = 1, #KEYS do
  replies[i] = reply_to(i)
end
return table.concat(replies)
