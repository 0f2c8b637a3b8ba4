-- What wrk asks: POST /v1/sense, five hundred sources in turn, each with four metrics, as telemetry comes; or, told "ping", that.
local n = 0
local kept = {["Content-Type"] = "application/json", ["Host"] = "localhost"}
local ping = false

function init(args)
  ping = args[1] == "ping"
end

function request()
  if ping then
    return wrk.format("POST", "/rpc/system.ping", kept, "{}")
  end
  n = n + 1
  local body = string.format(
    '{"source":"rack-%04d","telemetry":{"power_draw":%d.5,"temperature":%d.25,"cpu_usage":0.%02d,"network_throughput":%d}}',
    n % 500, 500 + n % 50, 60 + n % 11, 40 + n % 40, 900000 + n % 9999)
  return wrk.format("POST", "/v1/sense", kept, body)
end
