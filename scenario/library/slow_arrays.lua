-- Arrays that take their time: row 11 of the catalogue, and what is ended while it runs.

local function source_and_destination(t, config)
  config.luns = { "memory:1G", "memory:1G" }
  local array = t:array(config)
  local host = t:host()
  local source = host:disk(array, 0, { name = "source" })
  local destination = host:disk(array, 1, { name = "destination" })
  source:fill { seed = 1, length = "16M" }
  return array, source, destination, host
end

-- Windows lets an offload write go on for four seconds. A command that is being executed then is waited for, no other
-- is sent: a slow array looks like a short write, not like an error.
for _, case in ipairs {
  { latency_ms = 1300, length = "16M", commands = 4 },  -- 1.3, 2.6, 3.9: the fourth still goes out
  { latency_ms = 1334, length = "12M", commands = 3 },  -- 4.002
  { latency_ms = 3999, length = "8M", commands = 2 },
  { latency_ms = 4000, length = "4M", commands = 1 },
  { latency_ms = 4100, length = "4M", commands = 1 },
} do
  scenario("11: each WRITE USING TOKEN takes " .. case.latency_ms .. " ms", function(t)
    local _, source, destination = source_and_destination(t, {
      tokens = { optimal_transfer = "4M" },
      copy = { latency_ms = case.latency_ms },
    })
    local read = source:offload_read { length = "16M", time_to_live = 60 }
    destination:mark()
    expect(destination:offload_write { token = read.token, length = "16M" },
      { status = "STATUS_SUCCESS", length = size(case.length), truncated = case.length ~= "16M" })
    expect(destination:count("WRITE USING TOKEN"), case.commands)
    expect(t:now(), case.commands * case.latency_ms / 1000)
    -- A program goes on where it ended.
    expect(source:copy_to(destination, { length = "16M", time_to_live = 60 }),
      { status = "STATUS_SUCCESS", offloaded = size("16M") })
    destination:expect_data { seed = 1, length = "16M" }
  end)
end

scenario("11: POPULATE TOKEN takes longer than four seconds", function(t)
  local _, source, destination = source_and_destination(t, { tokens = { populate_latency_ms = 4100 } })
  local read = expect(source:offload_read { length = "16M" }, { status = "STATUS_SUCCESS", length = size("16M") })
  expect(t:now(), 4.1)
  expect(destination:offload_write { token = read.token, length = "16M" }, { status = "STATUS_SUCCESS" })
end)

-- Longer than the disk's time-out, 60 s: the command is aborted and sent again, in vain. Nothing of what was aborted
-- may reach the disk later.
scenario("11: WRITE USING TOKEN takes longer than the disk's time-out", function(t)
  local _, source, destination = source_and_destination(t, { copy = { latency_ms = 61000 } })
  local read = source:offload_read { length = "16M", time_to_live = 600 }
  destination:mark()
  local write = destination:offload_write { token = read.token, length = "16M" }
  expect(write, { length = 0 })
  expect(write.status ~= "STATUS_SUCCESS")
  expect(write.trace[1], { command = "WRITE USING TOKEN", outcome = "timed out", seconds = 60 })
  t:advance("1h")
  destination:expect_data { seed = 0, length = "16M" }
end)

-- Somebody resets the logical unit while it is being copied to: the command ends, what it had written stays, and the
-- copy can be made again.
scenario("a logical unit reset in the middle of a WRITE USING TOKEN", function(t)
  local array, source, destination = source_and_destination(t, { copy = { rate = "4M" } })
  local other = t:host():disk(array, 1, { name = "other host" })
  local read = source:offload_read { length = "16M" }
  t:after("1s", function() expect(other:reset()) end)
  local write = destination:offload_write { token = read.token, length = "16M" }
  expect(write.length < size("16M") or #write.commands > 1)
  expect(source:copy_to(destination, { length = "16M", fallback = true }), { status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = "16M" }
end)

-- The array goes away in the middle of a copy and comes back. The host logs in again after five seconds and sends its
-- command again; the token is from before. A copy that begins anew has the right data at last.
scenario("the array is started again in the middle of a copy", function(t)
  local array, source, destination = source_and_destination(t, {
    tokens = { optimal_transfer = "4M" },
    copy = { rate = "4M" },
  })
  t:after("1.5s", function() array:restart() end)
  expect(source:copy_to(destination, { length = "16M" }),
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/04", offloaded = size("4M") })
  expect(t:now(), 6.5)
  source:expect_data { seed = 1, length = "16M" }
  destination:expect_data { seed = 1, length = "4M" }
  destination:expect_data { seed = 0, offset = "8M", length = "8M" }
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS", offloaded = size("16M") })
  destination:expect_data { seed = 1, length = "16M" }
end)

-- It does not come back: commands are held for a minute, and then the disk is gone.
scenario("the array goes away in the middle of a copy", function(t)
  local array, source, destination = source_and_destination(t, { copy = { rate = "4M" } })
  t:after("1s", function() array:stop() end)
  expect(source:copy_to(destination, { length = "16M", fallback = true }), { status = "STATUS_DEVICE_NOT_CONNECTED" })
  array:start()
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS" })
end)
