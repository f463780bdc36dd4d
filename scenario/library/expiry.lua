-- Tokens that end because time passes: rows 1 to 5 of the catalogue, and sweeps over the exact limits.
--
-- A token has a lifetime, counted from its creation, and an inactivity timeout, which starts over whenever a command
-- that named it ends. Windows makes one message of all that goes wrong with a token, STATUS_INVALID_TOKEN, and copies
-- with READ and WRITE; the sense data and the array's own records tell the reason.

--- An array with a source, which holds pattern 1, and an empty destination.
local function source_and_destination(t, config)
  config.luns = { "memory:1G", "memory:1G" }
  local array = t:array(config)
  local host = t:host()
  local source = host:disk(array, 0, { name = "source" })
  local destination = host:disk(array, 1, { name = "destination" })
  source:fill { seed = 1, length = "16M" }
  return array, source, destination
end

-- The host asks for a token and is busy with something else for a minute: a virtual machine was paused, a filter driver
-- looked at the file. The copy engine must not fail: it copies with READ and WRITE.
scenario("01: a token expires before the first WRITE USING TOKEN", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { default_inactivity_timeout_s = 60 } })
  local read = expect(source:offload_read { length = "16M" }, { status = "STATUS_SUCCESS", length = size("16M") })
  t:advance("61s")
  expect(destination:offload_write { token = read.token, length = "16M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/07", length = 0, commands = { "WRITE USING TOKEN" } })
  expect(array:token_state(read.token), "expired")
  destination:expect_data { seed = 0, length = "16M" }
  -- With a new token it works again.
  expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS", tokens = 1 })
  destination:expect_data { seed = 1, length = "16M" }
end)

-- A copy is many WRITE USING TOKENs. Here each of them takes more than a second, and the token lives for three: the
-- third one begins in time and may end, the fourth is refused. What was copied stays, the rest comes by READ and
-- WRITE, and the file has to be right.
scenario("02: a token expires between two WRITE USING TOKENs of one copy", function(t)
  local _, source, destination = source_and_destination(t, {
    tokens = { lifetime_s = 3, optimal_transfer = "4M" },
    copy = { rate = "3M" }, -- 4 MiB take 1.33 s
  })
  expect(source:copy_to(destination, { length = "16M", time_to_live = 60, fallback = true }), {
    status = "STATUS_SUCCESS",
    offload_status = "STATUS_INVALID_TOKEN",
    tokens = 1,
    sense = "05/23/07",
    offloaded = size("12M"),
    fallback = size("4M"),
  })
  destination:expect_data { seed = 1, length = "16M" }
end)

-- The limit is reached at its very microsecond. An array that is off by one here makes copies fail once a month.
for _, case in ipairs {
  { at = "29.999999s", status = "STATUS_SUCCESS" },
  { at = "30s", status = "STATUS_INVALID_TOKEN", sense = "05/23/07" },
  { at = "30.000001s", status = "STATUS_INVALID_TOKEN", sense = "05/23/07" },
} do
  scenario("03: a token with an inactivity timeout of 30 s is used after " .. case.at, function(t)
    local _, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "1M", time_to_live = 30 }
    t:advance(case.at)
    expect(destination:offload_write { token = read.token, length = "1M" },
      { status = case.status, sense = case.sense })
  end)
  scenario("03: the same, after it was used once, " .. case.at .. " after that", function(t)
    local _, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "1M", time_to_live = 30 }
    t:advance("29s")
    expect(destination:offload_write { token = read.token, length = "1M" }, { status = "STATUS_SUCCESS" })
    t:advance(case.at)
    expect(destination:offload_write { token = read.token, length = "1M" },
      { status = case.status, sense = case.sense })
  end)
end

-- The lifetime ends a token however often it is used, at its very microsecond too.
for _, case in ipairs {
  { at = "0.999999s", status = "STATUS_SUCCESS" },
  { at = "1s", status = "STATUS_INVALID_TOKEN", sense = "05/23/07" },
  { at = "1.000001s", status = "STATUS_INVALID_TOKEN", sense = "05/23/07" },
} do
  scenario("03: a token with a lifetime of 100 s is used " .. case.at .. " after its 99th second", function(t)
    local _, source, destination = source_and_destination(t, {
      tokens = { lifetime_s = 100, default_inactivity_timeout_s = 60, maximum_inactivity_timeout_s = 60 },
    })
    local read = source:offload_read { length = "1M" }
    for _ = 1, 3 do
      t:advance("33s")
      expect(destination:offload_write { token = read.token, length = "1M" }, { status = "STATUS_SUCCESS" })
    end
    t:advance(case.at)
    expect(destination:offload_write { token = read.token, length = "1M" },
      { status = case.status, sense = case.sense })
  end)
end

-- A program may ask for a time to live. Above the array's maximum the request fails in the host, and no command is
-- sent; 0 leaves it to the array.
scenario("04: a time to live above the maximum never leaves the host; 0 is the array's default", function(t)
  local array, source = source_and_destination(t, {
    tokens = { default_inactivity_timeout_s = 45, maximum_inactivity_timeout_s = 300 },
  })
  source:mark()
  expect(source:offload_read { length = "1M", time_to_live = 301 },
    { status = "STATUS_INVALID_PARAMETER", commands = {} })
  expect(source:count("POPULATE TOKEN"), 0)
  expect(source:offload_read { length = "1M", time_to_live = 300 }, { status = "STATUS_SUCCESS" })
  expect(source:offload_read { length = "1M" }, { status = "STATUS_SUCCESS" })
  expect(array:tokens(), { { expires_in = 300 }, { expires_in = 45 } })
end)

-- A copy of a big file by a slow array goes on for longer than any timeout: each command that names the token starts
-- its inactivity time over when it ends, and while one runs that time stands still.
scenario("05: a long copy keeps its token alive", function(t)
  local array, source, destination = source_and_destination(t, { copy = { rate = "1M" } })
  local read = source:offload_read { length = "16M", time_to_live = 3 }
  for i = 0, 7 do
    t:advance("2s")
    local offset = i * size("2M")
    expect(destination:offload_write { token = read.token, token_offset = offset, offset = offset, length = "2M" },
      { status = "STATUS_SUCCESS", length = size("2M") })
  end
  expect(t:now(), 32)
  destination:expect_data { seed = 1, length = "16M" }
  t:advance("3s")
  expect(array:token_state(read.token), "expired")
end)

-- A token that ends while a command uses it does not stop that command: the data is held until the command is done.
scenario("a token's lifetime ends while a WRITE USING TOKEN is running", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { lifetime_s = 2 }, copy = { rate = "4M" } })
  local read = source:offload_read { length = "12M" }
  local state
  t:after("2.5s", function() state = array:token_state(read.token) end)
  expect(destination:offload_write { token = read.token, length = "12M" },
    { status = "STATUS_SUCCESS", length = size("12M") })
  expect(state, "expired")
  expect(t:now(), 3)
  destination:expect_data { seed = 1, length = "12M" }
  expect(destination:offload_write { token = read.token, length = "12M" },
    { status = "STATUS_INVALID_TOKEN", sense = "05/23/07" })
end)

-- The array remembers why a token ended until twice its lifetime has passed; then it is a token like any it never made.
for _, case in ipairs { { at = "199.999999s", sense = "05/23/07" }, { at = "200s", sense = "05/23/04" } } do
  scenario("the reason of a token's end, " .. case.at .. " after its creation with a lifetime of 100 s", function(t)
    local _, source, destination = source_and_destination(t, { tokens = { lifetime_s = 100 } })
    local read = source:offload_read { length = "1M" }
    t:advance(case.at)
    expect(destination:offload_write { token = read.token, length = "1M" },
      { status = "STATUS_INVALID_TOKEN", sense = case.sense })
  end)
end

-- The clock of the array jumps: it was suspended with its host, or somebody set it. Nothing may get stuck, whatever the
-- distance.
for _, jump in ipairs { "1h", "30d", "3650d" } do
  scenario("the array's clock jumps by " .. jump, function(t)
    local array, source, destination = source_and_destination(t, {})
    local read = source:offload_read { length = "1M" }
    t:advance(jump)
    expect(#array:tokens(), 0)
    expect(destination:offload_write { token = read.token, length = "1M" }, { status = "STATUS_INVALID_TOKEN" })
    expect(source:copy_to(destination, { length = "16M" }), { status = "STATUS_SUCCESS", tokens = 1 })
    destination:expect_data { seed = 1, length = "16M" }
  end)
end
