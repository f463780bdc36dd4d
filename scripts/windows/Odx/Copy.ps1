# Copying as Windows does, with what its copy engine tells of each chunk; and comparing what the disks hold.

function Copy-OdxFile {
    <#
    .SYNOPSIS
    Copies a file with CopyFile2 and tells which chunks were offloaded.
    .DESCRIPTION
    The copy engine that Explorer, Copy-Item, xcopy and robocopy use, with its progress callback: a chunk that was
    offloaded carries COPYFILE2_MESSAGE_COPY_OFFLOAD. Offloaded is 'All', 'Some' or 'None' of the chunks; Chunks has
    each with its number, size and flag. A destination that exists is replaced with -Force only.
    .PARAMETER Path
    The file.
    .PARAMETER Destination
    A file, or a folder that exists.
    .PARAMETER NoOffload
    Copies by read and write (COPY_FILE_NO_OFFLOAD): the control experiment.
    .PARAMETER Force
    Replaces a destination that exists.
    .EXAMPLE
    Copy-OdxFile -Path X:\disk.vhdx -Destination Y:\ | Select-Object Offloaded, Seconds -ExpandProperty Chunks
    .EXAMPLE
    Get-ChildItem X:\*.vhdx | Copy-OdxFile -Destination Y:\ -NoOffload -Force
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipeline = $true, ValueFromPipelineByPropertyName = $true)]
        [Alias('FullName')][string] $Path,
        [Parameter(Mandatory = $true, Position = 1)][string] $Destination,
        [switch] $NoOffload,
        [switch] $Force
    )
    process {
        $source = Get-Item -LiteralPath $Path -Force -ErrorAction Stop
        if ($source.PSIsContainer) { throw "'$Path': is a directory; one file at a time." }
        $target = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Destination)
        if (Test-Path -LiteralPath $target -PathType Container) {
            $target = Join-Path -Path $target -ChildPath $source.Name
        }
        if ((Test-Path -LiteralPath $target) -and -not $Force) {
            throw "'$target': exists; -Force replaces it."
        }
        if (-not $PSCmdlet.ShouldProcess($target, "Copy $($source.FullName)")) { return }

        $activity = "Copying $($source.FullName) to $target"
        $show = {
            param($chunk)
            $percent = 100
            if ($chunk.FileBytes -gt 0) { $percent = [int] (100 * $chunk.TotalBytes / $chunk.FileBytes) }
            $how = 'read and written'
            if ($chunk.Offloaded) { $how = 'offloaded' }
            Write-Progress -Activity $activity -Status "chunk $($chunk.Number), $how" `
                -PercentComplete ([Math]::Min($percent, 100))
        }
        $progress = [Action[Odx.Chunk]] $show.GetNewClosure()  # it runs below native frames: no scope to look in
        $isPlain = [bool] $NoOffload
        $isNew = -not $Force
        $watch = [System.Diagnostics.Stopwatch]::StartNew()
        try {
            $chunks = @([Odx.Native]::Copy($source.FullName, $target, $isPlain, $isNew, $progress))
        } catch {
            throw "'$($source.FullName)' to '$target': $($_.Exception.GetBaseException().Message)"
        } finally {
            Write-Progress -Activity $activity -Completed
        }
        $watch.Stop()
        $offloaded = @($chunks | Where-Object { $_.Offloaded })
        $verdict = 'Some'
        if ($offloaded.Count -eq $chunks.Count) { $verdict = 'All' }
        if ($offloaded.Count -eq 0) { $verdict = 'None' }
        $bytes = [uint64] 0
        foreach ($chunk in $offloaded) { $bytes += $chunk.Size }
        [pscustomobject]@{
            PSTypeName     = 'Odx.Copy'
            Path           = $source.FullName
            Destination    = $target
            Length         = [uint64] $source.Length
            Offloaded      = $verdict
            OffloadedBytes = $bytes
            Seconds        = $watch.Elapsed.TotalSeconds
            Chunks         = $chunks
        }
    }
}

function Compare-OdxFile {
    <#
    .SYNOPSIS
    Compares a copy with its source by SHA-256, read from the disk and not from the cache.
    .DESCRIPTION
    Takes the disk of the copy offline and online again (as Reset-OdxVolume; -NoRemount leaves that out), then hashes
    both files. Open files on that disk lose their handles.
    .PARAMETER Path
    The source.
    .PARAMETER Destination
    The copy.
    .PARAMETER NoRemount
    Hashes at once; the data may come from the cache of Windows.
    .EXAMPLE
    Copy-OdxFile -Path X:\disk.vhdx -Destination Y:\ | Compare-OdxFile
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipelineByPropertyName = $true)][string] $Path,
        [Parameter(Mandatory = $true, Position = 1, ValueFromPipelineByPropertyName = $true)][string] $Destination,
        [switch] $NoRemount
    )
    process {
        $letter = Get-OdxDriveLetter -Path $Destination
        if (-not $PSCmdlet.ShouldProcess($Destination, 'Remount its disk and compare')) { return }
        if (-not $NoRemount) {
            $number = (Get-Partition -DriveLetter $letter -ErrorAction Stop).DiskNumber
            $disk = Get-OdxDisk | Where-Object { $_.DiskNumber -eq $number }
            if (-not $disk) {
                throw "'$Destination': disk $number belongs to no iSCSI session; use -NoRemount."
            }
            $disk | Reset-OdxVolume -Confirm:$false | Out-Null
        }
        $source = Get-FileHash -LiteralPath $Path -Algorithm SHA256 -ErrorAction Stop
        $copy = Get-FileHash -LiteralPath $Destination -Algorithm SHA256 -ErrorAction Stop
        [pscustomobject]@{
            PSTypeName      = 'Odx.Comparison'
            Path            = $Path
            Destination     = $Destination
            Equal           = $source.Hash -eq $copy.Hash
            SourceHash      = $source.Hash
            DestinationHash = $copy.Hash
            Remounted       = -not $NoRemount
        }
    }
}
