#!lua name=ocaserve_queue_2
-- The operations of a shard, each done by the server at one time. Its keys have one hash tag, so a
-- cluster has them in one place; every clock is the server's.
--
-- KEYS, always all of them: 1 body (hash, id -> body)    2 meta (hash, id -> priority:max_tries)
--   3 tries (hash, id -> n)   4 delayed (zset, due)      5 ready (zset, priority * 2^42 + since)
--   6 held (zset, back at)    7 buried (zset, since)     8 reason (hash, id -> text)
--   9 totals (hash: bytes, redelivered, buried)   10 bell (zset, has a member when it rings)
-- Times are milliseconds since the epoch, below 2^42 until the year 2109; with the priority a score
-- has 49 bits, which a double holds exactly.

local SPAN = 4398046511104  -- 2^42
local SLICE = 500  -- a script must not hold the server for long, and unpack has a limit

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function priority_of(keys, id)
  return tonumber(string.match(redis.call('HGET', keys[2], id), '^%d+'))
end

local function most_of(keys, id)
  return tonumber(string.match(redis.call('HGET', keys[2], id), '%d+$'))
end

local function ring(keys)
  redis.call('ZADD', keys[10], 0, 'ring')
end

local function make_ready(keys, id, since)
  ring(keys)
  redis.call('ZADD', keys[5], string.format('%.0f', priority_of(keys, id) * SPAN + since), id)
end

-- Who waits sleeps until the first of them is due, and must know when another has become that.
local function delay_until(keys, id, at)
  redis.call('ZADD', keys[4], at, id)
  if redis.call('ZRANGE', keys[4], 0, 0)[1] == id then ring(keys) end
end

local function bury(keys, id, now, reason)
  redis.call('ZADD', keys[7], now, id)
  redis.call('HSET', keys[8], id, reason)
  redis.call('HINCRBY', keys[9], 'buried', 1)
end

local function give_back(keys, id, at, now, reason)
  local tries = tonumber(redis.call('HGET', keys[3], id))
  redis.call('ZREM', keys[6], id)
  if tries >= most_of(keys, id) then
    bury(keys, id, now, 'tried ' .. tries .. ' times' .. (reason ~= '' and '; last: ' .. reason or ''))
    return
  end
  if reason ~= '' then redis.call('HSET', keys[8], id, reason) end
  redis.call('HINCRBY', keys[9], 'redelivered', 1)
  if at > now then delay_until(keys, id, at) else make_ready(keys, id, now) end
end

-- Returns whether more is due: the caller asks again before it takes anything.
local function promote(keys, now)
  local due = redis.call('ZRANGE', keys[4], '-inf', now, 'BYSCORE', 'LIMIT', 0, SLICE, 'WITHSCORES')
  for n = 1, #due, 2 do
    redis.call('ZREM', keys[4], due[n])
    make_ready(keys, due[n], tonumber(due[n + 1]))
  end
  local late = redis.call('ZRANGE', keys[6], '-inf', now, 'BYSCORE', 'LIMIT', 0, SLICE)
  for _, id in ipairs(late) do
    give_back(keys, id, now, now, 'was held for longer than asked for')
  end
  return #due == 2 * SLICE or #late == SLICE
end

local function forget_all(keys, ids)
  local bytes = 0
  for _, body in ipairs(redis.call('HMGET', keys[1], unpack(ids))) do bytes = bytes + #body end
  redis.call('HINCRBY', keys[9], 'bytes', -bytes)
  for _, key in ipairs({1, 2, 3, 8}) do redis.call('HDEL', keys[key], unpack(ids)) end
end

-- ARGV: bound in bytes, whether all must be new, MessagePack of {id, bytes of body, delay, priority,
-- tries} of each, the bodies behind one another.
-- Returns {'ok'}, {'there', id} or {'full', held, added}; of the latter two nothing is done.
local function push(keys, args)
  local now = now_ms()
  local added, at, fresh, seen = 0, 1, {}, {}
  for _, row in ipairs(cmsgpack.unpack(args[3])) do
    local id, size = row[1], row[2]
    if redis.call('HEXISTS', keys[2], id) == 0 and not seen[id] then
      seen[id] = true
      row[2] = string.sub(args[4], at, at + size - 1)
      fresh[#fresh + 1] = row
      added = added + size
    elseif args[2] == '1' then
      return {'there', id}
    end
    at = at + size
  end
  local held = tonumber(redis.call('HGET', keys[9], 'bytes') or 0)
  if added > 0 and held + added > tonumber(args[1]) then
    return {'full', held, added}
  end
  if #fresh == 0 then return {'ok'} end
  local bodies, metas, ready = {}, {}, {}
  for _, row in ipairs(fresh) do
    local id, delay, priority = row[1], row[3], row[4]
    bodies[#bodies + 1], bodies[#bodies + 2] = id, row[2]
    metas[#metas + 1], metas[#metas + 2] = id, priority .. ':' .. row[5]
    if delay > 0 then
      delay_until(keys, id, now + delay)
    else
      ready[#ready + 1], ready[#ready + 2] = string.format('%.0f', priority * SPAN + now), id
    end
  end
  redis.call('HSET', keys[1], unpack(bodies))
  redis.call('HSET', keys[2], unpack(metas))
  if #ready > 0 then
    ring(keys)
    redis.call('ZADD', keys[5], unpack(ready))
  end
  redis.call('HINCRBY', keys[9], 'bytes', added)
  return {'ok'}
end

-- ARGV: n, at most SLICE, and hold. Returns {'more'} while more is due; else {'ok', next, now, of each
-- taken one {id, priority, tries, bytes of body} in MessagePack, the bodies behind one another}: next
-- is when something becomes ready by itself, '' if nothing does.
local function pop(keys, args)
  local now = now_ms()
  if promote(keys, now) then return {'more'} end
  local taken = redis.call('ZPOPMIN', keys[5], args[1])
  -- What is left is another consumer's; without it nobody needs to wake.
  if redis.call('ZCARD', keys[5]) > 0 then ring(keys) else redis.call('DEL', keys[10]) end
  local told, bodies = {}, {}
  if #taken > 0 then
    local ids, held, tries = {}, {}, {}
    for n = 1, #taken, 2 do ids[#ids + 1] = taken[n] end
    bodies = redis.call('HMGET', keys[1], unpack(ids))
    local before = redis.call('HMGET', keys[3], unpack(ids))
    for n, id in ipairs(ids) do
      local tried = tonumber(before[n] or 0) + 1
      held[2 * n - 1], held[2 * n] = now + args[2], id
      tries[2 * n - 1], tries[2 * n] = id, tried
      told[n] = {id, math.floor(tonumber(taken[2 * n]) / SPAN), tried, #bodies[n]}
    end
    redis.call('ZADD', keys[6], unpack(held))
    redis.call('HSET', keys[3], unpack(tries))
  end
  local at = nil
  for _, key in ipairs({4, 6}) do
    local first = redis.call('ZRANGE', keys[key], 0, 0, 'WITHSCORES')
    if first[2] and (not at or tonumber(first[2]) < at) then at = tonumber(first[2]) end
  end
  return {'ok', at and string.format('%.0f', at) or '', now, cmsgpack.pack(told), table.concat(bodies)}
end

local function is_held(keys, id, tries)
  return redis.call('ZSCORE', keys[6], id) and redis.call('HGET', keys[3], id) == tries
end

-- ARGV: MessagePack of {id, tries} of each. Returns a 1 or 0 for each.
local function ack(keys, args)
  local rows = cmsgpack.unpack(args[1])
  local ids, done, gone = {}, {}, {}
  for n, row in ipairs(rows) do ids[n] = row[1] end
  local scores = redis.call('ZMSCORE', keys[6], unpack(ids))
  local tries = redis.call('HMGET', keys[3], unpack(ids))
  local seen = {}
  for n, row in ipairs(rows) do
    if scores[n] and tries[n] == row[2] and not seen[row[1]] then
      seen[row[1]] = true
      gone[#gone + 1] = row[1]
      done[n] = 1
    else
      done[n] = 0
    end
  end
  if #gone > 0 then
    redis.call('ZREM', keys[6], unpack(gone))
    forget_all(keys, gone)
  end
  return done
end

-- ARGV: id, tries, what, milliseconds, reason. what: extend, release, bury. Returns 1 or 0.
local function settle(keys, args)
  local id, now = args[1], now_ms()
  if not is_held(keys, id, args[2]) then return 0 end
  if args[3] == 'extend' then
    redis.call('ZADD', keys[6], now + args[4], id)
  elseif args[3] == 'release' then
    give_back(keys, id, now + tonumber(args[4]), now, args[5])
  else
    redis.call('ZREM', keys[6], id)
    bury(keys, id, now, args[5])
  end
  return 1
end

local function revive(keys, id, now)
  redis.call('HDEL', keys[3], id)
  redis.call('HDEL', keys[8], id)
  make_ready(keys, id, now)
end

-- ARGV: n, at most SLICE. Returns how many buried ones are ready now.
local function kick(keys, args)
  local now = now_ms()
  local taken = redis.call('ZPOPMIN', keys[7], math.min(tonumber(args[1]), SLICE))
  for n = 1, #taken, 2 do revive(keys, taken[n], now) end
  return #taken / 2
end

local function state_of(keys, id)
  local names = {[4] = 'delayed', [5] = 'ready', [6] = 'held', [7] = 'buried'}
  for key, name in pairs(names) do
    if redis.call('ZSCORE', keys[key], id) then return name, keys[key] end
  end
  return ''
end

-- ARGV: id, what, milliseconds. what: kick, retime, remove. Returns 'ok', or the state in which it
-- cannot be done, '' if there is no such message.
local function change(keys, args)
  local id, now = args[1], now_ms()
  local state, key = state_of(keys, id)
  if state == '' then return '' end
  if args[2] == 'remove' then
    redis.call('ZREM', key, id)
    forget_all(keys, {id})
  elseif args[2] == 'kick' then
    if state == 'ready' or state == 'held' then return state end
    redis.call('ZREM', key, id)
    revive(keys, id, now)
  else
    if state == 'held' or state == 'buried' then return state end
    redis.call('ZREM', key, id)
    local delay = tonumber(args[3])
    if delay > 0 then delay_until(keys, id, now + delay) else make_ready(keys, id, now) end
  end
  return 'ok'
end

-- ARGV: the number of the key, n. Returns {'more'}, or {'ok', id, score, body, meta, tries, reason …}.
local function peek(keys, args)
  if promote(keys, now_ms()) then return {'more'} end
  local found = redis.call('ZRANGE', keys[tonumber(args[1])], 0, args[2] - 1, 'WITHSCORES')
  local answer = {'ok'}
  for n = 1, #found, 2 do
    local id = found[n]
    answer[#answer + 1] = id
    answer[#answer + 1] = found[n + 1]
    answer[#answer + 1] = redis.call('HGET', keys[1], id)
    answer[#answer + 1] = redis.call('HGET', keys[2], id)
    answer[#answer + 1] = redis.call('HGET', keys[3], id) or '0'
    answer[#answer + 1] = redis.call('HGET', keys[8], id) or ''
  end
  return answer
end

-- Returns {'more'}, or {'ok', ready, delayed, held, buried, age of the oldest ready one or -1, bytes,
-- redelivered, buried in all}. Within a priority the oldest stands first: one look for each.
local function sizes(keys)
  local now = now_ms()
  if promote(keys, now) then return {'more'} end
  local oldest, from = -1, '-inf'
  while true do
    local first = redis.call('ZRANGE', keys[5], from, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if not first[2] then break end
    local priority = math.floor(tonumber(first[2]) / SPAN)
    oldest = math.max(oldest, now - (tonumber(first[2]) - priority * SPAN))
    from = string.format('%.0f', (priority + 1) * SPAN)
  end
  local totals = redis.call('HMGET', keys[9], 'bytes', 'redelivered', 'buried')
  return {'ok', redis.call('ZCARD', keys[5]), redis.call('ZCARD', keys[4]), redis.call('ZCARD', keys[6]),
    redis.call('ZCARD', keys[7]), oldest, totals[1] or '0', totals[2] or '0', totals[3] or '0'}
end

redis.register_function('ocaserve_queue_2_push', push)
redis.register_function('ocaserve_queue_2_pop', pop)
redis.register_function('ocaserve_queue_2_ack', ack)
redis.register_function('ocaserve_queue_2_settle', settle)
redis.register_function('ocaserve_queue_2_kick', kick)
redis.register_function('ocaserve_queue_2_change', change)
redis.register_function('ocaserve_queue_2_peek', peek)
redis.register_function('ocaserve_queue_2_sizes', sizes)
