"""What the tests of the Windows tools stand on: the program built by mingw-w64, Wine, and the PowerShell grammar."""
import atexit
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / "scripts/windows/Odx"
BUILD = ROOT / "build-windows"
# Debian's package wine64 puts its program beside its libraries; others put it on the path.
WINE_PLACES = ("wine64", "/usr/lib/wine/wine64", "wine")


def tool(*names):
    for name in names:
        if found := shutil.which(name):
            return found
    raise AssertionError(f"{names[0]} is not installed; scripts/setup windows installs it")


@functools.cache
def scratch():
    """A folder that is gone when the tests end."""
    folder = tempfile.mkdtemp(prefix="odx-windows-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def program():
    """odx-fsctl.exe, from sources no newer than itself."""
    tool("x86_64-w64-mingw32-g++")
    exe = BUILD / "odx-fsctl.exe"
    sources = [ROOT / "scripts/windows/build", *(ROOT / "scripts/windows/fsctl").iterdir()]
    if not exe.exists() or exe.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        done = subprocess.run([ROOT / "scripts/windows/build", BUILD], text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    return exe


@functools.cache
def wine_environment():
    """A Windows of our own, made once."""
    prefix = scratch() / "prefix"
    prefix.mkdir()
    environment = {**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": "-all", "WINEARCH": "win64",
                   "WINEDLLOVERRIDES": "mscoree=;mshtml=;winemenubuilder.exe=", "LC_ALL": "C.UTF-8"}
    environment.pop("DISPLAY", None)
    wine = tool(*WINE_PLACES)
    server = Path(os.path.realpath(wine)).parent / "wineserver"
    if server.exists():  # -p keeps the services of this prefix between two runs; -k ends them, and nothing else
        subprocess.run([server, "-p"], env=environment, timeout=60, check=True)
        atexit.register(subprocess.run, [server, "-k", "-w"], env=environment, timeout=60, check=False)
    status, _, error = finish([wine, "wineboot", "--init"], environment)
    assert status == 0, error
    return environment


def finish(command, environment, folder=None):
    """(exit code, output, error output). Files and not pipes: Wine's services inherit them and live on."""
    with tempfile.TemporaryFile(dir=scratch()) as output, tempfile.TemporaryFile(dir=scratch()) as error:
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=error, timeout=300, check=False)
        output.seek(0)
        error.seek(0)
        return done.returncode, output.read().decode("utf-8"), error.read().decode("utf-8")


def run(*arguments):
    """Runs odx-fsctl under Wine in the scratch folder."""
    return finish([tool(*WINE_PLACES), program(), *map(str, arguments)], wine_environment(), scratch())


@functools.cache
def grammar():
    """The folder node_modules that package-lock.json names, installed once into .cache/."""
    lock = HERE / "package-lock.json"
    folder = ROOT / ".cache" / f"windows-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        # No script of a package runs: both are files to read.
        command = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    return folder / "node_modules"


def parse(*files):
    """What parse.mjs says of each file."""
    # Optimising the grammar of some megabytes takes V8 longer than running it, and delays the exit.
    command = [tool("node"), "--liftoff-only", HERE / "parse.mjs", grammar(), *files]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {Path(name): report for name, report in json.loads(done.stdout).items()}
