"""What is said about a result: what stands in the way, and who has to do what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sidecar.onboarding.findings import Severity
from sidecar.onboarding.report import Report, report_on_result
from sidecar.onboarding.settings_file import ResultUnreadable
from tests.unit.onboarding.results import GOOD_SETTINGS, read_entry, result_entry, room_entry

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Change = Callable[[dict[str, Any]], object]  # a change of JSON


def report(change: Change = lambda entry: None) -> Report:
    entry = result_entry()
    change(entry)
    return report_on_result(read_entry(entry), now=NOW)


def test_result_in_order_has_nothing_to_say() -> None:
    told = report()
    assert (told.obstacles, told.findings) == ((), ())
    assert (told.rooms_count, told.rooms_granted_count) == (1, 1)
    assert not told.is_serious


def room(entry: dict[str, Any], **changes: Any) -> None:  # any JSON
    entry["exchange"]["rooms"] = [room_entry(**changes)]


@pytest.mark.parametrize(
    ("change", "about", "severity", "message"),
    [
        (lambda e: e.update(entra=None), "application", Severity.NOTE, "nothing about the application"),
        (lambda e: e.update(exchange=None), "rooms", Severity.ERROR, "not limited and not tested"),
        (lambda e: e["entra"].update(credentials=[]), "application", Severity.ERROR, "no valid secret"),
        (
            lambda e: e["entra"]["credentials"][0].update(expires_at="2026-11-22T11:59:59Z"),
            "application",
            Severity.ERROR,
            "no valid secret",
        ),
        (
            lambda e: e["entra"]["credentials"][0].update(expires_at="2026-12-21T00:00:00.1234567Z"),
            "application",
            Severity.WARNING,
            "runs out on 2026-12-21",
        ),
        (
            lambda e: e["entra"].update(tenant_wide_permissions=["Calendars.Read"]),
            "application",
            Severity.ERROR,
            "reaches all mailboxes",
        ),
        (
            lambda e: e["exchange"].update(restriction="access_policy"),
            "application",
            Severity.ERROR,
            "a permission that was not given",
        ),
        (
            lambda e: e["exchange"].update(application_id="6f1c2b1a-0000-4000-8000-0000000000ff"),
            "application",
            Severity.ERROR,
            "different applications",
        ),
        (
            lambda e: e["exchange"]["roles"][0].update(scope_type="Organization"),
            "application",
            Severity.ERROR,
            "reaches every mailbox",
        ),
        (
            lambda e: e["exchange"]["roles"][0].update(scope_type="SomethingNew"),
            "application",
            Severity.WARNING,
            "not known here: SomethingNew",
        ),
        (
            lambda e: e["exchange"]["roles"][0].update(role="Application Mail.Read"),
            "application",
            Severity.NOTE,
            "does not need",
        ),
        (lambda e: e["exchange"].update(members_not_asked_for=3), "group", Severity.WARNING, "3 more than the rooms"),
        (lambda e: e["exchange"].update(outside=None), "restriction", Severity.NOTE, "Nobody tried"),
        (
            lambda e: e["exchange"]["outside"].update(access="granted"),
            "ceo@contoso.example",
            Severity.ERROR,
            "must be out of reach",
        ),
        (
            lambda e: e["exchange"]["outside"].update(access="untested", problem="no such mailbox"),
            "ceo@contoso.example",
            Severity.WARNING,
            "no such mailbox",
        ),
        (
            lambda e: room(e, found=False, access="untested", calendar_processing=None, problem="gone"),
            "room1@contoso.example",
            Severity.ERROR,
            "No mailbox was found. gone",
        ),
        (
            lambda e: room(e, accepted=False, access="untested", recipient_type="UserMailbox"),
            "room1@contoso.example",
            Severity.ERROR,
            "not a room but a UserMailbox",
        ),
        (lambda e: room(e, access="denied"), "room1@contoso.example", Severity.ERROR, "denies access"),
        (
            lambda e: room(e, access="untested", problem="time-out"),
            "room1@contoso.example",
            Severity.ERROR,
            "could not be tested. time-out",
        ),
        (
            lambda e: room(e, calendar_processing=None),
            "room1@contoso.example",
            Severity.WARNING,
            "could not be read",
        ),
    ],
)
def test_what_stands_in_the_way_is_told_with_what_to_do(
    change: Change, about: str, severity: Severity, message: str
) -> None:
    told = report(change)
    assert len(told.obstacles) == 1
    obstacle = told.obstacles[0]
    assert (obstacle.about, obstacle.severity) == (about, severity)
    assert message in obstacle.message
    assert obstacle.action.endswith(".")
    assert told.is_serious is (severity is Severity.ERROR)


def test_longest_lasting_credential_counts() -> None:
    def add(entry: dict[str, Any]) -> None:  # a change of JSON
        entry["entra"]["credentials"].insert(0, {"kind": "certificate", "key_id": "old", "expires_at": ""})

    assert report(add).obstacles == ()


def test_setting_of_a_room_is_told_with_the_rooms_own_address() -> None:
    settings = {**GOOD_SETTINGS, "AllowConflicts": True}
    told = report(lambda e: room(e, primary_address="primary@contoso.example", calendar_processing=settings))
    (finding,) = told.findings
    assert finding.mailbox == "primary@contoso.example"
    assert told.is_serious


def test_worst_obstacle_comes_first() -> None:
    def spoil(entry: dict[str, Any]) -> None:  # a change of JSON
        entry["exchange"].update(outside=None, members_not_asked_for=1)
        room(entry, access="denied")

    assert [item.severity for item in report(spoil).obstacles] == [Severity.ERROR, Severity.WARNING, Severity.NOTE]


def test_nonsense_among_a_rooms_settings_is_refused() -> None:
    with pytest.raises(ResultUnreadable, match="AllowConflicts of room1"):
        report(lambda e: room(e, calendar_processing={"AllowConflicts": "perhaps"}))


def test_text_from_the_file_reaches_no_terminal_raw() -> None:
    told = report(lambda e: room(e, access="denied", problem="\x1b]0;title\x07 bad"))
    assert "\x1b" not in told.obstacles[0].message
