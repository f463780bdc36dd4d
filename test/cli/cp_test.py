#!/usr/bin/env python3
"""odx cp, ls, extents and fsctl on NTFS volumes served by odxd:  cp_test.py ODXD ODX NTFS_IMAGE

Not tested, and why: the progress bar (it needs a terminal); files that Windows itself wrote (CI has no Windows; images
come from ntfs-3g); the lock against another user's odx (it needs another user).
"""
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "host"))
from ntfs_volumes import (  # noqa: E402  pylint: disable=wrong-import-position
    CopyTest, KIB, MIB, ODX, Readers, odx, operation, report, run, sha256)

FILES = ("big,size=3000000,runs=5", "big:stream,size=600K", "big:note,size=30", "tail,size=2M,vdl=300100",
         "unwritten,size=1M,vdl=0", "below,size=262143", "at,size=262144", "resident,size=600", "nothing",
         "compressed,size=1M,kind=compressed", "sparse,size=1M,kind=sparse", "encrypted,size=1M,kind=encrypted",
         "deduplicated,size=1M,kind=deduplicated", "transacted,size=1M,kind=transacted", "tree/a,size=300K",
         "tree/deep/b,size=1000", "tree/deep/deeper/c,size=1M", "tree/empty,kind=directory")
PLAIN = ("big", "big:stream", "big:note", "tail", "unwritten", "below", "at", "resident", "nothing")


def rows(document):
    """What was said of each stream, by its path on the volume."""
    return {row["file"].split("#", 1)[1].split("/", 1)[1]: row for row in document["streams"]}


class LunToLunTest(CopyTest):
    unreachable = '[[unreachable]]\na = "lun0"\nb = "lun2"\n'

    def setUp(self):
        super().setUp()
        self.source = self.image("source", files=FILES)
        self.other = self.image("other", "--table", "gpt", files=("there,size=1M", "dir,kind=directory"))
        self.island = self.image("island", "--table", "mbr")
        self.urls = self.serve(self.source, self.other, self.island, extra=self.unreachable)
        self.from_, self.to, self.far = (f"{url}#" for url in self.urls)

    def same(self, readers, name, there=None):
        self.assertEqual(sha256(readers.read(there or name)), self.source.files[name]["sha256"], name)

    def test_files_go_over_with_their_streams_and_hardly_a_byte_of_them_is_read_or_written(self):
        sources = [f"{self.from_}/{name}" for name in PLAIN if ":" not in name]
        status, document = report("cp", *sources, f"{self.to}/")
        self.assertEqual((status, document["nt_status"]["name"], document["files"]), (0, "STATUS_SUCCESS", 7))
        said = rows(document)
        self.assertEqual(said["big"]["offloaded_bytes"], 3000000)
        self.assertEqual(said["big"]["why"], "offloaded")
        self.assertEqual(said["big:stream"]["offloaded_bytes"], 600 * KIB)
        self.assertEqual(said["big:note"]["why"], "not tried: smaller than 262144 bytes")
        self.assertEqual(said["tail"]["offloaded_bytes"], 300544)
        self.assertEqual(said["tail"]["zero_bytes"], 2 * MIB - 300544)
        self.assertEqual(said["unwritten"]["zero_bytes"], MIB)
        self.assertEqual(said["unwritten"]["tokens"], 0)
        self.assertEqual(said["below"]["read_written_bytes"], 262143)
        self.assertEqual(said["at"]["offloaded_bytes"], 262144)
        self.assertEqual(said["nothing"]["why"], "not tried: there is nothing to copy")
        self.assertIn("WRITE USING TOKEN", operation(document))
        self.end()
        with Readers(self.other) as readers:
            for name in PLAIN:
                self.same(readers, name)
            readers.check()
            self.assertEqual(len(readers.read("there")), MIB)
            self.assertEqual(readers.entry("big").get_modification_time_as_integer(),
                             Readers(self.source).entry("big").get_modification_time_as_integer())

    def test_a_large_file_moves_without_crossing_the_wire(self):
        status, document = report("cp", f"{self.from_}/big", f"{self.to}/big")
        self.assertEqual(status, 0)
        moved = sum(c["data_in"] + c["data_out"] for c in document["commands"]
                    if c["phase"] == "operation" and c["name"].startswith(("READ(", "WRITE(")))
        self.assertLess(moved, 700 * KIB)  # metadata of both volumes; 3.6 MB were copied

    def test_explain_says_why_not(self):
        status, document = report("cp", "--explain", "--min-offload", 0,
                                  *(f"{self.from_}/{name}" for name in ("compressed", "sparse", "transacted",
                                                                        "resident")), f"{self.to}/dir")
        self.assertEqual((status, document["failed"]), (0, 0))
        for name in ("compressed", "sparse", "transacted", "resident"):
            row = rows(document)[name]
            self.assertEqual(row["offload_nt_status"]["name"], "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED", name)
            self.assertTrue(row["why"].startswith("STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED: offload read: "), row)
            self.assertEqual(row["read_written_bytes"], row["bytes"])
        status, text = odx("cp", "--explain", f"{self.from_}/below", f"{self.from_}/at", f"{self.to}/dir")
        self.assertEqual(status, 0)
        self.assertRegex(text, r"#/below +262143 .*not tried: smaller than 262144 bytes")
        self.assertRegex(text, r"#/at +262144 .*offloaded")
        self.end()
        with Readers(self.other) as readers:
            for name in ("compressed", "sparse", "resident", "below", "at"):
                self.same(readers, name, f"dir/{name}")
            readers.check()

    def test_what_cannot_be_read_fails_without_touching_the_destination_and_the_others_are_copied(self):
        status, document = report("cp", f"{self.from_}/encrypted", f"{self.from_}/deduplicated", f"{self.from_}/at",
                                  f"{self.to}/dir/")
        self.assertEqual((status, document["failed"], document["files"]), (1, 2, 1))
        self.assertEqual([failed["nt_status"]["name"] for failed in document["failures"]],
                         ["STATUS_ACCESS_DENIED", "STATUS_IO_REPARSE_TAG_NOT_HANDLED"])
        self.assertEqual(report("cp", f"{self.from_}/encrypted", f"{self.to}/there")[0], 1)
        self.end()
        with Readers(self.other) as readers:
            self.assertEqual(readers.names("dir"), ["at"])
            self.assertEqual(sha256(readers.read("there")), self.other.files["there"]["sha256"])
            readers.check()

    def test_a_tree(self):
        self.assertEqual(report("cp", f"{self.from_}/tree", f"{self.to}/")[0], 1)
        status, document = report("cp", "-r", f"{self.from_}/tree", f"{self.to}/dir")
        self.assertEqual((status, document["files"], document["directories"]), (0, 3, 4))
        status, document = report("cp", "-r", f"{self.from_}/tree", f"{self.to}/new")  # not there: it becomes tree
        self.assertEqual((status, document["directories"]), (0, 4))
        status, document = report("cp", "-r", "-n", f"{self.from_}/tree", f"{self.to}/dir")
        self.assertEqual((status, document["files"], document["skipped"], document["directories"]), (0, 0, 3, 0))
        self.end()
        with Readers(self.other) as readers:
            self.assertEqual(readers.names("new/deep"), ["b", "deeper"])
            for name in ("tree/a", "tree/deep/b", "tree/deep/deeper/c"):
                self.same(readers, name, f"dir/{name}")
                self.same(readers, name, name.replace("tree", "new", 1))
            self.assertEqual(readers.names("dir/tree/empty"), [])
            readers.check()

    def test_what_was_just_copied_is_not_overwritten_by_another_source(self):
        local = self.folder / "local"
        for path in ("one/a", "two/A", "two/other"):
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            (local / path).write_text(path)
        for destination in (f"{self.to}/dir", f"{self.to}/dir/"):  # the second time the file is there before
            status, document = report("cp", local / "one/a", local / "two/A", local / "two/other", destination)
            self.assertEqual((status, document["nt_status"]["name"], document["files"], document["failed"]),
                             (1, "STATUS_OBJECT_NAME_COLLISION", 2, 1))
        self.assertEqual(report("cp", local / "one/a", local / "two/A", local)[0], 0)  # this machine knows case
        (local / "two/a").write_text("two/a")
        self.assertEqual(report("cp", local / "one/a", local / "two/a", local)[0], 1)
        self.assertEqual((local / "a").read_text(), "one/a")
        self.end()
        with Readers(self.other) as readers:
            self.assertEqual(readers.names("dir"), ["a", "other"])
            self.assertEqual(readers.read("dir/a"), b"one/a")
            readers.check()

    def test_a_directory_and_a_stream_do_not_go_together(self):
        for words in ((f"{self.from_}/tree:s", f"{self.to}/new"), (f"{self.from_}/tree", f"{self.to}/new:s")):
            status, document = report("cp", "-r", *words)
            self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_FILE_IS_A_DIRECTORY"))
        self.assertEqual(report("ls", f"{self.to}/new")[0], 1)

    def test_a_copy_within_one_volume_and_over_what_is_there(self):
        status, document = report("cp", f"{self.from_}/big", f"{self.from_}/tree/big again")
        self.assertEqual((status, document["offloaded_bytes"]), (0, 3000000 + 600 * KIB))
        status, _ = report("cp", f"{self.from_}/at", f"{self.from_}/tail")
        self.assertEqual(status, 0)
        status, document = report("cp", f"{self.from_}/at", f"{self.from_}/AT")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_SHARING_VIOLATION"))
        status, document = report("cp", "-r", f"{self.from_}/tree", f"{self.from_}/tree/deep")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_INVALID_PARAMETER"))
        for source, destination in (("tree", "Tree/new"), ("TREE/deep", "tree"), ("", "tree"), ("tree", "")):
            status, document = report("cp", "-r", f"{self.from_}/{source}", f"{self.from_}/{destination}")
            self.assertEqual((status, document["nt_status"]["name"], document["directories"]),
                             (1, "STATUS_INVALID_PARAMETER", 0), source)
        self.end()
        with Readers(self.source) as readers:
            self.same(readers, "big", "tree/big again")
            self.same(readers, "big:note", "tree/big again:note")
            self.same(readers, "at", "tail")
            readers.check()

    def test_one_stream_to_one_stream(self):
        status, _ = report("cp", f"{self.from_}/big:stream", f"{self.to}/there:kept")
        self.assertEqual(status, 0)
        self.end()
        with Readers(self.other) as readers:
            self.same(readers, "big:stream", "there:kept")
            self.assertEqual(sha256(readers.read("there")), self.other.files["there"]["sha256"])

    def test_without_offload(self):
        status, document = report("cp", "--no-offload", f"{self.from_}/big", f"{self.to}/big")
        self.assertEqual((status, document["offloaded_bytes"]), (0, 0))
        self.assertEqual(rows(document)["big"]["why"], "not tried: offloading was not wanted")
        self.assertNotIn("POPULATE TOKEN", operation(document))
        self.end()
        with Readers(self.other) as readers:
            self.same(readers, "big")
            readers.check()

    def test_an_unreachable_pair_is_copied_by_hand_and_left_alone(self):
        status, document = report("cp", f"{self.from_}/big", f"{self.from_}/at", f"{self.far}/")
        self.assertEqual((status, document["offloaded_bytes"]), (0, 0))
        said = rows(document)
        self.assertEqual(said["big"]["offload_nt_status"]["name"], "STATUS_DEVICE_UNREACHABLE")
        self.assertRegex(said["at"]["why"], r"could not reach each other \d+ s ago \(STATUS_DEVICE_UNREACHABLE\)")
        self.assertEqual(operation(document).count("WRITE USING TOKEN"), 1)
        self.end()
        with Readers(self.island) as readers:
            for name in ("big", "big:stream", "at"):
                self.same(readers, name)
            readers.check()

    def test_to_and_from_this_machine(self):
        local = self.folder / "local"
        (local / "below").mkdir(parents=True)
        data = os.urandom(3 * MIB + 7)
        (local / "file").write_bytes(data)
        (local / "below" / "small").write_bytes(b"small")
        (local / "link").symlink_to("file")
        status, document = report("cp", "-r", local, f"{self.to}/")
        self.assertEqual((status, document["files"], document["failed"]), (1, 2, 1))  # the link
        # "." and ".." are no names: what is in the directory goes into the other one.
        self.assertEqual(report("cp", "-r", f"{local}/below/.", f"{self.to}/dir")[0], 0)
        self.assertEqual(report("ls", f"{self.to}/dir/small")[0], 0)
        self.assertEqual(report("cp", local / "file", f"{self.to}/..")[1]["nt_status"]["name"],
                         "STATUS_OBJECT_NAME_INVALID")
        status, document = report("cp", f"{self.to}/local/file", f"{self.from_}/big", self.folder)
        self.assertEqual(status, 0)
        self.assertEqual((self.folder / "file").read_bytes(), data)
        self.assertEqual(sha256((self.folder / "big").read_bytes()), self.source.files["big"]["sha256"])
        self.assertIn("left out", rows(document)["big:stream"]["why"])
        self.assertIn("this machine lies on no disk", rows(document)["big"]["why"])
        self.assertLess(abs((self.folder / "file").stat().st_mtime_ns - (local / "file").stat().st_mtime_ns), 100)
        (self.folder / "other name").symlink_to("local")
        for source, destination in ((local, f"{local}/new"), (local, f"{local}/./below/../new"),
                                    (local, self.folder / "other name" / "new"), (f"{local}/.", local / "below")):
            status, document = report("cp", "-r", source, destination)
            self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_INVALID_PARAMETER"), destination)
        self.end()
        with Readers(self.other) as readers:
            self.assertEqual(readers.read("local/file"), data)
            self.assertEqual(readers.read("local/below/small"), b"small")
            readers.check()

    def test_ls(self):
        status, document = report("ls", f"{self.from_}/", "--streams")
        self.assertEqual(status, 0)
        listed = {row["name"]: row for row in document["files"]}
        self.assertEqual(set(listed), {name.split(",")[0] for name in FILES if "/" not in name} | {"tree"})
        for name, made in self.source.files.items():
            if name in listed and made["kind"] != "directory":
                self.assertEqual(listed[name]["size"], made["size"], name)
                if made["kind"] != "compressed":
                    self.assertEqual(listed[name]["valid_data_length"], made["vdl"], name)
                self.assertEqual("resident" in listed[name]["kind"], made["resident"], name)
        self.assertEqual(listed["compressed"]["kind"], ["compressed"])
        self.assertEqual(listed["encrypted"]["kind"], ["encrypted"])
        self.assertEqual(listed["tree"]["kind"], ["directory"])
        status, text = odx("ls", self.to)
        self.assertEqual(status, 0)
        self.assertRegex(text, r"partition table +GPT")
        self.assertRegex(text, r"1 +1048576 .*NTFS")
        status, document = report("ls", self.urls[0])
        self.assertEqual((status, document["volumes"][0]["number"], document["volumes"][0]["file_system"]),
                         (0, 0, "NTFS"))
        self.assertEqual(report("ls", f"{self.to}1/dir")[0], 0)
        status, document = report("ls", f"{self.to}/big.not")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_OBJECT_NAME_NOT_FOUND"))
        self.assertRegex(document["reason"], r"^iscsi://.*#1?/big\.not is not there$")
        status, document = report("ls", "foo")
        self.assertEqual((status, document["reason"][:31]), (2, "foo is a path of this machine; "))

    def test_the_allocation_is_the_same_in_ls_and_extents(self):
        status, listed = report("ls", f"{self.from_}/")
        self.assertEqual(status, 0)
        for name in ("big", "sparse", "compressed", "unwritten"):
            allocation = next(row["allocation"] for row in listed["files"] if row["name"] == name)
            self.assertEqual(report("extents", f"{self.from_}/{name}")[1]["allocated_bytes"], allocation, name)

    def test_what_cannot_be_opened_is_named_with_the_cause(self):
        status, document = report("extents", f"{self.from_}/tree")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_FILE_IS_A_DIRECTORY"))
        self.assertTrue(document["reason"].endswith("/tree is a directory"), document["reason"])
        status, document = report("cp", f"{self.from_}/at", f"{self.to}/no/at")
        self.assertEqual((status, document["failures"][0]["reason"]),
                         (1, "the destination /no/at cannot be opened: STATUS_OBJECT_PATH_NOT_FOUND"))
        status, document = report("cp", f"{self.from_}/at", self.urls[1])
        self.assertEqual(status, 2)
        self.assertTrue(document["reason"].startswith(f"{self.urls[1]} is a disk or a volume; "), document["reason"])

    def test_extents(self):
        for name in ("big", "big:stream", "sparse", "tail"):
            status, document = report("extents", f"{self.from_}/{name}")
            self.assertEqual(status, 0)
            found = [[row["file_offset"], row["volume_offset"], row["length"]] for row in document["extents"]]
            self.assertEqual(found, self.source.files[name]["runs"], name)
            self.assertEqual(document["end_of_file"], self.source.files[name]["size"])
            self.assertEqual(document["valid_data_length"], self.source.files[name]["vdl"])
        status, document = report("extents", f"{self.to}/there")
        for row in document["extents"]:
            self.assertEqual(row["lba"], (row["volume_offset"] + self.other.made["volume_offset"]) // 512)
            self.assertEqual(row["lcn"] * 4096, row["volume_offset"])
        status, document = report("extents", f"{self.from_}/resident")
        self.assertEqual((status, document["resident"], document["extents"]), (0, True, []))
        self.end()
        clusters = run("ntfsinfo", "-fv", "-F", "big", self.source.path).decode()
        for offset, place, length in self.source.files["big"]["runs"]:
            self.assertIn(f"\t0x{offset // 4096:x}\t\t0x{place // 4096:x}\t\t0x{length // 4096:x}\n", clusters)


class FsctlTest(CopyTest):
    def setUp(self):
        super().setUp()
        self.source = self.image("source", files=("file,size=1M", "tail,size=1M,vdl=5000", "compressed,size=1M,"
                                                  "kind=compressed"))
        self.other = self.image("other", files=("there,size=64K",))
        self.urls = self.serve(self.source, self.other)
        self.file, self.there = f"{self.urls[0]}#/file", f"{self.urls[1]}#/there"
        self.token = self.folder / "token"

    def read(self, *words, url=None):
        return report("fsctl", "offload-read", url or self.file, *words)

    def write(self, *words, url=None):
        return report("fsctl", "offload-write", url or self.there, *words)

    def expect(self, answer, status, commands=()):
        self.assertEqual(answer[1]["nt_status"]["name"], status, answer[1].get("reason"))
        self.assertEqual(answer[0], 0 if status == "STATUS_SUCCESS" else 1)
        self.assertEqual([name for name in operation(answer[1]) if "TOKEN" in name], list(commands))
        if status != "STATUS_SUCCESS":
            self.assertTrue(answer[1]["reason"])
            self.assertEqual(answer[1].get("output", ""), "")

    def test_a_token_is_read_and_written(self):
        output = self.folder / "output"
        answer = self.read("--offset", "64K", "--length", "128K", "--token-out", self.token, "--output", output)
        self.expect(answer, "STATUS_SUCCESS", ["POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION"])
        self.assertEqual(answer[1]["reply"]["transfer_length_bytes"], 128 * KIB)
        self.assertEqual(output.read_bytes()[16:], self.token.read_bytes())
        self.assertEqual(bytes.fromhex(answer[1]["output"]), output.read_bytes())
        answer = self.write("--set-eof", "96K", "--length", "64K", "--transfer-offset", "4K", "--token", self.token,
                            url=f"{self.urls[1]}#/new")
        self.expect(answer, "STATUS_SUCCESS", ["WRITE USING TOKEN"])
        self.assertEqual(bytes.fromhex(answer[1]["output"]),
                         (16).to_bytes(4, "little") + bytes(4) + (64 * KIB).to_bytes(8, "little"))
        answer = self.write("--input-hex", "20 02 00 00" + "00" * 4 + (64 * KIB).to_bytes(8, "little").hex() +
                            (32 * KIB).to_bytes(8, "little").hex() + bytes(8).hex() + self.token.read_bytes().hex(),
                            url=f"{self.urls[1]}#/new")
        self.expect(answer, "STATUS_SUCCESS", ["WRITE USING TOKEN"])
        self.end()
        with Readers(self.source) as readers:
            data = readers.read("file")
        with Readers(self.other) as readers:
            self.assertEqual(readers.read("new"), data[68 * KIB:132 * KIB] + data[64 * KIB:96 * KIB])
            readers.check()

    def test_beyond_the_valid_data(self):
        answer = self.read("--offset", "8K", "--length", "8K", url=f"{self.urls[0]}#/tail")
        self.expect(answer, "STATUS_SUCCESS")
        self.assertEqual((answer[1]["reply"]["flags"], answer[1]["reply"]["zero_token"]), (1, True))

    def test_what_the_state_makes_of_a_read(self):
        for words, status in ((("--access", "write"), "STATUS_ACCESS_DENIED"),
                              (("--access", "none"), "STATUS_ACCESS_DENIED"),
                              (("--size", 31), "STATUS_INVALID_PARAMETER"),
                              (("--offset", 100), "STATUS_INVALID_PARAMETER"),
                              (("--length", 100), "STATUS_INVALID_PARAMETER"),
                              (("--offset", "1M", "--length", "4K"), "STATUS_END_OF_FILE"),
                              (("--input-length", 31), "STATUS_BUFFER_TOO_SMALL"),
                              (("--output-length", 527), "STATUS_BUFFER_TOO_SMALL"),
                              (("--filter", "scan=2"), "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED"),
                              (("--filter", "scan=blocks"), "STATUS_NOT_SUPPORTED"),
                              (("--filter", "a=3", "--features-mode", 1), "STATUS_OFFLOAD_READ_FLT_NOT_SUPPORTED"),
                              (("--transacted",), "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED"),
                              (("--lock", "exclusive:0:4K"), "STATUS_FILE_LOCK_CONFLICT")):
            with self.subTest(words):
                self.expect(self.read(*words), status)
        sent = ["POPULATE TOKEN", "RECEIVE ROD TOKEN INFORMATION"]
        for words in (("--flags", "0xFFFFFFFF", "--reserved", 7), ("--filter", "scan=3"), ("--access", "both"),
                      ("--lock", "shared:0:4K"), ("--lock", "exclusive:0:4K:own"), ("--ttl-ms", 1500)):
            with self.subTest(words):
                self.expect(self.read(*words), "STATUS_SUCCESS", sent)
        self.assertIn("the exclusive byte-range lock of another handle on 1024 bytes at 2048 conflicts with the "
                      "request's 4096 bytes at 0",
                      self.read("--length", "4K", "--lock", "exclusive:2K:1K")[1]["reason"])
        self.assertIn("CopyLength is 0", self.read("--length", 0)[1]["note"])
        for words, expected in (("av=write", "expected 0, 1, 2, 3 or blocks"), ("av", "expected NAME=FEATURES")):
            status, document = self.read("--filter", words)
            self.assertEqual(status, 2)
            self.assertIn(f"--filter '{words}': {expected}", document["reason"])
        self.expect(self.read(url=f"{self.urls[0]}#/compressed"), "STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED")
        self.expect(self.read(url=f"{self.urls[0]}#"), "STATUS_INVALID_DEVICE_REQUEST")

    def test_what_the_state_makes_of_a_write(self):
        zero = ("--token", "zero", "--length", "4K")
        for words, status in ((("--access", "read"), "STATUS_ACCESS_DENIED"),
                              (("--read-only",), None),
                              (("--offset", "64K"), "STATUS_END_OF_FILE"),
                              (("--transfer-offset", 1), "STATUS_INVALID_PARAMETER"),
                              (("--output-length", 15), "STATUS_BUFFER_TOO_SMALL"),
                              (("--filter", "scan=1"), "STATUS_OFFLOAD_WRITE_FLT_NOT_SUPPORTED"),
                              (("--lock", "shared:0:4K:own", "--access", "both"), "STATUS_FILE_LOCK_CONFLICT"),
                              (("--set-eof", "128K", "--offset", "96K"), "STATUS_INVALID_PARAMETER")):
            with self.subTest(words):
                if status:
                    self.expect(self.write(*zero, *words), status)
                else:
                    self.assertEqual(self.write(*zero, *words)[0], 1)
        self.expect(self.write("--token-hex", "00", "--length", "4K"), "STATUS_INVALID_TOKEN", ["WRITE USING TOKEN"])
        self.expect(self.write(*zero), "STATUS_SUCCESS", ["WRITE USING TOKEN"])
        status, text = odx("fsctl", "offload-write", self.there, *map(str, zero))
        self.assertEqual(status, 0)
        for words in (r"nt status +STATUS_SUCCESS \(0x00000000\)", r"length written bytes +4096", "WRITE USING TOKEN"):
            self.assertRegex(text, words)

    def test_usage(self):
        for words in (("fsctl",), ("fsctl", "offload-write", self.there), ("fsctl", "offload-read", "/tmp/x"),
                      ("fsctl", "offload-write", self.there, "--token-hex", "0"),
                      ("fsctl", "offload-read", self.file, "--lock", "some:0:1"),
                      ("fsctl", "offload-read", self.file, "--access", "all"),
                      ("cp", self.file), ("cp", self.file, self.urls[1]), ("cp", self.file, f"{self.urls[1]}#x/y"),
                      ("cp", self.file, f"{self.urls[1]}#/a:b/c"), ("ls",), ("ls", "/tmp"), ("extents", self.urls[0])):
            with self.subTest(words):
                self.assertEqual(odx(*words)[0], 2)
        for words in (("cp",), ("ls",), ("extents",), ("fsctl",), ("fsctl", "offload-read"),
                      ("fsctl", "offload-write")):
            self.assertEqual(odx(*words, "--help")[0], 0)


class OtherVolumesTest(CopyTest):
    def test_what_is_no_ntfs_is_named(self):
        fat = self.folder / "fat.img"
        with open(fat, "wb") as file:
            file.truncate(16 * MIB)
        run("mkfs.vfat", fat)
        source = self.image("source", "--table", "mbr", files=("file,size=1M",))
        urls = self.serve(source, fat)
        status, document = report("cp", f"{urls[0]}#/file", f"{urls[1]}#/file")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_UNRECOGNIZED_VOLUME"))
        self.assertIn("the volume holds FAT, not NTFS", document["reason"])
        status, document = report("ls", urls[1])
        self.assertEqual((status, document["volumes"][0]["file_system"]), (0, "FAT"))
        status, document = report("fsctl", "offload-write", f"{urls[1]}#", "--token", "zero", "--length", "4K")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_INVALID_DEVICE_REQUEST"))
        status, document = report("cp", f"{urls[0]}#2/file", self.folder)
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_NO_SUCH_DEVICE"))
        self.assertIn("there is no partition 2; partitions: 1: NTFS", document["reason"])
        status, document = report("cp", f"{urls[0]}#/missing", self.folder)
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_OBJECT_NAME_NOT_FOUND"))
        self.assertEqual(report("cp", f"{urls[0]}#1\\file", self.folder)[0], 0)
        self.assertEqual(report("cp", f"{urls[0]}#/file", f"{urls[0]}#/file/x")[0], 1)
        self.assertEqual(report("cp", f"{urls[0]}#/file", f"{urls[0]}#/file", f"{urls[0]}#/file")[0], 1)

    def test_a_name_that_leads_elsewhere_is_not_followed(self):
        evil = self.image("evil", files=("tree/outXside,size=1000", "tree/good,size=1000"))
        image = evil.path.read_bytes()
        name = "outXside".encode("utf-16-le")
        self.assertGreaterEqual(image.count(name), 2)  # its record and its directory
        evil.path.write_bytes(image.replace(name, "out/side".encode("utf-16-le")))
        (url,) = self.serve(evil)
        local = self.folder / "local"
        local.mkdir()
        status, document = report("cp", "-r", f"{url}#/tree", f"{local}/new")
        self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_OBJECT_NAME_INVALID"))
        self.assertEqual([path.name for path in (local / "new").iterdir()], ["good"])

    def test_a_damaged_record_is_one_file_and_the_others_go_on(self):
        source = self.image("source", files=("tree/bad,size=2000", "tree/good,size=2000"))
        image = bytearray(source.path.read_bytes())
        name = "bad".encode("utf-16-le")
        records = [at for at in range(0, len(image), 1024)
                   if image[at:at + 4] == b"FILE" and name in image[at + 0x38:at + 1024]
                   and "good".encode("utf-16-le") not in image[at:at + 1024]]
        self.assertEqual(len(records), 1)
        image[records[0]:records[0] + 4] = b"BAAD"
        source.path.write_bytes(image)
        (url,) = self.serve(source)
        status, document = report("ls", f"{url}#/tree")
        listed = {row["name"]: row for row in document["files"]}
        self.assertEqual((status, listed["good"]["size"]), (0, 2000))
        self.assertTrue(listed["bad"]["kind"][0].startswith("STATUS_"), listed["bad"])
        local = self.folder / "local"
        status, document = report("cp", "-r", f"{url}#/tree", local)
        self.assertEqual((status, document["files"], document["failed"]), (1, 1, 1))
        self.assertEqual([path.name for path in local.iterdir()], ["good"])

    def test_two_processes_do_not_mount_one_volume_when_one_of_them_writes(self):
        source = self.image("source", files=("file,size=1M",))
        other = self.image("other")
        urls = self.serve(source, other)
        fifo = self.folder / "input"
        os.mkfifo(fifo)
        # It has the volume mounted while it waits for its input.
        with subprocess.Popen([ODX, "fsctl", "offload-write", f"{urls[1]}#/new", "--set-eof", "64K", "--input-file",
                               fifo], stdout=subprocess.DEVNULL) as holder:
            with open(fifo, "wb"):  # returns when it reads
                status, document = report("cp", f"{urls[0]}#/file", f"{urls[1]}#/file")
                self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_DEVICE_BUSY"))
                self.assertIn("another odx of this machine uses this volume", document["reason"])
                status, document = report("ls", f"{urls[1]}#/")
                self.assertEqual((status, document["nt_status"]["name"]), (1, "STATUS_DEVICE_BUSY"))
                self.assertIn("another odx of this machine writes to this volume", document["reason"])
            holder.wait()
        self.assertEqual(report("cp", f"{urls[0]}#/file", f"{urls[1]}#/file")[0], 0)


if __name__ == "__main__":
    unittest.main()
