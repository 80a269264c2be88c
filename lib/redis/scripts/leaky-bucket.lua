-- A leaky bucket. A place in time that was given away is not taken back, so refunds give nothing.
local function parse_queue(text)
  local policy = parse(text)
  policy.is_queue = true
  return policy
end

-- What another policy has queued goes out at the times that it was told.
function rebook(policy, k)
  if k.tail == policy.tail then return end
  local f, over = muldiv(k.f, policy.p, k.p)
  if over > 0 then f = f + 1 end
  if f >= policy.p then
    k.us, f = k.us + 1, f - policy.p
  end
  k.f, k.p, k.q, k.tail = f, policy.p, policy.q, policy.tail
end

local function refund()
  return 0
end

return {
  parse = parse_queue, open = open, wait = wait, look = look, charge = charge,
  refund = refund, penalize = penalize, hold = hold, close = close,
}
