-- ARGV: now or '', number of policies, the policies, then one item for each key, or one for all. It begins with `<policy>:` if
-- there are several.
-- Items: `<cost>` consume, or a letter and numbers, see `operations`. The reply has six doubles for each item: outcome, remaining,
-- retry after, reset after, delay (us) and amount; three more if the item is of one who waits, an acquire, a reserve or a lease.
local policies = {}
local module = algorithm()

local function reply(policy, k, outcome, retry, delay, amount)
  local remaining, reset = look(policy, k)
  return pack('<dddddd', outcome, remaining, retry, reset, delay, amount)
end

local function spend(policy, k, key, cost, at_once, nonce)
  local outcome, retry, delay, changed = consume(policy, k, cost, at_once, nonce)
  if changed then save(policy, k, key) end
  return reply(policy, k, outcome, retry, delay, outcome == 0 and cost or 0), outcome
end

local function amount_reply(amount)
  return pack('<dddddd', 0, 0, 0, 0, 0, amount)
end

local operations

-- What is seldom asked, made only if it is.
local function make_operations()
  local function give(policy, k, key, credited, changed)
    if credited > 0 or changed then save(policy, k, key) end
    return amount_reply(credited)
  end
  return {
    -- allow <cost>: like a consume, but only if it may go out at once
    a = function(policy, k, key, cost)
      return (spend(policy, k, key, cost, true))
    end,
    -- one who waits: <cost> <longest delay>; being refused is no offence
    w = function(policy, k, key, cost, max_delay)
      local outcome, retry, delay = judge(policy, k, cost)
      -- A key's first window opens all the same, or it would never be over.
      if outcome == 1 and k.dirty then save(policy, k, key) end
      if outcome == 0 and delay > max_delay then
        outcome, retry, delay = 1, delay, 0
      end
      local answer
      if outcome == 0 then
        answer = spend(policy, k, key, cost)
      else
        answer = reply(policy, k, outcome, retry, delay, 0)
      end
      return answer .. pack('<ddd', k.now, 0, 0)
    end,
    -- peek <cost>
    k = function(policy, k, key, cost)
      -- After a step back of the clock the key must be written, or it would stand still for one who only looks.
      if k.shift ~= 0 and k.body and not k.fresh then save(policy, k, key) end
      local outcome, retry, delay = judge(policy, k, cost)
      return reply(policy, k, outcome, retry, delay, 0)
    end,
    -- consume what there is, up to <most>
    p = function(policy, k, key, most)
      local left = look(policy, k)
      return (spend(policy, k, key, min(most, policy.capacity, max(left, 1))))
    end,
    -- refund <tokens> <charged so long ago>
    r = function(policy, k, key, tokens, ago)
      return give(policy, k, key, policy.of.refund(policy, k, tokens, ago))
    end,
    -- refund of a reservation: <tokens> <charged at> <time to live>
    R = function(policy, k, key, tokens, charged_at, ttl)
      local ago = max(0, k.now - charged_at)
      if ago > ttl then return amount_reply(0) end
      return give(policy, k, key, policy.of.refund(policy, k, tokens, ago))
    end,
    -- penalize <tokens> <most below empty>
    n = function(policy, k, key, tokens, max_debt)
      return give(policy, k, key, policy.of.penalize(policy, k, tokens, max_debt))
    end,
    -- block <us>
    b = function(policy, k, key, us)
      if us > 0 and block(policy, k, us) then save(policy, k, key) end
      return amount_reply(0)
    end,
    -- reset
    x = function(policy, k, key)
      if not k.body then return amount_reply(0) end
      local _, matters_until = policy.of.close(policy, k)
      local known = k.blocked_until or (not k.fresh and matters_until and matters_until > k.now)
      call('DEL', key)
      return amount_reply(known and 1 or 0)
    end,
    -- acquire <places> <nonce>
    q = function(policy, k, key, places, nonce)
      local answer, outcome = spend(policy, k, key, places, false, nonce)
      local at, ticket = k.now, 0
      if outcome == 0 and places > 0 then
        at, ticket = policy.of.ticket(policy, k)
      end
      return answer .. pack('<ddd', at, ticket, 0)
    end,
    -- release <places> <acquired at> <nonce>
    g = function(policy, k, key, places, at, nonce)
      return give(policy, k, key, policy.of.release(policy, k, places, at, nonce))
    end,
    -- reserve <estimate>
    v = function(policy, k, key, estimate)
      local answer = spend(policy, k, key, estimate)
      return answer .. pack('<ddd', k.now, 0, 0)
    end,
    -- consume, and lease tokens besides: <cost> <wanted> <still held> <lease us> <hosts> <origin of those held>
    l = function(policy, k, key, cost, want, held, lease_us, hosts, origin)
      local outcome, retry, delay, changed = consume(policy, k, cost)
      local granted, valid_us, since = 0, 0, 0
      if outcome == 0 then
        local count = min(want, floor(look(policy, k) / 2 / hosts))
        if count >= 2 then
          granted, valid_us, since = policy.of.lease(policy, k, count, held, lease_us, origin)
        end
      end
      if changed or granted > 0 then save(policy, k, key) end
      return reply(policy, k, outcome, retry, delay, outcome == 0 and cost or 0) .. pack('<ddd', granted, valid_us, since)
    end,
    -- give back <tokens> of a lease with <origin>
    u = function(policy, k, key, tokens, origin)
      return give(policy, k, key, policy.of.give_back(policy, k, tokens, origin))
    end,
  }
end

-- One table for all items. It is made large enough at once for what state.lua and the algorithm keep in it.
local k = {
  now = 0, at = 0, shift = 0, dirty = false, fresh = false, body = nil, blocked_until = nil, offences = nil,
  offences_end = nil, a = nil, b = nil, c = nil, d = nil, e = nil, f = nil, g = nil, h = nil,
}

local is_same = ARGV[4 + policy_count] == nil

-- The reply to the item of that index.
return function(i)
  local key, item, number = KEYS[i], ARGV[2 + policy_count + (is_same and 1 or i)], 1
  if policy_count > 1 then
    local index, rest = match(item, '^(%d+):(.*)$')
    number, item = tonumber(index), rest
  end
  local policy = policies[number]
  if not policy then
    policy = read_policy(module, ARGV[2 + number])
    policies[number] = policy
  end
  local cost = tonumber(item)
  local letter, a, b, c, d, e, f
  if not cost then
    letter, a, b, c, d, e, f = match(item, '^(%a) ?(%S*) ?(%S*) ?(%S*) ?(%S*) ?(%S*) ?(%S*)$')
  end
  if read(k, key) or module.open(policy, k) then
    local long = match(letter or '', '[qvwl]')
    return pack('<dddddd', 6, 0, 0, 0, 0, 0) .. (long and pack('<ddd', 0, 0, 0) or '')
  end
  if cost then return (spend(policy, k, key, cost)) end
  operations = operations or make_operations()
  local operation = operations[letter]
  return operation(policy, k, key, tonumber(a), tonumber(b), tonumber(c), tonumber(d), tonumber(e), tonumber(f))
end
