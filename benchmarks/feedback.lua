-- wrk: posts lists of 100 events, each of a decision of its own, and prints one line of figures.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "")
local prefix, number = os.getenv("PREFIX"), 0

function request()
  local events = {}
  for index = 1, 100 do
    number = number + 1
    events[index] = string.format('{"decision_id":"%s-%d","metric":"reward","value":1}', prefix, number)
  end
  return wrk.format(nil, nil, nil, "[" .. table.concat(events, ",") .. "]")
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('RESULT {"rate": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "errors": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
