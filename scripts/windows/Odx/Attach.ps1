# Attaching to a target and leaving it: service, portal, login.

function ConvertFrom-OdxSecret {
    # The text of a CHAP secret, checked: Microsoft's initiator takes 12 to 16 bytes without IPsec.
    param(
        [Parameter(Mandatory = $true)][securestring] $Secret,
        [Parameter(Mandatory = $true)][string] $Name
    )
    $credential = New-Object -TypeName System.Management.Automation.PSCredential -ArgumentList 'chap', $Secret
    $text = $credential.GetNetworkCredential().Password
    $length = [System.Text.Encoding]::UTF8.GetByteCount($text)
    if ($length -lt 12 -or $length -gt 16) {
        throw "-${Name}: the secret has $length bytes; Windows takes 12 to 16 for CHAP without IPsec."
    }
    $text
}

function Get-OdxSession {
    # The sessions to one target; none is an empty list.
    param([Parameter(Mandatory = $true)][string] $NodeAddress)
    Get-IscsiSession -ErrorAction SilentlyContinue | Where-Object { $_.TargetNodeAddress -eq $NodeAddress }
}

function Connect-OdxTarget {
    <#
    .SYNOPSIS
    Logs in to an iSCSI target and returns its disks.
    .DESCRIPTION
    Starts the initiator service and sets it to start with Windows, adds the portal, finds the target in its list, and
    logs in. A session that is there already is kept. The disks come back as Get-OdxDisk returns them, once as many
    have arrived as -DiskCount says.
    .PARAMETER PortalAddress
    Address or name of the portal.
    .PARAMETER PortalPort
    TCP port of the portal; 3260 without it.
    .PARAMETER NodeAddress
    Name of the target. May be left out when the portal offers exactly one.
    .PARAMETER Credential
    Name and secret with which this host authenticates (CHAP, 12 to 16 bytes).
    .PARAMETER MutualSecret
    Secret with which the target authenticates to this host (mutual CHAP, 12 to 16 bytes). It is set for the whole
    initiator, and must differ from that of -Credential.
    .PARAMETER HeaderDigest
    Asks for CRC32C over headers.
    .PARAMETER DataDigest
    Asks for CRC32C over data.
    .PARAMETER Multipath
    Logs in for MPIO.
    .PARAMETER Persistent
    Logs in again after each start of Windows.
    .PARAMETER DiskCount
    Waits for so many disks; 1 without it.
    .PARAMETER TimeoutSeconds
    How long to wait for them; 30 without it.
    .EXAMPLE
    Connect-OdxTarget -PortalAddress 192.0.2.10 | Initialize-OdxDisk -DriveLetter O

    Logs in and makes a volume of the only disk.
    .EXAMPLE
    $secret = Read-Host -AsSecureString
    Connect-OdxTarget -PortalAddress 192.0.2.10 -Credential host1 -MutualSecret $secret -HeaderDigest -DataDigest

    Mutual CHAP, and both digests.
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0)][string] $PortalAddress,
        [ValidateRange(1, 65535)][int] $PortalPort = 3260,
        [string] $NodeAddress,
        [System.Management.Automation.Credential()][pscredential] $Credential = [pscredential]::Empty,
        [securestring] $MutualSecret,
        [switch] $HeaderDigest,
        [switch] $DataDigest,
        [switch] $Multipath,
        [switch] $Persistent,
        [ValidateRange(0, 16384)][int] $DiskCount = 1,
        [ValidateRange(0, 3600)][int] $TimeoutSeconds = 30
    )
    $hasCredential = $Credential -ne [pscredential]::Empty
    if ($MutualSecret -and -not $hasCredential) {
        throw '-MutualSecret: mutual CHAP needs -Credential too; the target is only asked after the host has answered.'
    }
    $secret = $null
    if ($hasCredential) { $secret = ConvertFrom-OdxSecret -Secret $Credential.Password -Name 'Credential' }
    $mutual = $null
    if ($MutualSecret) {
        $mutual = ConvertFrom-OdxSecret -Secret $MutualSecret -Name 'MutualSecret'
        if ($mutual -ceq $secret) { throw '-MutualSecret: must differ from the secret of -Credential.' }
    }
    if (-not $PSCmdlet.ShouldProcess("${PortalAddress}:$PortalPort", 'Start the iSCSI initiator and log in')) { return }

    Set-Service -Name MSiSCSI -StartupType Automatic -ErrorAction Stop
    Start-Service -Name MSiSCSI -ErrorAction Stop
    $place = @{ TargetPortalAddress = $PortalAddress; TargetPortalPortNumber = $PortalPort }
    $portal = Get-IscsiTargetPortal -ErrorAction SilentlyContinue |
        Where-Object { $_.TargetPortalAddress -eq $PortalAddress -and $_.TargetPortalPortNumber -eq $PortalPort }
    if ($portal) {
        $portal | Update-IscsiTargetPortal -ErrorAction Stop
    } else {
        $portal = New-IscsiTargetPortal @place -ErrorAction Stop
    }
    $offered = @($portal | Get-IscsiTarget -ErrorAction Stop)
    $names = ($offered | ForEach-Object { $_.NodeAddress }) -join ', '
    if (-not $NodeAddress) {
        if ($offered.Count -ne 1) {
            throw ("-NodeAddress: portal ${PortalAddress}:$PortalPort offers $($offered.Count) targets ($names); " +
                'name one.')
        }
        $NodeAddress = $offered[0].NodeAddress
    } elseif (-not ($offered | Where-Object { $_.NodeAddress -eq $NodeAddress })) {
        throw ("-NodeAddress: portal ${PortalAddress}:$PortalPort does not offer '$NodeAddress' to this host; " +
            "it offers: $names.")
    }

    if (-not (Get-OdxSession -NodeAddress $NodeAddress)) {
        $login = @{
            NodeAddress            = $NodeAddress
            TargetPortalAddress    = $PortalAddress
            TargetPortalPortNumber = $PortalPort
            IsPersistent           = [bool] $Persistent
            IsHeaderDigest         = [bool] $HeaderDigest
            IsDataDigest           = [bool] $DataDigest
            IsMultipathEnabled     = [bool] $Multipath
            ErrorAction            = 'Stop'
        }
        if ($hasCredential) {
            $login.AuthenticationType = 'ONEWAYCHAP'
            $login.ChapUsername = $Credential.UserName
            $login.ChapSecret = $secret
        }
        if ($mutual) {
            Set-IscsiChapSecret -ChapSecret $mutual -ErrorAction Stop
            $login.AuthenticationType = 'MUTUALCHAP'
        }
        Connect-IscsiTarget @login | Out-Null
    }
    Wait-OdxDisk -NodeAddress $NodeAddress -Count $DiskCount -TimeoutSeconds $TimeoutSeconds
}

function Wait-OdxDisk {
    # The disks of a target, once there are as many as asked for.
    param(
        [Parameter(Mandatory = $true)][string] $NodeAddress,
        [int] $Count,
        [int] $TimeoutSeconds
    )
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        Update-HostStorageCache
        $disks = @(Get-OdxDisk -NodeAddress $NodeAddress)
        if ($disks.Count -ge $Count) { return $disks }
        if ($watch.Elapsed.TotalSeconds -ge $TimeoutSeconds) {
            throw ("Target '$NodeAddress': $($disks.Count) disks after $TimeoutSeconds s, $Count expected " +
                '(-DiskCount, -TimeoutSeconds).')
        }
        Start-Sleep -Milliseconds 500
    }
}

function Get-OdxDisk {
    <#
    .SYNOPSIS
    Returns the disks that come from an iSCSI target.
    .DESCRIPTION
    One object for each disk of the sessions to the target: its number, serial number, size, block length, state, style
    of partitions, and drive letters. The other cmdlets take it from the pipeline.
    .PARAMETER NodeAddress
    Name of the target. Without it, the disks of every session.
    .EXAMPLE
    Get-OdxDisk | Get-OdxProperty
    #>
    [CmdletBinding()]
    param([Parameter(Position = 0, ValueFromPipelineByPropertyName = $true)][string] $NodeAddress)
    process {
        $sessions = Get-IscsiSession -ErrorAction SilentlyContinue |
            Where-Object { -not $NodeAddress -or $_.TargetNodeAddress -eq $NodeAddress }
        $seen = @{}
        foreach ($session in $sessions) {
            $disks = Get-Disk -iSCSISession $session -ErrorAction SilentlyContinue |
                Where-Object { $_.BusType -eq 'iSCSI' }
            foreach ($disk in $disks) {
                if ($seen.ContainsKey($disk.Number)) { continue }  # a second path to the same disk
                $seen[$disk.Number] = $true
                $letters = Get-Partition -DiskNumber $disk.Number -ErrorAction SilentlyContinue |
                    ForEach-Object { [string] $_.DriveLetter } | Where-Object { $_ -match '^[A-Z]$' }
                [pscustomobject]@{
                    PSTypeName     = 'Odx.Disk'
                    NodeAddress    = $session.TargetNodeAddress
                    DiskNumber     = [int] $disk.Number
                    SerialNumber   = $disk.SerialNumber
                    Size           = [uint64] $disk.Size
                    BlockLength    = [uint32] $disk.LogicalSectorSize
                    IsOffline      = [bool] $disk.IsOffline
                    IsReadOnly     = [bool] $disk.IsReadOnly
                    PartitionStyle = [string] $disk.PartitionStyle
                    DriveLetter    = @($letters)
                }
            }
        }
    }
}

function Disconnect-OdxTarget {
    <#
    .SYNOPSIS
    Logs out of an iSCSI target.
    .DESCRIPTION
    Flushes the volumes on its disks, takes the disks offline, and ends every session to the target. A login that was
    persistent is forgotten.
    .PARAMETER NodeAddress
    Name of the target.
    .PARAMETER PortalAddress
    Also removes this portal from the initiator.
    .EXAMPLE
    Get-OdxDisk | Select-Object -ExpandProperty NodeAddress -Unique | Disconnect-OdxTarget
    #>
    [CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipeline = $true, ValueFromPipelineByPropertyName = $true)]
        [string] $NodeAddress,
        [string] $PortalAddress
    )
    process {
        $sessions = @(Get-OdxSession -NodeAddress $NodeAddress)
        if ($sessions.Count -eq 0) {
            $message = "Target '$NodeAddress': this host has no session to it."
            Write-Error -Message $message -Category ObjectNotFound -TargetObject $NodeAddress
            return
        }
        $what = "Take its disks offline and end $($sessions.Count) sessions"
        if (-not $PSCmdlet.ShouldProcess($NodeAddress, $what)) { return }
        foreach ($disk in @(Get-OdxDisk -NodeAddress $NodeAddress)) {
            foreach ($letter in $disk.DriveLetter) { Write-VolumeCache -DriveLetter $letter -ErrorAction Stop }
            if (-not $disk.IsOffline) { Set-Disk -Number $disk.DiskNumber -IsOffline $true -ErrorAction Stop }
        }
        $sessions | Where-Object { $_.IsPersistent } | Unregister-IscsiSession -ErrorAction Stop
        Disconnect-IscsiTarget -NodeAddress $NodeAddress -Confirm:$false -ErrorAction Stop
        if ($PortalAddress) {
            Remove-IscsiTargetPortal -TargetPortalAddress $PortalAddress -Confirm:$false -ErrorAction Stop
        }
    }
}
