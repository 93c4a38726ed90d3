-- Replays a trace: each line "KEY FIRST LAST" is one request, with the headers of a web player.
-- The requests are made before the clock runs, so that wrk's core is left to the receiving.

local HEAD = table.concat({
   "GET /%s HTTP/1.1",
   "Host: %s:%s",
   "Connection: keep-alive",
   "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
   "Accept: */*",
   "Accept-Encoding: identity;q=1, *;q=0",
   "Accept-Language: en-GB,en;q=0.9",
   "Origin: https://player.example.net",
   "Referer: https://player.example.net/watch/81234567",
   "Range: bytes=%s-%s",
   "\r\n",
}, "\r\n")

local requests = {}
local turn = 0

function init(arguments)
   for line in io.lines(arguments[1]) do
      local key, first, last = line:match("^(%S+) (%d+) (%d+)$")
      requests[#requests + 1] = HEAD:format(key, wrk.host, wrk.port, first, last)
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration_us": %d, "bytes": %d, '
      .. '"p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
