"""Which settings of a room are told, and how bad they are."""

from __future__ import annotations

import pytest

from sidecar.onboarding.findings import Finding, Severity, find_settings_that_bite
from sidecar.onboarding.settings_file import CHOICES, FLAGS, parse_settings
from tests.support.powershell.cmdlets import MICROSOFT
from tests.support.powershell.grammar import arguments_of, find, name_of, parse
from tests.unit.onboarding.results import GOOD_SETTINGS

MAILBOX = "room1@contoso.example"
EXCHANGE_DEFAULTS = {
    **GOOD_SETTINGS,
    "AddOrganizerToSubject": True,
    "BookingWindowInDays": 180,
    "ConflictPercentageAllowed": 0,
    "DeleteComments": True,
    "DeleteSubject": True,
    "EnforceSchedulingHorizon": True,
    "MaximumConflictInstances": 0,
    "MaximumDurationInMinutes": 1440,
    "ProcessExternalMeetingMessages": False,
    "RemoveCanceledMeetings": False,
    "RemovePrivateProperty": True,
}
"""A room as Exchange Online makes it."""


def found(**changes: object) -> list[Finding]:
    return find_settings_that_bite(parse_settings(MAILBOX, {**GOOD_SETTINGS, **changes}))


def test_room_in_order_has_no_finding() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "setting", "severity"),
    [
        ({"AutomateProcessing": "None"}, "AutomateProcessing", Severity.ERROR),
        ({"AutomateProcessing": "AutoUpdate"}, "AutomateProcessing", Severity.ERROR),
        ({"BookingType": "Reserved"}, "BookingType", Severity.ERROR),
        ({"AllowConflicts": True}, "AllowConflicts", Severity.ERROR),
        ({"AllBookInPolicy": False}, "AllBookInPolicy", Severity.ERROR),
        ({"AllBookInPolicy": False, "BookInPolicy": ["a"]}, "AllBookInPolicy", Severity.WARNING),
        ({"AllBookInPolicy": False, "AllRequestInPolicy": True}, "AllBookInPolicy", Severity.ERROR),
        ({"RemovePrivateProperty": True}, "RemovePrivateProperty", Severity.ERROR),
        ({"DeleteSubject": True}, "DeleteSubject", Severity.WARNING),
        ({"AddOrganizerToSubject": True}, "AddOrganizerToSubject", Severity.WARNING),
        ({"DeleteComments": True}, "DeleteComments", Severity.NOTE),
        ({"AddNewRequestsTentatively": False}, "AddNewRequestsTentatively", Severity.WARNING),
        ({"AllowRecurringMeetings": False}, "AllowRecurringMeetings", Severity.WARNING),
        ({"BookingWindowInDays": 0}, "BookingWindowInDays", Severity.WARNING),
        ({"BookingWindowInDays": 179}, "BookingWindowInDays", Severity.WARNING),
        ({"BookingWindowInDays": 180}, "BookingWindowInDays", Severity.NOTE),
        ({"EnforceSchedulingHorizon": False}, "EnforceSchedulingHorizon", Severity.WARNING),
        ({"MaximumDurationInMinutes": 1439}, "MaximumDurationInMinutes", Severity.WARNING),
        ({"MaximumDurationInMinutes": 1440}, "MaximumDurationInMinutes", Severity.NOTE),
        ({"MinimumDurationInMinutes": 30}, "MinimumDurationInMinutes", Severity.NOTE),
        ({"ScheduleOnlyDuringWorkHours": True}, "ScheduleOnlyDuringWorkHours", Severity.WARNING),
        ({"EnforceCapacity": True}, "EnforceCapacity", Severity.WARNING),
        ({"EnableAutoRelease": True}, "EnableAutoRelease", Severity.WARNING),
        ({"ProcessExternalMeetingMessages": False}, "ProcessExternalMeetingMessages", Severity.NOTE),
        ({"RemoveCanceledMeetings": False}, "RemoveCanceledMeetings", Severity.NOTE),
        ({"AllRequestOutOfPolicy": True}, "AllRequestOutOfPolicy", Severity.NOTE),
        (
            {"ConflictPercentageAllowed": 0, "MaximumConflictInstances": 0},
            "ConflictPercentageAllowed",
            Severity.NOTE,
        ),
    ],
)
def test_setting_that_bites_is_told_alone(changes: dict[str, object], setting: str, severity: Severity) -> None:
    (finding,) = found(**changes)
    assert (finding.setting, finding.severity) == (setting, severity)


def test_booking_that_waits_for_a_delegate_is_told_with_what_makes_it_worse() -> None:
    asking = {"AllBookInPolicy": False, "AllRequestInPolicy": True, "ResourceDelegates": 2}
    assert [item.setting for item in found(**asking)] == ["AllBookInPolicy"]
    worse = found(**asking, ForwardRequestsToDelegates=False, TentativePendingApproval=False)
    assert {item.setting for item in worse} == {
        "AllBookInPolicy",
        "ForwardRequestsToDelegates",
        "TentativePendingApproval",
    }


def test_private_flag_matters_more_when_subjects_are_kept() -> None:
    (kept,) = found(RemovePrivateProperty=True)
    replaced = [item for item in found(RemovePrivateProperty=True, DeleteSubject=True) if item.setting == kept.setting]
    assert kept.severity is Severity.ERROR
    assert [item.severity for item in replaced] == [Severity.NOTE]


def test_room_as_exchange_makes_it_has_no_error() -> None:
    findings = find_settings_that_bite(parse_settings(MAILBOX, EXCHANGE_DEFAULTS))
    assert Severity.ERROR not in {item.severity for item in findings}
    assert {"DeleteSubject", "AddOrganizerToSubject", "BookingWindowInDays"} <= {item.setting for item in findings}


def test_setting_that_the_file_does_not_tell_is_not_judged() -> None:
    assert find_settings_that_bite(parse_settings(MAILBOX, {})) == []


def test_worst_comes_first() -> None:
    severities = [item.severity for item in found(DeleteComments=True, DeleteSubject=True, AllowConflicts=True)]
    assert severities == [Severity.ERROR, Severity.WARNING, Severity.NOTE]


def test_effect_tells_the_value() -> None:
    assert found(BookingWindowInDays=30)[0].effect == "Bookings more than 30 days ahead are declined."


def all_findings() -> list[Finding]:
    """Return every finding that one wrong setting alone, or all of them together, can make."""
    opposite = {name: not GOOD_SETTINGS[name] for name in FLAGS if GOOD_SETTINGS[name] is not None}
    alone = [item for name, value in opposite.items() for item in found(**{name: value})]
    choices = [item for name, values in CHOICES.items() for value in values for item in found(**{name: value})]
    return [*alone, *choices, *found(**opposite), *find_settings_that_bite(parse_settings(MAILBOX, EXCHANGE_DEFAULTS))]


def test_command_changes_only_the_room_and_takes_documented_parameters() -> None:
    documented = MICROSOFT["Set-CalendarProcessing"] | set(GOOD_SETTINGS)
    for finding in all_findings():
        (command,) = find(parse(finding.command), "command")
        assert name_of(command) == "Set-CalendarProcessing"
        names = [argument.name for argument in arguments_of(command)]
        assert names[0] == "Identity"
        assert finding.setting in names
        assert set(names) <= documented


def test_command_for_a_room_with_a_nasty_name_stays_one_command() -> None:
    settings = parse_settings("o'neil $(x) `y`‘", {**GOOD_SETTINGS, "AllowConflicts": True})
    (finding,) = find_settings_that_bite(settings)
    assert "'o''neil $(x) `y`'" in finding.command
    (command,) = find(parse(finding.command), "command")
    assert [argument.name for argument in arguments_of(command)] == ["Identity", "AllowConflicts"]


def test_carrying_out_a_command_makes_its_finding_go_away() -> None:
    for finding in all_findings():
        parts = finding.change.split()
        values = {name.removeprefix("-"): read(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}
        before = {**EXCHANGE_DEFAULTS, finding.setting: finding.value}
        after = find_settings_that_bite(parse_settings(MAILBOX, {**before, **values}))
        assert finding.effect not in {item.effect for item in after}


def read(text: str) -> object:
    return {"$true": True, "$false": False}.get(text, int(text) if text.isdigit() else text)
