-- The array is not what it was when the host looked: rows 23, 24, 26 and 29 of the catalogue.

local function source_and_destination(t, config)
  config.luns = { { store = "memory:1G", name = "source" }, { store = "memory:1G", name = "destination" } }
  local array = t:array(config)
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  source:fill { seed = 1, length = "8M" }
  return array, source, destination, host
end

-- Windows looks at two pages when a disk arrives and never says that it did not like them: ODX is off, silently, until
-- the disk arrives anew. A list of pages that is not ascending, or a descriptor that is not the first, is enough.
local kFirstPage, kSecondPage, kPageLength = 4, 5, 2 -- of VPD page 00h and of VPD page 8Fh
local kRodLimits, kLengthOfRodLimits, kRodLimitsSize = 4, 6, 36
local kToTheEnd = 65536
local not_first = "the first descriptor of VPD page 8Fh has type "
local too_short = "VPD page 8Fh is shorter than one Block Device ROD Limits descriptor"
local function edit(at, change)
  change.type, change.at = "edit_data", at
  return change
end
for _, case in ipairs {
  { what = "VPD page 00h is cut before 8Fh", page = 0x00, action = { type = "truncate", bytes = 6 },
    reason = "VPD page 00h does not list page 8Fh" },
  { what = "VPD page 00h cannot be had", page = 0x00, action = { type = "sense", sense = "05/24/00" },
    reason = "INQUIRY of VPD page 00h failed" },
  { what = "VPD page 00h is not sorted", page = 0x00, action = edit(kSecondPage, { cut = 1, move_to = kToTheEnd }),
    reason = "VPD page 00h is not ascending (80h after " },
  { what = "VPD page 00h has a page twice", page = 0x00, action = edit(kSecondPage, { cut = 0, put = "00" }),
    reason = "VPD page 00h is not ascending (00h after 00h)" },
  { what = "VPD page 00h is not the first of its list", page = 0x00,
    action = edit(kFirstPage, { cut = 1, move_to = kSecondPage }),
    reason = "VPD page 00h does not start with page 00h" },
  { what = "VPD page 8Fh is cut", page = 0x8F, action = { type = "truncate", bytes = 39 }, reason = too_short },
  { what = "VPD page 8Fh cannot be had", page = 0x8F, action = { type = "sense", sense = "05/24/00" },
    reason = "INQUIRY of VPD page 8Fh failed" },
  { what = "the limits of VPD page 8Fh are not its first descriptor", page = 0x8F,
    action = edit(kRodLimits, { cut = kRodLimitsSize, move_to = kToTheEnd }), reason = not_first .. "0001h" },
  { what = "VPD page 8Fh has a vendor's descriptor first", page = 0x8F,
    action = edit(kRodLimits, { cut = 0, put = "E000 0004 00000000" }),
    reason = not_first .. "E000h and length 0004h" },
  { what = "the limits of VPD page 8Fh have a wrong length", page = 0x8F,
    action = edit(kLengthOfRodLimits, { put = "0024" }), reason = not_first .. "0000h and length 0024h" },
  { what = "VPD page 8Fh says that it is short", page = 0x8F, action = edit(kPageLength, { put = "0020" }),
    reason = too_short },
} do
  scenario("23: " .. case.what, function(t)
    local array, source, destination = source_and_destination(t, {})
    array:add_rule { match = { page = case.page, nth = 1 }, action = case.action }
    expect(source:info(), { odx = true })
    expect(source:start(), { status = "STATUS_SUCCESS" })
    local info = expect(source:info(), { odx = false })
    expect(info.reason:sub(1, #case.reason), case.reason)
    expect(source:offload_read { length = "8M" }, { status = "STATUS_DEVICE_FEATURE_NOT_SUPPORTED", commands = {} })
    expect(source:copy_to(destination, { length = "8M", fallback = true }),
      { status = "STATUS_SUCCESS", fallback = size("8M") })
    source:start()
    expect(source:info(), { odx = true })
  end)
end

-- An update of the firmware switches offloading off between two commands of a copy, and on again later. Every host is
-- told that its INQUIRY data has changed.
scenario("24: ODX disappears in the middle of a copy, and comes back", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { optimal_transfer = "2M" } })
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 2 }, action = { type = "odx_off", when = "after" } }
  local copy = expect(source:copy_to(destination, { length = "8M", time_to_live = 60, fallback = true }),
    { status = "STATUS_SUCCESS", offload_status = "STATUS_INVALID_DEVICE_REQUEST", offloaded = size("4M"),
      fallback = size("4M") })
  expect(copy.commands[1], "POPULATE TOKEN")
  destination:expect_data { seed = 1, length = "8M" }
  t:expect_events { kind = "refusal", sense = { code = "06/3F/03" }, exactly = 2 } -- by the first READ and WRITE
  source:start()
  expect(source:info(), { odx = false })
  array:add_rule { match = { command = "READ CAPACITY", nth = 1 }, action = { type = "odx_on" } }
  source:start()
  expect(source:info(), { odx = true })
end)

-- A thin pool has no space left. A copy takes none as long as blocks are shared; a write does, and so does the copy
-- engine when it goes on with READ and WRITE.
scenario("26: the pool is full", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule { match = { command = "POPULATE TOKEN", nth = 1 }, action = { type = "fill_pool", when = "after" } }
  local read = expect(source:offload_read { length = "8M" }, { status = "STATUS_SUCCESS" })
  local write = destination:offload_write { token = read.token, length = "8M" }
  if write.status == "STATUS_SUCCESS" then
    destination:expect_data { seed = 1, length = "8M" }
  else
    expect(write, { status = "STATUS_DISK_RESOURCES_EXHAUSTED", sense = "07/27/07" })
  end
  expect(destination:fill { seed = 3, offset = "64M", length = "8M" },
    { status = "STATUS_DISK_RESOURCES_EXHAUSTED", sense = "07/27/07" })
  destination:expect_data { seed = 0, offset = "64M", length = "8M" }
  array:add_rule { match = { command = "POPULATE TOKEN", nth = 1 }, action = { type = "free_pool" } }
  expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS" })
  expect(destination:fill { seed = 3, offset = "64M", length = "8M" }, { status = "STATUS_SUCCESS" })
end)

-- A copy inside the array takes the bandwidth that others need: what they do is slower meanwhile. A test of a program
-- that wants its answers in time can have both.
scenario("29: other commands are slow while a copy runs", function(t)
  local array, source, destination = source_and_destination(t, { copy = { rate = "4M" } })
  local other = t:host():disk(array, "source", { name = "other host" })
  array:add_rule { match = { command = "WRITE USING TOKEN" }, action = { type = "nothing" }, set_state = "copying" }
  array:add_rule { match = { command = "READ", when_state = "copying" }, action = { type = "delay", ms = 50 } }
  expect(other:read { length = "4K" }.trace[1].seconds, 0)
  local during = {}
  for i = 1, 3 do
    t:after(i * 0.5, function() during[i] = other:read { length = "4K" }.trace[1].seconds end)
  end
  expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS" })
  expect(during, { 0.05, 0.05, 0.05 })
  array:set_state("initial")
  expect(other:read { length = "4K" }.trace[1].seconds, 0)
end)
