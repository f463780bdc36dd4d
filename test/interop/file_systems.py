"""Small file systems in sparse images, mounted through loop devices, for what tests and measures file stores.

Mounts are made in a mount namespace of the program's own, so that however it ends nothing stays mounted.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IN_NAMESPACE = "ODX_MOUNT_NAMESPACE"
BLOCK = 4096
MKFS = {"xfs": ("mkfs.xfs", "-q"), "btrfs": ("mkfs.btrfs", "-q"), "ext4": ("mkfs.ext4", "-q", "-b", str(BLOCK))}
SHARING = {"xfs", "btrfs"}
SMALLEST = 320 << 20  # XFS takes no less than 300 MiB


class NoMount(Exception):
    """The machine does not let us mount (root and loop devices are needed)."""


class NoMkfs(Exception):
    """A package is missing."""


def enter_namespace():
    """Starts the program again in a mount namespace of its own, where that is permitted."""
    if IN_NAMESPACE in os.environ:
        return
    tried = subprocess.run(["unshare", "--mount", "true"], check=False, stderr=subprocess.DEVNULL)
    if tried.returncode == 0:
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])


class FileSystem:
    """A new file system of one kind, mounted at self.mount until close(). Its image lies in a folder of `where`."""

    def __init__(self, kind, size=SMALLEST, where=None):
        if IN_NAMESPACE not in os.environ:
            raise NoMount("no mount namespace: not permitted")
        mkfs = shutil.which(MKFS[kind][0], path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not mkfs:
            raise NoMkfs(f"{MKFS[kind][0]} is not installed (scripts/setup interop)")
        self.folder = Path(tempfile.mkdtemp(prefix="odx-file-system-", dir=where))
        self.mount = self.folder / "mount"
        self.mount.mkdir()
        image = self.folder / "image"
        with open(image, "wb") as file:
            file.truncate(size)
        subprocess.run([mkfs, *MKFS[kind][1:], str(image)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        mounted = subprocess.run(["mount", "-o", "loop", str(image), str(self.mount)], check=False, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if mounted.returncode != 0:
            shutil.rmtree(self.folder)
            raise NoMount(f"no loop mount: {mounted.stdout.strip()}")

    def close(self):
        subprocess.run(["umount", "--lazy", str(self.mount)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
