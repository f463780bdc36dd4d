@{
    RootModule           = 'Odx.psm1'
    ModuleVersion        = '0.1.0'
    GUID                 = '5c0f2c1b-6f0e-4b0c-9c38-0b7f6a1d3e52'
    Author               = 'The odx authors'
    Description          = 'An iSCSI target with ODX on a Windows host: attach, format, check, copy, verify, detach.'
    PowerShellVersion    = '5.1'
    CompatiblePSEditions = @('Desktop', 'Core')
    FunctionsToExport    = @(
        'Compare-OdxFile'
        'Connect-OdxTarget'
        'Copy-OdxFile'
        'Disconnect-OdxTarget'
        'Get-OdxDisk'
        'Get-OdxProperty'
        'Initialize-OdxDisk'
        'Reset-OdxVolume'
        'Test-OdxCopy'
    )
    CmdletsToExport      = @()
    VariablesToExport    = @()
    AliasesToExport      = @()
}
