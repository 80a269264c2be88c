-- Several limits as one: all are judged, and only if all admit is anything charged. Who refuses notes what it always notes.
-- ARGV: now or '', then for each member the number of its algorithm and its policy, then 'c' (consume), 'a' (allow: only if
-- all may go out at once), 'w <longest delay>' (one who waits: being refused is no offence) or 'k' (peek), then the
-- cost of each member. The reply has six doubles for each member, as those of a single call, and the present. No key may
-- come twice.
local members = {}
local operation, longest = match(ARGV[2 + 2 * #KEYS], '^(%a) ?(%S*)$')
local max_delay = operation == 'w' and tonumber(longest) or math.huge
local admitted = true

local function is_too_late(policy, delay, cost)
  return delay > max_delay or (operation == 'a' and policy.is_queue and delay > 0 and cost > 0)
end

for i, key in ipairs(KEYS) do
  local algorithm = algorithms(tonumber(ARGV[2 * i]))
  local policy = read_policy(algorithm, ARGV[2 * i + 1])
  local member = { policy = policy, k = {}, cost = tonumber(ARGV[2 + 2 * #KEYS + i]), outcome = 6, retry = 0, delay = 0 }
  if read(member.k, key) or algorithm.open(policy, member.k) then
    member.unreadable, admitted = true, false
  else
    member.outcome, member.retry, member.delay = judge(policy, member.k, member.cost)
    if member.outcome ~= 0 or is_too_late(policy, member.delay, member.cost) then admitted = false end
  end
  members[i] = member
end

local function answer(member, key)
  local policy, k = member.policy, member.k
  if member.unreadable then return pack('<dddddd', 6, 0, 0, 0, 0, 0) end
  local outcome, retry, delay, amount = member.outcome, member.retry, member.delay, 0
  local is_noted = operation == 'c' or operation == 'a'
  if operation ~= 'k' and (admitted or (outcome ~= 0 and is_noted)) then
    local changed
    outcome, retry, delay, changed = consume(policy, k, member.cost)
    if changed then save(policy, k, key) end
    amount = admitted and member.cost or 0
  elseif operation == 'w' and outcome == 1 and k.dirty then
    -- A key's first window opens all the same, or it would never be over.
    save(policy, k, key)
  elseif outcome == 0 and is_too_late(policy, delay, member.cost) then
    outcome, retry, delay = 1, delay, 0
  end
  local remaining, reset = look(policy, k)
  return pack('<dddddd', outcome, remaining, retry, reset, delay, amount)
end

local replies = {}
for i, member in ipairs(members) do
  replies[i] = answer(member, KEYS[i])
end
return table.concat(replies) .. pack('<d', now)
