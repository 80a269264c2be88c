-- A token bucket. Tokens that are leased to a host are spent at once, as if at the end of the time in which it may spend them.

-- How long until what was spent before has refilled at the policy's own rate: a call that is spread waits so long.
function spread(policy, k)
  if k.tail == policy.tail or is_beyond(k, policy.capacity) then return k.us + (k.f > 0 and 1 or 0) end
  local own = { us = k.us, f = k.f, p = k.p, q = k.q, tail = k.tail, now = k.now }
  move(policy, own)
  return own.us + (own.f > 0 and 1 or 0)
end

-- The least time by which the bucket is late for the leases that may be given back, beyond which they may not be any more.
local function leased_us(k)
  local us, rest = muldiv(k.leased, k.q, k.p)
  return rest > 0 and us + 1 or us
end

-- Leases can be given back only while all that was spent since, without them, has kept the bucket from being full for as
-- long as they may be spent: else what refilled meanwhile would be given twice. Where this ends a new origin begins.
function renew(k)
  if k.us - leased_us(k) >= k.horizon then return end
  k.origin, k.leased = max(k.now, k.origin + 1), 0
end

-- Takes time back that was spent. True if it was all there is.
local function take_back(k, us, f)
  if us > k.us or (us == k.us and f >= k.f) then
    k.us, k.f, k.full_at = 0, 0, k.at
    return true
  end
  if k.f >= f then
    k.us, k.f = k.us - us, k.f - f
  else
    k.us, k.f = k.us - us - 1, k.f + (k.p - f)
  end
end

local function refund(_, k, tokens, ago)
  if k.fresh or (k.us == 0 and k.f == 0) or ago * k.p / k.q > tokens + 1 then return 0 end
  -- What has refilled since the charge is not given again.
  local refilled, part = muldiv(ago, k.p, k.q)
  local whole = tokens - refilled
  if whole <= 0 then return 0 end
  local before = spent(k)
  if whole > before + 2 then
    take_back(k, k.us, k.f)
    return before, true
  end
  local us, f = muldiv(whole, k.q, k.p)
  us = us - floor(part / k.p)
  local less_f = part % k.p
  if f >= less_f then
    f = f - less_f
  else
    us, f = us - 1, f + (k.p - less_f)
  end
  if take_back(k, us, f) then return before, true end
  return part > 0 and whole - 1 or whole, true
end

-- Leases up to n tokens to a host that still holds some, which it may now spend as long as the new ones.
local function lease(policy, k, n, held, lease_us, origin)
  move(policy, k)
  k.horizon = max(2 * lease_us, k.origin and k.horizon or 0)
  if k.origin then
    renew(k)
  else
    k.origin, k.leased = k.now, 0
  end
  local us, f = k.us, k.f
  if us < k.horizon then us, f = k.horizon, 0 end
  -- Those held are spent already, unless they came before this origin.
  local again = origin == k.origin and 0 or held
  if us >= policy.whole_us then return 0, 0, 0 end
  local room = muldiv(policy.whole_us - us - (f > policy.whole_f and 1 or 0), policy.p, policy.q)
  n = min(n, room - again)
  if n < 2 then return 0, 0, 0 end
  k.us, k.f = us, f
  add(k, muldiv(n + again, policy.q, policy.p))
  k.leased = k.leased + n + again
  return n, lease_us, k.origin
end

local function give_back(_, k, tokens, origin)
  if k.blocked_until or not k.origin then return 0 end
  renew(k)
  if origin ~= k.origin then return 0 end
  local credited = min(tokens, k.leased)
  take_back(k, muldiv(credited, k.q, k.p))
  k.leased = k.leased - credited
  return credited
end

return {
  parse = parse, open = open, wait = wait, look = look, charge = charge, refund = refund,
  penalize = penalize, hold = hold, close = close, lease = lease, give_back = give_back,
}
