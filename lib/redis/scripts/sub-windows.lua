-- What strict-window.lua and concurrency.lua have in common. A window is cut into twelve sub-windows, at multiples since
-- 1970; a token counts in the one in which it was spent and in the twelve after it.
--
-- Body: `<start> <total>:<newest>,<count>,...`: when the newest sub-window began, what counts in all, what was spent in
-- the newest sub-window, and in those before it, one after the other; zeros at the end are left out. Strict window: ` l<us>`:
-- when tokens of the newest sub-window were first leased.
--
-- k.window_start, k.part (which of the twelve now lies in, from 0), k.start (of that sub-window), k.total, k.newest,
-- k.older (text: `,<count>,...`), k.nonce (of leases; 0: none), k.leased

local max_number = 9007199254740991
local max_counted = 4294967294

local function parse(text)
  local limit, window = match(text, '^(%d+) (%d+)')
  window = tonumber(window)
  return { capacity = tonumber(limit), window = window, whole = floor(window / 12), rest = window % 12 }
end

-- The sub-window in which `time` lies: when its window begins, and which of the twelve it is.
local function locate(policy, time)
  local into = time % policy.window
  local part = muldiv(into, 12, policy.window)
  return time - into, part
end

-- The first microsecond of a sub-window; part may be beyond the twelfth.
local function begin_of(policy, window_start, part)
  return window_start + part * policy.whole + floor((part * policy.rest + 11) / 12)
end

-- How many sub-windows the one of `time` lies before the present one.
local function age_of(policy, k, time)
  local window_start, part = locate(policy, time)
  return (k.window_start - window_start) / policy.window * 12 + k.part - part
end

-- When tokens of that age count no more, in µs from now.
local function lapse(policy, k, age)
  return begin_of(policy, k.window_start, k.part + 13 - age) - k.now
end

-- Counts of ages 1 to 12, as a list.
local function older_counts(k)
  local counts = {}
  for count in string.gmatch(k.older, '%d+') do
    counts[#counts + 1] = tonumber(count)
  end
  return counts
end

local function set_older(k, counts)
  local last = min(#counts, 12)
  while last > 0 and counts[last] == 0 do
    last = last - 1
  end
  for age = 1, last do
    counts[age] = format('%.0f', counts[age])
  end
  k.older = last > 0 and ',' .. table.concat(counts, ',', 1, last) or ''
end

-- The newest sub-window that is known lies `age` before the present one.
local function roll(k, age)
  local counts = older_counts(k)
  if age < 0 then
    -- After a step of the clock: then the newest two count as one, so that none counts for less than a window.
    k.newest = k.newest + (table.remove(counts, 1) or 0)
  elseif age > 12 then
    k.newest, counts = 0, {}
  elseif age > 0 then
    table.insert(counts, 1, k.newest)
    for _ = 2, age do
      table.insert(counts, 1, 0)
    end
    k.newest = 0
  end
  k.total = k.newest
  for age = 1, min(#counts, 12) do
    k.total = k.total + counts[age]
  end
  set_older(k, counts)
end

local function open(policy, k)
  local window_start, part = locate(policy, k.now)
  local start = begin_of(policy, window_start, part)
  k.window_start, k.part, k.start = window_start, part, start
  k.total, k.newest, k.older, k.nonce, k.leased = 0, 0, '', 0, nil
  local body = k.body
  if not body or body == '-' then
    return
  end
  local leased
  body, leased = split_lease(body)
  local stored, total, newest, older, nonce = match(body, '^(-?%d+) (%d+):(%d+)([,%d]*) ?n?(%d*)$')
  stored, total, newest = tonumber(stored), tonumber(total), tonumber(newest)
  if not stored or stored > max_number or total > max_counted or newest > total then
    return true
  end
  k.total, k.newest, k.older, k.nonce = total, newest, older, tonumber(nonce) or 0
  if stored == start and k.shift == 0 then
    k.leased = leased
    return
  end
  stored = stored + k.shift
  local age = age_of(policy, k, stored)
  if k.shift ~= 0 then
    -- The next multiple, or this one; leases of before go by other numbers.
    age = stored > start and -1 or 0
    k.nonce = 0
  end
  roll(k, age)
end

local function wait(policy, k, cost)
  local must_lapse = k.total + cost - policy.capacity
  if cost == 0 or must_lapse <= 0 then
    return 0, 0
  end
  local counts = older_counts(k)
  local age = #counts
  while age > 0 and counts[age] < must_lapse do
    must_lapse = must_lapse - counts[age]
    age = age - 1
  end
  return lapse(policy, k, age), 0
end

local function look(policy, k)
  local left = policy.capacity - k.total
  if k.total == 0 then
    return left, 0
  elseif k.newest > 0 then
    return left, lapse(policy, k, 0)
  end
  local counts, age = older_counts(k), 1
  while counts[age] == 0 do
    age = age + 1
  end
  return left, lapse(policy, k, age)
end

local function add(k, tokens)
  k.total, k.newest = k.total + tokens, k.newest + tokens
end

-- Gives back up to `tokens` that were spent at that time.
local function take_back(policy, k, tokens, time)
  local age = age_of(policy, k, time)
  local credited = 0
  if age == 0 then
    credited = min(tokens, k.newest)
    k.newest = k.newest - credited
  elseif age > 0 and age < 13 then
    local counts = older_counts(k)
    credited = min(tokens, counts[age] or 0)
    if credited > 0 then
      counts[age] = counts[age] - credited
      set_older(k, counts)
    end
  end
  k.total = k.total - credited
  return credited
end

local function charge(policy, k, cost)
  add(k, cost)
end

local function refund(policy, k, tokens, ago)
  return take_back(policy, k, tokens, k.now - ago)
end

local function penalize(policy, k, tokens, max_debt)
  local debt = min(max_debt, policy.capacity, max_counted - policy.capacity)
  local taken = max(0, min(tokens, policy.capacity + debt - k.total))
  add(k, taken)
  return taken
end

-- What was spent goes on ageing during a block.
local function hold() end

local function close(policy, k)
  if k.total == 0 then
    return nil
  end
  local _, reset = look(policy, k)
  local body = format('%.0f %.0f:%.0f', k.start, k.total, k.newest) .. k.older
  if k.leased then
    body = body .. format(' l%.0f', k.leased)
  end
  return body, k.now + reset
end

