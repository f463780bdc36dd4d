# Volumes on the disks of a target: making them, and taking them away and back so that what is read comes from the disk.

function Assert-OdxDisk {
    # The disk, which has to be an iSCSI disk of the target; everything that destroys data asks here first.
    param(
        [Parameter(Mandatory = $true)][string] $NodeAddress,
        [Parameter(Mandatory = $true)][int] $DiskNumber
    )
    $disk = Get-Disk -Number $DiskNumber -ErrorAction Stop
    if ($disk.BusType -ne 'iSCSI') {
        throw "Disk ${DiskNumber}: its bus is '$($disk.BusType)', not iSCSI; it is left alone."
    }
    if (-not (Get-OdxDisk -NodeAddress $NodeAddress | Where-Object { $_.DiskNumber -eq $DiskNumber })) {
        throw "Disk ${DiskNumber}: no session to target '$NodeAddress' has it; it is left alone."
    }
    if ($disk.IsBoot -or $disk.IsSystem) {
        throw "Disk ${DiskNumber}: Windows runs from it; it is left alone."
    }
    $disk
}

function Assert-OdxDiskIsRaw {
    # A disk with partitions is somebody's, unless -Clear was said.
    param(
        [Parameter(Mandatory = $true)][object] $Disk,
        [switch] $Clear
    )
    if ([string] $Disk.PartitionStyle -ne 'RAW' -and -not $Clear) {
        throw ("Disk $($Disk.Number): has partitions ($($Disk.PartitionStyle)); " +
            '-Clear removes them with all that is on them.')
    }
}

function Initialize-OdxDisk {
    <#
    .SYNOPSIS
    Makes one NTFS volume of a disk of an iSCSI target.
    .DESCRIPTION
    Brings the disk online and writable, writes a GPT, makes one partition of all of it, and formats that with NTFS.
    It never touches a disk that is not an iSCSI disk of the target named, and a disk that has partitions only with
    -Clear, which LOSES WHAT IS ON IT.
    .PARAMETER NodeAddress
    Name of the target the disk must belong to.
    .PARAMETER DiskNumber
    Number of the disk.
    .PARAMETER DriveLetter
    Letter of the volume; the next free one without it.
    .PARAMETER AllocationUnitSize
    Bytes in a cluster: a power of two from 512 to 2 MiB; 65536 without it. Not below the block length.
    .PARAMETER Label
    Label of the volume; odx and the number of the disk without it.
    .PARAMETER Clear
    Removes every partition of the disk first.
    .EXAMPLE
    Get-OdxDisk -NodeAddress iqn.2026-11.example:disks | Initialize-OdxDisk -AllocationUnitSize 4096 -WhatIf
    #>
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
    param(
        [Parameter(Mandatory = $true, ValueFromPipelineByPropertyName = $true)][string] $NodeAddress,
        [Parameter(Mandatory = $true, ValueFromPipelineByPropertyName = $true)][int] $DiskNumber,
        [ValidatePattern('^[D-Zd-z]$')][string] $DriveLetter,
        [ValidateSet(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152)]
        [int] $AllocationUnitSize = 65536,
        [ValidateLength(0, 32)][string] $Label,
        [switch] $Clear
    )
    process {
        $disk = Assert-OdxDisk -NodeAddress $NodeAddress -DiskNumber $DiskNumber
        if ($AllocationUnitSize -lt $disk.LogicalSectorSize) {
            throw ("-AllocationUnitSize: $AllocationUnitSize is below the block length of disk $DiskNumber, " +
                "$($disk.LogicalSectorSize).")
        }
        if ($DriveLetter -and (Get-PSDrive -Name $DriveLetter -ErrorAction SilentlyContinue)) {
            throw "-DriveLetter: $DriveLetter is in use."
        }
        Assert-OdxDiskIsRaw -Disk $disk -Clear:$Clear
        $what = "Format as NTFS with units of $AllocationUnitSize bytes (serial number $($disk.SerialNumber), " +
            "$($disk.Size) bytes, target $NodeAddress)"
        if (-not $PSCmdlet.ShouldProcess("Disk $DiskNumber", $what)) { return }

        Set-Disk -Number $DiskNumber -IsOffline $false -ErrorAction Stop
        Set-Disk -Number $DiskNumber -IsReadOnly $false -ErrorAction Stop
        $disk = Get-Disk -Number $DiskNumber -ErrorAction Stop
        Assert-OdxDiskIsRaw -Disk $disk -Clear:$Clear  # online, Windows may see more of it than before
        if ([string] $disk.PartitionStyle -ne 'RAW') {
            Clear-Disk -Number $DiskNumber -RemoveData -RemoveOEM -Confirm:$false -ErrorAction Stop
        }
        Initialize-Disk -Number $DiskNumber -PartitionStyle GPT -ErrorAction Stop
        $place = @{ DiskNumber = $DiskNumber; UseMaximumSize = $true; ErrorAction = 'Stop' }
        if ($DriveLetter) { $place.DriveLetter = $DriveLetter } else { $place.AssignDriveLetter = $true }
        $partition = New-Partition @place
        if (-not $Label) { $Label = "odx$DiskNumber" }
        $format = @{ FileSystem = 'NTFS'; AllocationUnitSize = $AllocationUnitSize; NewFileSystemLabel = $Label }
        $volume = $partition | Format-Volume @format -Confirm:$false -ErrorAction Stop
        [pscustomobject]@{
            PSTypeName         = 'Odx.Volume'
            NodeAddress        = $NodeAddress
            DiskNumber         = $DiskNumber
            DriveLetter        = [string] $volume.DriveLetter
            FileSystem         = [string] $volume.FileSystem
            AllocationUnitSize = [uint32] $volume.AllocationUnitSize
            Size               = [uint64] $volume.Size
        }
    }
}

function Reset-OdxVolume {
    <#
    .SYNOPSIS
    Dismounts the volumes of a disk and mounts them again, so that the next read comes from the disk.
    .DESCRIPTION
    Flushes the volumes, takes the disk offline and online again. Open files lose their handles. It also ends the
    time for which NTFS keeps a volume off ODX after a refusal.
    .PARAMETER NodeAddress
    Name of the target the disk must belong to.
    .PARAMETER DiskNumber
    Number of the disk.
    .EXAMPLE
    Get-OdxDisk | Reset-OdxVolume
    #>
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]
    param(
        [Parameter(Mandatory = $true, ValueFromPipelineByPropertyName = $true)][string] $NodeAddress,
        [Parameter(Mandatory = $true, ValueFromPipelineByPropertyName = $true)][int] $DiskNumber
    )
    process {
        Assert-OdxDisk -NodeAddress $NodeAddress -DiskNumber $DiskNumber | Out-Null
        if (-not $PSCmdlet.ShouldProcess("Disk $DiskNumber", 'Flush, take offline, bring online')) { return }
        $disk = Get-OdxDisk -NodeAddress $NodeAddress | Where-Object { $_.DiskNumber -eq $DiskNumber }
        foreach ($letter in $disk.DriveLetter) { Write-VolumeCache -DriveLetter $letter -ErrorAction Stop }
        Set-Disk -Number $DiskNumber -IsOffline $true -ErrorAction Stop
        Set-Disk -Number $DiskNumber -IsOffline $false -ErrorAction Stop
        Get-OdxDisk -NodeAddress $NodeAddress | Where-Object { $_.DiskNumber -eq $DiskNumber }
    }
}
