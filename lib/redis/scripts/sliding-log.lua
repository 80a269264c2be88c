-- Sliding log. Body: `<time>:<tokens> <time>:<tokens> ...`: when tokens were spent, oldest first; what counts no more goes
-- with the next write. A token counts for one window.
--
-- k.times, k.tokens (of k.entries entries), k.total

local max_limit = 64

local function parse(text)
  local limit, window = match(text, '^(%d+) (%d+)')
  return { capacity = tonumber(limit), window = tonumber(window) }
end

local function open(policy, k)
  local times, tokens, entries, total = {}, {}, 0, 0
  local body = k.body
  if body and body ~= '-' then
    local over, size, at = k.now - policy.window, #body, 1
    while at <= size do
      local time, count, after = match(body, '^(-?%d+):(%d+) ?()', at)
      time, count = tonumber(time), tonumber(count)
      if not time or count > max_limit then
        return true
      end
      time, at = min(time + k.shift, k.now), after
      if time > over and count > 0 then
        entries = entries + 1
        times[entries], tokens[entries] = time, count
        total = total + count
      end
    end
  end
  k.times, k.tokens, k.entries, k.total = times, tokens, entries, total
end

local function wait(policy, k, cost)
  local must_lapse = k.total + cost - policy.capacity
  if cost == 0 or must_lapse <= 0 then
    return 0, 0
  end
  local entry = 0
  while must_lapse > 0 do
    entry = entry + 1
    must_lapse = must_lapse - k.tokens[entry]
  end
  return k.times[entry] + policy.window - k.now, 0
end

local function look(policy, k)
  local newest = k.times[k.entries]
  return policy.capacity - k.total, newest and newest + policy.window - k.now or 0
end

local function charge(policy, k, cost)
  local entries = k.entries
  k.total = k.total + cost
  if k.times[entries] == k.now then
    k.tokens[entries] = k.tokens[entries] + cost
  else
    k.entries = entries + 1
    k.times[entries + 1], k.tokens[entries + 1] = k.now, cost
  end
end

-- Credits the newest of the tokens that were spent by then.
local function refund(policy, k, tokens, ago)
  local charged, credited = k.now - ago, 0
  for entry = k.entries, 1, -1 do
    if k.times[entry] <= charged then
      local amount = min(tokens - credited, k.tokens[entry])
      credited = credited + amount
      if amount < k.tokens[entry] then
        k.tokens[entry] = k.tokens[entry] - amount
        break
      end
      k.entries = k.entries - 1
      table.remove(k.times, entry)
      table.remove(k.tokens, entry)
    end
  end
  k.total = k.total - credited
  return credited
end

local function penalize(policy, k, tokens)
  local taken = max(0, min(tokens, policy.capacity - k.total))
  if taken > 0 then
    charge(policy, k, taken)
  end
  return taken
end

-- What was spent goes on ageing during a block.
local function hold() end

local function close(policy, k)
  local entries, parts = k.entries, {}
  if entries == 0 then
    return nil
  end
  for entry = 1, entries do
    parts[entry] = format('%.0f:%.0f', k.times[entry], k.tokens[entry])
  end
  return table.concat(parts, ' '), k.times[entries] + policy.window
end

return {
  parse = parse,
  open = open,
  wait = wait,
  look = look,
  charge = charge,
  refund = refund,
  penalize = penalize,
  hold = hold,
  close = close,
}
