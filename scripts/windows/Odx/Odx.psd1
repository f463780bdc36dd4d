@{
    RootModule           = 'Odx.psm1'
    ModuleVersion        = '0.1.0'
    GUID                 = '5c0f2c1b-6f0e-4b0c-9c38-0b7f6a1d3e52'
    Author               = 'The odx authors'
    Description          = 'An iSCSI target with ODX on a Windows host: attach, format, copy, verify, steer, detach.'
    PowerShellVersion    = '5.1'
    CompatiblePSEditions = @('Desktop', 'Core')
    FunctionsToExport    = @(
        'Compare-OdxFile'
        'Connect-OdxControl'
        'Connect-OdxTarget'
        'Copy-OdxFile'
        'Disconnect-OdxTarget'
        'Get-OdxClock'
        'Get-OdxCommandCount'
        'Get-OdxDisk'
        'Get-OdxEvent'
        'Get-OdxExplanation'
        'Get-OdxProperty'
        'Get-OdxRule'
        'Get-OdxToken'
        'Initialize-OdxDisk'
        'New-OdxRule'
        'Remove-OdxRule'
        'Reset-OdxVolume'
        'Set-OdxClock'
        'Step-OdxClock'
        'Stop-OdxToken'
        'Test-OdxCopy'
        'Wait-OdxEvent'
    )
    CmdletsToExport      = @()
    VariablesToExport    = @()
    AliasesToExport      = @()
}
