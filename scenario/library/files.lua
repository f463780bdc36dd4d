-- What programs see of all this: files on volumes, the two FSCTLs and CopyFile.

local function two_volumes(t, config)
  config.luns = { { store = "memory:4G", name = "source" }, { store = "memory:4G", name = "destination" } }
  local array = t:array(config)
  local host = t:host()
  local x = host:volume(host:disk(array, "source"), {})
  local y = host:volume(host:disk(array, "destination"), {})
  return array, x, y
end

scenario("a file is copied without a READ", function(t)
  local _, x, y = two_volumes(t, {})
  x:create("file", { seed = 1, length = "16M" })
  local copy = expect(x:copy("file", y), { status = "STATUS_SUCCESS", offloaded = size("16M"), fallback = 0 })
  for _, command in ipairs(copy.commands) do expect(command:find("READ%(") == nil) end
  y:expect_file("file", { seed = 1, length = "16M" })
  t:expect_events { kind = "command", command = "WRITE USING TOKEN", at_least = 1 }
end)

-- A program that does it by hand, as a backup program would: one token, many writes.
scenario("FSCTL_OFFLOAD_READ and FSCTL_OFFLOAD_WRITE, the token expires between them", function(t)
  local _, x, y = two_volumes(t, {})
  x:create("file", { seed = 1, length = "16M" })
  y:create("copy", { length = "16M" })
  local from, to = x:open("file"), y:open("copy")
  local read = expect(from:offload_read { length = "16M", time_to_live = "10s" },
    { status = "STATUS_SUCCESS", length = size("16M") })
  expect(to:offload_write { token = read.token, length = "8M" }, { status = "STATUS_SUCCESS", length = size("8M") })
  t:advance("10s")
  expect(to:offload_write { token = read.token, token_offset = "8M", offset = "8M", length = "8M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/07" })
end)

-- NTFS leaves a pair of volumes alone for three minutes after offloading between them has failed. A test that
-- provokes a failure and then wants to see an offloaded copy has to wait, or finds READs and WRITEs.
scenario("after a failure a pair of volumes is left alone for three minutes", function(t)
  local array, x, y = two_volumes(t, {})
  x:create("file", { seed = 1, length = "16M" })
  array:set_unreachable { { a = "source", b = "destination" } }
  expect(x:copy("file", y, "first"), { status = "STATUS_SUCCESS", offloaded = 0, fallback = size("16M") })
  array:set_unreachable {}
  t:advance("179s")
  local second = expect(x:copy("file", y, "second"), { status = "STATUS_SUCCESS", offloaded = 0 })
  for _, command in ipairs(second.commands) do expect(command ~= "POPULATE TOKEN") end
  t:advance("1s")
  expect(x:copy("file", y, "third"), { status = "STATUS_SUCCESS", offloaded = size("16M"), fallback = 0 })
  for _, name in ipairs { "first", "second", "third" } do y:expect_file(name, { seed = 1, length = "16M" }) end
end)

-- Files that are not offloaded, whatever the array can do. No command tells of it: the commonest reason why a copy is
-- not offloaded is invisible on the array.
for _, kind in ipairs { "sparse", "compressed", "encrypted", "resident", "deduplicated", "transacted" } do
  scenario("a file that is " .. kind .. " is not offloaded", function(t)
    local _, x = two_volumes(t, {})
    x:create("file", { length = "1M", kind = { kind } })
    expect(x:open("file"):offload_read { length = "1M" },
      { status = "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED", commands = {} })
    t:expect_events { command = "POPULATE TOKEN", exactly = 0 }
  end)
end

-- A filter driver that did not opt in: an old anti-virus program is enough.
scenario("a filter that does not support offloading switches it off", function(t)
  local _, x, y = two_volumes(t, {})
  x:create("file", { seed = 1, length = "16M" })
  x:filter { name = "antivirus", supported_features = 0 }
  expect(x:open("file"):offload_read { length = "1M" },
    { status = "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED", commands = {} })
  expect(x:copy("file", y), { status = "STATUS_SUCCESS", offloaded = 0, fallback = size("16M") })
  y:expect_file("file", { seed = 1 })
end)

-- Somebody has locked a range, or the file is small.
scenario("a locked range is not offloaded, and files below 256 KiB are not tried", function(t)
  local _, x, y = two_volumes(t, {})
  x:create("file", { seed = 1, length = "1M" })
  x:create("small", { seed = 2, length = "128K" })
  local mine, other = x:open("file"), x:open("file")
  expect(other:lock { offset = "512K", length = 512 }, { status = "STATUS_SUCCESS" })
  expect(mine:offload_read { length = "1M" }, { status = "STATUS_FILE_LOCK_CONFLICT", commands = {} })
  other:close()
  expect(mine:offload_read { length = "1M" }, { status = "STATUS_SUCCESS" })
  expect(x:copy("small", y), { status = "STATUS_SUCCESS", offloaded = 0, fallback = size("128K") })
end)
