#!/usr/bin/env python3
"""The PowerShell module for Windows hosts, read and not run: syntax, help, manifest, and what may destroy data.

Not tested, and why: what the cmdlets do. There is no PowerShell here and no Windows below it; Odx.Tests.ps1 is for a
person at a Windows host, and docs/testing.md has the steps by hand.
"""
import re
import subprocess
import unittest

from tools import MODULE, parse, scratch, tool

# What Windows and PowerShell 5.1 bring, by module. A call of anything else is a slip of the pen.
CMDLETS = set("""
Add-Type Export-ModuleMember ForEach-Object Get-Command Get-FileHash Get-Item Get-ItemProperty Get-PSDrive Import-Module
Join-Path New-Object Out-Null Copy-Item Select-Object Set-Service Set-StrictMode Start-Service Start-Sleep Test-Path
Where-Object Write-Error Write-Progress ConvertFrom-Json ConvertTo-Json Invoke-RestMethod Measure-Object
Connect-IscsiTarget Disconnect-IscsiTarget Get-IscsiSession Get-IscsiTarget Get-IscsiTargetPortal New-IscsiTargetPortal
Remove-IscsiTargetPortal Set-IscsiChapSecret Unregister-IscsiSession Update-IscsiTargetPortal
Clear-Disk Format-Volume Get-Disk Get-Partition Get-Volume Initialize-Disk New-Partition Set-Disk
Update-HostStorageCache Write-VolumeCache
Get-BitLockerVolume
AfterAll AfterEach BeforeAll Describe It Should
compact.exe fltmc.exe
""".split())
VERBS = {"Assert", "Compare", "Connect", "ConvertFrom", "Copy", "Disconnect", "Get", "Initialize", "Invoke", "New",
         "Remove", "Reset", "Set", "Step", "Stop", "Test", "Wait"}
# Calls that change the host or the array, or lose data: only after ShouldProcess has said yes.
CHANGES = re.compile(r"(Set-Service|Set-Disk|Clear-Disk|Initialize-Disk|New-Partition|Format-Volume|"
                     r"Connect-IscsiTarget|Disconnect-IscsiTarget|"
                     r"Invoke-OdxControl -Method (Post|Put|Patch|Delete)|Set-IscsiChapSecret|"
                     r"Remove-IscsiTargetPortal|\[Odx\.Native\]::Copy)\b")
BROKEN = ["if ($a { 1 }", '$x = "abc', "foo | | bar", "function x { foo } }", "@{ a = 1; b", "param([int $a)",
          "try { foo }}", "foreach ($a on $b) { }", "$a = @(1, 2", "@'\nabc"]
ONLY_IN_7 = ["$a = $b ? 1 : 2", "$a = $b ?? 2", "$a ??= 2", "$a = ${b}?.c", "foo && bar", "foo || bar"]
FILES = sorted(MODULE.glob("*.ps*1"))


def code_of(text):
    """Without comments and help."""
    return re.sub(r"<#.*?#>|#[^\n]*", "", text, flags=re.S)


def wrong_with(report):
    """Syntax errors, and syntax that Windows PowerShell 5.1 does not have."""
    found = [f"{error['line']}:{error['column']}: {error['text']}" for error in report["errors"]]
    return found + ["a pipeline chain, of PowerShell 7"] * report["nodes"].get("pipeline_chain_tail", 0)


class Syntax(unittest.TestCase):
    def test_every_file_parses(self):
        self.assertGreater(len(FILES), 6)
        for path, report in parse(*FILES).items():
            self.assertEqual(wrong_with(report), [], path.name)

    def test_what_is_broken_is_seen(self):
        snippets = BROKEN + ONLY_IN_7
        paths = []
        for number, snippet in enumerate(snippets):
            paths.append(scratch() / f"broken{number}.ps1")
            paths[-1].write_text(snippet + "\n")
        for snippet, report in zip(snippets, parse(*paths).values()):
            self.assertTrue(wrong_with(report), snippet)

    def test_files_are_ascii(self):
        """Windows PowerShell 5.1 reads a file without a mark in the code page of the host."""
        for path in FILES:
            self.assertTrue(path.read_bytes().isascii(), path.name)


class Module(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reports = parse(*FILES)
        cls.functions = {f["name"]: f for report in cls.reports.values() for f in report["functions"]}
        manifest = (MODULE / "Odx.psd1").read_text()
        cls.exported = re.findall(r"'(\S+)'", re.search(r"FunctionsToExport\s*= @\((.*?)\)", manifest, re.S)[1])

    def test_manifest_exports_each_function_with_help(self):
        helped = {name for name, function in self.functions.items() if ".SYNOPSIS" in function["text"]}
        self.assertEqual(sorted(helped), self.exported)

    def test_root_module_loads_every_file(self):
        loaded = set(re.findall(r"'(\w+\.ps1)'", (MODULE / "Odx.psm1").read_text()))
        self.assertEqual(loaded, {p.name for p in MODULE.glob("*.ps1")} - {"Odx.Tests.ps1"})

    def test_help_is_whole(self):
        for name in self.exported:
            function = self.functions[name]
            block = re.search(r"<#(.*?)#>", function["text"], re.S)[1]
            for section in (".SYNOPSIS", ".DESCRIPTION", ".EXAMPLE"):
                self.assertIn(section, block, name)
            self.assertEqual(re.findall(r"\.PARAMETER (\w+)", block), function["parameters"], name)
            self.assertIn("[CmdletBinding(", function["text"], name)

    def test_names_are_verbs_and_odx(self):
        for name in self.functions:
            verb, _, noun = name.partition("-")
            self.assertIn(verb, VERBS, name)
            self.assertTrue(noun.startswith("Odx"), name)

    def test_every_call_is_of_something_that_is_there(self):
        for path, report in self.reports.items():
            for command in report["commands"]:
                self.assertIn(command["name"], CMDLETS | set(self.functions), f"{path.name}:{command['line']}")

    def test_nothing_changes_before_should_process(self):
        seen = 0
        for name, function in self.functions.items():
            code = code_of(function["text"])
            if not (change := CHANGES.search(code)):
                continue
            seen += 1
            self.assertIn("SupportsShouldProcess = $true", code, name)
            asked = code.find("$PSCmdlet.ShouldProcess(")
            self.assertTrue(0 <= asked < change.start(), f"{name}: {change[0]} before ShouldProcess")
        self.assertEqual(seen, 10)

    def test_requests_are_of_the_control_interface(self):
        """Each path, with its method, and each key of a body or query, against the tables that odxd serves by."""
        sources = {path.name: path.read_text() for path in (MODULE.parents[2] / "target" / "control").glob("*.cc")}
        served = set()
        for text in sources.values():
            served |= {(path, (method or "get").replace("remove", "delete")) for method, path in
                       re.findall(r'\{(?:\.method = Method::(\w+),\s*)?\.path = "([^"]+)"', text)}
            served |= {(path, "post") for path in re.findall(r'ending\("([^"]+)"', text)}
        code = code_of((MODULE / "Control.ps1").read_text())
        asked = {(path.partition("?")[0], "get") for path in re.findall(r"\"(/v1/[a-z/]+\?)", code)}
        variables = dict(re.findall(r"\$(path) = '([^']+)'", code))
        for name, function in self.functions.items():
            text = code_of(function["text"])
            paths = re.findall(r"""\$path = ['"](/[^'"]+)['"]""", text)
            requests = re.findall(r"""Invoke-OdxControl -Method (\w+) -Path (?:['"](/[^'"]*)['"]|\S)""", text)
            for method, literal in requests:
                asked |= {(path, method.lower()) for path in ([literal] if literal else paths)}
        ends = re.findall(r"= '(expire|revoke|cancel|delete)'", code)
        self.assertEqual(len(ends), 4)
        self.assertTrue(variables)
        whole = set()
        for path, method in asked:
            path = path.replace("/tokens/$Id/$($ways[$As])", "/tokens/{id}/$").replace("$Id", "{id}")
            whole |= {(path.replace("$", end), method) for end in ends} if path.endswith("$") else {(path, method)}
        self.assertEqual(whole - served, set())
        self.assertGreater(len(whole), 12)
        known = set(re.findall(r'\.name = "(\w+)"', "".join(sources.values()))) | {"action", "name", "match"}
        keys = set(re.findall(r"\$(?:body|rule|query)\.(\w+) =", code))
        for table in re.findall(r"\$(?:body|rule|query) = @\{(.*?)\}", code):
            keys |= set(re.findall(r"(\w+) = ", table))
        keys |= set(re.findall(r"\?(\w+)=\$", code))
        self.assertGreaterEqual(keys, {"mode", "factor", "duration_s", "to", "since", "wait_s", "source"})
        self.assertEqual(keys - known, set())

    def test_a_disk_is_cleared_only_after_it_was_found_to_be_the_target_s(self):
        code = code_of(self.functions["Initialize-OdxDisk"]["text"])
        for call in ("Set-Disk", "Clear-Disk", "Initialize-Disk", "New-Partition", "Format-Volume"):
            self.assertLess(code.index("Assert-OdxDisk "), code.index(call), call)
        everywhere = [name for name, f in self.functions.items()
                      if re.search("Clear-Disk|Initialize-Disk|Format-Volume", code_of(f["text"]))]
        self.assertEqual(everywhere, ["Initialize-OdxDisk"])


class Native(unittest.TestCase):
    """The C# that Add-Type compiles on the host."""

    @classmethod
    def setUpClass(cls):
        cls.source = re.search(r"@'\n(.*?)\n'@", (MODULE / "Native.ps1").read_text(), re.S)[1]

    def test_it_is_of_the_version_that_windows_powershell_compiles(self):
        path = scratch() / "native.cs"
        path.write_text(self.source)
        done = subprocess.run([tool("mcs"), "-langversion:5", "-warnaserror", "-target:library", path], text=True,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_numbers_are_those_of_the_headers(self):
        """Offsets and constants against mingw-w64's winbase.h and winioctl.h, by its compiler."""
        assigned = r"chunk\.(\w+) = \(?\(?u?\w*\)?\(?Marshal\.ReadInt\d+\(message, ([^)]+)\)"
        chunk = dict(re.findall(assigned, self.source))
        base = "offsetof(COPYFILE2_MESSAGE, Info)"
        spelled = {"Stream": "dwStreamNumber", "Offloaded": "dwFlags", "Number": "uliChunkNumber",
                   "Size": "uliChunkSize", "FileBytes": "uliTotalFileSize", "TotalBytes": "uliTotalBytesTransferred"}
        self.assertEqual(set(chunk), set(spelled))
        lines = ["#include <cstddef>", "#define _WIN32_WINNT 0x0602", "#include <windows.h>", "#include <winioctl.h>",
                 "using Finished = decltype(COPYFILE2_MESSAGE::Info.ChunkFinished);",
                 "constexpr unsigned numbers = 16 + 2 * sizeof(void*);",
                 "static_assert(offsetof(COPYFILE2_MESSAGE, Type) == 0);",
                 "static_assert(sizeof(COPYFILE2_EXTENDED_PARAMETERS) == 32);",
                 "static_assert(offsetof(WIN32_FIND_DATAW, ftCreationTime) == 4);",
                 "static_assert(offsetof(WIN32_FIND_DATAW, dwReserved0) == 36);"]
        lines += [f"static_assert({chunk[ours]} == {base} + offsetof(Finished, {theirs}));"
                  for ours, theirs in spelled.items()]
        for ours, theirs in {"IoctlStorageQueryProperty": "IOCTL_STORAGE_QUERY_PROPERTY",
                             "FsctlGetRetrievalPointers": "FSCTL_GET_RETRIEVAL_POINTERS",
                             "CopyFileFailIfExists": "COPY_FILE_FAIL_IF_EXISTS",
                             "CopyFileNoOffload": "COPY_FILE_NO_OFFLOAD",
                             "MessageChunkFinished": "COPYFILE2_CALLBACK_CHUNK_FINISHED",
                             "ChunkOffloaded": "COPYFILE2_MESSAGE_COPY_OFFLOAD", "ErrorHandleEof": "ERROR_HANDLE_EOF",
                             "ErrorMoreData": "ERROR_MORE_DATA"}.items():
            value = re.search(rf"const u?int {ours} = (\w+);", self.source)[1]
            lines.append(f"static_assert({value} == {theirs});")
        path = scratch() / "numbers.cc"
        path.write_text("\n".join(lines) + "\n")
        done = subprocess.run([tool("x86_64-w64-mingw32-g++"), "-std=c++20", "-fsyntax-only", path], text=True,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
