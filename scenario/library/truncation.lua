-- Copies that end early, and results that are strange: rows 12 to 15 and 17 of the catalogue.
--
-- After a command that did not simply succeed the class driver wants to know how far it came: from INFORMATION of the
-- sense data, or, where that has no count, from RECEIVE ROD TOKEN INFORMATION.

local function source_and_destination(t, config)
  config.luns = { { store = "memory:1G", name = "source" }, { store = "memory:1G", name = "destination" } }
  local array = t:array(config)
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  source:fill { seed = 1, length = "8M" }
  return array, source, destination, host
end

-- The array copied 1 MiB of 8 and says so in the sense data. That is a success, cut short: the class driver goes on
-- from there.
scenario("12: a copy is cut short, with its count", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 1 }, action = { type = "short_copy", blocks = 2048 } }
  local read = source:offload_read { length = "8M" }
  local write = expect(destination:offload_write { token = read.token, length = "8M" }, {
    status = "STATUS_SUCCESS",
    length = size("8M"),
    commands = { "WRITE USING TOKEN", "WRITE USING TOKEN" },
  })
  expect(write.trace[1], { sense = "0A/0D/04", information = 2048, status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = "8M" }
  t:expect_events { kind = "copy_ended", copy_status = "completed partial", exactly = 1 }
end)

-- The same without the count: one more command asks for it.
scenario("13: a copy is cut short, without its count", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule {
    match = { command = "WRITE USING TOKEN", nth = 1 },
    action = { type = "short_copy", blocks = 2048, count = false },
  }
  local read = source:offload_read { length = "8M" }
  expect(destination:offload_write { token = read.token, length = "8M" }, {
    status = "STATUS_SUCCESS",
    length = size("8M"),
    commands = { "WRITE USING TOKEN", "RECEIVE ROD TOKEN INFORMATION", "WRITE USING TOKEN" },
  })
  destination:expect_data { seed = 1, length = "8M" }
end)

-- The array says that the operation is still in progress, though the command that asked for it has ended. Windows does
-- not wait for it: it fails at once.
for _, status in ipairs { 0x10, 0x11, 0x12 } do
  scenario(string.format("14: a result says that the operation is in progress (%02Xh)", status), function(t)
    local array, source, destination = source_and_destination(t, {})
    array:add_rule {
      match = { command = "RECEIVE ROD TOKEN INFORMATION", nth = 1 },
      action = { type = "wrong_result", copy_status = status },
    }
    source:mark()
    expect(source:offload_read { length = "8M" }, { status = "STATUS_UNSUCCESSFUL" })
    expect(source:count("RECEIVE ROD TOKEN INFORMATION"), 1)
    expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS" })
  end)
end

--- POPULATE TOKEN of the first `blocks` blocks: CDB and parameter list.
local function populate_token(list_identifier, blocks, immediate)
  local list = string.pack(">I2BBI4I4I2I2I8I4I4", 30, immediate and 1 or 0, 0, 0, 0, 0, 16, 0, blocks, 0)
  return { cdb = bytes("83 10 00000000") .. string.pack(">I4I4", list_identifier, #list) .. bytes("0000"), data = list }
end

--- WRITE USING TOKEN to `blocks` blocks from `lba` on.
local function write_using_token(list_identifier, token, lba, blocks, immediate)
  local list = string.pack(">I2B", 550, immediate and 1 or 0) .. ("\0"):rep(5 + 8) .. token .. ("\0"):rep(6) ..
    string.pack(">I2I8I4I4", 16, lba, blocks, 0)
  return { cdb = bytes("83 11 00000000") .. string.pack(">I4I4", list_identifier, #list) .. bytes("0000"), data = list }
end

--- RECEIVE ROD TOKEN INFORMATION.
local function receive_information(list_identifier)
  return { cdb = bytes("84 07") .. string.pack(">I4I4I4I2", list_identifier, 0, 1024, 0), length = 1024 }
end

-- Other clients may ask for a copy in the background, and poll.
scenario("14: a copy in the background is asked for its result until it has one", function(t)
  local _, source = source_and_destination(t, { tokens = { populate_latency_ms = 2000 } })
  expect(source:command(populate_token(7, 16384, true)), { status = "GOOD" })
  local polls = 0
  local result
  repeat
    t:advance("300ms")
    polls = polls + 1
    result = expect(source:command(receive_information(7)), { status = "GOOD" })
  until result.data:byte(6) & 0x7F < 0x10
  expect(result.data:byte(6) & 0x7F, 0x01)
  expect(polls, 7)
end)

-- The copy was begun through one path, and its result is asked for through another after a fail-over: nobody knows of
-- it there, and the class driver reports the path.
scenario("15: the result of a copy is asked for on another path", function(t)
  local array, source, _, host = source_and_destination(t, {})
  local other_path = t:host { initiator = host:initiator() }:disk(array, "source")
  expect(source:command(populate_token(9, 16384)), { status = "GOOD" })
  expect(other_path:command(receive_information(9)), { status = "CHECK CONDITION", sense = "05/24/00" })
  expect(source:command(receive_information(9)), { status = "GOOD" })
end)

-- Firmware that counts wrong. What Windows believes decides whether a file is right: more than was asked for counts as
-- nothing, and so does a token of another length.
scenario("17: a result counts more than was asked for", function(t)
  local array, source = source_and_destination(t, {})
  array:add_rule {
    match = { command = "RECEIVE ROD TOKEN INFORMATION" },
    action = { type = "wrong_result", transfer_count = 16385 },
  }
  expect(source:offload_read { length = "8M" }, { status = "STATUS_UNSUCCESSFUL", length = 0 })
end)

scenario("17: a result counts less than was done", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule {
    match = { command = "RECEIVE ROD TOKEN INFORMATION" },
    action = { type = "wrong_result", transfer_count = 2048 },
  }
  local read = expect(source:offload_read { length = "8M" },
    { status = "STATUS_SUCCESS", length = size("1M"), truncated = true })
  expect(destination:offload_write { token = read.token, length = "1M" }, { status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = "1M" }
end)

scenario("17: the descriptors of a result have another length", function(t)
  local array, source = source_and_destination(t, {})
  array:add_rule {
    match = { command = "RECEIVE ROD TOKEN INFORMATION" },
    action = { type = "wrong_result", descriptors_length = 512 },
  }
  expect(source:offload_read { length = "8M" }, { status = "STATUS_UNSUCCESSFUL", length = 0 })
end)

scenario("17: a result has processed segments, which only EXTENDED COPY has", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule {
    match = { command = "RECEIVE ROD TOKEN INFORMATION" },
    action = { type = "wrong_result", segments_processed = 1 },
  }
  local read = source:offload_read { length = "8M" }
  -- Whatever the host makes of it, no wrong data comes of it.
  if read.status == "STATUS_SUCCESS" then
    expect(destination:offload_write { token = read.token, length = "8M" }, { status = "STATUS_SUCCESS" })
    destination:expect_data { seed = 1, length = "8M" }
  else
    expect(read, { status = "STATUS_UNSUCCESSFUL" })
  end
end)

-- A client begins another copy by a list identifier that is taken.
scenario("25: a list identifier is used again while its copy runs", function(t)
  local _, source, destination = source_and_destination(t, { copy = { rate = "4M" } })
  local read = source:offload_read { length = "8M" }
  expect(destination:command(write_using_token(5, read.token, 0, 16384, true)), { status = "GOOD" })
  expect(destination:command(write_using_token(5, read.token, 65536, 16384, true)),
    { status = "CHECK CONDITION", sense = "05/00/16" })
  t:advance("2s")
  destination:expect_data { seed = 1, length = "8M" }
  destination:expect_data { seed = 0, offset = "32M", length = "8M" }
  expect(destination:command(write_using_token(5, read.token, 65536, 16384)), { status = "GOOD" })
  destination:expect_data { seed = 1, offset = "32M", length = "8M", from = 0 }
end)

-- The array is busy for a moment. The class driver sends its command again, as often as it may; what lasts longer
-- fails.
for _, case in ipairs {
  { status = "BUSY", failed = "STATUS_DEVICE_NOT_READY" },
  { status = "TASK SET FULL", failed = "STATUS_IO_DEVICE_ERROR" },
} do
  scenario("25: the array answers " .. case.status .. " twice", function(t)
    local array, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "8M" }
    array:add_rule {
      match = { command = "WRITE USING TOKEN", count = 2 },
      action = { type = "status", status = case.status },
    }
    local write = expect(destination:offload_write { token = read.token, length = "8M" },
      { status = "STATUS_SUCCESS", length = size("8M") })
    expect(#write.commands, 3)
    destination:expect_data { seed = 1, length = "8M" }
  end)
  scenario("25: the array answers " .. case.status .. " for good", function(t)
    local array, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "8M" }
    array:add_rule { match = { command = "WRITE USING TOKEN" }, action = { type = "status", status = case.status } }
    local write = destination:offload_write { token = read.token, length = "8M" }
    expect(write, { length = 0 })
    expect(write.trace[3], { command = "WRITE USING TOKEN", outcome = case.status, status = case.failed })
    expect(write.status ~= "STATUS_SUCCESS")
    array:clear_rules()
    expect(source:copy_to(destination, { length = "8M", fallback = true }), { status = "STATUS_SUCCESS" })
    destination:expect_data { seed = 1, length = "8M" }
  end)
end
