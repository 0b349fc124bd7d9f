"""Result files to read."""

from __future__ import annotations

import json
from typing import Any

from sidecar.onboarding.result_file import OnboardingResult, read_result
from tests.unit.onboarding.values import APPLICATION, DIRECTORY

PRINCIPAL = "2b9d0000-0000-4000-8000-0000000000bb"

GOOD_SETTINGS: dict[str, object] = {
    "AddNewRequestsTentatively": True,
    "AddOrganizerToSubject": False,
    "AllBookInPolicy": True,
    "AllowConflicts": False,
    "AllowRecurringMeetings": True,
    "AllRequestInPolicy": False,
    "AllRequestOutOfPolicy": False,
    "AutomateProcessing": "AutoAccept",
    "BookingType": "Standard",
    "BookingWindowInDays": 400,
    "BookInPolicy": 0,
    "ConflictPercentageAllowed": 20,
    "DeleteAttachments": True,
    "DeleteComments": False,
    "DeleteSubject": False,
    "EnableAutoRelease": False,
    "EnforceCapacity": False,
    "EnforceSchedulingHorizon": None,
    "ForwardRequestsToDelegates": True,
    "MaximumConflictInstances": 5,
    "MaximumDurationInMinutes": 0,
    "MinimumDurationInMinutes": 0,
    "ProcessExternalMeetingMessages": True,
    "RemoveCanceledMeetings": True,
    "RemovePrivateProperty": False,
    "RequestInPolicy": 0,
    "RequestOutOfPolicy": 0,
    "ResourceDelegates": 0,
    "ScheduleOnlyDuringWorkHours": False,
    "TentativePendingApproval": True,
}
"""Settings of a room about which there is nothing to say."""


def room_entry(mailbox: str = "room1@contoso.example", **changes: Any) -> dict[str, Any]:  # any JSON
    """Return a room that is in order, but for the changes."""
    return {
        "mailbox": mailbox,
        "found": True,
        "primary_address": mailbox,
        "object_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "recipient_type": "RoomMailbox",
        "accepted": True,
        "access": "granted",
        "problem": "",
        "calendar_processing": dict(GOOD_SETTINGS),
        **changes,
    }


def result_entry() -> dict[str, Any]:  # any JSON
    """Return a result about which there is nothing to say, as JSON values to change."""
    return {
        "schema": "exchange-sidecar/onboarding-result",
        "version": 1,
        "tenant": "acme",
        "directory_id": DIRECTORY,
        "cloud": "global",
        "entra": {
            "finished_at": "2026-11-20T10:00:00Z",
            "application_id": APPLICATION,
            "application_name": "Exchange sidecar acme",
            "service_principal_id": PRINCIPAL,
            "credentials": [{"kind": "secret", "key_id": "k1", "expires_at": "2027-11-20T10:00:00Z"}],
            "tenant_wide_permissions": [],
            "changes": ["registered the application"],
        },
        "exchange": {
            "finished_at": "2026-11-20T10:10:00Z",
            "application_id": APPLICATION,
            "service_principal_id": PRINCIPAL,
            "restriction": "rbac",
            "scope": "exchange-sidecar-rooms-acme",
            "members_not_asked_for": 0,
            "roles": [
                {
                    "role": "Application Calendars.ReadWrite",
                    "scope": "exchange-sidecar-rooms-acme",
                    "scope_type": "CustomRecipientScope",
                }
            ],
            "rooms": [room_entry()],
            "outside": {"mailbox": "ceo@contoso.example", "access": "denied", "problem": ""},
            "changes": [],
        },
    }


def read_entry(entry: dict[str, Any]) -> OnboardingResult:
    """Read a result as if it came in a file."""
    read = read_result(json.dumps(entry).encode())
    assert isinstance(read, OnboardingResult)
    return read
