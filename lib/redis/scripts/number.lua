-- Whole numbers up to 2^53 are exact in Lua's doubles; products of two of them are not.

local max, min = math.max, math.min

-- floor(a * b / c) and the remainder, exact for whole 0 <= a, b < 2^53, 0 < c < 2^53 if the quotient is below 2^53.
local function muldiv(a, b, c)
  local product = a * b
  if product < 9007199254740992 then
    local quotient = floor(product / c)
    return quotient, product - quotient * c
  end
  if c < 2251799813685248 then
    -- A quotient that is off by 3 at most, and its remainder from the exact products (Dekker), each in two doubles.
    local quotient = floor(product / c)
    local t = 134217729 * a
    local a1 = t - (t - a)
    local a2 = a - a1
    t = 134217729 * b
    local b1 = t - (t - b)
    local b2 = b - b1
    local low = a2 * b2 - (product - a1 * b1 - a2 * b1 - a1 * b2)
    local near = quotient * c
    t = 134217729 * quotient
    a1 = t - (t - quotient)
    a2 = quotient - a1
    t = 134217729 * c
    b1 = t - (t - c)
    b2 = c - b1
    local remainder = (product - near) + (low - (a2 * b2 - (near - a1 * b1 - a2 * b1 - a1 * b2)))
    while remainder < 0 do
      quotient, remainder = quotient - 1, remainder + c
    end
    while remainder >= c do
      quotient, remainder = quotient + 1, remainder - c
    end
    return quotient, remainder
  end
  -- Long multiplication, one bit of a at a time; sums that could pass 2^53 are never formed.
  local part_quotient, part = floor(b / c), b % c
  local quotient, remainder = 0, 0
  local bit = 4503599627370496
  while bit >= 1 do
    quotient = quotient + quotient
    if remainder >= c - remainder then
      quotient, remainder = quotient + 1, remainder - (c - remainder)
    else
      remainder = remainder + remainder
    end
    if a >= bit then
      a = a - bit
      quotient = quotient + part_quotient
      if remainder >= c - part then
        quotient, remainder = quotient + 1, remainder - (c - part)
      else
        remainder = remainder + part
      end
    end
    bit = bit / 2
  end
  return quotient, remainder
end
