-- Strict window: never more than the limit within any interval of one window. See sub-windows.lua.

local function lease(policy, k, tokens, held, lease_us)
  add(k, tokens)
  k.leased = k.leased or max(1, k.now)
  return tokens, min(lease_us, begin_of(policy, k.window_start, k.part + 1) - k.now), k.leased
end

local function give_back(policy, k, tokens, origin)
  if k.leased ~= origin then
    return 0
  end
  return take_back(policy, k, tokens, k.start)
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
