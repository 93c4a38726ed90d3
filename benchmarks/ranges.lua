-- Random aligned ranges over many files, with the header fields of a browser's player.
local size = tonumber(os.getenv("RANGE_BYTES"))
local file_size = tonumber(os.getenv("FILE_BYTES"))
local files = tonumber(os.getenv("FILES"))
local places = math.floor(file_size / size)

math.randomseed(20)
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
wrk.headers["Accept"] = "*/*"
wrk.headers["Accept-Encoding"] = "identity"
wrk.headers["Accept-Language"] = "en-US,en;q=0.9"
wrk.headers["Origin"] = "https://player.example.net"
wrk.headers["Referer"] = "https://player.example.net/watch"
wrk.headers["Sec-Fetch-Mode"] = "cors"

function request()
    local start = math.random(0, places - 1) * size
    wrk.headers["Range"] = "bytes=" .. start .. "-" .. (start + size - 1)
    return wrk.format("GET", "/" .. math.random(0, files - 1) .. ".mp4")
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %.6f, "bytes": %d, "errors": %d, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
        summary.requests, summary.duration / 1e6, summary.bytes,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
