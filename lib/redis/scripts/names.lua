local floor, match, format = math.floor, string.match, string.format
local call, pcall, pack = redis.call, redis.pcall, struct.pack
