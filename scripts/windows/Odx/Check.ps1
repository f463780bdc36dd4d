# Is ODX on, and if not, why not: the disk, the host, the volume, the file.

function New-OdxCheck {
    # One finding. Passed is $null where the host would not say.
    param(
        [Parameter(Mandatory = $true)][string] $Check,
        [Parameter(Mandatory = $true)][string] $Subject,
        [object] $Passed,
        [string] $Value,
        [Parameter(Mandatory = $true)][string] $Rule
    )
    [pscustomobject]@{
        PSTypeName = 'Odx.Check'
        Check      = $Check
        Subject    = $Subject
        Passed     = $Passed
        Value      = $Value
        Rule       = $Rule
    }
}

function Get-OdxProperty {
    <#
    .SYNOPSIS
    Asks Windows whether it recognises ODX on a disk, and with which limits.
    .DESCRIPTION
    IOCTL_STORAGE_QUERY_PROPERTY with the copy-offload property (13). The class driver decides once, when the disk
    arrives; log out and in after changing anything on the target. Win32 error 316 means that it does not recognise ODX.
    Numbers are those of VPD pages 8Fh and B0h: lengths in blocks, times in seconds, 0 for no limit.
    .PARAMETER DiskNumber
    Number of the disk.
    .EXAMPLE
    Get-OdxDisk | Get-OdxProperty | Where-Object { -not $_.Recognised }
    #>
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipelineByPropertyName = $true)][int] $DiskNumber
    )
    process {
        $descriptor = New-Object -TypeName Odx.CopyOffloadDescriptor
        try {
            $failure = [Odx.Native]::QueryCopyOffload("\\.\PhysicalDrive$DiskNumber", [ref] $descriptor)
        } catch {
            throw "Disk ${DiskNumber}: could not be opened: $($_.Exception.GetBaseException().Message)"
        }
        [pscustomobject]@{
            PSTypeName                         = 'Odx.Property'
            DiskNumber                         = $DiskNumber
            Recognised                         = $failure -eq 0
            Win32Error                         = $failure
            MaximumTokenLifetime               = $descriptor.MaximumTokenLifetime
            DefaultTokenLifetime               = $descriptor.DefaultTokenLifetime
            MaximumTransferSize                = $descriptor.MaximumTransferSize
            OptimalTransferCount               = $descriptor.OptimalTransferCount
            MaximumDataDescriptors             = $descriptor.MaximumDataDescriptors
            MaximumTransferLengthPerDescriptor = $descriptor.MaximumTransferLengthPerDescriptor
            OptimalTransferLengthPerDescriptor = $descriptor.OptimalTransferLengthPerDescriptor
            OptimalTransferLengthGranularity   = $descriptor.OptimalTransferLengthGranularity
        }
    }
}

function Get-OdxFilter {
    # The minifilters on a volume with the column SprtFtrs of `fltmc instances -v X:`.
    param([Parameter(Mandatory = $true)][string] $DriveLetter)
    $lines = & fltmc.exe instances -v "${DriveLetter}:"
    if ($LASTEXITCODE -ne 0) {
        throw "fltmc instances -v ${DriveLetter}: ended with $LASTEXITCODE (it needs an elevated session): $lines"
    }
    # Name, altitude, instance, frame, SprtFtrs, and sometimes more; names may hold blanks. Headings are translated, so
    # a row is what has an altitude, a frame and a number of eight digits.
    $row = '^(?<name>\S.*?)\s+(?<altitude>\d+(\.\d+)?)\s+.*?\s(?<frame>\d+)\s+(?<features>[0-9A-Fa-f]{8})(\s|$)'
    foreach ($line in $lines) {
        if ($line -match $row) {
            $features = [Convert]::ToUInt32($Matches.features, 16)
            $name = $Matches.name -replace '\s+[A-Za-z]:$', ''  # some builds print the volume too
            [pscustomobject]@{ Name = $name; SupportedFeatures = $features }
        }
    }
}

function Test-OdxHost {
    # The switch for the whole host.
    $key = 'HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem'
    $item = Get-ItemProperty -Path $key -Name FilterSupportedFeaturesMode -ErrorAction SilentlyContinue
    $mode = 0
    if ($item) { $mode = [int] $item.FilterSupportedFeaturesMode }
    New-OdxCheck -Check 'FilterSupportedFeaturesMode' -Subject 'host' -Passed ($mode -eq 0) -Value $mode `
        -Rule "0 or absent in $key; 1 switches ODX off"
}

function Test-OdxVolume {
    # Disk, file system, kind of volume, BitLocker and filters of one drive letter.
    param([Parameter(Mandatory = $true)][string] $DriveLetter)
    $subject = "${DriveLetter}:"
    $volume = Get-Volume -DriveLetter $DriveLetter -ErrorAction Stop
    $isNtfs = $volume.FileSystem -eq 'NTFS'
    New-OdxCheck -Check 'FileSystem' -Subject $subject -Passed $isNtfs -Value $volume.FileSystem `
        -Rule 'NTFS; ReFS clones blocks instead, others have no offload'

    # A volume of a dynamic disk or a storage space spans disks that Get-Partition does not tie to a letter.
    $partition = Get-Partition -DriveLetter $DriveLetter -ErrorAction SilentlyContinue
    $isBasic = $null -ne $partition
    if ($isBasic) {
        # LDM metadata (GPT) and LDM data partitions mark a dynamic disk.
        $ldm = '{5808c8aa-7e8f-42e0-85d2-e1e90434cfb3}', '{af9b60a0-1431-4f62-bc68-3311714a69ad}'
        $isBasic = -not (Get-Partition -DiskNumber $partition.DiskNumber | Where-Object { $ldm -contains $_.GptType })
    }
    $kind = 'basic'
    if (-not $isBasic) { $kind = 'dynamic or unknown' }
    New-OdxCheck -Check 'VolumeKind' -Subject $subject -Passed $isBasic -Value $kind -Rule 'a basic volume on one disk'

    if ($partition) {
        $property = Get-OdxProperty -DiskNumber $partition.DiskNumber
        $value = 'recognised'
        if (-not $property.Recognised) { $value = "Win32 error $($property.Win32Error)" }
        New-OdxCheck -Check 'CopyOffloadProperty' -Subject "disk $($partition.DiskNumber)" `
            -Passed $property.Recognised -Value $value `
            -Rule 'VPD 00h ascending with 8Fh, whose first descriptor is 0000h of 36 bytes; read when the disk arrives'
    }

    if (Get-Command -Name Get-BitLockerVolume -ErrorAction SilentlyContinue) {
        $locker = Get-BitLockerVolume -MountPoint $subject -ErrorAction SilentlyContinue
        $state = 'unknown'
        $isClear = $null
        if ($locker) {
            $state = [string] $locker.VolumeStatus
            $isClear = $state -eq 'FullyDecrypted'
        }
        New-OdxCheck -Check 'BitLocker' -Subject $subject -Passed $isClear -Value $state -Rule 'FullyDecrypted'
    } else {
        New-OdxCheck -Check 'BitLocker' -Subject $subject -Passed $null -Rule 'FullyDecrypted' `
            -Value 'no BitLocker module on this host'
    }

    foreach ($filter in @(Get-OdxFilter -DriveLetter $DriveLetter)) {
        $hasBoth = ($filter.SupportedFeatures -band 3) -eq 3
        New-OdxCheck -Check 'Filter' -Subject "$subject $($filter.Name)" -Passed $hasBoth `
            -Value ('{0:X8}' -f $filter.SupportedFeatures) `
            -Rule 'SprtFtrs with bits 0 (offload read) and 1 (offload write), of each filter on the volume'
    }
}

function Test-OdxFile {
    # Attributes, place and size of one file.
    param([Parameter(Mandatory = $true)][string] $Path)
    $item = Get-Item -LiteralPath $Path -Force -ErrorAction Stop
    if ($item.PSIsContainer) { throw "'$Path': is a directory; ODX copies files." }
    $isLarge = $item.Length -ge 262144
    New-OdxCheck -Check 'Size' -Subject $Path -Passed $isLarge -Value $item.Length `
        -Rule 'the copy engine offloads from 262144 bytes on'
    foreach ($attribute in 'Compressed', 'Encrypted', 'SparseFile') {
        $isSet = ($item.Attributes -band [System.IO.FileAttributes]::$attribute) -ne 0
        New-OdxCheck -Check $attribute -Subject $Path -Passed (-not $isSet) -Value $isSet `
            -Rule 'not set: STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED'
    }
    $tag = '{0:X8}' -f [Odx.Native]::ReparseTag($item.FullName)
    New-OdxCheck -Check 'Deduplicated' -Subject $Path -Passed ($tag -ne '80000013') -Value $tag `
        -Rule 'reparse tag not 80000013 (IO_REPARSE_TAG_DEDUP)'
    try {
        $isResident = [Odx.Native]::IsResident($item.FullName)
        $passed = -not $isResident
        $value = [string] $isResident
    } catch {  # a file system that does not tell
        $passed = $null
        $value = $_.Exception.GetBaseException().Message
    }
    New-OdxCheck -Check 'Resident' -Subject $Path -Passed $passed -Value $value `
        -Rule 'not resident: the data has clusters of its own'
}

function Test-OdxCopy {
    <#
    .SYNOPSIS
    Checks whether a copy can be offloaded, and says why not.
    .DESCRIPTION
    Looks at all that keeps Windows from offloading: the switch of the host, the file system, the kind of volume and
    BitLocker of both volumes, the copy-offload property of both disks, each minifilter, and the file. One object for
    each check, with the rule and the value found; Passed is empty where the host would not say. What it cannot see:
    an earlier refusal that Windows remembers for some minutes, and whether the two disks reach each other.
    .PARAMETER Path
    A file to copy, or a drive such as X:.
    .PARAMETER Destination
    Where to: a folder, a file or a drive. Without it only the source is checked.
    .PARAMETER Quiet
    Only $true or $false: nothing failed.
    .EXAMPLE
    Test-OdxCopy -Path X:\disk.vhdx -Destination Y:\ | Where-Object { $_.Passed -eq $false }
    #>
    [CmdletBinding()]
    [OutputType([psobject], [bool])]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipeline = $true, ValueFromPipelineByPropertyName = $true)]
        [Alias('FullName')][string] $Path,
        [Parameter(Position = 1)][string] $Destination,
        [switch] $Quiet
    )
    process {
        $letters = @(Get-OdxDriveLetter -Path $Path)
        if ($Destination) { $letters += Get-OdxDriveLetter -Path $Destination }
        $checks = @(Test-OdxHost)
        foreach ($letter in @($letters | Select-Object -Unique)) { $checks += @(Test-OdxVolume -DriveLetter $letter) }
        if (-not ($Path -match '^[A-Za-z]:\\?$')) { $checks += @(Test-OdxFile -Path $Path) }
        if ($Quiet) { return @($checks | Where-Object { $_.Passed -eq $false }).Count -eq 0 }
        $checks
    }
}

function Get-OdxDriveLetter {
    # The drive letter of a path, existing or not.
    param([Parameter(Mandatory = $true)][string] $Path)
    $full = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    if ($full -notmatch '^(?<letter>[A-Za-z]):') {
        throw "'$Path': is on no drive with a letter ('$full')."
    }
    $Matches.letter.ToUpperInvariant()
}
