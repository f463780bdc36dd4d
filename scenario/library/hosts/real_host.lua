-- For a real host: the array is an odxd that runs, a person (or a script) at the host does what is asked, and the array
-- does the rest at the right moment.
--
--   odx scenario run --live unix:/run/odx/control scenario/library/hosts --filter "expires"
--
-- The host has an NTFS volume on each of two disks of that odxd, and a file of 64 MiB or more on the first. --param
-- patience=10m is how long each event is waited for (5 minutes unless told), source and destination are the disks'
-- names in the array (lun0 and lun1 unless told).

local patience = param.patience or "5m"

--- The array as it runs, and the names of the two disks.
local function the_array(t)
  return t:array(), param.source or "lun0", param.destination or "lun1"
end

local function ask_for_copy(t)
  t:ask("copy a large file from the first volume to the second, under a name that is not there yet")
end

--- The next command of that name that ended with GOOD.
local function good(t, name)
  return t:wait_for({ kind = "command", command = name, status = "GOOD" }, patience)
end

-- Before anything else: does this host offload at all? Most that do not have a filter driver that did not opt in, or a
-- file that is too small, compressed or sparse. The array sees nothing of it then, and says so.
scenario("a copy is offloaded at all", function(t)
  local _, source, destination = the_array(t)
  ask_for_copy(t)
  local came, event = pcall(good, t, "WRITE USING TOKEN")
  if not came then error(tostring(event) .. "\n" .. t:explain()) end
  expect(event, { logical_unit = destination })
  t:expect_events { kind = "token_created", logical_unit = source }
  t:expect_events { kind = "refusal", command = "WRITE USING TOKEN", exactly = 0 }
end)

-- The token ends between two pieces of a copy. Windows shows STATUS_INVALID_TOKEN to nobody: the copy engine goes on
-- with READ and WRITE, and the file has to be right.
scenario("a token expires in the middle of a copy", function(t)
  local array = the_array(t)
  array:add_rule {
    match = { command = "WRITE USING TOKEN", nth = tonumber(param.nth or 1) },
    action = { type = "expire_token" },
  }
  ask_for_copy(t)
  local refusal = t:wait_for({ kind = "refusal", command = "WRITE USING TOKEN" }, patience)
  expect(refusal.sense.code, "05/23/07")
  t:expect_events { kind = "token_ended", token_state = "expired", exactly = 1 }
  t:ask("compare the two files: they must be the same")
end)

-- The link between two sites fails. Windows leaves the pair of volumes alone for three minutes after it was refused.
scenario("the link between the disks is cut, and comes back", function(t)
  local array, source, destination = the_array(t)
  array:set_unreachable { { a = source, b = destination } }
  ask_for_copy(t)
  local refusal = t:wait_for({ kind = "refusal", command = "WRITE USING TOKEN" }, patience)
  expect(refusal.sense.code, "05/08/04")
  array:set_unreachable {}
  t:ask("wait three minutes, then copy the file once more, under another name")
  expect(good(t, "WRITE USING TOKEN").logical_unit, destination)
end)

-- An update of the firmware takes ODX away while the host works, and brings it back.
scenario("ODX disappears, and comes back", function(t)
  local array = the_array(t)
  array:add_rule { match = { command = "POPULATE TOKEN", nth = 1 }, action = { type = "odx_off", when = "after" } }
  ask_for_copy(t)
  t:wait_for({ kind = "rule_hit" }, patience)
  t:wait_for({ kind = "refusal", sense = { code = "05/20/00" } }, patience)
  t:ask("compare the two files: they must be the same")
  array:add_rule { match = { command = "INQUIRY", nth = 1 }, action = { type = "odx_on" } }
  t:ask("have the disks found anew (diskpart: rescan, or log out of the target and in again), wait three minutes, "
    .. "and copy the file once more, under another name")
  good(t, "WRITE USING TOKEN")
end)

-- The array copied some of it and says how much. That is no failure: the host goes on from there.
scenario("a copy is cut short", function(t)
  local array, _, destination = the_array(t)
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 1 }, action = { type = "short_copy", blocks = 2048 } }
  ask_for_copy(t)
  local refusal = t:wait_for({ kind = "refusal", command = "WRITE USING TOKEN" }, patience)
  expect(refusal, { sense = { code = "0A/0D/04", information = 2048 }, logical_unit = destination })
  good(t, "WRITE USING TOKEN")
  t:ask("compare the two files: they must be the same")
end)

-- Everything succeeds, and what lies there is something else. A host cannot know; whoever compares must.
scenario("a copy succeeds and leaves zeros", function(t)
  local array = the_array(t)
  array:add_rule { match = { command = "WRITE USING TOKEN" }, action = { type = "wrong_data", data = "zeros" } }
  ask_for_copy(t)
  t:wait_for({ kind = "rule_hit" }, patience)
  good(t, "WRITE USING TOKEN")
  array:clear_rules()
  t:ask("compare the two files: they must NOT be the same")
end)
