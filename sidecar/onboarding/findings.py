"""What a room's booking settings do to bookings: every setting that will bite, and the one command that changes it.

Source: Microsoft Learn "Set-CalendarProcessing"; what Exchange does to subjects was also seen by others, as the comments say.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.onboarding.powershell import powershell_literal
from sidecar.onboarding.settings_file import RoomSettings, Value

_WINDOW_DAYS_USUAL = 180
_WINDOW_DAYS_COPIED = 365
"""How far ahead the copy reaches unless set otherwise (EXCHANGE_SYNC__FUTURE_DAYS)."""
_DURATION_MINUTES_DAY = 1440


class Severity(enum.StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


RANKS = {severity: rank for rank, severity in enumerate(Severity)}
"""For sorting: the worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One setting of one room. `effect` is a sentence about bookings, `change` what Set-CalendarProcessing is told."""

    mailbox: str
    setting: str
    value: Value
    severity: Severity
    effect: str
    change: str

    @property
    def command(self) -> str:
        """The PowerShell, connected to Exchange Online, that changes the setting."""
        return f"Set-CalendarProcessing -Identity {powershell_literal(self.mailbox)} {self.change}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    setting: str
    severity: Severity
    bites: Callable[[RoomSettings], bool]
    effect: str
    change: str


def find_settings_that_bite(room: RoomSettings) -> list[Finding]:
    """Return what will surprise people or break bookings in a room, the worst first.

    A setting that the file does not tell is not judged.
    """
    found = [
        Finding(
            mailbox=room.mailbox,
            setting=rule.setting,
            value=room.get(rule.setting),
            severity=rule.severity,
            effect=rule.effect.format(value=room.get(rule.setting)),
            change=rule.change,
        )
        for rule in _RULES
        if room.get(rule.setting) is not None and rule.bites(room)
    ]
    return sorted(found, key=lambda finding: RANKS[finding.severity])


def _is(setting: str, value: Value) -> Callable[[RoomSettings], bool]:
    return lambda room: room.get(setting) == value


def _number(room: RoomSettings, setting: str) -> int:
    """Return a number, 0 when the file does not tell it."""
    value = room.get(setting)
    return value if isinstance(value, int) else 0


def _is_answered_by_itself(room: RoomSettings) -> bool:
    return room.get("AutomateProcessing") in (None, "AutoAccept")


def _keeps_subjects(room: RoomSettings) -> bool:
    return room.get("DeleteSubject") is False and room.get("AddOrganizerToSubject") is False


def _asks_somebody(room: RoomSettings) -> bool:
    may_ask = room.get("AllRequestInPolicy") is True or _number(room, "RequestInPolicy") > 0
    return _is_answered_by_itself(room) and room.get("AllBookInPolicy") is False and may_ask


def _is_closed(room: RoomSettings) -> bool:
    return (
        _is_answered_by_itself(room)
        and room.get("AllBookInPolicy") is False
        and not _asks_somebody(room)
        and _number(room, "BookInPolicy") == 0
    )


def _is_for_some(room: RoomSettings) -> bool:
    return (
        _is_answered_by_itself(room)
        and room.get("AllBookInPolicy") is False
        and not _asks_somebody(room)
        and _number(room, "BookInPolicy") > 0
    )


_RULES = (
    _Rule(
        setting="AutomateProcessing",
        severity=Severity.ERROR,
        bites=_is("AutomateProcessing", "None"),
        effect="The room does not take invitations: they neither appear in its calendar nor are they answered.",
        change="-AutomateProcessing AutoAccept",
    ),
    _Rule(
        setting="AutomateProcessing",
        severity=Severity.ERROR,
        bites=_is("AutomateProcessing", "AutoUpdate"),
        effect="The room answers nobody: each booking stays tentative until a person accepts it, conflicts are not noticed, "
        "and delegates are not told.",
        change="-AutomateProcessing AutoAccept",
    ),
    _Rule(
        setting="BookingType",
        severity=Severity.ERROR,
        bites=_is("BookingType", "Reserved"),
        effect="The room cannot be booked at all.",
        change="-BookingType Standard",
    ),
    _Rule(
        setting="AllowConflicts",
        severity=Severity.ERROR,
        bites=_is("AllowConflicts", True),
        effect="The room accepts bookings that overlap; two parties stand in front of one door.",
        change="-AllowConflicts $false",
    ),
    _Rule(
        setting="AllBookInPolicy",
        severity=Severity.ERROR,
        bites=_is_closed,
        effect="Every request is declined: nobody may book, and nobody may ask.",
        change="-AllBookInPolicy $true",
    ),
    _Rule(
        setting="AllBookInPolicy",
        severity=Severity.ERROR,
        bites=lambda room: _asks_somebody(room) and room.get("ResourceDelegates") == 0,
        effect="Bookings wait for the approval of a delegate, and the room has none: they wait for ever.",
        change="-AllBookInPolicy $true",
    ),
    _Rule(
        setting="AllBookInPolicy",
        severity=Severity.WARNING,
        bites=lambda room: _asks_somebody(room) and room.get("ResourceDelegates") != 0,
        effect="Bookings wait for the approval of a delegate; until then they are pending.",
        change="-AllBookInPolicy $true",
    ),
    _Rule(
        setting="AllBookInPolicy",
        severity=Severity.WARNING,
        bites=_is_for_some,
        effect="Only the people and groups in BookInPolicy may book; the room declines everybody else.",
        change="-AllBookInPolicy $true",
    ),
    _Rule(
        setting="ForwardRequestsToDelegates",
        severity=Severity.WARNING,
        bites=lambda room: room.get("ForwardRequestsToDelegates") is False and _asks_somebody(room),
        effect="Bookings wait for an approval that no delegate is asked for.",
        change="-ForwardRequestsToDelegates $true",
    ),
    _Rule(
        setting="TentativePendingApproval",
        severity=Severity.WARNING,
        bites=lambda room: room.get("TentativePendingApproval") is False and _asks_somebody(room),
        effect="A booking that waits for approval leaves the room free, so that others take it.",
        change="-TentativePendingApproval $true",
    ),
    _Rule(
        setting="RemovePrivateProperty",
        severity=Severity.ERROR,
        bites=lambda room: room.get("RemovePrivateProperty") is True and _keeps_subjects(room),
        effect="The private flag is removed while subjects are kept: everybody reads the subjects of private meetings.",
        change="-RemovePrivateProperty $false",
    ),
    _Rule(
        setting="RemovePrivateProperty",
        severity=Severity.NOTE,
        bites=lambda room: room.get("RemovePrivateProperty") is True and not _keeps_subjects(room),
        effect="The private flag is removed, so a private meeting looks like any other.",
        change="-RemovePrivateProperty $false",
    ),
    _Rule(
        setting="DeleteSubject",
        severity=Severity.WARNING,
        bites=_is("DeleteSubject", True),
        effect="The subject that people typed is removed once the room has accepted; it cannot be shown.",
        change="-DeleteSubject $false",
    ),
    _Rule(
        # Source: issues of others: microsoft-graph-docs #11649, msgraph-sdk-dotnet #559.
        setting="AddOrganizerToSubject",
        severity=Severity.WARNING,
        bites=_is("AddOrganizerToSubject", True),
        effect="The organizer's name takes the place of the subject.",
        change="-AddOrganizerToSubject $false",
    ),
    _Rule(
        setting="DeleteComments",
        severity=Severity.NOTE,
        bites=_is("DeleteComments", True),
        effect="The text of the invitation is removed, and the link to an online meeting with it.",
        change="-DeleteComments $false",
    ),
    _Rule(
        setting="AddNewRequestsTentatively",
        severity=Severity.WARNING,
        bites=_is("AddNewRequestsTentatively", False),
        effect="A request does not appear before it is accepted, so the room looks free until then.",
        change="-AddNewRequestsTentatively $true",
    ),
    _Rule(
        setting="AllowRecurringMeetings",
        severity=Severity.WARNING,
        bites=_is("AllowRecurringMeetings", False),
        effect="Every series is declined.",
        change="-AllowRecurringMeetings $true",
    ),
    _Rule(
        setting="ConflictPercentageAllowed",
        severity=Severity.NOTE,
        bites=lambda room: (
            room.get("ConflictPercentageAllowed") == 0
            and room.get("MaximumConflictInstances") == 0
            and room.get("AllowConflicts") is False
            and room.get("AllowRecurringMeetings") is not False
        ),
        effect="One conflict declines the whole series.",
        change="-ConflictPercentageAllowed 20 -MaximumConflictInstances 10",
    ),
    _Rule(
        setting="BookingWindowInDays",
        severity=Severity.WARNING,
        bites=lambda room: _number(room, "BookingWindowInDays") < _WINDOW_DAYS_USUAL,
        effect="Bookings more than {value} days ahead are declined.",
        change=f"-BookingWindowInDays {_WINDOW_DAYS_COPIED}",
    ),
    _Rule(
        setting="BookingWindowInDays",
        severity=Severity.NOTE,
        bites=lambda room: _WINDOW_DAYS_USUAL <= _number(room, "BookingWindowInDays") < _WINDOW_DAYS_COPIED,
        effect="Bookings more than {value} days ahead are declined.",
        change=f"-BookingWindowInDays {_WINDOW_DAYS_COPIED}",
    ),
    _Rule(
        setting="EnforceSchedulingHorizon",
        severity=Severity.NOTE,
        bites=_is("EnforceSchedulingHorizon", True),
        effect="A series that ends after the booking window is declined as a whole.",
        change="-EnforceSchedulingHorizon $false",
    ),
    _Rule(
        setting="EnforceSchedulingHorizon",
        severity=Severity.WARNING,
        bites=_is("EnforceSchedulingHorizon", False),
        effect="A series that ends after the booking window is cut short without a word; its later meetings have no room.",
        change="-EnforceSchedulingHorizon $true",
    ),
    _Rule(
        setting="MaximumDurationInMinutes",
        severity=Severity.WARNING,
        bites=lambda room: 0 < _number(room, "MaximumDurationInMinutes") < _DURATION_MINUTES_DAY,
        effect="Bookings longer than {value} minutes are declined, all-day ones among them.",
        change=f"-MaximumDurationInMinutes {_DURATION_MINUTES_DAY}",
    ),
    _Rule(
        setting="MaximumDurationInMinutes",
        severity=Severity.NOTE,
        bites=lambda room: _number(room, "MaximumDurationInMinutes") >= _DURATION_MINUTES_DAY,
        effect="Bookings longer than {value} minutes are declined; 1440 is one day.",
        change="-MaximumDurationInMinutes 0",
    ),
    _Rule(
        setting="MinimumDurationInMinutes",
        severity=Severity.NOTE,
        bites=lambda room: _number(room, "MinimumDurationInMinutes") > 0,
        effect="In workspaces, bookings shorter than {value} minutes are declined.",
        change="-MinimumDurationInMinutes 0",
    ),
    _Rule(
        setting="ScheduleOnlyDuringWorkHours",
        severity=Severity.WARNING,
        bites=_is("ScheduleOnlyDuringWorkHours", True),
        effect="Bookings outside the room's own working hours are declined.",
        change="-ScheduleOnlyDuringWorkHours $false",
    ),
    _Rule(
        setting="EnforceCapacity",
        severity=Severity.WARNING,
        bites=_is("EnforceCapacity", True),
        effect="Bookings with more people than seats are declined.",
        change="-EnforceCapacity $false",
    ),
    _Rule(
        setting="EnableAutoRelease",
        severity=Severity.WARNING,
        bites=_is("EnableAutoRelease", True),
        effect="Exchange gives a booking up by itself when nobody checks in.",
        change="-EnableAutoRelease $false",
    ),
    _Rule(
        setting="ProcessExternalMeetingMessages",
        severity=Severity.NOTE,
        bites=_is("ProcessExternalMeetingMessages", False),
        effect="Invitations from outside the organisation are not taken.",
        change="-ProcessExternalMeetingMessages $true",
    ),
    _Rule(
        setting="RemoveCanceledMeetings",
        severity=Severity.NOTE,
        bites=_is("RemoveCanceledMeetings", False),
        effect="Cancelled meetings stay in the room's calendar; here they are shown as cancelled.",
        change="-RemoveCanceledMeetings $true",
    ),
    _Rule(
        setting="AllRequestOutOfPolicy",
        severity=Severity.NOTE,
        bites=lambda room: room.get("AllRequestOutOfPolicy") is True and _is_answered_by_itself(room),
        effect="Requests beyond the room's limits go to a delegate instead of being declined, and are pending until then.",
        change="-AllRequestOutOfPolicy $false",
    ),
)
