-- All items, one after the other. What is asked most, to consume from a bucket that is neither blocked nor leased, is done
-- here in one piece: the rest of the script is not even made, and no local is captured by a function, as making both takes
-- longer than the decision. The arithmetic is that of bucket.lua in parts of a microsecond, p to each, where all of a
-- bucket's are below 2^53.
local p, q, tail, whole
if policy_count == 1 then
  local capacity
  capacity, tail, p, q = match(ARGV[3], '^(%d+)( (%d+) (%d+))$')
  if capacity then
    p, q = tonumber(p), tonumber(q)
    whole = capacity * q
    if whole >= 2251799813685248 then tail = nil end
  end
end

local decide
local count, replies = #KEYS, nil
local item_at, is_same = 2 + policy_count, ARGV[4 + policy_count] == nil
for i = 1, count do
  local item = ARGV[item_at + (is_same and 1 or i)]
  local cost = tail and (item == '1' and 1 or tonumber(item)) or 0
  local reply
  if cost > 0 and cost * q <= whole then
    local key, spent = KEYS[i], 0
    local value = pcall('GET', key)
    if value then
      -- Where more thought is needed, spent is nothing.
      spent = nil
      local written, full_at, f, rate
      if type(value) == 'string' then
        written, full_at, f, rate = match(value, '^(%d+) (%d+) (%d+)(.+)$')
      end
      if rate == tail and now - written >= 0 then
        local left = full_at - now
        spent = left < 0 and 0 or left * p + f
        if spent > whole + whole then spent = nil end
      end
    end
    local after = spent and spent + cost * q
    if not after then
      -- Not here.
    elseif after > whole then
      local free, wait, reset = whole > spent and whole - spent or 0, after - whole + p - 1, spent + p - 1
      reply = pack('<dddddd', 1, (free - free % q) / q, (wait - wait % p) / p, (reset - reset % p) / p, 0, 0)
    else
      local f = after % p
      local reset = (after - f) / p
      local full_at = now + reset
      if f > 0 then reset = reset + 1 end
      local us = full_at % 1000000
      local seconds = (full_at - us) / 1000000
      local text
      if seconds > 0 and seconds < 2147483648 and f < 2147483648 then
        -- Takes half as long as with %.0f.
        text = now_text .. format(' %d%06d %d', seconds, us, f) .. tail
      else
        text = now_text .. format(' %.0f %.0f', full_at, f) .. tail
      end
      local ttl_ms = reset + 999
      ttl_ms = (ttl_ms - ttl_ms % 1000) / 1000
      if ttl_ms < 3600000 and not server_time then ttl_ms = 3600000 end
      call('SET', key, text, 'PX', format(ttl_ms < 2147483648 and '%d' or '%.0f', ttl_ms))
      local free = whole - after
      reply = pack('<dddddd', 0, (free - free % q) / q, 0, reset, 0, cost)
    end
  end
  if not reply then
    decide = decide or make_decide(now, now_text, server_time, policy_count)
    reply = decide(i)
  end
  if count == 1 then return reply end
  replies = replies or {}
  replies[i] = reply
end
return table.concat(replies)
