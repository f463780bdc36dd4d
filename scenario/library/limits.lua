-- What arrays limit, and how hosts keep to it: rows 20 to 22, 24, 26 and 30 of the catalogue.

local function source_and_destination(t, config)
  config.luns = config.luns or { "memory:1G", "memory:1G" }
  local array = t:array(config)
  local host = t:host()
  local source = host:disk(array, 0, { name = "source" })
  local destination = host:disk(array, 1, { name = "destination" })
  return array, source, destination, host
end

-- Some arrays only share whole pages. A file system whose clusters do not begin where pages do gets a status of its
-- own, and the copy is made by READ and WRITE.
scenario("20: an array that copies whole pages of 64 KiB", function(t)
  local _, source, destination = source_and_destination(t, { tokens = { alignment = "64K" } })
  source:fill { seed = 1, length = "4M" }
  local read = expect(source:offload_read { length = "1M" }, { status = "STATUS_SUCCESS" })
  expect(destination:offload_write { token = read.token, offset = "64K", length = "1M" }, { status = "STATUS_SUCCESS" })
  for _, range in ipairs { { "4K", "1M" }, { 0, "60K" }, { "68K", "60K" } } do
    expect(destination:offload_write { token = read.token, offset = range[1], length = range[2] },
      { status = "STATUS_INVALID_OFFSET_ALIGNMENT", sense = "05/26/04", length = 0 })
  end
  expect(source:offload_read { offset = "4K", length = "1M" },
    { status = "STATUS_INVALID_OFFSET_ALIGNMENT", sense = "05/26/04" })
  expect(source:copy_to(destination, { offset = "4K", to = "4K", length = "1M", fallback = true }),
    { status = "STATUS_SUCCESS", fallback = size("1M"), offloaded = 0 })
  destination:expect_data { seed = 1, offset = "4K", length = "1M" }
end)

-- Small limits: eight ranges for a command, 8 MiB for a token. The host cuts its copies accordingly, and many tokens it
-- takes.
scenario("21: 8 ranges, 8 MiB for a token", function(t)
  local _, source, destination = source_and_destination(t, {
    tokens = { maximum_range_descriptors = 8, maximum_transfer = "8M", optimal_transfer = "4M" },
  })
  source:fill { seed = 1, length = "32M" }
  expect(source:info(), { maximum_range_descriptors = 8, maximum_transfer = size("8M"), optimal_transfer = size("4M") })
  local read = expect(source:offload_read { length = "32M" },
    { status = "STATUS_SUCCESS", length = size("4M"), truncated = true })
  expect(destination:offload_write { token = read.token, length = "32M" }, { length = size("4M") })
  source:mark()
  destination:mark()
  expect(source:copy_to(destination, { length = "32M" }),
    { status = "STATUS_SUCCESS", offloaded = size("32M"), tokens = 8 })
  expect(source:count("POPULATE TOKEN"), 8)
  expect(destination:count("WRITE USING TOKEN"), 8)
  destination:expect_data { seed = 1, length = "32M" }
end)

-- A file in many pieces, to an array that takes eight of them at a time.
scenario("21: a file in 20 pieces, 8 ranges for a command", function(t)
  local _, source, destination = source_and_destination(t, { tokens = { maximum_range_descriptors = 8 } })
  local pieces = {}
  for i = 1, 20 do
    pieces[i] = { i * size("1M"), "64K" }
    source:fill { seed = 1, offset = pieces[i][1], length = "64K", from = (i - 1) * size("64K") }
  end
  local read = expect(source:offload_read { ranges = pieces },
    { status = "STATUS_SUCCESS", length = 8 * size("64K"), truncated = true })
  expect(destination:offload_write { token = read.token, length = 8 * size("64K") }, { status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = 8 * size("64K") }
end)

-- What a host must not do: nine ranges, where eight are allowed.
scenario("21: more ranges than the array takes", function(t)
  local _, source = source_and_destination(t, { tokens = { maximum_range_descriptors = 8 } })
  local ranges = {}
  for i = 1, 9 do ranges[i] = string.pack(">I8I4I4", i * 2048, 8, 0) end
  local list = string.pack(">I2BBI4I4I2I2", 14 + 9 * 16, 0, 0, 0, 0, 0, 9 * 16) .. table.concat(ranges)
  local cdb = bytes("83 10 00000000") .. string.pack(">I4I4", 1, #list) .. bytes("0000")
  expect(source:command { cdb = cdb, data = list },
    { status = "CHECK CONDITION", sense = "05/26/08" })
end)

-- A VHDX of fixed size is created: Windows asks for zeros, by the well-known token. An array that has it is done at
-- once, with one that has not it takes hours.
scenario("22: zeros by the well-known token", function(t)
  local _, source = source_and_destination(t, {})
  source:fill { seed = 1, length = "16M" }
  expect(source:offload_write { token = "zero", offset = "4M", length = "8M" },
    { status = "STATUS_SUCCESS", length = size("8M") })
  source:expect_data { seed = 1, length = "4M" }
  source:expect_data { seed = 0, offset = "4M", length = "8M" }
  source:expect_data { seed = 1, offset = "12M", length = "4M" }
end)

scenario("22: an array without the well-known token", function(t)
  local _, source = source_and_destination(t, { tokens = { rod_types = { "point-in-time-default" } } })
  source:fill { seed = 1, length = "1M" }
  expect(source:offload_write { token = "zero", length = "1M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/01", length = 0 })
  source:expect_data { seed = 1, length = "1M" }
end)

-- Somebody updates the array's firmware, and offloading is gone. The host does not know until it looks again.
scenario("24: the array comes back without ODX", function(t)
  local array, source, destination = source_and_destination(t, {})
  source:fill { seed = 1, length = "4M" }
  array:restart { luns = { "memory:1G", "memory:1G" }, tokens = { odx = false } }
  expect(source:offload_read { length = "4M" }, { status = "STATUS_INVALID_DEVICE_REQUEST" }, "the command is gone")
  expect(source:copy_to(destination, { length = "4M", fallback = true }),
    { status = "STATUS_SUCCESS", fallback = size("4M") })
  source:start()
  expect(source:info(), { odx = false })
  expect(source:offload_read { length = "4M" }, { status = "STATUS_DEVICE_FEATURE_NOT_SUPPORTED", commands = {} })
end)

-- Another host holds a persistent reservation of the destination: a cluster's other node owns the disk. After the
-- conflict the class driver asks how far the command came; the array knows of no such command, which Windows takes for
-- another path's.
scenario("30: the destination is reserved by another host", function(t)
  local array, source, destination = source_and_destination(t, {})
  source:fill { seed = 1, length = "4M" }
  local other = t:host():disk(array, 1, { name = "other host" })
  local key = bytes("0123456789abcdef")
  local none = bytes("0000000000000000")
  local function reserve_out(action, scope_and_type, own, service)
    return other:command {
      cdb = string.pack(">BBBBBI4B", 0x5F, action, scope_and_type, 0, 0, 24, 0),
      data = own .. service .. bytes("00000000 00 00 0000"),
    }
  end
  expect(reserve_out(0, 0, none, key), { status = "GOOD" })
  expect(reserve_out(1, 5, key, none), { status = "GOOD" }) -- Write Exclusive, Registrants Only
  local read = expect(source:offload_read { length = "4M" }, { status = "STATUS_SUCCESS" })
  local write = expect(destination:offload_write { token = read.token, length = "4M" },
    { status = "STATUS_INVALID_INITIATOR_TARGET_PATH", sense = "05/24/00", length = 0 })
  expect(write.trace[1], { outcome = "RESERVATION CONFLICT", status = "STATUS_DEVICE_BUSY" })
  expect(source:copy_to(destination, { length = "4M", fallback = true }).status ~= "STATUS_SUCCESS")
  destination:expect_data { seed = 0, length = "4M" }
  expect(reserve_out(2, 5, key, none), { status = "GOOD" })
  expect(destination:offload_write { token = read.token, length = "4M" }, { status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = "4M" }
end)

-- The other host writes the destination while it is being copied to. Each block is from one of them, and what is
-- written after the copy stays.
scenario("30: another host writes the destination meanwhile", function(t)
  local array, source, destination = source_and_destination(t, { copy = { rate = "4M" } })
  source:fill { seed = 1, length = "16M" }
  local other = t:host():disk(array, 1, { name = "other host" })
  local read = source:offload_read { length = "16M" }
  t:after("1s", function() expect(other:fill { seed = 2, offset = "15M", length = "1M" },
    { status = "STATUS_SUCCESS" }) end)
  t:after("3s", function() expect(other:fill { seed = 3, length = "1M" }, { status = "STATUS_SUCCESS" }) end)
  expect(destination:offload_write { token = read.token, length = "16M" },
    { status = "STATUS_SUCCESS", length = size("16M") })
  destination:expect_data { seed = 1, offset = "1M", length = "15M" }
  destination:expect_data { seed = 3, length = "1M" }
end)
