# Steering an array while this host uses it: clock, tokens, rules and journal of odxd, over its control interface.

$script:OdxControl = $null

function ConvertFrom-OdxProblem {
    # What odxd says of a refused request (RFC 9457), or what went wrong instead.
    param([Parameter(Mandatory = $true)][System.Management.Automation.ErrorRecord] $ErrorRecord)
    try {
        $problem = $ErrorRecord.ErrorDetails.Message | ConvertFrom-Json
        "odxd refuses ($($problem.status)): $($problem.detail)"
    } catch {  # no answer, or not odxd's
        $ErrorRecord.Exception.GetBaseException().Message
    }
}

function Invoke-OdxControl {
    # Sends one request and returns the document.
    param(
        [Parameter(Mandatory = $true)][string] $Method,
        [Parameter(Mandatory = $true)][string] $Path,
        [System.Collections.IDictionary] $Body,
        [int] $TimeoutSeconds = 60
    )
    if (-not $script:OdxControl) { throw 'No array is steered: call Connect-OdxControl first.' }
    $credential = New-Object -TypeName System.Management.Automation.PSCredential `
        -ArgumentList 'token', $script:OdxControl.Token
    $request = @{
        Method          = $Method
        Uri             = "$($script:OdxControl.Uri)$Path"
        Headers         = @{ Authorization = "Bearer $($credential.GetNetworkCredential().Password)" }
        TimeoutSec      = $TimeoutSeconds
        UseBasicParsing = $true
        ErrorAction     = 'Stop'
    }
    if ($Body) {
        $request.ContentType = 'application/json'
        $request.Body = [System.Text.Encoding]::UTF8.GetBytes((ConvertTo-Json -InputObject $Body -Depth 10))
    }
    try {
        Invoke-RestMethod @request
    } catch {
        throw "${Method} ${Path}: $(ConvertFrom-OdxProblem -ErrorRecord $_)"
    }
}

function Connect-OdxControl {
    <#
    .SYNOPSIS
    Names the odxd that the other cmdlets steer, and checks that it answers.
    .DESCRIPTION
    odxd serves its control interface over TCP with `[control] listen = "ADDR:PORT"` and `token = "..."`. It is plain
    HTTP: keep it on a network of the lab. Returns what /v1/status tells. Kept until the module is removed.
    .PARAMETER Uri
    Where it listens: http://ADDR:PORT.
    .PARAMETER Token
    The token of [control].
    .EXAMPLE
    Connect-OdxControl -Uri http://192.0.2.10:3261 -Token (Read-Host -AsSecureString)
    #>
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true, Position = 0)][uri] $Uri,
        [Parameter(Mandatory = $true, Position = 1)][securestring] $Token
    )
    $before = $script:OdxControl
    $script:OdxControl = @{ Uri = $Uri.GetLeftPart([System.UriPartial]::Authority); Token = $Token }
    try {
        Invoke-OdxControl -Method Get -Path '/v1/status'
    } catch {
        $script:OdxControl = $before
        throw
    }
}

function Get-OdxClock {
    <#
    .SYNOPSIS
    Tells how the array clock runs, what it shows, and when something is due on it.
    .DESCRIPTION
    Lifetimes of tokens, durations of copies and delays of rules go by the array clock; logins and TCP do not.
    .EXAMPLE
    (Get-OdxClock).next_in_s
    #>
    [CmdletBinding()]
    param()
    Invoke-OdxControl -Method Get -Path '/v1/clock'
}

function Set-OdxClock {
    <#
    .SYNOPSIS
    Has the array clock run with real time, scaled, or not at all.
    .DESCRIPTION
    No change of the mode moves time back or makes it jump.
    .PARAMETER Mode
    Real, Scaled or Manual.
    .PARAMETER Factor
    How fast a scaled clock runs: 0.001 to 100000.
    .EXAMPLE
    Set-OdxClock -Mode Manual

    Time stands until Step-OdxClock moves it.
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0)][ValidateSet('Real', 'Scaled', 'Manual')][string] $Mode,
        [ValidateRange(0.001, 100000)][double] $Factor
    )
    $body = @{ mode = $Mode.ToLowerInvariant() }
    if ($PSBoundParameters.ContainsKey('Factor')) { $body.factor = $Factor }
    if ($PSCmdlet.ShouldProcess('the array clock', "run $Mode")) {
        Invoke-OdxControl -Method Put -Path '/v1/clock' -Body $body
    }
}

function Step-OdxClock {
    <#
    .SYNOPSIS
    Moves the array clock on: what is due until then happens, in order, each at its own time.
    .DESCRIPTION
    By a number of seconds, or to when something is due next; it is an error when nothing is.
    .PARAMETER Seconds
    How far.
    .PARAMETER ToNext
    To when something is due.
    .EXAMPLE
    Step-OdxClock -Seconds 60

    Tokens whose inactivity timeout is a minute have expired.
    #>
    [CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Seconds')]
    param(
        [Parameter(Mandatory = $true, Position = 0, ParameterSetName = 'Seconds')][ValidateRange(0, 1000000000)]
        [double] $Seconds,
        [Parameter(Mandatory = $true, ParameterSetName = 'ToNext')][switch] $ToNext
    )
    $body = @{ to = 'next' }
    if (-not $ToNext) { $body = @{ duration_s = $Seconds } }
    if ($PSCmdlet.ShouldProcess('the array clock', 'move it on')) {
        Invoke-OdxControl -Method Post -Path '/v1/clock/advance' -Body $body
    }
}

function Get-OdxToken {
    <#
    .SYNOPSIS
    Lists the valid ROD tokens of the array, with what is left of their life.
    .DESCRIPTION
    In the order they were made: all, which it reads a thousand at a time.
    .PARAMETER Source
    Only those of the LUN of this name.
    .EXAMPLE
    Get-OdxToken | Sort-Object -Property ends_in_s
    #>
    [CmdletBinding()]
    param([Parameter(Position = 0)][string] $Source)
    $path = '/v1/tokens'
    $query = @{ limit = 1000 }
    if ($Source) { $query.source = [uri]::EscapeDataString($Source) }
    do {
        $parts = $query.GetEnumerator() | ForEach-Object { "$($_.Key)=$($_.Value)" }
        $page = Invoke-OdxControl -Method Get -Path ($path + '?' + ($parts -join '&'))
        $page.tokens
        $query.after = $page.next
    } while ($page.next)
}

function Stop-OdxToken {
    <#
    .SYNOPSIS
    Ends a ROD token: what Windows sends with it afterwards is refused.
    .DESCRIPTION
    Returns the token's state. A token that has ended already is an error.
    .PARAMETER Id
    Its identifier, 16 hexadecimal digits, or, where there is one array, its number in the journal.
    .PARAMETER As
    Expired (05/23/07), Revoked (06), Cancelled (08) or Deleted (09).
    .EXAMPLE
    Get-OdxToken | Stop-OdxToken -As Revoked
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0, ValueFromPipelineByPropertyName = $true)][string] $Id,
        [ValidateSet('Expired', 'Revoked', 'Cancelled', 'Deleted')][string] $As = 'Expired'
    )
    process {
        $ways = @{ Expired = 'expire'; Revoked = 'revoke'; Cancelled = 'cancel'; Deleted = 'delete' }
        if ($PSCmdlet.ShouldProcess("token $Id", $ways[$As])) {
            Invoke-OdxControl -Method Post -Path "/v1/tokens/$Id/$($ways[$As])"
        }
    }
}

function Get-OdxRule {
    <#
    .SYNOPSIS
    Lists the rules that make commands fail, with what they have counted.
    .DESCRIPTION
    In the order they are tried.
    .EXAMPLE
    (Get-OdxRule | Where-Object { $_.name -eq 'slow' }).hits
    #>
    [CmdletBinding()]
    param()
    (Invoke-OdxControl -Method Get -Path '/v1/rules').rules
}

function New-OdxRule {
    <#
    .SYNOPSIS
    Adds a rule: which commands it is for, and what is to go wrong with them.
    .DESCRIPTION
    The keys are those of docs/faults.md. Returns the rule with its id.
    .PARAMETER Action
    What happens, as a table.
    .PARAMETER Match
    The commands it is for, as a table; every command without it.
    .PARAMETER Name
    What the journal calls it.
    .EXAMPLE
    New-OdxRule -Action @{ type = 'expire_token' } -Match @{ command = 'WRITE USING TOKEN'; nth = 3 }

    The third offload write finds its token expired.
    #>
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter(Mandatory = $true, Position = 0)][System.Collections.IDictionary] $Action,
        [Parameter(Position = 1)][System.Collections.IDictionary] $Match,
        [string] $Name
    )
    $rule = @{ action = $Action }
    if ($Match) { $rule.match = $Match }
    if ($Name) { $rule.name = $Name }
    if ($PSCmdlet.ShouldProcess('the array', "add a rule: $($Action.type)")) {
        Invoke-OdxControl -Method Post -Path '/v1/rules' -Body $rule
    }
}

function Remove-OdxRule {
    <#
    .SYNOPSIS
    Removes a rule, or all of them. What rules did stays done.
    .DESCRIPTION
    A rule that there is not is an error.
    .PARAMETER Id
    Number of the rule.
    .PARAMETER All
    All rules, those of odxd.toml too.
    .EXAMPLE
    Remove-OdxRule -All
    #>
    [CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'One')]
    param(
        [Parameter(Mandatory = $true, Position = 0, ParameterSetName = 'One', ValueFromPipelineByPropertyName = $true)]
        [uint32] $Id,
        [Parameter(Mandatory = $true, ParameterSetName = 'All')][switch] $All
    )
    process {
        $path = "/v1/rules/$Id"
        if ($All) { $path = '/v1/rules' }
        if ($PSCmdlet.ShouldProcess($path, 'remove')) { Invoke-OdxControl -Method Delete -Path $path | Out-Null }
    }
}

function Get-OdxEventPath {
    # /v1/events with the choices of Get-OdxEvent and Wait-OdxEvent.
    param([Parameter(Mandatory = $true)][hashtable] $Query)
    $parts = foreach ($key in $Query.Keys) {
        if ("$($Query[$key])" -ne '') { "$key=$([uri]::EscapeDataString("$($Query[$key])"))" }
    }
    "/v1/events?$($parts -join '&')"
}

function Get-OdxEvent {
    <#
    .SYNOPSIS
    Reads the journal: every third-party copy command, refusal, token and copy, with its reason in words.
    .DESCRIPTION
    Oldest first. docs/journal.md has the keys; what does not apply is absent. Keep the sequence of the last event to
    read on from there.
    .PARAMETER Since
    Only events behind this number; without it the last ones.
    .PARAMETER Kind
    Only these kinds: refusal, token_ended...
    .PARAMETER Initiator
    Only those of this iSCSI name.
    .PARAMETER LogicalUnit
    Only those of the LUN of this name.
    .PARAMETER Limit
    At most so many; 100 without it.
    .EXAMPLE
    Get-OdxEvent -Kind refusal | Format-Table -Property time_us, command, reason
    #>
    [CmdletBinding()]
    param(
        [Nullable[uint64]] $Since,
        [string[]] $Kind,
        [string] $Initiator,
        [string] $LogicalUnit,
        [ValidateRange(1, 1000)][int] $Limit = 100
    )
    $query = @{ since = $Since; kind = $Kind -join ','; initiator = $Initiator; logical_unit = $LogicalUnit }
    $query.limit = $Limit
    (Invoke-OdxControl -Method Get -Path (Get-OdxEventPath -Query $query)).events
}

function Wait-OdxEvent {
    <#
    .SYNOPSIS
    Waits until something happens at the array, and returns its event.
    .DESCRIPTION
    The first event that fits and stands behind -Since; an error when none has come in time. Without -Since it is one
    that is still to come: read the last sequence before the copy is begun, else it may be over by then.
    .PARAMETER Since
    Behind this number.
    .PARAMETER Kind
    Of one of these kinds.
    .PARAMETER Initiator
    Of this iSCSI name.
    .PARAMETER LogicalUnit
    Of the LUN of this name.
    .PARAMETER TimeoutSeconds
    How long to wait, in real time; 60 without it.
    .EXAMPLE
    $last = (Get-OdxEvent -Limit 1).sequence
    $copy = Start-Job -ScriptBlock { Copy-Item -LiteralPath X:\disk.vhdx -Destination Y:\ }
    Wait-OdxEvent -Since $last -Kind token_created | ForEach-Object { Stop-OdxToken -Id $_.token_id -As Revoked }

    Revokes the token as soon as Windows has it.
    #>
    [CmdletBinding()]
    param(
        [Nullable[uint64]] $Since,
        [string[]] $Kind,
        [string] $Initiator,
        [string] $LogicalUnit,
        [ValidateRange(1, 600)][int] $TimeoutSeconds = 60
    )
    $query = @{ since = $Since; kind = $Kind -join ','; initiator = $Initiator; logical_unit = $LogicalUnit }
    $query.limit = 1
    $query.wait_s = $TimeoutSeconds
    $path = Get-OdxEventPath -Query $query
    $found = @((Invoke-OdxControl -Method Get -Path $path -TimeoutSeconds ($TimeoutSeconds + 30)).events)
    if ($found.Count -eq 0) { throw "No event came within $TimeoutSeconds s: $($Kind -join ', ')." }
    $found[0]
}

function Get-OdxExplanation {
    <#
    .SYNOPSIS
    Tells why copies were not offloaded, as far as the array knows.
    .DESCRIPTION
    Several lines of text, from the last events. Test-OdxCopy tells what this host keeps from the array.
    .PARAMETER LogicalUnit
    Only copies of the LUN of this name.
    .EXAMPLE
    Get-OdxExplanation
    #>
    [CmdletBinding()]
    param([Parameter(Position = 0)][string] $LogicalUnit)
    $path = '/v1/explain'
    if ($LogicalUnit) { $path += "?logical_unit=$([uri]::EscapeDataString($LogicalUnit))" }
    (Invoke-OdxControl -Method Get -Path $path).text
}

function Get-OdxCommandCount {
    <#
    .SYNOPSIS
    Counts the commands that the array has answered, by target, command and status.
    .DESCRIPTION
    From /metrics, since each target was made. What is not listed was not sent. Count before and after a copy to say
    what it sent, and what not.
    .PARAMETER Command
    Only commands whose name is like this: "READ (*", "WRITE USING TOKEN".
    .EXAMPLE
    Get-OdxCommandCount -Command 'READ (*' | Measure-Object -Property Count -Sum
    #>
    [CmdletBinding()]
    param([Parameter(Position = 0)][string] $Command = '*')
    $row = '^odx_commands_total\{target="(?<target>[^"]*)",command="(?<command>[^"]*)",opcode="(?<opcode>[^"]*)",' +
        'status="(?<status>[^"]*)"\} (?<count>\d+)$'
    foreach ($line in (Invoke-OdxControl -Method Get -Path '/metrics') -split "`n") {
        if ($line -match $row -and $Matches.command -like $Command) {
            [pscustomobject]@{
                PSTypeName = 'Odx.CommandCount'
                Target     = $Matches.target
                Command    = $Matches.command
                Opcode     = $Matches.opcode
                Status     = $Matches.status
                Count      = [uint64] $Matches.count
            }
        }
    }
}
