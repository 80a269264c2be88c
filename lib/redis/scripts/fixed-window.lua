-- Fixed window. Body: `<start> <count>`: when the last window began, and what was spent in it. Where new keys begin with
-- another limit also ` k<us>`, how long after the window's end the key is still known, and ` f` if it is the first. ` l<us>`: when
-- tokens of this window were first leased.
--
-- A window opens at the first charge after the last one ended, or (epoch) at a multiple of its length since 1970. Of a
-- blocked key it is the window after the block, which goes on with the count if the last one outlasts the block.
--
-- k.start (nil: no window is open), k.count, k.most (the limit of this window), k.first (whether it is the key's first),
-- k.ended (when the last window ended, if none is open), k.remember, k.leased

local max_number = 9007199254740991

local function parse(text)
  local limit, window, rest = match(text, '^(%d+) (%d+)(.*)$')
  local policy = { capacity = tonumber(limit), window = tonumber(window), remember = 0 }
  if rest ~= '' then
    local initial, remember = match(rest, ' i(%d+),(%d+)')
    if initial then
      policy.initial, policy.remember = tonumber(initial), tonumber(remember)
    end
    policy.evenly = match(rest, ' e') ~= nil
    policy.epoch = match(rest, ' z') ~= nil
  end
  return policy
end

-- When the window begins that is opened at `time`.
local function start_at(policy, time)
  if policy.epoch then
    return time - time % policy.window
  end
  return time
end

local function open(policy, k)
  k.start, k.count, k.ended, k.remember, k.leased = nil, 0, nil, 0, nil
  k.most, k.first = policy.capacity, false
  local body = k.body
  if body and body ~= '-' then
    local leased
    body, leased = split_lease(body)
    local start, count, rest = match(body, '^(-?%d+) (%d+)(.*)$')
    start, count = tonumber(start), tonumber(count)
    if not start or start > max_number or count > max_number then
      return true
    end
    local first
    if rest ~= '' then
      k.remember, first = match(rest, '^ k(%d+)( ?f?)$')
      k.remember = tonumber(k.remember)
      if not k.remember then
        return true
      end
    end
    start = min(start + k.shift, k.at)
    if k.at < start + policy.window then
      k.start, k.count, k.first = start, count, first == ' f'
      if k.shift ~= 0 then
        k.start = policy.epoch and start_at(policy, k.at) or start
      elseif not k.blocked_until then
        k.leased = leased
      end
    else
      k.ended = start + policy.window
    end
  end
  if policy.initial then
    if not k.start and not k.blocked_until then
      k.first = not k.ended or k.now >= k.ended + policy.remember
    end
    if k.first then
      k.most = policy.initial
    end
  end
end

local function open_window(policy, k)
  if not k.start then
    k.start = start_at(policy, k.at)
  end
  k.remember = max(k.remember, policy.remember)
end

-- How long a call must wait for its share of the window.
local function delay_of(policy, k)
  local elapsed = k.now - k.start
  local share = k.count / policy.capacity * policy.window
  if share < max_number then
    local remainder
    share, remainder = muldiv(k.count, policy.window, policy.capacity)
    if remainder > 0 then
      share = share + 1
    end
  end
  return max(0, share - elapsed)
end

local function wait(policy, k, cost)
  if cost > 0 and cost > k.most - k.count then
    if not k.start then
      -- Also a refusal opens the first window, so that the wait it is told holds.
      open_window(policy, k)
      k.dirty = true
    end
    return k.start + policy.window - k.now, 0
  end
  if policy.evenly and k.start then
    return 0, delay_of(policy, k)
  end
  return 0, 0
end

local function look(policy, k)
  return k.most - k.count, k.start and k.start + policy.window - k.now or 0
end

local function charge(policy, k, cost)
  open_window(policy, k)
  k.count = k.count + cost
end

local function give(k, tokens)
  local credited = min(tokens, k.count)
  k.count = k.count - credited
  if k.blocked_until and k.count == 0 then
    k.start = nil
  end
  return credited
end

local function refund(policy, k, tokens, ago)
  if not k.start or (ago > 0 and k.now - ago < k.start) then
    return 0
  end
  return give(k, tokens)
end

local function penalize(policy, k, tokens, max_debt)
  -- Counts end at 2^53 - 1.
  local debt = min(max_debt, policy.capacity, max_number - k.most)
  local taken = max(0, min(k.most - k.count + debt, tokens))
  if taken > 0 then
    charge(policy, k, taken)
  end
  return taken
end

local function hold(policy, k, until_us)
  if k.start and k.count > 0 and k.start + policy.window > until_us then
    k.start = start_at(policy, until_us)
  else
    k.start, k.count = nil, 0
  end
  k.most, k.first, k.leased = policy.capacity, false, nil
  k.remember = max(k.remember, policy.remember)
end

local function close(policy, k)
  local start, count = k.start, k.count
  if not start then
    -- Stored as a window that ended when the block ends, or the last window did.
    local ended = k.blocked_until or k.ended
    if not ended or k.remember == 0 then
      return nil
    end
    start, count = ended - policy.window, 0
  end
  local body = format('%.0f %.0f', start, count)
  if k.remember > 0 then
    body = body .. format(k.first and ' k%.0f f' or ' k%.0f', k.remember)
  end
  if k.leased then
    body = body .. format(' l%.0f', k.leased)
  end
  return body, start + policy.window + k.remember
end

local function lease(policy, k, tokens, held, lease_us)
  charge(policy, k, tokens)
  k.leased = k.leased or max(1, k.now)
  return tokens, min(lease_us, k.start + policy.window - k.now), k.leased
end

local function give_back(policy, k, tokens, origin)
  if not k.start or k.leased ~= origin then
    return 0
  end
  return give(k, tokens)
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
  lease = lease,
  give_back = give_back,
}
