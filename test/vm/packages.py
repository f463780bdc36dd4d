"""The Debian packages whose programs run inside the VM, unpacked into .cache/vm/root and installed nowhere.

apt fetches them with what they depend on and this machine does not have; everything else is taken from the machine.
So no daemon of theirs is started here, no kernel is set up for booting, and nothing is removed to make room.
"""
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "vm"
UNPACKED = CACHE / "root"
PROGRAMS = ("busybox-static", "kmod", "udev", "open-iscsi", "multipath-tools", "tcmu-runner", "sg3-utils", "ddpt",
            "fio", "e2fsprogs", "xfsprogs", "ntfs-3g")
LIMIT_S = 600


class PackageError(Exception):
    """A package cannot be had."""


def output_of(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise PackageError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def kernel_package():
    """The image that linux-image-amd64 stands for today."""
    for line in output_of("apt-cache", "depends", "linux-image-amd64").splitlines():
        if line.strip().startswith("Depends: linux-image-"):
            return line.split()[1]
    raise PackageError("apt knows no linux-image-amd64")


def fetch(folder):
    output_of("apt-get", "install", "--download-only", "-y", "-qq", "--no-install-recommends", "--reinstall",
              "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=", "-o", f"Dir::Cache::archives={folder}",
              "-o", f"Dir::Cache::pkgcache={folder}/pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=",
              kernel_package(), *PROGRAMS)


def download(folder):
    (folder / "partial").mkdir(parents=True)
    try:
        fetch(folder)
    except PackageError:  # apt may know nothing yet, or of packages that are no longer there
        output_of("apt-get", "update", "-qq")
        fetch(folder)


def unpacked():
    """The folder with the packages; downloads and unpacks them when this list of programs was not there before."""
    stamp = CACHE / "programs"
    wanted = " ".join(PROGRAMS)
    if stamp.is_file() and stamp.read_text() == wanted:
        return UNPACKED
    shutil.rmtree(CACHE, ignore_errors=True)
    debs = CACHE / "debs"
    download(debs)
    UNPACKED.mkdir()
    for deb in sorted(debs.glob("*.deb")):
        output_of("dpkg-deb", "-x", str(deb), str(UNPACKED))
    shutil.rmtree(debs)
    depmod = find_program("kmod")
    for version in (UNPACKED / "lib/modules").iterdir():
        link = CACHE / "depmod"
        link.symlink_to(depmod)
        output_of(str(link), "-b", str(UNPACKED), version.name)
    stamp.write_text(wanted)
    return UNPACKED


def behind_links(path, folder):
    """The file that a link of a package leads to; an absolute one starts at the folder the package was unpacked in."""
    while path.is_symlink():
        path = folder / os.path.join("/", path.relative_to(folder).parent, path.readlink()).lstrip("/")
    return path


def find_program(name):
    """Where a program is: in the packages, else on this machine."""
    for folder in (UNPACKED, Path("/")):
        for place in ("usr/bin", "usr/sbin", "bin", "sbin", "lib/systemd", "usr/lib/udev", "lib/udev"):
            path = behind_links(folder / place / name, folder)
            if path.is_file():
                return path
    raise PackageError(f"no program {name} in the packages or on this machine")


def library_path():
    """Where the dynamic linker finds the libraries of the packages before those of the machine."""
    places = [UNPACKED / place for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib", "usr/lib")]
    return os.pathsep.join(str(place) for place in places if place.is_dir())
