#!/usr/bin/env python3
"""`odx cp -r` of random volumes, compared file by file:

    cp_properties_test.py ODXD ODX NTFS_IMAGE [--seed N] [--seconds N]

Sectors of 512 and 4096 bytes, clusters from a sector to 64 KiB, with and without partitions, fragmented files on
fragmented volumes, sizes around all the limits, valid data lengths, streams. What arrives is read by ntfscat and by
libfsntfs and compared with what ntfs_image wrote.

Not tested, and why: more than one partition on a disk (the images have one); encrypted files (nobody can read them
here).
"""
import argparse
import random
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ntfs_volumes import (  # noqa: E402  pylint: disable=wrong-import-position
    CopyTest, KIB, MIB, Readers, report, sha256)

SEED, SECONDS = 0, 20
LIMITS = (0, 1, 511, 512, 700, 4095, 4096, 65536, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, MIB, 3 * MIB + 513)


def random_size(chance):
    size = chance.choice(LIMITS)
    return size if chance.random() < 0.5 else chance.randrange(4 * MIB)


def random_file(chance, name, cluster, main=""):
    """Words of ntfs_image for a file, or for a stream of the file that `main` has the words of."""
    words = [name]
    size = random_size(chance)
    words.append(f"size={size}")
    # What is resident or compressed, as the streams of a compressed file are, has no valid data length of its own.
    if size > KIB and "compressed" not in main and chance.random() < 0.4:
        words.append(f"vdl={chance.choice((0, size, chance.randrange(size + 1)))}")
    elif size >= 4096 and ":" not in name and chance.random() < 0.25:
        words.append("kind=" + chance.choice(("sparse", "compressed") if cluster <= 4096 else ("sparse",)))
    if "kind" not in words[-1] and chance.random() < 0.6:
        words.append(f"runs={chance.choice((2, 5, 20, 70))}")
    return ",".join(words)


def random_image_words(chance):
    sector = chance.choice((512, 512, 4096))
    cluster = chance.choice([size for size in (512, 1024, 4096, 4096, 16384, 65536) if size >= sector])
    table = chance.choice(("none", "mbr", "gpt"))
    return ("--size", 64 * MIB, "--sector", sector, "--cluster", cluster, "--table", table, "--seed",
            chance.randrange(1 << 30)), cluster


class RandomVolumesTest(CopyTest):
    def test_what_arrives_is_what_was_there(self):
        chance = random.Random(SEED)
        print(f"seed {SEED}", flush=True)
        started = time.monotonic()
        rounds = files = offloaded = 0
        while rounds == 0 or time.monotonic() - started < SECONDS:
            with self.subTest(seed=SEED, round=rounds):
                copied = self.round(chance, rounds)
                files += copied["files"]
                offloaded += copied["offloaded_bytes"]
            rounds += 1
        print(f"{rounds} pairs of volumes, {files} files, {offloaded >> 20} MiB offloaded")
        self.assertGreater(offloaded, 0)

    def round(self, chance, number):
        words, cluster = random_image_words(chance)
        names = [f"d/{i}" if i % 2 else f"d/e/{i}" for i in range(chance.randrange(2, 7))]
        files = [random_file(chance, name, cluster) for name in names]
        files += [random_file(chance, f"{names[0]}:s{i}", cluster, files[0]) for i in range(chance.randrange(3))]
        source = self.image(f"source{number}", *words, files=files)
        words, cluster = random_image_words(chance)
        # What is there makes the free space fragmented.
        other = self.image(f"other{number}", *words, files=[f"x,size={4 * MIB},runs=100"])
        urls = self.serve(source, other)
        status, document = report("cp", "-r", f"{urls[0]}#/d", f"{urls[1]}#/")
        self.end()
        self.assertEqual((status, document["failed"]), (0, 0), document.get("failures"))
        with Readers(other) as readers:
            readers.check()
            for name, made in source.files.items():
                self.assertEqual(sha256(readers.read(name)), made["sha256"], (name, made))
            self.assertEqual(sha256(readers.read("x")), other.files["x"]["sha256"])
        for image in (source, other):
            for path in self.folder.glob(f"{image.path.stem}.*"):
                path.unlink()
        return document


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options, rest = parser.parse_known_args()
    SEED, SECONDS = options.seed, options.seconds
    unittest.main(argv=[sys.argv[0], *rest])
