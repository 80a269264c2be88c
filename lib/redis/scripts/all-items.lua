-- All items, one after the other.
local decide = make_decide()
local replies = {}
for i = 1, #KEYS do
  replies[i] = decide(i)
end
return table.concat(replies)
