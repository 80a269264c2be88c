-- Sliding window. Body: `<start> <count> <previous>[ l<us>]`: when the present window began (a multiple of its length since 1970),
-- what was spent in it, and in the one before. The window before counts by the share of it that lies within one window of
-- now. l: when tokens of this window were first leased.
--
-- Of a blocked key it is the window in which the block ends, and what counts then, as if it was spent there.
--
-- k.start, k.count, k.previous, k.fading (what of k.previous counts as of k.at, rounded up), k.leased

local max_number = 9007199254740991

local function parse(text)
  local limit, window = match(text, '^(%d+) (%d+)')
  return { capacity = tonumber(limit), window = tonumber(window) }
end

local function ceildiv(a, b, c)
  local quotient, remainder = muldiv(a, b, c)
  return remainder > 0 and quotient + 1 or quotient
end

local function fade(policy, k, time)
  k.fading = 0
  if k.previous > 0 then
    k.fading = ceildiv(k.previous, k.start + policy.window - time, policy.window)
  end
end

-- Goes on to the window of `time`; or back, after a step of the clock.
local function advance(policy, k, time)
  local start = time - time % policy.window
  if k.start < start then
    k.previous = k.start + policy.window == start and k.count or 0
    k.count, k.leased = 0, nil
  end
  k.start = start
  fade(policy, k, time)
end

-- What counts at `time` from now on counts as if it was spent then.
local function settle(policy, k, time)
  advance(policy, k, time)
  k.count, k.previous, k.fading, k.leased = k.count + k.fading, 0, 0, nil
end

local function open(policy, k)
  k.start, k.count, k.previous, k.leased = k.at, 0, 0, nil
  local body = k.body
  if body and body ~= '-' then
    body, k.leased = split_lease(body)
    local start, count, previous = match(body, '^(-?%d+) (%d+) (%d+)$')
    start, count, previous = tonumber(start), tonumber(count), tonumber(previous)
    if not start or start > max_number or count > max_number or previous > max_number then
      return true
    end
    -- A multiple of another length, if the policy was another.
    k.start, k.count, k.previous = start - start % policy.window, count, previous
    if k.shift ~= 0 then
      settle(policy, k, k.at - k.shift)
    end
  end
  advance(policy, k, k.at)
end

-- How far into the window after it a count has faded to `room`.
local function until_faded(policy, count, room)
  if count <= room then
    return 0
  end
  return ceildiv(policy.window, count - room, count)
end

local function wait(policy, k, cost)
  local room = policy.capacity - cost
  if cost == 0 or k.count + k.fading <= room then
    return 0, 0
  end
  local elapsed = k.now - k.start
  if k.count <= room then
    local into = until_faded(policy, k.previous, room - k.count)
    if into < policy.window then
      return max(0, into - elapsed), 0
    end
  end
  return max(0, policy.window - elapsed + until_faded(policy, k.count, room)), 0
end

local function look(policy, k)
  local windows = k.count > 0 and 2 or k.previous > 0 and 1 or 0
  local reset = windows > 0 and windows * policy.window - (k.now - k.start) or 0
  return policy.capacity - k.count - k.fading, reset
end

local function charge(policy, k, cost)
  k.count = k.count + cost
end

local function refund(policy, k, tokens, ago)
  local charged = k.now - ago
  local start = charged - charged % policy.window
  if start == k.start then
    local credited = min(tokens, k.count)
    k.count = k.count - credited
    return credited
  elseif start + policy.window == k.start then
    local credited = min(tokens, k.previous)
    k.previous = k.previous - credited
    fade(policy, k, k.at)
    return credited
  end
  return 0
end

local function penalize(policy, k, tokens, max_debt)
  local debt = min(max_debt, policy.capacity)
  local taken = max(0, min(tokens, policy.capacity + debt - k.count - k.fading))
  k.count = k.count + taken
  return taken
end

local function close(policy, k)
  local windows = k.count > 0 and 2 or k.previous > 0 and 1 or 0
  if windows == 0 then
    return nil
  end
  local body = format('%.0f %.0f %.0f', k.start, k.count, k.previous)
  if k.leased then
    body = body .. format(' l%.0f', k.leased)
  end
  return body, k.start + windows * policy.window
end

local function lease(policy, k, tokens, held, lease_us)
  k.count = k.count + tokens
  k.leased = k.leased or max(1, k.now)
  return tokens, min(lease_us, k.start + policy.window - k.now), k.leased
end

local function give_back(policy, k, tokens, origin)
  if k.leased ~= origin then
    return 0
  end
  local credited = min(tokens, k.count)
  k.count = k.count - credited
  return credited
end

return {
  parse = parse,
  open = open,
  wait = wait,
  look = look,
  charge = charge,
  refund = refund,
  penalize = penalize,
  hold = settle,
  close = close,
  lease = lease,
  give_back = give_back,
}
