"""The cmdlets that the onboarding script may use, with the parameters that Microsoft documents for them.

Source: Microsoft Learn, one page for each cmdlet (office-docs-powershell, microsoftgraph-docs-powershell, PowerShell-Docs),
read 2026-11. Only parameters that were looked up are listed: another one fails the test until somebody has looked.
"""

from __future__ import annotations

GRAPH = {
    "Connect-MgGraph": {"TenantId", "ClientId", "Environment", "ContextScope", "Scopes", "NoWelcome"},
    "Disconnect-MgGraph": set[str](),
    "Get-MgContext": set[str](),
    "Get-MgApplication": {"Filter", "ApplicationId", "Property"},
    "New-MgApplication": {"DisplayName", "SignInAudience"},
    "Update-MgApplication": {"ApplicationId", "KeyCredentials"},
    "Add-MgApplicationPassword": {"ApplicationId", "PasswordCredential"},
    "Get-MgServicePrincipal": {"Filter"},
    "New-MgServicePrincipal": {"AppId"},
    "Get-MgServicePrincipalAppRoleAssignment": {"ServicePrincipalId", "All"},
    "New-MgServicePrincipalAppRoleAssignment": {"ServicePrincipalId", "PrincipalId", "ResourceId", "AppRoleId"},
    "Remove-MgServicePrincipalAppRoleAssignment": {"ServicePrincipalId", "AppRoleAssignmentId"},
}
EXCHANGE = {
    "Connect-ExchangeOnline": {"ExchangeEnvironmentName", "ShowBanner"},
    "Disconnect-ExchangeOnline": {"Confirm"},
    "Get-ConnectionInformation": set[str](),
    "Get-Mailbox": {"Identity"},
    "Get-DistributionGroup": {"Filter"},
    "New-DistributionGroup": {"Name", "Alias", "Type", "MemberJoinRestriction", "MemberDepartRestriction", "Notes"},
    "Set-DistributionGroup": {"Identity", "HiddenFromAddressListsEnabled"},
    "Get-DistributionGroupMember": {"Identity", "ResultSize"},
    "Add-DistributionGroupMember": {"Identity", "Member", "BypassSecurityGroupManagerCheck"},
    "Get-ServicePrincipal": set[str](),
    "New-ServicePrincipal": {"AppId", "ObjectId", "DisplayName"},
    "Get-ManagementScope": set[str](),
    "New-ManagementScope": {"Name", "RecipientRestrictionFilter"},
    "Set-ManagementScope": {"Identity", "RecipientRestrictionFilter"},
    "Get-ManagementRoleAssignment": {"Role"},
    "New-ManagementRoleAssignment": {
        "Name",
        "Role",
        "App",
        "CustomResourceScope",
        "RecipientAdministrativeUnitScope",
    },
    "Test-ServicePrincipalAuthorization": {"Identity", "Resource"},
    "Get-ApplicationAccessPolicy": set[str](),
    "New-ApplicationAccessPolicy": {"AppId", "PolicyScopeGroupId", "AccessRight", "Description"},
    "Test-ApplicationAccessPolicy": {"AppId", "Identity"},
    "Get-CalendarProcessing": {"Identity"},
    "Set-CalendarProcessing": {"Identity", "DeleteSubject", "AddOrganizerToSubject", "RemovePrivateProperty"},
}
BUILT_IN = {
    "ConvertFrom-Json": set[str](),
    "ConvertTo-Json": {"InputObject", "Depth"},
    "ForEach-Object": {"0"},
    "Get-Content": {"LiteralPath", "Raw", "Encoding"},
    "Get-Date": set[str](),
    "Get-Module": {"Name", "ListAvailable"},
    "Import-Module": {"Name", "MinimumVersion"},
    "New-Object": {"TypeName", "ArgumentList"},
    "Out-Null": set[str](),
    "Remove-Item": {"LiteralPath"},
    "Select-Object": {"First"},
    "Set-StrictMode": {"Version"},
    "Sort-Object": {"Property", "Descending"},
    "Start-Sleep": {"Seconds"},
    "Test-Path": {"LiteralPath"},
    "Where-Object": {"0"},
    "Write-Host": {"0"},
    "Write-Output": {"0"},
}
MICROSOFT = {**GRAPH, **EXCHANGE}
READING_VERBS = frozenset({"Connect", "Disconnect", "Get", "Test"})
"""Everything else changes something at Microsoft."""
