"""The initramfs of the VM: programs with their libraries, kernel modules with what they need, and `init`.

Written as an uncompressed cpio archive of the "newc" form (cpio(5)), which is quicker to boot than to unpack.
"""
import re
import stat
import subprocess
from pathlib import Path

import packages

HERE = Path(__file__).resolve().parent
PROGRAMS = ("kmod", "iscsid", "iscsiadm", "multipath", "multipathd", "dmsetup", "tcmu-runner",
            "sg_inq", "sg_vpd", "sg_readcap", "sg_luns", "sg_turs", "sg_persist", "sg_raw", "sg_xcopy", "sg_opcodes",
            "sg_modes", "sg_unmap", "sg_write_same", "sg_get_lba_status", "sg_copy_results", "sg_compare_and_write",
            "sg_verify", "sg_sync", "sg_reset", "sg_logs", "sg_requests",
            "ddpt", "ddptctl", "fio", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mkntfs", "ntfs-3g", "ntfsfix",
            "fstrim", "blkdiscard", "blockdev", "lsblk", "systemd-udevd", "udevadm", "scsi_id", "ss")
MODULES = ("virtio_pci", "virtio_console", "sd_mod", "sg", "iscsi_tcp", "crc32c_generic", "crc32c_intel", "ext4", "xfs",
           "fuse", "dm_multipath", "dm_service_time", "scsi_dh_alua", "uio", "configfs", "target_core_mod",
           "target_core_user", "tcm_loop", "iscsi_target_mod")
# Opened while they run, so that no dynamic linker names them.
PLUGINS = ("lib/multipath/*.so", "usr/lib/x86_64-linux-gnu/tcmu-runner/handler_file_zbc.so")
RULES = ("50-udev-default.rules", "55-dm.rules", "60-block.rules", "60-persistent-storage.rules",
         "60-persistent-storage-dm.rules", "95-dm-notify.rules", "56-dm-mpath.rules", "60-multipath.rules")
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def cpio_entry(name, mode, data=b"", number=0):
    header = b"070701" + b"".join(b"%08x" % field for field in
                                  (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    head = header + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


class Image:
    """Files by their path in the VM."""

    def __init__(self):
        self.entries = {}
        for folder in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "proc", "sys", "dev", "run",
                       "tmp", "mnt", "root", "var/lib", "var/log", "var/tmp", "etc"):
            self.folder(folder)
        for short in ("bin", "sbin", "lib", "lib64"):
            self.link(short, f"usr/{short}")
        self.link("var/run", "/run")
        self.link("var/lock", "/run/lock")

    def folder(self, path):
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            self.entries.setdefault("/".join(parts[:count]), (stat.S_IFDIR | 0o755, b""))

    def link(self, path, target):
        self.folder(str(Path(path).parent))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def file(self, path, data, executable=False):
        self.folder(str(Path(path).parent))
        self.entries[path] = (stat.S_IFREG | (0o755 if executable else 0o644), data)

    def program(self, source, path=None):
        """A program or a shared object, and the libraries it names."""
        source = Path(source)
        path = path or f"usr/bin/{source.name}"
        self.file(path, source.read_bytes(), executable=True)
        linked = subprocess.run(["ldd", str(source.resolve())], env={"LD_LIBRARY_PATH": packages.library_path()},
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                                check=False).stdout
        if lost := re.findall(r"(\S+) => not found", linked):
            raise packages.PackageError(f"{source}: no library {' '.join(lost)}")
        for library in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", linked, re.M):
            target = "usr/lib64/" if "ld-linux" in library else f"{LIBRARIES}/"
            if (name := target + Path(library).name) not in self.entries:
                self.file(name, Path(library).read_bytes(), executable=True)

    def modules(self, version, names):
        """Kernel modules, and those they depend on."""
        base = packages.UNPACKED / "lib/modules" / version
        needs = {}
        for line in (base / "modules.dep").read_text().splitlines():
            module, _, others = line.partition(":")
            needs[Path(module).name.removesuffix(".ko").replace("-", "_")] = [module, *others.split()]
        for name in names:
            for module in needs.get(name, ()):  # what is missing is built in
                self.file(f"usr/lib/modules/{version}/{module}", (base / module).read_bytes())
        for path in base.glob("modules.*"):
            self.file(f"usr/lib/modules/{version}/{path.name}", path.read_bytes())

    def write(self, path):
        with open(path, "wb") as archive:
            for number, name in enumerate(sorted(self.entries)):
                mode, data = self.entries[name]
                archive.write(cpio_entry(name, mode, data, number))
            archive.write(cpio_entry("TRAILER!!!", 0))


def kernel():
    return next((packages.UNPACKED / "boot").glob("vmlinuz-*"))


def build(path, programs, handler):
    """Writes the initramfs: `programs` of ours go to usr/bin, our plugin (where there is one) to the other handlers."""
    image = Image()
    root = packages.unpacked()
    for name in PROGRAMS:
        image.program(packages.find_program(name), f"usr/bin/{name}")
    image.program(packages.find_program("busybox"), "usr/bin/busybox")
    image.link("usr/bin/sh", "busybox")
    image.link("usr/sbin/modprobe", "../bin/kmod")
    image.link("usr/lib/udev/scsi_id", "/usr/bin/scsi_id")
    for pattern in PLUGINS:
        for source in root.glob(pattern):
            image.program(source, f"usr/{source.relative_to(root)}".replace("usr/usr/", "usr/"))
    # The C library opens it by name when a thread is cancelled; without it tcmu-runner aborts there.
    image.program("/lib/x86_64-linux-gnu/libgcc_s.so.1", f"{LIBRARIES}/libgcc_s.so.1")
    for name in RULES:
        places = (root / "lib/udev/rules.d", root / "usr/lib/udev/rules.d", Path("/lib/udev/rules.d"))
        source = next(place / name for place in places if (place / name).exists())
        image.file(f"usr/lib/udev/rules.d/{name}", source.read_bytes())
    for source in programs:
        image.program(source)
    if handler.exists():
        image.program(handler, f"{LIBRARIES}/tcmu-runner/handler_odx.so")
    image.program(HERE / "disk-of")
    image.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    groups = ("root", "disk", "tty", "kmem", "input", "video", "audio", "lp", "cdrom", "tape", "dialout", "render",
              "kvm")
    image.file("etc/group", "".join(f"{name}:x:{number}:\n" for number, name in enumerate(groups)).encode())
    image.file("init", (HERE / "init").read_bytes(), executable=True)
    image.modules(kernel().name.removeprefix("vmlinuz-"), MODULES)
    image.write(path)
