"""Entra and Exchange, played for the onboarding script: what its cmdlets do and answer, as Microsoft documents them.

Whether a room is in reach is worked out from the scope that the script made, not from what it meant to make.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.support.powershell.cmdlets import EXCHANGE, GRAPH, READING_VERBS
from tests.support.powershell.objects import Bag, NotModelled, PowerShellError, Value, is_true, items_of, to_text

DIRECTORY = "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRET = "CANARY~secret-of-the-application"
_ROLES = ("Calendars.Read", "Calendars.ReadWrite", "MailboxSettings.Read", "User.Read.All")
ROOM_DEFAULTS: dict[str, Value] = {
    "AddNewRequestsTentatively": True,
    "AddOrganizerToSubject": True,
    "AllBookInPolicy": True,
    "AllowConflicts": False,
    "AllowRecurringMeetings": True,
    "AutomateProcessing": "AutoAccept",
    "BookingWindowInDays": 180,
    "DeleteSubject": True,
    "MaximumDurationInMinutes": 1440,
    "RemovePrivateProperty": True,
}


@dataclass
class Mailbox:
    """A mailbox, and the settings of its calendar attendant."""

    address: str
    object_id: str
    kind: str
    settings: Bag


@dataclass
class Group:
    """A mail-enabled security group."""

    bag: Bag
    members: list[str] = field(default_factory=list)


class Microsoft:
    """One organisation. `log` holds the name of each cmdlet that changed something, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.applications: list[Bag] = []
        self.principals: list[Bag] = [self._graph_principal()]
        self.grants: list[Bag] = []
        self.mailboxes: dict[str, Mailbox] = {}
        self.groups: list[Group] = []
        self.pointers: list[Bag] = []
        self.scopes: list[Bag] = []
        self.assignments: list[Bag] = []
        self.policies: list[Bag] = []
        self.directory = DIRECTORY
        self.lag_count = 0
        self.hides_object_ids = False
        self.broken: dict[str, str] = {}
        self.seconds_slept = 0
        self._made = 0

    def add_mailbox(self, address: str, kind: str = "RoomMailbox", **settings: Value) -> Mailbox:
        """Have a mailbox."""
        bag = Bag.of(**{**ROOM_DEFAULTS, **settings})
        made = Mailbox(address, self._guid(), kind, bag)
        self.mailboxes[address.lower()] = made
        return made

    def run(self, name: str, given: dict[str, Value]) -> list[Value]:
        """Run a cmdlet.

        Raises:
            PowerShellError: it fails, as a terminating error.
        """
        known = {**GRAPH, **EXCHANGE}[name]
        unknown = set(given) - known - {"ErrorAction"}
        if unknown:
            raise PowerShellError(f"A parameter cannot be found that matches parameter name '{min(unknown)}'.")
        if name in self.broken:
            raise PowerShellError(self.broken[name])
        handler: Callable[..., list[Value]] = getattr(self, "_" + name.replace("-", "_").lower())
        told = handler({key: value for key, value in given.items() if key != "ErrorAction"})
        if name.partition("-")[0] not in READING_VERBS:
            self.log.append(name)
        return told

    # Graph

    def _get_mgapplication(self, given: dict[str, Value]) -> list[Value]:
        if "Filter" in given:
            return [_without_keys(one) for one in _filtered(self.applications, given["Filter"])]
        found = [one for one in self.applications if one.get("Id") == given["ApplicationId"]]
        # Only when asked for this one property the keys themselves are told.
        return [_copy(one) if "Property" in given else _without_keys(one) for one in found]

    def _new_mgapplication(self, given: dict[str, Value]) -> list[Value]:
        made = Bag.of(
            Id=self._guid(),
            AppId=self._guid(),
            DisplayName=given["DisplayName"],
            PasswordCredentials=[],
            KeyCredentials=[],
        )
        self.applications.append(made)
        return [_copy(made)]

    def _update_mgapplication(self, given: dict[str, Value]) -> list[Value]:
        (application,) = [one for one in self.applications if one.get("Id") == given["ApplicationId"]]
        keys = []
        for key in items_of(given["KeyCredentials"]):
            assert isinstance(key, Bag)
            if key.get("KeyId") is None:
                key = Bag.of(**{**dict(key.items()), "KeyId": self._guid(), "EndDateTime": NOW + timedelta(days=365)})
            assert isinstance(key.get("key"), bytes), "a key without its content would be erased"
            keys.append(key)
        application.set("KeyCredentials", keys)
        return []

    def _add_mgapplicationpassword(self, given: dict[str, Value]) -> list[Value]:
        (application,) = [one for one in self.applications if one.get("Id") == given["ApplicationId"]]
        wish = given["PasswordCredential"]
        assert isinstance(wish, Bag)
        ends = wish.get("endDateTime")
        kept = Bag.of(KeyId=self._guid(), DisplayName=wish.get("displayName"), EndDateTime=ends, SecretText=None)
        application.set("PasswordCredentials", [*items_of(application.get("PasswordCredentials")), kept])
        return [Bag.of(KeyId=kept.get("KeyId"), EndDateTime=ends, SecretText=SECRET)]

    def _get_mgserviceprincipal(self, given: dict[str, Value]) -> list[Value]:
        return list(_filtered(self.principals, given["Filter"]))

    def _new_mgserviceprincipal(self, given: dict[str, Value]) -> list[Value]:
        made = Bag.of(Id=self._guid(), AppId=given["AppId"])
        self.principals.append(made)
        return [made]

    def _get_mgserviceprincipalapproleassignment(self, given: dict[str, Value]) -> list[Value]:
        return [grant for grant in self.grants if grant.get("PrincipalId") == given["ServicePrincipalId"]]

    def _new_mgserviceprincipalapproleassignment(self, given: dict[str, Value]) -> list[Value]:
        assert given["ServicePrincipalId"] == given["PrincipalId"]
        made = Bag.of(Id=self._guid(), **{key: value for key, value in given.items() if key != "ServicePrincipalId"})
        self.grants.append(made)
        return [made]

    def _remove_mgserviceprincipalapproleassignment(self, given: dict[str, Value]) -> list[Value]:
        self.grants = [grant for grant in self.grants if grant.get("Id") != given["AppRoleAssignmentId"]]
        return []

    # Exchange

    def _get_mailbox(self, given: dict[str, Value]) -> list[Value]:
        found = self._mailbox(given["Identity"])
        return [
            Bag.of(
                PrimarySmtpAddress=found.address,
                ExternalDirectoryObjectId=found.object_id,
                RecipientTypeDetails=found.kind,
            )
        ]

    def _get_distributiongroup(self, given: dict[str, Value]) -> list[Value]:
        return list(_filtered([group.bag for group in self.groups], given["Filter"]))

    def _new_distributiongroup(self, given: dict[str, Value]) -> list[Value]:
        name = to_text(given["Name"]) + "20261122120000"  # Exchange Online adds the time to names of groups
        if len(name) > 64:
            raise PowerShellError("The name is longer than 64 characters.")
        kind = "MailUniversalSecurityGroup" if given["Type"] == "Security" else "MailUniversalDistributionGroup"
        made = Bag.of(
            Name=name,
            DisplayName=given["Name"],
            Alias=given["Alias"],
            DistinguishedName=f"CN={name},OU=O'Neil's,DC=example",
            RecipientTypeDetails=kind,
            HiddenFromAddressListsEnabled=False,
        )
        self.groups.append(Group(made))
        return [made]

    def _set_distributiongroup(self, given: dict[str, Value]) -> list[Value]:
        self._group(given["Identity"]).bag.set("HiddenFromAddressListsEnabled", given["HiddenFromAddressListsEnabled"])
        return []

    def _get_distributiongroupmember(self, given: dict[str, Value]) -> list[Value]:
        assert given["ResultSize"] == "Unlimited"
        listed = [self._mailbox(member) for member in self._group(given["Identity"]).members]
        return [
            Bag.of(
                ExternalDirectoryObjectId=None if self.hides_object_ids else mailbox.object_id,
                PrimarySmtpAddress=mailbox.address,
            )
            for mailbox in listed
        ]

    def _add_distributiongroupmember(self, given: dict[str, Value]) -> list[Value]:
        members, member = self._group(given["Identity"]).members, self._mailbox(given["Member"]).object_id
        if member in members:
            raise PowerShellError("The recipient is already a member of the group.")
        members.append(member)
        return []

    def _get_serviceprincipal(self, _: dict[str, Value]) -> list[Value]:
        return list(self.pointers)

    def _new_serviceprincipal(self, given: dict[str, Value]) -> list[Value]:
        if self.lag_count:
            self.lag_count -= 1
            raise PowerShellError("The service principal was not found in the directory.")
        if not any(principal.get("Id") == given["ObjectId"] for principal in self.principals):
            raise PowerShellError("The service principal was not found in the directory.")
        made = Bag.of(**given)
        self.pointers.append(made)
        return [made]

    def _get_managementscope(self, _: dict[str, Value]) -> list[Value]:
        return list(self.scopes)

    def _new_managementscope(self, given: dict[str, Value]) -> list[Value]:
        made = Bag.of(Name=given["Name"], RecipientFilter=_spelled_by_exchange(given["RecipientRestrictionFilter"]))
        self.scopes.append(made)
        return [made]

    def _set_managementscope(self, given: dict[str, Value]) -> list[Value]:
        (scope,) = [one for one in self.scopes if one.get("Name") == given["Identity"]]
        scope.set("RecipientFilter", _spelled_by_exchange(given["RecipientRestrictionFilter"]))
        return []

    def _get_managementroleassignment(self, given: dict[str, Value]) -> list[Value]:
        return [one for one in self.assignments if one.get("Role") == given["Role"]]

    def _new_managementroleassignment(self, given: dict[str, Value]) -> list[Value]:
        if not any(pointer.get("ObjectId") == given["App"] for pointer in self.pointers):
            raise PowerShellError("The application is not known to Exchange.")
        if len(to_text(given["Name"])) > 64:
            raise PowerShellError("The name is longer than 64 characters.")
        made = Bag.of(**given)
        self.assignments.append(made)
        return [made]

    def _test_serviceprincipalauthorization(self, given: dict[str, Value]) -> list[Value]:
        if not any(pointer.get("ObjectId") == given["Identity"] for pointer in self.pointers):
            raise PowerShellError("The service principal was not found.")
        rows: list[Value] = []
        for one in [one for one in self.assignments if one.get("App") == given["Identity"]]:
            unit, scope = one.get("RecipientAdministrativeUnitScope"), one.get("CustomResourceScope")
            kind = "AdministrativeUnit" if unit else "CustomRecipientScope" if scope else "Organization"
            in_scope = "Not Run"
            if "Resource" in given:
                in_scope = str(scope is None or self._mailbox(given["Resource"]).object_id in self._in_scope(scope))
            rows.append(
                Bag.of(RoleName=one.get("Role"), AllowedResourceScope=scope or unit, ScopeType=kind, InScope=in_scope)
            )
        return rows

    def _get_applicationaccesspolicy(self, _: dict[str, Value]) -> list[Value]:
        return list(self.policies)

    def _new_applicationaccesspolicy(self, given: dict[str, Value]) -> list[Value]:
        group = self._group(given["PolicyScopeGroupId"])
        made = Bag.of(
            AppId=given["AppId"],
            AccessRight=given["AccessRight"],
            ScopeName=group.bag.get("DisplayName"),
            ScopeIdentity=group.bag.get("Name"),
        )
        self.policies.append(made)
        return [made]

    def _test_applicationaccesspolicy(self, given: dict[str, Value]) -> list[Value]:
        mailbox = self._mailbox(given["Identity"])
        mine = [policy for policy in self.policies if policy.get("AppId") == given["AppId"]]
        groups = [group for group in self.groups if group.bag.get("Name") in {one.get("ScopeIdentity") for one in mine}]
        inside = not mine or any(mailbox.object_id in group.members for group in groups)
        return [Bag.of(AccessCheckResult="Granted" if inside else "Denied")]

    def _get_calendarprocessing(self, given: dict[str, Value]) -> list[Value]:
        return [self._mailbox(given["Identity"]).settings]

    def _set_calendarprocessing(self, given: dict[str, Value]) -> list[Value]:
        mailbox = self._mailbox(given.pop("Identity"))
        for name, value in given.items():
            mailbox.settings.set(name, is_true(value))
        return []

    # Inside

    def _mailbox(self, identity: Value) -> Mailbox:
        wanted = to_text(identity).lower()
        for mailbox in self.mailboxes.values():
            if wanted in {mailbox.address.lower(), mailbox.object_id}:
                return mailbox
        raise PowerShellError(f"The operation couldn't be performed because object '{wanted}' couldn't be found.")

    def _group(self, identity: Value) -> Group:
        for group in self.groups:
            if identity in (group.bag.get("DistinguishedName"), group.bag.get("Name")):
                return group
        raise PowerShellError("The group couldn't be found.")

    def _in_scope(self, name: Value) -> list[str]:
        (scope,) = [one for one in self.scopes if one.get("Name") == name]
        match = re.fullmatch(r"\(MemberOfGroup -eq '((?:[^']|'')*)'\)", to_text(scope.get("RecipientFilter")))
        assert match is not None, "Exchange would not understand this filter"
        return self._group(match[1].replace("''", "'")).members

    def _graph_principal(self) -> Bag:
        roles = [
            Bag.of(Id=f"00000000-0000-4000-9000-{number:012}", Value=name, AllowedMemberTypes=["Application"])
            for number, name in enumerate(_ROLES)
        ]
        return Bag.of(Id="00000000-0000-4000-9000-00000000aaaa", AppId=GRAPH_APP, AppRoles=roles)

    def _guid(self) -> str:
        self._made = getattr(self, "_made", 0) + 1
        return f"11111111-0000-4000-8000-{self._made:012}"


def _filtered(known: list[Bag], condition: Value) -> list[Bag]:
    match = re.fullmatch(r"(\w+) -?eq '((?:[^']|'')*)'", to_text(condition))
    if match is None:
        raise NotModelled(f"filter {condition}")
    return [one for one in known if to_text(one.get(match[1])).lower() == match[2].replace("''", "'").lower()]


def _spelled_by_exchange(condition: Value) -> str:
    return f"({to_text(condition)})"


def _copy(application: Bag) -> Bag:
    """Return it as it is now; what an answer holds does not change with the directory."""
    return Bag.of(**dict(application.items()))


def _without_keys(application: Bag) -> Bag:
    shown = _copy(application)
    keys = []
    for key in items_of(application.get("KeyCredentials")):
        assert isinstance(key, Bag)
        keys.append(Bag.of(KeyId=key.get("KeyId"), EndDateTime=key.get("EndDateTime"), Key=None))
    shown.set("KeyCredentials", keys)
    return shown
