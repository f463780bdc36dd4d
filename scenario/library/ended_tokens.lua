-- Tokens that end early, or were never good: rows 6 to 9 of the catalogue.

local function source_and_destination(t, config)
  config.luns = { "memory:1G", "memory:1G" }
  local array = t:array(config)
  local host = t:host()
  local source = host:disk(array, 0, { name = "source" })
  local destination = host:disk(array, 1, { name = "destination" })
  source:fill { seed = 1, length = "8M" }
  return array, source, destination, host
end

-- Microsoft lets an array choose what a write to the source does to a token: keep the old data, or end the token. A
-- third kind, access upon reference, delivers what lies there when it is read. An application meets all three in the
-- field.
scenario("06: the source is written while a token lives: the token keeps the old data", function(t)
  local _, source, destination = source_and_destination(t, {})
  local read = source:offload_read { length = "8M" }
  source:fill { seed = 2, length = "8M" }
  expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_SUCCESS", length = size("8M") })
  destination:expect_data { seed = 1, length = "8M" }
  source:expect_data { seed = 2, length = "8M" }
end)

scenario("06: the source is written while a token lives: the token ends", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { source_write_cancels = true } })
  local read = source:offload_read { length = "8M" }
  source:fill { seed = 2, offset = "7M", length = "512" }
  expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/08", length = 0 })
  expect(array:token_state(read.token), "cancelled")
  destination:expect_data { seed = 0, length = "8M" }
end)

scenario("06: the source is written while a token lives: the token delivers the new data", function(t)
  local _, source, destination = source_and_destination(t, { tokens = { populate_type = "access-upon-reference" } })
  local read = source:offload_read { length = "8M" }
  source:fill { seed = 2, offset = "4M", length = "4M" }
  expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_SUCCESS", length = size("8M") })
  destination:expect_data { seed = 1, length = "4M" }
  destination:expect_data { seed = 2, offset = "4M", length = "4M" }
end)

-- An operator ends tokens: before a migration, or since memory is short. Windows shows one status for all; the
-- qualifier tells the operator's colleague what happened.
for _, case in ipairs {
  { how = "revoke_token", state = "revoked", sense = "05/23/06" },
  { how = "cancel_token", state = "cancelled", sense = "05/23/08" },
  { how = "delete_token", state = "deleted", sense = "05/23/09" },
} do
  scenario("07: a token is " .. case.state .. " by the operator", function(t)
    local array, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "8M" }
    array[case.how](array, read.token)
    expect(array:token_state(read.token), case.state)
    expect(destination:offload_write { token = read.token, length = "8M" },
      { status = "STATUS_INVALID_TOKEN", sense = case.sense, length = 0, commands = { "WRITE USING TOKEN" } })
    -- The first reason stays, whatever comes later.
    t:advance("10m")
    expect(destination:offload_write { token = read.token, length = "8M" }, { sense = case.sense })
  end)
end

-- A LOGICAL UNIT RESET ends commands, not tokens (SPC-4, 5.17.6). The host hears of it by a unit attention condition
-- and sends its command again.
scenario("07: a token lives on through a logical unit reset", function(t)
  local _, source, destination, host = source_and_destination(t, {})
  local read = source:offload_read { length = "8M" }
  expect(source:reset())
  expect(destination:reset())
  local write = expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_SUCCESS", commands = { "WRITE USING TOKEN", "WRITE USING TOKEN" } })
  expect(write.trace[1].sense:sub(1, 5), "06/29")
  destination:expect_data { seed = 1, length = "8M" }
end)

-- Tokens do not survive the array that made them. The host's sessions come back by themselves, its first command
-- meets the unit attention condition of the power on, and then the token is unknown: another epoch made it.
scenario("07: a token from before the array was started again", function(t)
  local array, source, destination = source_and_destination(t, {})
  local read = source:offload_read { length = "8M" }
  array:restart()
  source:expect_data { seed = 1, length = "8M" }
  local write = expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/04", commands = { "WRITE USING TOKEN", "WRITE USING TOKEN" } })
  expect(write.trace[1].sense, "06/29/00")
  expect(source:copy_to(destination, { length = "8M", fallback = true }),
    { status = "STATUS_SUCCESS", offloaded = size("8M") })
end)

-- Two arrays with the same data, as a mirrored pair has it, and the same names: the host's path moves to the other
-- one. A token of the first means nothing there; a copy that begins afterwards does not notice.
scenario("07: fail-over to another array between POPULATE TOKEN and WRITE USING TOKEN", function(t)
  local naa = { "6024f44000000000000000000000000a", "6024f44000000000000000000000000b" }
  local config = {
    id = "pair",
    luns = { { store = "memory:1G", naa = naa[1] }, { store = "memory:1G", naa = naa[2] } },
  }
  local first, second = t:array(config), t:array(config)
  local host = t:host()
  local source, destination = host:disk(first, 0), host:disk(first, 1)
  source:fill { seed = 1, length = "8M" }
  second:restore(first:capture())
  local read = source:offload_read { length = "8M" }
  first:stop()
  expect(destination:offload_write { token = read.token, length = "8M" }, { status = "STATUS_DEVICE_NOT_CONNECTED" })
  source:move_to(second)
  destination:move_to(second)
  expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/04" })
  expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS", tokens = 1 })
  destination:expect_data { seed = 1, length = "8M" }
end)

-- The array's table of tokens is full. That is no matter of the token: ABORTED COMMAND, INSUFFICIENT RESOURCES, and
-- Windows says so; when one of them has ended there is room again.
scenario("08: the array keeps as many tokens as it can", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { maximum_tokens = 2 } })
  local reads = {}
  for i = 1, 2 do reads[i] = expect(source:offload_read { length = "1M" }, { status = "STATUS_SUCCESS" }) end
  expect(source:offload_read { length = "1M" }, { status = "STATUS_INSUFFICIENT_RESOURCES", sense = "0B/55/03" })
  expect(destination:offload_write { token = reads[1].token, length = "1M" }, { status = "STATUS_SUCCESS" })
  expect(source:copy_to(destination, { length = "8M", fallback = true }),
    { status = "STATUS_SUCCESS", offload_status = "STATUS_INSUFFICIENT_RESOURCES", offloaded = 0,
      fallback = size("8M") })
  array:revoke_token(reads[2].token)
  expect(source:offload_read { length = "1M" }, { status = "STATUS_SUCCESS" })
end)

--- `token` with one of its bytes changed.
local function altered(token, offset, value)
  return token:sub(1, offset) .. string.char(token:byte(offset + 1) ~ value) .. token:sub(offset + 2)
end

-- Bytes of a token change on their way: a bug of the host, or somebody tries. Which byte it is decides what the array
-- can say about it.
for _, case in ipairs {
  { what = "its type", offset = 3, value = 0x77, sense = "05/23/01" },
  { what = "its length", offset = 7, value = 0x01, sense = "05/23/0A" },
  { what = "its creator", offset = 30, value = 0x01, sense = "05/23/02" },
  { what = "its identifier", offset = 15, value = 0x01, sense = "05/23/05" },
  { what = "its random part", offset = 300, value = 0x80, sense = "05/23/05" },
  { what = "its last byte", offset = 511, value = 0x01, sense = "05/23/05" },
} do
  scenario("09: a token is altered in " .. case.what, function(t)
    local _, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "8M" }
    expect(destination:offload_write { token = altered(read.token, case.offset, case.value), length = "8M" },
      { status = "STATUS_INVALID_TOKEN", sense = case.sense, length = 0 })
    destination:expect_data { seed = 0, length = "8M" }
    -- The token itself is as good as before.
    expect(destination:offload_write { token = read.token, length = "8M" }, { status = "STATUS_SUCCESS" })
  end)
end

-- Somebody who holds a token of one array uses it at another, which does not know the first.
scenario("09: a token of another array", function(t)
  local _, source = source_and_destination(t, {})
  local other = t:array { luns = { "memory:1G" } }
  local elsewhere = t:host():disk(other, 0)
  local read = source:offload_read { length = "8M" }
  expect(elsewhere:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/02", length = 0 })
end)
