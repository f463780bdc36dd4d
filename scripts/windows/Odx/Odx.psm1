# The module: one file for each group of cmdlets, and the calls of Windows that PowerShell has no cmdlet for.
# Works in Windows PowerShell 5.1 and PowerShell 7. Needs an elevated session for everything but Copy-OdxFile
# and what steers an array.

Set-StrictMode -Version 3.0

$files = 'Native.ps1', 'Attach.ps1', 'Volume.ps1', 'Check.ps1', 'Copy.ps1', 'Control.ps1'
foreach ($file in $files) {
    . (Join-Path -Path $PSScriptRoot -ChildPath $file)
}
