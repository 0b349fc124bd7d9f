#Requires -Version 5.1
<#
.SYNOPSIS
Lets the Exchange sidecar read and book this organisation's meeting rooms, and nothing else.

.DESCRIPTION
Run it twice, in two PowerShell windows, because Microsoft's Graph and Exchange modules do not work beside each other:

  -Part Entra      registers the application and gives it a secret or a certificate (Application Administrator;
                   with -UseAccessPolicy or -RevokeTenantWide: Privileged Role Administrator).
  -Part Exchange   limits it to the rooms, tests each room and reads its booking settings (Exchange Administrator in
                   Organization Management).

It only does what is missing, so running it again changes nothing. -WhatIf tells what it would do. What it found is in the
result file, which holds no secret: send it back together with the directory id, the application id and, on a safe way, the
secret. Needed are the modules Microsoft.Graph.Authentication and Microsoft.Graph.Applications (2.0.0 or newer) for the one
part, ExchangeOnlineManagement (3.0.0 or newer) for the other.

.PARAMETER Part
Entra or Exchange.
.PARAMETER ApplicationId
An application that is registered already; without it, one is looked up by its name, or registered.
.PARAMETER ServicePrincipalId
Part Exchange, without a result file: object id of the enterprise application.
.PARAMETER CertificateFile
Public certificate (.cer or .pem) to register instead of making a secret.
.PARAMETER NewSecret
Make a secret though the application has a valid secret or certificate.
.PARAMETER SecretMonths
How long a new secret lasts, 1 to 24 months.
.PARAMETER SecretFile
File to save a new secret in; it must not exist. Without it the secret is shown once.
.PARAMETER UseAccessPolicy
The older way: permission for all mailboxes, narrowed by an application access policy. Give it to both parts.
.PARAMETER RevokeTenantWide
Part Entra, once part Exchange has tested the rooms: take back calendar permissions for all mailboxes.
.PARAMETER Room
Addresses of rooms instead of those that the script brings along.
.PARAMETER AdministrativeUnitId
Limit the application to this administrative unit instead of a group of rooms.
.PARAMETER AllowOtherMailboxes
Accept mailboxes that are neither rooms nor equipment.
.PARAMETER KeepSubjects
Set the rooms to keep the subjects that people type, and the private flag with them.
.PARAMETER OutsideMailbox
A mailbox that must stay out of reach; it is tested as well.
.PARAMETER SignInApplicationId
Part Entra: application to sign in with instead of Microsoft's own; needed in China, where that one does not exist.
.PARAMETER ResultFile
Where the result is written.
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [Parameter(Mandatory = $true, Position = 0)]
    [ValidateSet('Entra', 'Exchange')]
    [string] $Part,
    [string] $ApplicationId,
    [string] $ServicePrincipalId,
    [string] $CertificateFile,
    [switch] $NewSecret,
    [ValidateRange(1, 24)]
    [int] $SecretMonths = 12,
    [string] $SecretFile,
    [switch] $UseAccessPolicy,
    [switch] $RevokeTenantWide,
    [string[]] $Room,
    [string] $AdministrativeUnitId,
    [switch] $AllowOtherMailboxes,
    [switch] $KeepSubjects,
    [string] $OutsideMailbox,
    [string] $SignInApplicationId,
    [string] $ResultFile = 'exchange-sidecar-result.json'
)

# Stricter modes fail on properties that Exchange leaves out of an answer.
Set-StrictMode -Version 1.0
$ErrorActionPreference = 'Stop'

#@VALUES@

$Schema = 'exchange-sidecar/onboarding-result'
$SchemaVersion = 1
$GraphAppId = '00000003-0000-0000-c000-000000000000'
$GuidPattern = '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\z'
# What the application needs: the permission in Entra, and the Exchange role that gives the same for some mailboxes only.
$Needs = @(
    @{ Permission = 'Calendars.ReadWrite'; Role = 'Application Calendars.ReadWrite'; Assignment = $Kit.CalendarsAssignment }
    @{ Permission = 'MailboxSettings.Read'; Role = 'Application MailboxSettings.Read'; Assignment = $Kit.SettingsAssignment }
)
$ReplacedByRoles = @('Calendars.Read', 'Calendars.ReadBasic.All', 'Calendars.ReadWrite', 'MailboxSettings.Read')
$RoomTypes = @('RoomMailbox', 'EquipmentMailbox')
$SettingNames = @(
    'AddNewRequestsTentatively', 'AddOrganizerToSubject', 'AllBookInPolicy', 'AllowConflicts', 'AllowRecurringMeetings',
    'AllRequestInPolicy', 'AllRequestOutOfPolicy', 'AutomateProcessing', 'BookingType', 'BookingWindowInDays', 'BookInPolicy',
    'ConflictPercentageAllowed', 'DeleteAttachments', 'DeleteComments', 'DeleteSubject', 'EnableAutoRelease',
    'EnforceCapacity', 'EnforceSchedulingHorizon', 'ForwardRequestsToDelegates', 'MaximumConflictInstances',
    'MaximumDurationInMinutes', 'MinimumDurationInMinutes', 'ProcessExternalMeetingMessages', 'RemoveCanceledMeetings',
    'RemovePrivateProperty', 'RequestInPolicy', 'RequestOutOfPolicy', 'ResourceDelegates', 'ScheduleOnlyDuringWorkHours',
    'TentativePendingApproval'
)
# Of these only the number is reported, not who it is.
$ListNames = @('BookInPolicy', 'RequestInPolicy', 'RequestOutOfPolicy', 'ResourceDelegates')
$Caller = $PSCmdlet
$Changes = New-Object -TypeName System.Collections.ArrayList

function Assert-Module([string] $Name, [string] $Least, [string] $Rival) {
    if ($null -ne (Get-Module -Name $Rival)) {
        throw "$Rival is loaded in this window and does not work beside $Name. Run this part in a new PowerShell window."
    }
    $found = Get-Module -ListAvailable -Name $Name | Sort-Object -Property Version -Descending | Select-Object -First 1
    if ($null -eq $found -or $found.Version -lt [version] $Least) {
        throw "The module $Name is needed, version $Least or newer. Get it with: Install-Module -Name $Name -Scope CurrentUser"
    }
    Import-Module -Name $Name -MinimumVersion $Least -ErrorAction Stop
}

function Add-Change([string] $Text) {
    Write-Host "  done: $Text"
    $Changes.Add($Text) | Out-Null
}

# Text inside a filter: quotes are doubled, so that a value stays a value.
function ConvertTo-FilterText([string] $Text) {
    return "'" + $Text.Replace("'", "''") + "'"
}

function Get-Now {
    return (Get-Date).ToUniversalTime()
}

# Exchange sees what was just made in Entra, or in itself, up to a minute later.
function Invoke-Patiently([scriptblock] $Action) {
    foreach ($seconds in @(5, 10, 20)) {
        try {
            return & $Action
        }
        catch {
            Write-Host "  not yet, trying again in $seconds s: $($_.Exception.Message)"
            Start-Sleep -Seconds $seconds
        }
    }
    return & $Action
}

function Read-Result {
    if (-not (Test-Path -LiteralPath $ResultPath)) {
        return $null
    }
    $read = Get-Content -LiteralPath $ResultPath -Raw -Encoding UTF8 | ConvertFrom-Json
    if ($read.schema -ne $Schema -or $read.version -ne $SchemaVersion -or $read.directory_id -ne $Kit.DirectoryId) {
        throw "$ResultPath is no result of this script for this directory. Name another file with -ResultFile."
    }
    return $read
}

function Save-Result($Entra, $Exchange) {
    if (-not $Caller.ShouldProcess($ResultPath, 'write the result file')) {
        return
    }
    $result = [ordered]@{
        schema = $Schema
        version = $SchemaVersion
        tenant = $Kit.Tenant
        directory_id = $Kit.DirectoryId
        cloud = $Kit.Cloud
        entra = $Entra
        exchange = $Exchange
    }
    # Without a byte order mark, in both editions of PowerShell.
    $encoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
    [System.IO.File]::WriteAllText($ResultPath, (ConvertTo-Json -InputObject $result -Depth 8), $encoding)
    Write-Host "Result: $ResultPath"
}

# ---- Part Entra ----

function Get-Application {
    if ($ApplicationId) {
        $known = @(Get-MgApplication -Filter "appId eq $(ConvertTo-FilterText $ApplicationId)" -ErrorAction Stop)
        if ($known.Count -ne 1) {
            throw "No application $ApplicationId is registered in this directory. Check the id, or leave -ApplicationId away."
        }
        return $known[0]
    }
    $named = @(Get-MgApplication -Filter "displayName eq $(ConvertTo-FilterText $Kit.ApplicationName)" -ErrorAction Stop)
    if ($named.Count -gt 1) {
        throw "Several applications are named $($Kit.ApplicationName). Say which one with -ApplicationId."
    }
    if ($named.Count -eq 1) {
        return $named[0]
    }
    if (-not $Caller.ShouldProcess($Kit.ApplicationName, 'register the application')) {
        return $null
    }
    $made = New-MgApplication -DisplayName $Kit.ApplicationName -SignInAudience 'AzureADMyOrg' -ErrorAction Stop
    Add-Change "registered the application $($Kit.ApplicationName)"
    return $made
}

function Get-Principal($Application) {
    $filter = "appId eq $(ConvertTo-FilterText $Application.AppId)"
    $known = @(Get-MgServicePrincipal -Filter $filter -ErrorAction Stop)
    if ($known.Count -gt 0) {
        return $known[0]
    }
    if (-not $Caller.ShouldProcess($Application.AppId, 'make the enterprise application')) {
        return $null
    }
    $made = Invoke-Patiently { New-MgServicePrincipal -AppId $Application.AppId -ErrorAction Stop }
    Add-Change 'made the enterprise application'
    return $made
}

function Get-Credentials($Application) {
    $all = New-Object -TypeName System.Collections.ArrayList
    foreach ($secret in @($Application.PasswordCredentials | Where-Object { $null -ne $_ })) {
        $all.Add(@{ kind = 'secret'; key_id = [string] $secret.KeyId; ends = $secret.EndDateTime }) | Out-Null
    }
    foreach ($key in @($Application.KeyCredentials | Where-Object { $null -ne $_ })) {
        $all.Add(@{ kind = 'certificate'; key_id = [string] $key.KeyId; ends = $key.EndDateTime }) | Out-Null
    }
    return $all.ToArray()
}

function Add-Certificate($Application) {
    $path = $Caller.SessionState.Path.GetUnresolvedProviderPathFromPSPath($CertificateFile)
    $certificate = New-Object -TypeName System.Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList $path
    if ($certificate.HasPrivateKey) {
        throw "$CertificateFile holds a private key. Give the public certificate only (.cer or .pem)."
    }
    $content = [System.Convert]::ToBase64String($certificate.RawData)
    # The list of keys is replaced as a whole, and only this request tells the keys themselves.
    $full = Get-MgApplication -ApplicationId $Application.Id -Property 'keyCredentials' -ErrorAction Stop
    $keys = New-Object -TypeName System.Collections.ArrayList
    foreach ($key in @($full.KeyCredentials | Where-Object { $null -ne $_ })) {
        if ($null -eq $key.Key) {
            throw 'Entra does not show the certificates that are registered. Add this one in the Entra admin center.'
        }
        if ([System.Convert]::ToBase64String($key.Key) -eq $content) {
            return
        }
        $keys.Add($key) | Out-Null
    }
    if (-not $Caller.ShouldProcess($Application.DisplayName, 'register the certificate')) {
        return
    }
    $keys.Add(@{
        type = 'AsymmetricX509Cert'
        usage = 'Verify'
        key = $certificate.RawData
        displayName = $Kit.CredentialName
    }) | Out-Null
    $all = $keys.ToArray()
    Update-MgApplication -ApplicationId $Application.Id -KeyCredentials $all -ErrorAction Stop | Out-Null
    Add-Change 'registered the certificate'
}

function Assert-SecretPlace {
    if ($SecretFile) {
        if (Test-Path -LiteralPath $SecretFile) {
            throw "$SecretFile exists. Name a new file with -SecretFile."
        }
        return
    }
    if ($Host.Name -ne 'ConsoleHost' -or [System.Console]::IsOutputRedirected) {
        throw 'The secret cannot be shown here without leaving it in a log. Use a plain PowerShell window, or -SecretFile.'
    }
}

function Add-Secret($Application) {
    if (-not $Caller.ShouldProcess($Application.DisplayName, "make a secret for $SecretMonths months")) {
        return
    }
    Assert-SecretPlace
    $stream = $null
    if ($SecretFile) {
        # Made before the secret, which Entra shows only once.
        $path = $Caller.SessionState.Path.GetUnresolvedProviderPathFromPSPath($SecretFile)
        $stream = [System.IO.File]::Open($path, 'CreateNew', 'Write')
    }
    try {
        $wish = @{ displayName = $Kit.CredentialName; endDateTime = (Get-Now).AddMonths($SecretMonths) }
        $id = $Application.Id
        $made = Invoke-Patiently { Add-MgApplicationPassword -ApplicationId $id -PasswordCredential $wish -ErrorAction Stop }
        if ($null -ne $stream) {
            $bytes = [System.Text.Encoding]::ASCII.GetBytes($made.SecretText)
            $stream.Write($bytes, 0, $bytes.Length)
        }
        else {
            # Straight to the console: what goes through the host is in transcripts.
            [System.Console]::WriteLine('')
            [System.Console]::WriteLine('The secret, shown this once:')
            [System.Console]::WriteLine($made.SecretText)
            [System.Console]::WriteLine('')
        }
    }
    catch {
        if ($null -ne $stream) {
            $stream.Dispose()
            Remove-Item -LiteralPath $path
        }
        throw
    }
    if ($null -ne $stream) {
        $stream.Dispose()
    }
    Add-Change "made a secret for $SecretMonths months"
}

function Set-Credential($Application) {
    if ($CertificateFile) {
        Add-Certificate $Application
        return
    }
    $valid = @(Get-Credentials $Application | Where-Object { $_.ends -gt (Get-Now) })
    if ($valid.Count -gt 0 -and -not $NewSecret) {
        Write-Host '  The application has a valid secret or certificate; -NewSecret makes another secret.'
        return
    }
    Add-Secret $Application
}

function Get-Granted($Principal, $Graph) {
    $all = @(Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $Principal.Id -All -ErrorAction Stop)
    foreach ($grant in @($all | Where-Object { $_.ResourceId -eq $Graph.Id })) {
        $role = @($Graph.AppRoles | Where-Object { $_.Id -eq $grant.AppRoleId })
        if ($role.Count -gt 0) {
            Write-Output @{ Id = $grant.Id; Permission = $role[0].Value }
        }
    }
}

function Grant-Permissions($Principal, $Graph) {
    $granted = @(Get-Granted $Principal $Graph | ForEach-Object { $_.Permission })
    foreach ($need in $Needs) {
        $permission = $need.Permission
        if ($granted -contains $permission) {
            continue
        }
        $role = @($Graph.AppRoles | Where-Object { $_.Value -eq $permission -and $_.AllowedMemberTypes -contains 'Application' })
        if ($role.Count -eq 0) {
            throw "This cloud's Graph has no application permission $permission."
        }
        if ($Caller.ShouldProcess($permission, 'consent for the whole organisation')) {
            $wish = @{
                ServicePrincipalId = $Principal.Id
                PrincipalId = $Principal.Id
                ResourceId = $Graph.Id
                AppRoleId = $role[0].Id
            }
            New-MgServicePrincipalAppRoleAssignment @wish -ErrorAction Stop | Out-Null
            Add-Change "consented to $permission"
        }
    }
}

function Revoke-Permissions($Principal, $Graph, $Previous) {
    $tested = @()
    if ($null -ne $Previous -and $null -ne $Previous.exchange -and $Previous.exchange.restriction -eq 'rbac') {
        $tested = @($Previous.exchange.rooms | Where-Object { $_.access -eq 'granted' })
    }
    if ($tested.Count -eq 0) {
        throw 'Run part Exchange first: no room was tested to be in reach without the permissions for all mailboxes.'
    }
    foreach ($grant in @(Get-Granted $Principal $Graph | Where-Object { $ReplacedByRoles -contains $_.Permission })) {
        if ($Caller.ShouldProcess($grant.Permission, 'take back the permission for all mailboxes')) {
            $grantId = $grant.Id
            Remove-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $Principal.Id -AppRoleAssignmentId $grantId -ErrorAction Stop |
                Out-Null
            Add-Change "took back $($grant.Permission)"
        }
    }
}

function Get-EntraReport($Application, $Principal, $Graph) {
    $credentials = New-Object -TypeName System.Collections.ArrayList
    foreach ($credential in @(Get-Credentials $Application)) {
        $ends = ''
        if ($null -ne $credential.ends) {
            $ends = $credential.ends.ToUniversalTime().ToString('s') + 'Z'
        }
        $credentials.Add([ordered]@{ kind = $credential.kind; key_id = $credential.key_id; expires_at = $ends }) | Out-Null
    }
    $permissions = New-Object -TypeName System.Collections.ArrayList
    foreach ($grant in @(Get-Granted $Principal $Graph)) {
        $permissions.Add([string] $grant.Permission) | Out-Null
    }
    return [ordered]@{
        finished_at = (Get-Now).ToString('s') + 'Z'
        application_id = [string] $Application.AppId
        application_name = [string] $Application.DisplayName
        service_principal_id = [string] $Principal.Id
        credentials = $credentials.ToArray()
        tenant_wide_permissions = $permissions.ToArray()
        changes = $Changes.ToArray()
    }
}

function Invoke-EntraPart($Previous) {
    if ($UseAccessPolicy -and $RevokeTenantWide) {
        throw '-UseAccessPolicy needs the permissions that -RevokeTenantWide takes back. Give one of them.'
    }
    Assert-Module 'Microsoft.Graph.Authentication' '2.0.0' 'ExchangeOnlineManagement'
    Assert-Module 'Microsoft.Graph.Applications' '2.0.0' 'ExchangeOnlineManagement'
    $wish = @{
        TenantId = $Kit.DirectoryId
        Environment = $Kit.GraphEnvironment
        ContextScope = 'Process'
        Scopes = @('Application.ReadWrite.All')
    }
    if ($UseAccessPolicy -or $RevokeTenantWide) {
        $wish.Scopes = @('Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All')
    }
    if ($SignInApplicationId) {
        $wish.ClientId = $SignInApplicationId
    }
    elseif ($Kit.Cloud -eq 'china') {
        throw 'In this cloud you sign in with an application of your own. Name it with -SignInApplicationId; the guide says how to make it.'
    }
    Connect-MgGraph @wish -NoWelcome -ErrorAction Stop | Out-Null
    try {
        if ((Get-MgContext).TenantId -ne $Kit.DirectoryId) {
            throw "You signed in to another directory than $($Kit.DirectoryId)."
        }
        Write-Host 'Application'
        $application = Get-Application
        if ($null -eq $application) {
            Write-Host '  Nothing more can be told before the application is registered.'
            return
        }
        $principal = Get-Principal $application
        Set-Credential $application
        if ($null -eq $principal) {
            return
        }
        Write-Host 'Permissions'
        $graph = @(Get-MgServicePrincipal -Filter "appId eq $(ConvertTo-FilterText $GraphAppId)" -ErrorAction Stop)[0]
        if ($UseAccessPolicy) {
            Grant-Permissions $principal $graph
        }
        if ($RevokeTenantWide) {
            Revoke-Permissions $principal $graph $Previous
        }
        # Read again: a secret made above is not in what was read before.
        $application = Get-MgApplication -ApplicationId $application.Id -ErrorAction Stop
        $report = Get-EntraReport $application $principal $graph
        $exchange = $null
        if ($null -ne $Previous) {
            $exchange = $Previous.exchange
        }
        Save-Result $report $exchange
        Write-Host ''
        Write-Host "Directory (tenant) id:   $($Kit.DirectoryId)"
        Write-Host "Application (client) id: $($application.AppId)"
        Write-Host 'Next: part Exchange, in a new PowerShell window.'
    }
    finally {
        Disconnect-MgGraph | Out-Null
    }
}

# ---- Part Exchange ----

function Find-Room([string] $Address) {
    $found = [ordered]@{
        mailbox = $Address
        found = $false
        primary_address = ''
        object_id = ''
        recipient_type = ''
        accepted = $false
        access = 'untested'
        problem = ''
        calendar_processing = $null
    }
    try {
        $mailbox = @(Get-Mailbox -Identity $Address -ErrorAction Stop)[0]
        $found.found = $true
        $found.primary_address = [string] $mailbox.PrimarySmtpAddress
        $found.object_id = [string] $mailbox.ExternalDirectoryObjectId
        $found.recipient_type = [string] $mailbox.RecipientTypeDetails
        $found.accepted = [bool] ($AllowOtherMailboxes -or $RoomTypes -contains $found.recipient_type)
        if (-not $found.accepted) {
            $found.problem = 'This is not a room. -AllowOtherMailboxes accepts it all the same.'
        }
    }
    catch {
        $found.problem = [string] $_.Exception.Message
    }
    return $found
}

function Get-Group {
    $filter = "Alias -eq $(ConvertTo-FilterText $Kit.GroupName)"
    $known = @(Get-DistributionGroup -Filter $filter -ErrorAction Stop)
    $group = $null
    if ($known.Count -gt 0) {
        $group = $known[0]
        if ([string] $group.RecipientTypeDetails -ne 'MailUniversalSecurityGroup') {
            throw "The group $($Kit.GroupName) exists and is no mail-enabled security group. Rename it."
        }
    }
    elseif ($Caller.ShouldProcess($Kit.GroupName, 'make the group of rooms')) {
        $wish = @{
            Name = $Kit.GroupName
            Alias = $Kit.GroupName
            Type = 'Security'
            MemberJoinRestriction = 'Closed'
            MemberDepartRestriction = 'Closed'
            Notes = 'Rooms that the Exchange sidecar may read and book. Whoever changes the members changes what it reaches.'
        }
        $group = New-DistributionGroup @wish -ErrorAction Stop
        Add-Change "made the group $($Kit.GroupName)"
    }
    if ($null -ne $group -and -not $group.HiddenFromAddressListsEnabled) {
        if ($Caller.ShouldProcess($Kit.GroupName, 'hide the group from address lists')) {
            $identity = $group.DistinguishedName
            Invoke-Patiently { Set-DistributionGroup -Identity $identity -HiddenFromAddressListsEnabled $true -ErrorAction Stop } |
                Out-Null
            Add-Change 'hid the group from address lists'
        }
    }
    return $group
}

# What members are recognised by; Exchange leaves out either of them in some answers.
function Get-Names($Members) {
    foreach ($member in @($Members | Where-Object { $null -ne $_ })) {
        foreach ($name in @([string] $member.ExternalDirectoryObjectId, [string] $member.PrimarySmtpAddress)) {
            if ($name) {
                Write-Output $name
            }
        }
    }
}

function Add-Members($Group, $Rooms) {
    $identity = $Group.DistinguishedName
    $listed = @(Invoke-Patiently { Get-DistributionGroupMember -Identity $identity -ResultSize Unlimited -ErrorAction Stop })
    $present = @(Get-Names $listed)
    foreach ($room in @($Rooms | Where-Object { $_.accepted })) {
        if ($present -contains $room.object_id -or $present -contains $room.primary_address) {
            continue
        }
        if ($Caller.ShouldProcess($room.mailbox, 'add the room to the group')) {
            try {
                $member = $room.primary_address
                Add-DistributionGroupMember -Identity $identity -Member $member -BypassSecurityGroupManagerCheck -ErrorAction Stop |
                    Out-Null
                $present = @($present) + @($member)
                Add-Change "added $($room.mailbox) to the group"
            }
            catch {
                $room.problem = [string] $_.Exception.Message
            }
        }
    }
    $wanted = @($Rooms | ForEach-Object { $_.object_id; $_.primary_address } | Where-Object { $_ })
    $others = @($listed | Where-Object {
            $null -ne $_ -and $wanted -notcontains [string] $_.ExternalDirectoryObjectId -and
            $wanted -notcontains [string] $_.PrimarySmtpAddress })
    return $others.Count
}

function Set-Pointer {
    $known = @(Get-ServicePrincipal -ErrorAction Stop | Where-Object { $_.AppId -eq $ApplicationId })
    if ($known.Count -gt 0) {
        if ([string] $known[0].ObjectId -ne $ServicePrincipalId) {
            throw "Exchange knows $ApplicationId under the object id $($known[0].ObjectId), not $ServicePrincipalId. Remove-ServicePrincipal removes the old one."
        }
        return
    }
    if ($Caller.ShouldProcess($ApplicationId, 'make the application known to Exchange')) {
        $wish = @{ AppId = $ApplicationId; ObjectId = $ServicePrincipalId; DisplayName = $Kit.ApplicationName }
        Invoke-Patiently { New-ServicePrincipal @wish -ErrorAction Stop } | Out-Null
        Add-Change 'made the application known to Exchange'
    }
}

function Set-Scope($Group) {
    $filter = "MemberOfGroup -eq $(ConvertTo-FilterText $Group.DistinguishedName)"
    $name = $Kit.GroupName
    $known = @(Get-ManagementScope -ErrorAction Stop | Where-Object { $_.Name -eq $name })
    if ($known.Count -eq 0) {
        if ($Caller.ShouldProcess($name, 'make the management scope')) {
            Invoke-Patiently { New-ManagementScope -Name $name -RecipientRestrictionFilter $filter -ErrorAction Stop } | Out-Null
            Add-Change "made the management scope $name"
        }
        return
    }
    # Exchange writes filters in a way of its own, so the group in it decides.
    $kept = ([string] $known[0].RecipientFilter).ToLowerInvariant()
    if (-not $kept.Contains((ConvertTo-FilterText $Group.DistinguishedName).ToLowerInvariant())) {
        if ($Caller.ShouldProcess($name, 'point the management scope to the group')) {
            Set-ManagementScope -Identity $name -RecipientRestrictionFilter $filter -ErrorAction Stop | Out-Null
            Add-Change "pointed the management scope $name to the group"
        }
    }
}

function Set-Roles {
    foreach ($need in $Needs) {
        $name = $need.Assignment
        $role = $need.Role
        # Asked by role, because an unknown name gives all assignments.
        $known = @(Get-ManagementRoleAssignment -Role $role -ErrorAction Stop | Where-Object { $_.Name -eq $name })
        if ($known.Count -gt 0) {
            continue
        }
        if ($Caller.ShouldProcess($role, 'assign the role for the rooms')) {
            $wish = @{ Name = $name; Role = $role; App = $ServicePrincipalId }
            if ($AdministrativeUnitId) {
                $wish.RecipientAdministrativeUnitScope = $AdministrativeUnitId
            }
            else {
                $wish.CustomResourceScope = $Kit.GroupName
            }
            Invoke-Patiently { New-ManagementRoleAssignment @wish -ErrorAction Stop } | Out-Null
            Add-Change "assigned $role"
        }
    }
}

function Set-Policy($Group) {
    $known = @(Get-ApplicationAccessPolicy -ErrorAction Stop | Where-Object {
            $_.AppId -eq $ApplicationId -and [string] $_.AccessRight -eq 'RestrictAccess' -and
            $_.ScopeIdentity -eq $Group.Name })
    if ($known.Count -gt 0) {
        return
    }
    if ($Caller.ShouldProcess($ApplicationId, 'make the application access policy')) {
        $wish = @{
            AppId = $ApplicationId
            PolicyScopeGroupId = $Group.DistinguishedName
            AccessRight = 'RestrictAccess'
            Description = ' '  # the space for all policies of an organisation is small
        }
        Invoke-Patiently { New-ApplicationAccessPolicy @wish -ErrorAction Stop } | Out-Null
        Add-Change 'made the application access policy'
    }
}

function Test-Access([string] $Address) {
    if ($UseAccessPolicy) {
        $answer = @(Test-ApplicationAccessPolicy -AppId $ApplicationId -Identity $Address -ErrorAction Stop)[0]
        if ([string] $answer.AccessCheckResult -eq 'Granted') {
            return 'granted'
        }
        return 'denied'
    }
    $role = $Needs[0].Role
    $answers = @(Test-ServicePrincipalAuthorization -Identity $ServicePrincipalId -Resource $Address -ErrorAction Stop)
    $reaching = @($answers | Where-Object { $_.RoleName -eq $role -and [string] $_.InScope -eq 'True' })
    if ($reaching.Count -gt 0) {
        return 'granted'
    }
    return 'denied'
}

function Set-Subjects([string] $Address, $Settings) {
    if (-not ($Settings.DeleteSubject -or $Settings.AddOrganizerToSubject -or $Settings.RemovePrivateProperty)) {
        return $false
    }
    if (-not $Caller.ShouldProcess($Address, 'keep subjects and the private flag')) {
        return $false
    }
    # The private flag goes with the subjects: without it everybody would read the subjects of private meetings.
    $wish = @{ DeleteSubject = $false; AddOrganizerToSubject = $false; RemovePrivateProperty = $false }
    Set-CalendarProcessing -Identity $Address @wish -ErrorAction Stop | Out-Null
    Add-Change "set $Address to keep subjects and the private flag"
    return $true
}

function ConvertTo-Settings($Settings) {
    $values = [ordered]@{}
    foreach ($name in $SettingNames) {
        $value = $Settings.$name
        if ($ListNames -contains $name) {
            $values[$name] = @($value | Where-Object { $null -ne $_ }).Count
        }
        elseif ($null -eq $value -or $value -is [bool] -or $value -is [int] -or $value -is [long]) {
            $values[$name] = $value
        }
        else {
            $values[$name] = [string] $value
        }
    }
    return $values
}

function Test-Room($Found, [bool] $IsKnown) {
    if (-not $Found.found) {
        Write-Host "  $($Found.mailbox): not found"
        return
    }
    try {
        if ($IsKnown -and $Found.accepted) {
            $Found.access = Test-Access $Found.primary_address
        }
        $settings = Get-CalendarProcessing -Identity $Found.primary_address -ErrorAction Stop
        if ($KeepSubjects -and $Found.accepted -and (Set-Subjects $Found.primary_address $settings)) {
            $settings = Get-CalendarProcessing -Identity $Found.primary_address -ErrorAction Stop
        }
        $Found.calendar_processing = ConvertTo-Settings $settings
    }
    catch {
        $Found.problem = [string] $_.Exception.Message
    }
    Write-Host "  $($Found.mailbox): $($Found.access) $($Found.problem)"
}

function Get-Roles {
    $roles = New-Object -TypeName System.Collections.ArrayList
    foreach ($row in @(Test-ServicePrincipalAuthorization -Identity $ServicePrincipalId -ErrorAction Stop)) {
        $roles.Add([ordered]@{
            role = [string] $row.RoleName
            scope = [string] $row.AllowedResourceScope
            scope_type = [string] $row.ScopeType
        }) | Out-Null
    }
    return $roles.ToArray()
}

function Test-Outside([bool] $IsKnown) {
    if (-not $OutsideMailbox -or -not $IsKnown) {
        return $null
    }
    $outside = [ordered]@{ mailbox = $OutsideMailbox; access = 'untested'; problem = '' }
    try {
        $outside.access = Test-Access $OutsideMailbox
    }
    catch {
        $outside.problem = [string] $_.Exception.Message
    }
    Write-Host "  $($OutsideMailbox), which must be denied: $($outside.access) $($outside.problem)"
    return $outside
}

function Set-Restriction($Rooms) {
    $others = 0
    $group = $null
    if (-not $AdministrativeUnitId) {
        Write-Host 'Group of rooms'
        $group = Get-Group
        if ($null -ne $group) {
            $others = Add-Members $group $Rooms
        }
    }
    Write-Host 'Restriction'
    if ($UseAccessPolicy) {
        if ($null -ne $group) {
            Set-Policy $group
        }
        return $others
    }
    Set-Pointer
    if ($null -ne $group) {
        Set-Scope $group
    }
    if ($null -ne $group -or $AdministrativeUnitId) {
        Set-Roles
    }
    return $others
}

function Invoke-ExchangePart($Previous) {
    if ($UseAccessPolicy -and $AdministrativeUnitId) {
        throw 'An application access policy takes a group. Leave -AdministrativeUnitId away.'
    }
    if ($ApplicationId -notmatch $GuidPattern -or $ServicePrincipalId -notmatch $GuidPattern) {
        throw 'Run part Entra first, or give -ApplicationId and -ServicePrincipalId (the object id of the enterprise application).'
    }
    if ($Addresses.Count -eq 0) {
        throw 'There are no rooms. Name their addresses with -Room.'
    }
    Assert-Module 'ExchangeOnlineManagement' '3.0.0' 'Microsoft.Graph.Authentication'
    Connect-ExchangeOnline -ExchangeEnvironmentName $Kit.ExchangeEnvironment -ShowBanner:$false -ErrorAction Stop | Out-Null
    try {
        # A window can hold several connections, and cmdlets take one of them.
        $links = @(Get-ConnectionInformation)
        $elsewhere = @($links | Where-Object { [string] $_.TenantID -ne $Kit.DirectoryId })
        if ($links.Count -eq 0 -or $elsewhere.Count -gt 0) {
            throw "You signed in to another directory than $($Kit.DirectoryId). Use a new PowerShell window."
        }
        $rooms = New-Object -TypeName System.Collections.ArrayList
        foreach ($address in $Addresses) {
            $rooms.Add((Find-Room $address)) | Out-Null
        }
        $others = Set-Restriction $rooms
        $restriction = 'rbac'
        $roles = @()
        if ($UseAccessPolicy) {
            $restriction = 'access_policy'
            $isKnown = $true
        }
        else {
            $isKnown = @(Get-ServicePrincipal -ErrorAction Stop | Where-Object { $_.AppId -eq $ApplicationId }).Count -gt 0
            if ($isKnown) {
                $roles = @(Get-Roles)
            }
        }
        Write-Host 'Rooms'
        foreach ($room in $rooms) {
            Test-Room $room $isKnown
        }
        $scope = $Kit.GroupName
        if ($AdministrativeUnitId) {
            $scope = $AdministrativeUnitId
        }
        $report = [ordered]@{
            finished_at = (Get-Now).ToString('s') + 'Z'
            application_id = $ApplicationId
            service_principal_id = $ServicePrincipalId
            restriction = $restriction
            scope = $scope
            members_not_asked_for = $others
            roles = $roles
            rooms = $rooms.ToArray()
            outside = Test-Outside $isKnown
            changes = $Changes.ToArray()
        }
        $entra = $null
        if ($null -ne $Previous) {
            $entra = $Previous.entra
        }
        Save-Result $entra $report
        if ($Changes.Count -gt 0) {
            Write-Host 'Exchange needs 30 minutes to 2 hours until a new restriction holds everywhere.'
        }
    }
    finally {
        Disconnect-ExchangeOnline -Confirm:$false | Out-Null
    }
}

# ---- Both ----

$ResultPath = $Caller.SessionState.Path.GetUnresolvedProviderPathFromPSPath($ResultFile)
$previous = Read-Result
if (-not $ApplicationId) {
    $ApplicationId = $Kit.ApplicationId
}
if ($null -ne $previous -and $null -ne $previous.entra) {
    if (-not $ApplicationId) {
        $ApplicationId = [string] $previous.entra.application_id
    }
    if (-not $ServicePrincipalId -and $ApplicationId -eq $previous.entra.application_id) {
        $ServicePrincipalId = [string] $previous.entra.service_principal_id
    }
}
if ($ApplicationId -and $ApplicationId -notmatch $GuidPattern) {
    throw '-ApplicationId must be a GUID.'
}
$Addresses = @($Kit.Rooms)
if ($null -ne $Room) {
    $Addresses = @($Room)
}
foreach ($address in $Addresses) {
    if ($address -notmatch '^[^@\s]+@[^@\s]+\z') {
        throw "$address is not the address of a mailbox."
    }
}
if ($Part -eq 'Entra') {
    Invoke-EntraPart $previous
}
else {
    Invoke-ExchangePart $previous
}
if ($Changes.Count -eq 0) {
    Write-Host 'Nothing was changed.'
}
