-- Disks between which no data moves: row 10 of the catalogue.

local function two_disks(t, config)
  config.luns = config.luns or { { store = "memory:1G", name = "source" },
    { store = "memory:1G", name = "destination" } }
  local array = t:array(config)
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  source:fill { seed = 1, length = "16M" }
  return array, source, destination
end

-- Source and destination are at different sites, in different pools, behind different controllers. What an array
-- answers decides what Windows makes of it: the token is bad, or the device is out of reach.
for _, case in ipairs {
  { refusal = "unreachable-copy-target", status = "STATUS_DEVICE_UNREACHABLE", sense = "05/08/04" },
  { refusal = "remote-token-usage-not-supported", status = "STATUS_INVALID_TOKEN", sense = "05/23/02" },
  { refusal = "copy-target-device-not-reachable", sense = "0A/0D/02" },
} do
  scenario("10: an unreachable pair answers " .. case.refusal, function(t)
    local _, source, destination = two_disks(t, {
      unreachable = { { a = "source", b = "destination", refusal = case.refusal } },
    })
    local read = expect(source:offload_read { length = "16M" }, { status = "STATUS_SUCCESS" })
    local write = expect(destination:offload_write { token = read.token, length = "16M" },
      { status = case.status, sense = case.sense, length = 0 })
    expect(write.status ~= "STATUS_SUCCESS")
    destination:expect_data { seed = 0, length = "16M" }
    -- Within one disk the token works, and the copy engine has READ and WRITE.
    expect(source:offload_write { token = read.token, offset = "32M", length = "16M" }, { status = "STATUS_SUCCESS" })
    expect(source:copy_to(destination, { length = "16M", fallback = true }),
      { status = "STATUS_SUCCESS", fallback = size("16M") })
    destination:expect_data { seed = 1, length = "16M" }
  end)
end

-- The link between two sites fails in the middle of a copy: what runs goes on, the next command is refused.
scenario("10: a pair becomes unreachable in the middle of a copy", function(t)
  local array, source, destination = two_disks(t, { tokens = { optimal_transfer = "4M" }, copy = { rate = "4M" } })
  t:after("1.5s", function() array:set_unreachable { { a = "source", b = "destination" } } end)
  expect(source:copy_to(destination, { length = "16M", fallback = true }), {
    status = "STATUS_SUCCESS",
    offload_status = "STATUS_DEVICE_UNREACHABLE",
    sense = "05/08/04",
    offloaded = size("8M"),
    fallback = size("8M"),
  })
  destination:expect_data { seed = 1, length = "16M" }
  array:set_unreachable {}
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS" })
end)

-- Two arrays that know each other's tokens: a copy between them is offloaded as long as the link is there.
scenario("10: two arrays, and the link between them", function(t)
  local process = t:array {
    array = { { name = "east", id = "east" }, { name = "west", id = "west" } },
    target = {
      { array = "east", name = "iqn.2026-11.example:east", lun = { { store = "memory:1G", name = "source" } } },
      { array = "west", name = "iqn.2026-11.example:west", lun = { { store = "memory:1G", name = "destination" } } },
    },
  }
  local host = t:host()
  local source, destination = host:disk(process, "source"), host:disk(process, "destination")
  source:fill { seed = 1, length = "16M" }
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS", offloaded = size("16M") })
  destination:expect_data { seed = 1, length = "16M" }
  process:set_unreachable { { a = "east", b = "west" } }
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_DEVICE_UNREACHABLE", sense = "05/08/04" })
  process:set_unreachable {}
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS" })
end)
