"""A room's booking settings, as Get-CalendarProcessing tells them in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = bool | int | str | None

FLAGS = frozenset(
    {
        "AddNewRequestsTentatively",
        "AddOrganizerToSubject",
        "AllBookInPolicy",
        "AllowConflicts",
        "AllowRecurringMeetings",
        "AllRequestInPolicy",
        "AllRequestOutOfPolicy",
        "DeleteAttachments",
        "DeleteComments",
        "DeleteSubject",
        "EnableAutoRelease",
        "EnforceCapacity",
        "EnforceSchedulingHorizon",
        "ForwardRequestsToDelegates",
        "ProcessExternalMeetingMessages",
        "RemoveCanceledMeetings",
        "RemovePrivateProperty",
        "ScheduleOnlyDuringWorkHours",
        "TentativePendingApproval",
    }
)
NUMBERS = frozenset(
    {
        "BookingWindowInDays",
        "ConflictPercentageAllowed",
        "MaximumConflictInstances",
        "MaximumDurationInMinutes",
        "MinimumDurationInMinutes",
    }
)
LISTS = frozenset({"BookInPolicy", "RequestInPolicy", "RequestOutOfPolicy", "ResourceDelegates"})
"""People; only how many they are is kept."""
CHOICES = {
    "AutomateProcessing": ("None", "AutoUpdate", "AutoAccept"),
    "BookingType": ("Standard", "Reserved"),
}
"""By Microsoft's number, which is what ConvertTo-Json writes for some kinds of objects."""

_NAMES = {name.lower(): name for name in (*FLAGS, *NUMBERS, *LISTS, *CHOICES)}


class ResultUnreadable(ValueError):
    """A file is not what `kit check` reads; the message says where and why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSettings:
    """The settings of one room by Microsoft's names; one that the file does not tell is missing, never guessed."""

    mailbox: str
    values: Mapping[str, Value]

    def get(self, name: str) -> Value:
        """Return a setting, None when the file does not tell it."""
        return self.values.get(name)


def parse_settings(mailbox: str, told: Mapping[str, object]) -> RoomSettings:
    """Read the settings of a room; what is none of the settings known here is left out.

    Raises:
        ResultUnreadable: a setting has a value of another kind than Exchange gives.
    """
    values: dict[str, Value] = {}
    for key, value in told.items():
        name = _NAMES.get(key.lower())
        if name is not None and value is not None:
            values[name] = _read(mailbox, name, value)
    return RoomSettings(mailbox=mailbox, values=values)


def _read(mailbox: str, name: str, value: object) -> Value:
    if name in FLAGS and isinstance(value, bool):
        return value
    if name in NUMBERS and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if name in LISTS:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, list):
            return len(value)
        if isinstance(value, str):
            return 1 if value else 0
    if name in CHOICES:
        choice = _read_choice(CHOICES[name], value)
        if choice is not None:
            return choice
    raise ResultUnreadable(f"{name} of {mailbox} has a value that Exchange does not give")


def _read_choice(choices: tuple[str, ...], value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
        return choices[value]
    if isinstance(value, dict):  # how Windows PowerShell writes an enumeration that came over the wire
        value = value.get("Value")
    if isinstance(value, str):
        return {choice.lower(): choice for choice in choices}.get(value.lower())
    return None
