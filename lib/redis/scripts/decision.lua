-- How a call is decided, whatever the algorithm. Outcomes: 0 ok, 1 limited, 2 too costly, 3 blocked, 6 the key holds something else.

local function read_policy(algorithm, text)
  local policy = algorithm.parse(text)
  policy.of = algorithm
  local forget, blocks = match(text, ' o(%d+),([%d,]+)$')
  if forget then
    policy.forget, policy.blocks = tonumber(forget), {}
    for block in string.gmatch(blocks, '%d+') do
      policy.blocks[#policy.blocks + 1] = tonumber(block)
    end
  end
  return policy
end

-- Outcome, the wait until the same call fits (-1: never), and for how long an admitted one is held back.
local function judge(policy, k, cost, at_once)
  local too_costly = cost > policy.capacity
  if k.blocked_until then
    if too_costly then return 3, -1, 0 end
    local wait = policy.of.wait(policy, k, cost)
    return 3, max(wait, k.blocked_until - k.now), 0
  end
  if too_costly then return 2, -1, 0 end
  local wait, delay = policy.of.wait(policy, k, cost)
  if wait > 0 then return 1, wait, 0 end
  if at_once and policy.is_queue and delay > 0 and cost > 0 then return 1, delay, 0 end
  return 0, 0, delay
end

-- A block begins. It ends on a whole millisecond.
local function block(policy, k, us)
  local blocked_until = floor((k.now + us + 999) / 1000) * 1000
  if blocked_until <= (k.blocked_until or k.now) then return false end
  policy.of.hold(policy, k, blocked_until)
  k.blocked_until, k.at = blocked_until, blocked_until
  return true
end

-- A call that was refused as limited blocks the key for the longer the more of them there were.
local function punish(policy, k)
  local count = k.offences or 0
  if count > 0 and k.now >= k.offences_end + policy.forget then count = 0 end
  block(policy, k, policy.blocks[min(count + 1, #policy.blocks)])
  k.offences, k.offences_end = count + 1, k.blocked_until
end

-- Decides a call that spends, and leaves in k what is to be kept. The last answer says whether there is something to keep.
local function consume(policy, k, cost, at_once, nonce)
  local outcome, retry, delay = judge(policy, k, cost, at_once)
  if outcome == 0 then
    if cost == 0 then return 0, 0, delay, false end
    policy.of.charge(policy, k, cost, nonce)
    return 0, 0, delay, true
  end
  if outcome ~= 1 then return outcome, retry, 0, k.shift ~= 0 and not k.fresh end
  if not policy.blocks then return 1, retry, 0, k.dirty end
  punish(policy, k)
  outcome, retry = judge(policy, k, cost)
  return outcome, retry, 0, true
end

-- What is left, and the time until nothing counts any more.
local function look(policy, k)
  local remaining, reset = policy.of.look(policy, k)
  if k.blocked_until then return 0, max(reset, k.blocked_until - k.now) end
  if remaining < 0 then remaining = 0 end
  return remaining, reset
end
