-- Concurrency: never more than the limit held at once. A lease is a token that can be released; if nobody does, it lapses
-- as in sub-windows.lua. The body ends with ` n<nonce>`, which changes each time nothing of the key was known: a lease of
-- before goes by another one, and releases nobody else's place.

local function acquire(policy, k, cost, nonce)
  if nonce and k.nonce == 0 then
    k.nonce = nonce
  end
  add(k, cost)
end

local function ticket(policy, k)
  return k.start, k.nonce
end

local function release(policy, k, tokens, at_us, nonce)
  if nonce == 0 or nonce ~= k.nonce then
    return 0
  end
  return take_back(policy, k, tokens, at_us)
end

local function penalize_within(policy, k, tokens)
  return penalize(policy, k, tokens, 0)
end

local function close_with_nonce(policy, k)
  local body, until_us = close(policy, k)
  if body and k.nonce ~= 0 then
    body = body .. format(' n%.0f', k.nonce)
  end
  return body, until_us
end

return {
  parse = parse,
  open = open,
  wait = wait,
  look = look,
  charge = acquire,
  refund = refund,
  penalize = penalize_within,
  hold = hold,
  close = close_with_nonce,
  ticket = ticket,
  release = release,
}
