-- Real NTFS: an image of a volume is put on a disk and mounted, and its files are copied as Windows copies them. What
-- the two FSCTLs and CopyFile do with a file depends on how it lies on its volume: in one piece or many, inside its
-- record, with holes, or with clusters that were never written. Without an image these are skipped; one is made so, by
-- a program of the build folder (for kind=..., vdl=... see its --help):
--
--   test/host/ntfs_image volume.img --size 32M --file plain,size=5000001,runs=3 --file tiny,size=600 \
--     --file sparse,size=1M,kind=sparse --file compressed,size=1M,kind=compressed \
--     --file encrypted,size=1M,kind=encrypted --file part,size=1M,vdl=300000
--   odx scenario run scenario/library/ntfs.lua --volume ntfs=volume.img

-- A host with the image on two disks of an array.
local function two_volumes(t)
  local array = t:array { luns = { { store = "memory:64M", name = "source" },
                                   { store = "memory:64M", name = "destination" } } }
  local host = t:host()
  local x = host:volume(host:disk(array, "source"), { image = "ntfs" })
  local y = host:volume(host:disk(array, "destination"), { image = "ntfs" })
  return array, x, y
end

-- CopyFile asks for a token for the whole file, wherever its pieces lie, and the copy's clusters lie elsewhere: if the
-- host or the array gets one piece wrong, the file is there, has its length, and is another.
scenario("NTFS: a file in pieces is copied without READ and WRITE of its data", function(t)
  local _, x, y = two_volumes(t)
  expect(x:info("plain").extents >= 3)
  expect(x:copy("plain", y, "copy"), { status = "STATUS_SUCCESS", offload_status = "STATUS_SUCCESS", fallback = 0 })
  expect(y:info("copy"), { length = 5000001, valid = 5000001 })
  expect(y:hash("copy"), x:hash("plain"))
  t:expect_events { kind = "command", command = "WRITE USING TOKEN", at_least = 1 }
end)

-- Files whose bytes are no clusters of their own. Nothing on the array tells why they are not offloaded: no command
-- comes. CopyFile copies them by reading and writing, and what it copies is what a program reads of them; but for
-- encrypted ones, whose keys this host has not.
for name, kind in pairs { tiny = "resident", sparse = "sparse", compressed = "compressed", encrypted = "encrypted" } do
  scenario("NTFS: a file that is " .. kind .. " is not offloaded, and copied all the same", function(t)
    local _, x, y = two_volumes(t)
    expect(x:info(name)[kind])
    expect(x:open(name):offload_read { length = 512 },
      { status = "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED", commands = {} })
    if kind == "encrypted" then return expect(x:copy(name, y, "copy"), { offloaded = 0, fallback = 0 }) end
    expect(x:copy(name, y, "copy"), { status = "STATUS_SUCCESS", offloaded = 0, fallback = x:info(name).length })
    expect(y:hash("copy"), x:hash(name))
    t:expect_events { command = "POPULATE TOKEN", exactly = 0 }
  end)
end

-- A database or a virtual disk has its length at once, and its data later. What lies beyond the valid data length reads
-- as zeros, whatever the clusters hold: a token of them would show what was there before. So the read is cut to the
-- sector in which valid data ends, and says that zeros follow; from there on there is the token of zeros, for which
-- the array is asked nothing. Who does not look at the flag leaves the rest of the destination as it was.
scenario("NTFS: valid data ends inside the last cluster", function(t)
  local _, x, y = two_volumes(t)
  local zeros_follow, valid = 1, 300032
  expect(x:info("part"), { length = size("1M"), valid = 300000 })
  local from = x:open("part")
  local read = expect(from:offload_read { length = "1M" },
    { status = "STATUS_SUCCESS", length = valid, flags = zeros_follow })
  expect(from:offload_read { offset = "512K", length = "512K" },
    { status = "STATUS_SUCCESS", flags = zeros_follow, commands = {} })
  y:create("careless", { seed = 1, length = "1M" })
  expect(y:open("careless"):offload_write { token = read.token, length = valid },
    { status = "STATUS_SUCCESS", length = valid })
  expect(y:hash("careless") ~= x:hash("part"))
  expect(x:copy("part", y, "copy"), { status = "STATUS_SUCCESS", offload_status = "STATUS_SUCCESS" })
  expect(y:hash("copy"), x:hash("part"))
end)

-- What a backup of a virtual machine does: the volume goes as blocks, and nobody looks into it until it is needed. Here
-- the token expires on the way, the rest is read and written, and then a host that knows nothing mounts the copy.
scenario("NTFS: a volume is copied as blocks, the token expires half way, and the copy is mounted", function(t)
  local array = t:array {
    luns = { { store = "memory:64M", name = "source" }, { store = "memory:64M", name = "destination" } },
    tokens = { optimal_transfer = "4M" },
    copy = { rate = "4M" },
  }
  local host = t:host()
  local source, destination = host:disk(array, "source"), host:disk(array, "destination")
  local x = host:volume(source, { image = "ntfs" })
  local hash = x:hash("plain")
  x:dismount()
  array:add_rule { match = { command = "WRITE USING TOKEN", nth = 5 }, action = { type = "expire_token" } }
  local copy = expect(source:copy_to(destination, { length = "64M", fallback = true }),
    { offload_status = "STATUS_INVALID_TOKEN", offloaded = size("16M"), fallback = size("48M") })
  expect(copy.sense, "05/23/07")
  local other = t:host { name = "other" }
  local y = other:volume(other:disk(array, "destination"), { mount = true })
  expect(y:hash("plain"), hash)
end)
