-- What gets lost between host and array: rows 16, 27 and 28 of the catalogue.
--
-- The host does what the iSCSI initiator of Windows does with its defaults: it logs in again after five seconds, and
-- sends what was under way once more.

local function source_and_destination(t, config)
  config.luns = { { store = "memory:1G", name = "source" }, { store = "memory:1G", name = "destination" } }
  local array = t:array(config)
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  source:fill { seed = 1, length = "8M" }
  return array, source, destination, host
end

-- The copy is done, its answer is lost, and after the disk's time-out the host sends the command again. What was done
-- twice must be as if it had been done once.
scenario("16: the answer to WRITE USING TOKEN is lost", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 1 }, action = { type = "drop_response" } }
  local read = source:offload_read { length = "8M", time_to_live = 300 }
  local write = expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_SUCCESS", length = size("8M") })
  expect(write.trace[1], { outcome = "timed out", seconds = 60 })
  expect(write.trace[2].command, "WRITE USING TOKEN") -- after a new login, live, with a unit attention condition
  destination:expect_data { seed = 1, length = "8M" }
  t:expect_events { kind = "copy_ended", copy_status = "completed", exactly = 2 + 1 } -- and POPULATE TOKEN
end)

-- While the host waits for the lost answer the token's inactivity timeout, which is as long as the disk's time-out,
-- goes by. The copy was done, and the host does not know.
scenario("16: the answer is lost, and the token expires before the command is sent again", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { default_inactivity_timeout_s = 60 } })
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 1 }, action = { type = "drop_response" } }
  expect(source:copy_to(destination, { length = "8M", fallback = true }),
    { status = "STATUS_SUCCESS", offload_status = "STATUS_INVALID_TOKEN", fallback = size("8M") })
  destination:expect_data { seed = 1, length = "8M" }
end)

-- The command never arrives.
scenario("16: WRITE USING TOKEN itself is lost", function(t)
  local array, source, destination = source_and_destination(t, {})
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 1 }, action = { type = "drop_command" } }
  local read = source:offload_read { length = "8M", time_to_live = 300 }
  expect(destination:offload_write { token = read.token, length = "8M" }, { status = "STATUS_SUCCESS" })
  destination:expect_data { seed = 1, length = "8M" }
  t:expect_events { kind = "copy_ended", copy_status = "completed", exactly = 1 + 1 }
end)

-- The connection breaks at each place of a command. The host logs in again and sends the command again: it meets the
-- unit attention condition of a new session, and the copy is made.
for _, at in ipairs { "command", "r2t", "data_out", "response", "after_response" } do
  scenario("28: the connection is reset at " .. at .. " of WRITE USING TOKEN", function(t)
    local array, source, destination = source_and_destination(t, {})
    array:add_rule {
      match = { command = "WRITE USING TOKEN", nth = 1 },
      action = { type = "reset_connection", at = at },
    }
    local read = source:offload_read { length = "8M" }
    expect(destination:offload_write { token = read.token, length = "8M" },
      { status = "STATUS_SUCCESS", length = size("8M") })
    destination:expect_data { seed = 1, length = "8M" }
  end)
end

-- The same in the middle of plain writes, which some of the data has reached and some has not.
for _, at in ipairs { "command", "r2t", "data_out", "response" } do
  scenario("28: the connection is closed at " .. at .. " of WRITE", function(t)
    local array, source = source_and_destination(t, {})
    array:add_rule { match = { command = "WRITE", nth = 3 }, action = { type = "drop_connection", at = at } }
    expect(source:fill { seed = 2, length = "8M" }, { status = "STATUS_SUCCESS" })
    source:expect_data { seed = 2, length = "8M" }
    expect(t:now(), 5)
    t:expect_events { kind = "rule_hit", exactly = 1 }
  end)
end

-- A slow network: each command takes 20 ms longer. Nothing but time.
scenario("28: 20 ms for each command", function(t)
  local array, source, destination = source_and_destination(t, { tokens = { optimal_transfer = "1M" } })
  array:add_rule { action = { type = "delay", ms = 20 } }
  destination:mark()
  source:mark()
  expect(source:copy_to(destination, { length = "8M", time_to_live = 60 }), { status = "STATUS_SUCCESS", tokens = 1 })
  expect(t:now(), (#source:sent() + #destination:sent()) * 0.02)
end)

-- A header digest is wrong: somebody's network card, or cable. The host gives the connection up, logs in again and
-- sends the command again. In one process there are no digests.
scenario("28: the header digest of the answer to WRITE USING TOKEN is wrong", function(t)
  if not t:live() then t:skip("digests are on the wire: odx scenario run --live odxd") end
  local array, source, destination = source_and_destination(t, {})
  array:add_rule {
    match = { command = "WRITE USING TOKEN", nth = 1 },
    action = { type = "digest_error", of = "header" },
  }
  local read = source:offload_read { length = "8M" }
  local write = expect(destination:offload_write { token = read.token, length = "8M" },
    { status = "STATUS_SUCCESS", length = size("8M") })
  expect(#write.trace > 1)
  destination:expect_data { seed = 1, length = "8M" }
  t:expect_events { kind = "rule_hit", exactly = 1 }
end)

-- Somebody changed the secret on one side only. The disk is not there, and is again when the secret is right.
scenario("27: CHAP fails", function(t)
  local chap = { name = "user", secret = "a secret of the array" }
  local array = t:array { target = { { chap = chap, lun = { { store = "memory:1G" } } } } }
  local wrong = t:host { chap = { name = "user", secret = "the secret of last year" } }
  expect(wrong:disk(array, 0, { start = false }):start(), { status = "STATUS_DEVICE_NOT_CONNECTED" })
  t:expect_events { kind = "login", exactly = 0 }
  local right = t:host { chap = chap }
  expect(right:disk(array, 0, { start = false }):start(), { status = "STATUS_SUCCESS" })
  t:expect_events { kind = "login", exactly = 1 }
end)

-- What a login would have refused. Windows goes on trying; the disk is not there.
for _, case in ipairs {
  { what = "another initiator is allowed", target = { allowed_initiators = { "iqn.2026-11.example:other" } } },
  { what = "CHAP is asked for", target = { chap = { name = "user", secret = "a secret of the array" } } },
  { what = "the target is elsewhere", target = { redirect = "192.0.2.1:3260" } },
  { what = "the target is not in this portal group",
    target = { portal_groups = { 2 } }, portal = { { listen = "127.0.0.1:3260" },
      { listen = "127.0.0.1:3261", group = 2 } } },
} do
  scenario("27: the login is refused: " .. case.what, function(t)
    case.target.lun = { { store = "memory:1G" } }
    local array = t:array { target = { case.target }, portal = case.portal }
    local disk = t:host():disk(array, 0, { start = false })
    expect(disk:start(), { status = "STATUS_DEVICE_NOT_CONNECTED" })
    t:expect_events { kind = "login", exactly = 0 }
  end)
end
