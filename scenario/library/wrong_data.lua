-- GOOD, and the data is not there: rows 18 and 19 of the catalogue. Nothing but comparing finds it, which is why a
-- test of a backup program or a file system should do so, and have seen it fail.

local function source_and_destination(t)
  local array = t:array { luns = { { store = "memory:1G", name = "source" },
    { store = "memory:1G", name = "destination" } } }
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  source:fill { seed = 1, length = "8M" }
  destination:fill { seed = 2, length = "8M" }
  return array, source, destination
end

-- Whole files of zeros, old content, and blocks that are wrong in a few bytes: each was found in the field, in file
-- systems that clone blocks.
for _, data in ipairs { "zeros", "inverted", "not_written" } do
  scenario("18: a copy succeeds and leaves wrong data: " .. data, function(t)
    local array, source, destination = source_and_destination(t)
    array:add_rule { match = { command = "WRITE USING TOKEN" }, action = { type = "wrong_data", data = data } }
    expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS", offloaded = size("8M") })
    expect(destination:hash { length = "8M" } ~= source:hash { length = "8M" })
    -- The host sees it when it reads.
    expect(destination:read { length = "4K" }.data ~= source:read { length = "4K" }.data)
    local left = pcall(destination.expect_data, destination, { seed = data == "zeros" and 0 or 2, length = "8M" })
    expect(left, data ~= "inverted")
  end)
end

-- The array answers before the data is on its medium, and then cannot write it: GOOD, and later errors when it is read.
scenario("19: a copy is answered before it is done, and fails later", function(t)
  local array, source, destination = source_and_destination(t)
  array:add_rule {
    match = { command = "WRITE USING TOKEN" },
    action = { type = "wrong_data", data = "not_written" },
    set_state = "medium is bad",
  }
  array:add_rule {
    match = { lun = "destination", command = "READ", lba = { 0, 16383 }, when_state = "medium is bad" },
    action = { type = "sense", sense = "03/11/00" },
  }
  expect(destination:read { length = "4K" }, { status = "STATUS_SUCCESS" })
  expect(source:copy_to(destination, { length = "8M" }), { status = "STATUS_SUCCESS" })
  local read = expect(destination:read { length = "4K" }, { sense = "03/11/00" })
  expect(read.status, "STATUS_DEVICE_DATA_ERROR")
  expect(destination:read { offset = "8M", length = "4K" }, { status = "STATUS_SUCCESS" })
end)
