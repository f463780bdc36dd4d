"""What the tests of the Windows tools stand on: the program built by mingw-w64, Wine, and the PowerShell grammar."""
import atexit
import collections
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
GRAMMAR = ROOT / "test/data/tree-sitter"
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
    sources = [ROOT / "scripts/windows/build", *(ROOT / "scripts/windows/fsctl").iterdir(),
               *(ROOT / "host").glob("nt_status.*")]
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
def parser():
    """parse_powershell, compiled once for these sources and kept in .cache/."""
    core, powershell = GRAMMAR / "core", GRAMMAR / "powershell"
    sources = [HERE / "parse_powershell.c", *sorted(powershell.glob("*.c")), *sorted((core / "src").glob("*.c"))]
    command = [tool("gcc"), "-std=c11", "-D_DEFAULT_SOURCE", "-O1", "-I", core / "include", "-I", core / "src"]
    content = hashlib.sha256(repr(command[1:4]).encode())
    for path in [sources[0], *sorted(GRAMMAR.rglob("*.[ch]"))]:
        content.update(path.read_bytes())
    program = ROOT / ".cache" / f"parse_powershell-{content.hexdigest()[:16]}"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", sources[0]], text=True,
                              capture_output=True, check=False)
        if done.returncode == 0:
            done = subprocess.run([*command, "-w", "-o", unfinished, *sources], text=True, capture_output=True,
                                  check=False)
        assert done.returncode == 0, done.stderr
        unfinished.replace(program)
    return program


def inside(nodes, index):
    """The nodes below nodes[index]."""
    for node in nodes[index + 1:]:
        if node["depth"] <= nodes[index]["depth"]:
            return
        yield node


def report_of(nodes, content):
    """What module_test.py asks of a file: its errors, kinds of nodes, functions and commands."""
    def text(node):
        return content[node["start"]:node["end"]].decode("utf-8", "replace")

    report = {"errors": [], "nodes": collections.Counter(node["type"] for node in nodes), "functions": [],
              "commands": []}
    for index, node in enumerate(nodes):
        if node["wrong"]:
            said = f"missing {node['type']}" if node["wrong"] == "missing" else text(node)[:80]
            report["errors"].append({"line": node["line"], "column": node["column"], "text": said})
        if node["type"] == "function_statement":
            below = list(inside(nodes, index))
            block = next((i for i, inner in enumerate(below) if inner["type"] == "param_block"), None)
            parameters = list(inside(below, block)) if block is not None else []
            names = [next(v for v in inside(parameters, i) if v["type"] == "variable"
                          and v["depth"] == parameter["depth"] + 1)
                     for i, parameter in enumerate(parameters) if parameter["type"] == "script_parameter"]
            report["functions"].append({"name": text(next(n for n in below if n["type"] == "function_name")),
                                        "parameters": [text(name)[1:] for name in names], "text": text(node)})
        if node["type"] == "command_name":
            report["commands"].append({"line": node["line"], "name": text(node)})
    return report


def parse(*files):
    """A report for each file."""
    done = subprocess.run([parser(), *files], text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    nodes = [[] for _ in files]
    for line in done.stdout.splitlines():
        node = json.loads(line)
        nodes[node["file"]].append(node)
    return {path: report_of(found, path.read_bytes()) for path, found in zip(files, nodes)}
