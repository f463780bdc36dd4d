# Pester 5, for a person at a Windows host: attaches, formats, copies, compares, detaches. It FORMATS every disk of the
# target. In an elevated session:
#   $data = @{ PortalAddress = '192.0.2.10'; NodeAddress = 'iqn.2026-11.example:disks' }
#   Invoke-Pester -Container (New-PesterContainer -Path .\Odx.Tests.ps1 -Data $data) -Output Detailed
# Needs a target with two disks of at least 4 GiB, whose content nobody misses.

param(
    [Parameter(Mandatory = $true)][string] $PortalAddress,
    [Parameter(Mandatory = $true)][string] $NodeAddress
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

Describe 'A disk that is not of the target' {
    It 'is never formatted' {
        $other = (Get-Disk | Where-Object { $_.BusType -ne 'iSCSI' } | Select-Object -First 1).Number
        { Initialize-OdxDisk -NodeAddress $NodeAddress -DiskNumber $other -Clear -Confirm:$false } |
            Should -Throw '*left alone*'
    }
}
