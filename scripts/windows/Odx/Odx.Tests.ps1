# Pester 5, for a person at a Windows host: attaches, formats, copies, compares, detaches. It FORMATS every disk of the
# target. In an elevated session:
#   $data = @{ PortalAddress = '192.0.2.10'; NodeAddress = 'iqn.2026-11.example:disks' }
#   Invoke-Pester -Container (New-PesterContainer -Path .\Odx.Tests.ps1 -Data $data) -Output Detailed
# Needs a target with two disks of at least 4 GiB, whose content nobody misses. With
# ControlUri = 'http://192.0.2.10:3261' and ControlToken (a secure string) in $data the array is steered, too: clock,
# tokens and rules are then the test's.

param(
    [Parameter(Mandatory = $true)][string] $PortalAddress,
    [Parameter(Mandatory = $true)][string] $NodeAddress,
    [string] $ControlUri,
    [securestring] $ControlToken
)

BeforeAll {
    Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'Odx.psd1') -Force
    $disks = @(Connect-OdxTarget -PortalAddress $PortalAddress -NodeAddress $NodeAddress -DiskCount 2)
    $volumes = @($disks | Select-Object -First 2 | Initialize-OdxDisk -Clear -Confirm:$false)
    $source = "$($volumes[0].DriveLetter):\source.bin"
    $copy = "$($volumes[1].DriveLetter):\copy.bin"
    $bytes = New-Object -TypeName byte[] -ArgumentList 1MB
    $random = New-Object -TypeName System.Random -ArgumentList 1
    $stream = [System.IO.File]::Create($source)
    for ($i = 0; $i -lt 300; $i++) {
        $random.NextBytes($bytes)
        $stream.Write($bytes, 0, $bytes.Length)
    }
    $stream.Dispose()
}

AfterAll {
    Disconnect-OdxTarget -NodeAddress $NodeAddress -Confirm:$false
}

Describe 'A target with ODX' {
    It 'has disks on which Windows recognises ODX' {
        $disks | Get-OdxProperty | ForEach-Object { $_.Recognised | Should -BeTrue }
    }

    It 'passes every check' {
        Test-OdxCopy -Path $source -Destination $copy | Where-Object { $_.Passed -eq $false } | Should -BeNullOrEmpty
    }

    It 'offloads a copy between two disks, and the disk holds it' {
        $result = Copy-OdxFile -Path $source -Destination $copy -Force
        $result.Offloaded | Should -Be 'All'
        ($result | Compare-OdxFile -Confirm:$false).Equal | Should -BeTrue
    }

    It 'does not offload when told not to' {
        $result = Copy-OdxFile -Path $source -Destination $copy -NoOffload -Force
        $result.Offloaded | Should -Be 'None'
        ($result | Compare-OdxFile -Confirm:$false).Equal | Should -BeTrue
    }

    It 'names the check that a compressed file fails' {
        $small = "$($volumes[0].DriveLetter):\compressed.bin"
        Copy-Item -LiteralPath $source -Destination $small
        & compact.exe /c $small | Out-Null
        $failed = Test-OdxCopy -Path $small | Where-Object { $_.Passed -eq $false }
        $failed.Check | Should -Contain 'Compressed'
    }
}

Describe 'An array that is steered' -Skip:(-not $ControlUri) {
    BeforeAll { Connect-OdxControl -Uri $ControlUri -Token $ControlToken | Out-Null }

    AfterEach {
        Remove-OdxRule -All
        Set-OdxClock -Mode Real | Out-Null
    }

    It 'sees a copy as offload commands, and reads nothing for it' {
        $reads = { (Get-OdxCommandCount -Command 'READ (*' | Measure-Object -Property Count -Sum).Sum }
        $last = (Get-OdxEvent -Limit 1).sequence
        $before = & $reads
        (Copy-OdxFile -Path $source -Destination $copy -Force).Offloaded | Should -Be 'All'
        (Get-OdxEvent -Since $last -Kind command).command | Should -Contain 'WRITE USING TOKEN'
        (& $reads) - $before | Should -BeLessThan 300  # of the file system; the file would be more
    }

    It 'refuses a token that has expired, and the file is whole all the same' {
        New-OdxRule -Action @{ type = 'expire_token' } -Match @{ command = 'WRITE USING TOKEN'; nth = 1 } | Out-Null
        $last = (Get-OdxEvent -Limit 1).sequence
        $result = Copy-OdxFile -Path $source -Destination $copy -Force
        $result.Offloaded | Should -Not -Be 'All'
        (Wait-OdxEvent -Since $last -Kind refusal).sense.code | Should -Be '05/23/07'
        ($result | Compare-OdxFile -Confirm:$false).Equal | Should -BeTrue
        Get-OdxExplanation | Should -Match 'expired'
    }

    It 'lets a token live as long as its clock stands, and no longer' {
        Set-OdxClock -Mode Manual | Out-Null
        Copy-OdxFile -Path $source -Destination $copy -Force | Out-Null
        $tokens = @(Get-OdxToken)
        if ($tokens.Count -gt 0) {
            Step-OdxClock -Seconds ($tokens.ends_in_s | Measure-Object -Maximum).Maximum | Out-Null
        }
        Get-OdxToken | Should -BeNullOrEmpty
    }
}

Describe 'A disk that is not of the target' {
    It 'is never formatted' {
        $other = (Get-Disk | Where-Object { $_.BusType -ne 'iSCSI' } | Select-Object -First 1).Number
        { Initialize-OdxDisk -NodeAddress $NodeAddress -DiskNumber $other -Clear -Confirm:$false } |
            Should -Throw '*left alone*'
    }
}
