-- Stands before the prelude: long texts. The vault has written \26blob:<digest>:<bytes> in the stead of each; and in the stead
-- of one in which long strings are, \26row:<digest>,<digest>;<the rest, which may be a blob too>. What a verb brings along of
-- blobs is one text: the digest (64 characters), the size (10), so many bytes, and so on.
-- A blob counts the runs that refer to it, and goes with the last of them. The keys of runs are told whole.

local BLOB = KEYS[1] .. 'blob:'

local function brought(blobs, digest)
  local at = 1
  while at < #blobs do
    local size = tonumber(string.sub(blobs, at + 64, at + 73))
    if string.sub(blobs, at, at + 63) == digest then return string.sub(blobs, at + 74, at + 73 + size) end
    at = at + 74 + size
  end
end

-- At least as long as each of its runs; where there is only one, as long as that.
local function keep_blob(digest, seconds)
  if redis.call('HGET', BLOB .. digest, 'runs') == '1' or redis.call('TTL', BLOB .. digest) < seconds then
    redis.call('EXPIRE', BLOB .. digest, string.format('%.0f', seconds))
  end
end

local function keep_blobs(run, seconds)
  for _, digest in ipairs(redis.call('SMEMBERS', run .. ':blobs')) do keep_blob(digest, seconds) end
  redis.call('EXPIRE', run .. ':blobs', string.format('%.0f', seconds))
end

local function hold_one(run, digest, blobs)
  local content = brought(blobs, digest)
  if content then redis.call('HSETNX', BLOB .. digest, 'text', content) end
  if redis.call('EXISTS', BLOB .. digest) == 0 then return end -- whoever reads it is told
  if redis.call('SADD', run .. ':blobs', digest) == 1 then
    redis.call('HINCRBY', BLOB .. digest, 'runs', 1)
    redis.call('HSET', run, 'blobs', '1')
  end
end

-- Has a run refer to the blobs that a text stands for, if it stands for any; answers the text.
local function hold(run, sealed, blobs)
  if string.sub(sealed, 1, 1) ~= '\26' then return sealed end
  local row, rest = string.match(sealed, '^\26row:([%x,]*);(.*)$')
  local whole = string.match(rest or sealed, '^\26blob:(%x+):')
  local left = (row or whole) and redis.call('TTL', run) or -2
  if left == -2 then return sealed end
  for digest in string.gmatch(row or '', '%x+') do hold_one(run, digest, blobs) end
  if whole then hold_one(run, whole, blobs) end
  if left > 0 then keep_blobs(run, left) end
  return sealed
end

local function let_go_of_blobs(run)
  for _, digest in ipairs(redis.call('SMEMBERS', run .. ':blobs')) do
    if redis.call('HINCRBY', BLOB .. digest, 'runs', -1) < 1 then redis.call('DEL', BLOB .. digest) end
  end
  redis.call('DEL', run .. ':blobs')
end
