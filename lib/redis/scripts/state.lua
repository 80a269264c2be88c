-- A key's value: `<time of the last write> <what the algorithm keeps, or '-'>[ b<blocked until>][ o<offences>,<end of the last block>]`.
-- All times are microseconds since 1970.

-- Reads a key into k. True if it holds something else.
local function read(k, key)
  k.now, k.at, k.shift, k.dirty, k.fresh = now, now, 0, false, false
  k.body, k.blocked_until, k.offences = nil, nil, nil
  local value = pcall('GET', key)
  if not value then return end
  if type(value) == 'table' then return true end
  local written, body, rest = match(value, '^(%-?%d+) ([^bo]*)(.*)$')
  written = tonumber(written)
  if not written or body == '' or written >= 9007199254740992 or written <= -9007199254740992 then return true end
  if now < written then
    -- The clock was set back: a short step is waited out, after a longer one all times move with it.
    if written - now <= 10000000 then
      k.now, k.at = written, written
    else
      k.shift, k.dirty = now - written, true
    end
  end
  if rest ~= '' then
    body = match(body, '^(.-) *$')
    local blocked_until = tonumber(match(rest, '^b(%-?%d+)'))
    if blocked_until and blocked_until + k.shift > k.now then
      k.blocked_until = blocked_until + k.shift
      k.at = k.blocked_until
    end
    local offences, ended = match(rest, 'o(%d+),(%-?%d+)$')
    if offences then
      k.offences, k.offences_end = tonumber(offences), ended + k.shift
    elseif not blocked_until then
      return true
    end
  end
  k.body = body
end

-- Writes a key back, with a time to live; deletes it if it says nothing any more.
local function save(policy, k, key)
  local body, matters_until = policy.of.close(policy, k)
  local present = k.now
  local value = (present == now and now_text or format('%.0f', present)) .. ' ' .. (body or '-')
  if not body then matters_until = present end
  if k.blocked_until then
    value = value .. format(' b%.0f', k.blocked_until)
    matters_until = max(matters_until, k.blocked_until)
  end
  if k.offences and policy.forget then
    value = value .. format(' o%.0f,%.0f', k.offences, k.offences_end)
    matters_until = max(matters_until, k.offences_end + policy.forget)
  end
  local ttl_us = matters_until - present
  if not (ttl_us > 0) then
    call('DEL', key)
    return
  end
  -- Under a test's clock keys must outlive the test.
  local ttl_ms = max(floor((ttl_us + 999) / 1000), server_time and 1 or 3600000)
  call('SET', key, value, 'PX', format('%.0f', min(ttl_ms, 4503599627370496)))
end

-- Of a window from which tokens were leased: its body, and when the first of them were, which is what leases of this window
-- are known by. (After a reset, or a loss of data, it is another time.)
local function split_lease(body)
  if not string.find(body, ' l', 1, true) then return body end
  local rest, leased = match(body, '^(.*) l(%d+)$')
  return rest or body, tonumber(leased)
end
