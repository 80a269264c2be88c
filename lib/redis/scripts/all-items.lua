-- All items, one after the other.
local decide = make_decide(now, now_text, server_time, policy_count)
if #KEYS == 1 then return decide(1) end
local replies = {}
for i = 1, #KEYS do
  replies[i] = decide(i)
end
return table.concat(replies)
