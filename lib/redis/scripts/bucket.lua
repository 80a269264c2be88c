-- What token and leaky buckets have in common: a bucket drains by p tokens in q us, and is full again at `full_at` + `f` / p us.
-- Body: `<full_at> <f> <p> <q>[ s<origin>,<leased>,<horizon>]`, p and q of the policy that charged last.
-- While a key is blocked, what counts is what will still be spent when the block ends (k.at).

local rebook, spread, renew

-- Text: `<capacity> <p> <q>[ i<initial>,<rememberUs>][ e]`.
local function parse(text)
  local capacity, p, q, rest = match(text, '^(%d+) (%d+) (%d+)(.*)$')
  local policy = { tail = ' ' .. p .. ' ' .. q, capacity = tonumber(capacity), p = tonumber(p), q = tonumber(q), remember = 0 }
  policy.token_us, policy.token_f = muldiv(1, policy.q, policy.p)
  policy.whole_us, policy.whole_f = muldiv(policy.capacity, policy.q, policy.p)
  policy.room_us, policy.room_f = muldiv(policy.capacity - 1, policy.q, policy.p)
  if rest ~= '' then
    local initial, remember = match(rest, ' i(%d+),(%d+)')
    if initial then
      policy.initial_us, policy.initial_f = muldiv(policy.capacity - initial, policy.q, policy.p)
      policy.remember = tonumber(remember)
    end
    policy.is_even = match(rest, ' e') ~= nil
  end
  return policy
end

-- k.us + k.f / k.p: the time for which the bucket is not full, from k.at on.
local function open(policy, k)
  local body, at = k.body, k.at
  local full_at, f, p, q, tail = nil, 0, policy.p, policy.q, policy.tail
  k.origin = nil
  if body and body ~= '-' then
    local rest
    full_at, f, tail, rest = match(body, '^(%-?%d+) (%d+)( %d+ %d+)(.*)$')
    full_at, f = tonumber(full_at), tonumber(f)
    if not full_at then return true end
    local origin, leased, horizon
    if rest ~= '' then
      origin, leased, horizon = match(rest, '^ s(%-?%d+),(%d+),(%d+)$')
      if not origin then return true end
    end
    full_at = full_at + k.shift
    if tail ~= policy.tail then
      p, q = match(tail, '(%d+) (%d+)')
      p, q = tonumber(p), tonumber(q)
      if p < 1 or q < 1 or p >= 9007199254740992 or q >= 9007199254740992 then return true end
    end
    if f >= p or full_at - at > 18014398509481984 then return true end
    if renew and origin then
      k.origin, k.leased, k.horizon = origin + k.shift, tonumber(leased), tonumber(horizon)
    end
  end
  k.p, k.q, k.tail = p, q, tail
  if policy.initial_us and not k.blocked_until then
    if not full_at or at >= full_at + (f > 0 and 1 or 0) + policy.remember then
      -- Nothing is known of the key: it begins with less.
      k.fresh, k.dirty = true, true
      k.p, k.q, k.tail = policy.p, policy.q, policy.tail
      k.us, k.f = policy.initial_us, policy.initial_f
      return
    end
  end
  if full_at and full_at >= at then
    k.us, k.f = full_at - at, f
    if policy.is_queue then rebook(policy, k) end
  else
    k.us, k.f = 0, 0
  end
  k.full_at = full_at and f > 0 and full_at + 1 or full_at
end

-- What is spent, in whole tokens and a remainder in parts of k.q; all of it below 2^53.
local function spent(k)
  local tokens, rest = muldiv(k.us, k.p, k.q)
  local f = k.f
  if f >= k.q then
    tokens, f = tokens + floor(f / k.q), f % k.q
  end
  if f > 0 and rest >= k.q - f then return tokens + 1, rest - (k.q - f) end
  return tokens, rest + f
end

-- Whether more than so many tokens are spent, with room for rounding: then they need not be counted.
local function is_beyond(k, tokens)
  return k.us * k.p / k.q > tokens * 1.000001 + 2
end

-- Makes what is spent under another policy time of this one: the time it was told to a queue, the tokens spent of a bucket.
local function move(policy, k)
  if k.tail == policy.tail then return end
  if k.us > 0 or k.f > 0 then
    local tokens, rest = spent(k)
    local part, over = muldiv(rest, policy.q, k.q)
    if over > 0 then part = part + 1 end
    local us, f = muldiv(tokens, policy.q, policy.p)
    us, part = us + floor(part / policy.p), part % policy.p
    if part > 0 and f >= policy.p - part then
      us, f = us + 1, f - (policy.p - part)
    else
      f = f + part
    end
    k.us, k.f = us, f
  end
  k.p, k.q, k.tail = policy.p, policy.q, policy.tail
  if k.origin then
    k.origin, k.leased = max(k.now, k.origin + 1), 0
  end
end

local function wait(policy, k, cost)
  local us, f = k.us, k.f
  local delay = 0
  if policy.is_queue then
    delay = us + (f > 0 and 1 or 0)
  elseif policy.is_even and (us > 0 or f > 0) then
    delay = spread(policy, k)
  end
  if cost == 0 or (us == 0 and f == 0) then return 0, delay end
  local room_us, room_f
  if k.tail == policy.tail and cost == 1 then
    room_us, room_f = policy.room_us, policy.room_f
  else
    local room = policy.capacity - cost
    if room * k.q / k.p > 9007199254740000 then return 0, delay end
    room_us, room_f = muldiv(room, k.q, k.p)
  end
  if us < room_us or (us == room_us and f <= room_f) then return 0, delay end
  return k.at - k.now + us - room_us + (f > room_f and 1 or 0), delay
end

local function look(policy, k)
  local us, f = k.us, k.f
  if us == 0 and f == 0 then return policy.capacity, k.at - k.now end
  local reset = k.at - k.now + us + (f > 0 and 1 or 0)
  if is_beyond(k, policy.capacity) then return 0, reset end
  local tokens, rest = spent(k)
  return policy.capacity - tokens - (rest > 0 and 1 or 0), reset
end

-- Spends time. The bucket has moved to the policy.
local function add(k, us, f)
  if f >= k.p - k.f then
    k.us, k.f = k.us + us + 1, f - (k.p - k.f)
  else
    k.us, k.f = k.us + us, k.f + f
  end
end

local function charge(policy, k, cost)
  move(policy, k)
  if k.origin then renew(k) end
  if cost == 1 then return add(k, policy.token_us, policy.token_f) end
  add(k, muldiv(cost, policy.q, policy.p))
end

local function penalize(policy, k, tokens, max_debt)
  if tokens == 0 or is_beyond(k, 2 * policy.capacity) then return 0 end
  local p, q, tail, us, f = k.p, k.q, k.tail, k.us, k.f
  move(policy, k)
  local debt_us, most_f = muldiv(min(max_debt, policy.capacity), policy.q, policy.p)
  local most_us = policy.whole_us + debt_us
  if most_f >= policy.p - policy.whole_f then
    most_us, most_f = most_us + 1, most_f - (policy.p - policy.whole_f)
  else
    most_f = most_f + policy.whole_f
  end
  if k.us > most_us or (k.us == most_us and k.f >= most_f) then
    k.p, k.q, k.tail, k.us, k.f = p, q, tail, us, f
    return 0
  end
  if k.origin then renew(k) end
  local before, rest = spent(k)
  tokens = min(tokens, 2 * policy.capacity)
  add(k, muldiv(tokens, policy.q, policy.p))
  if k.us > most_us or (k.us == most_us and k.f > most_f) then
    k.us, k.f = most_us, most_f
    tokens = policy.capacity + min(max_debt, policy.capacity) - before - (rest > 0 and 1 or 0)
  end
  return tokens, true
end

local function hold(_, k, blocked_until)
  local later = blocked_until - k.at
  if k.us > later or (k.us == later and k.f > 0) then
    k.us = k.us - later
  else
    k.us, k.f, k.full_at = 0, 0, blocked_until
  end
end

local function close(policy, k)
  local full_at = k.full_at
  if k.us > 0 or k.f > 0 then
    full_at = k.at + k.us
  elseif not (policy.initial_us and full_at) then
    return nil
  end
  local body = format('%.0f %.0f', full_at, k.f) .. k.tail
  if k.origin then body = body .. format(' s%.0f,%.0f,%.0f', k.origin, k.leased, k.horizon) end
  return body, full_at + (k.f > 0 and 1 or 0) + policy.remember
end
