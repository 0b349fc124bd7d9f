"""Requests that write events: read back by the emulator's own reader, which reads what Graph reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sidecar.emulator.exchange.event import Content
from sidecar.emulator.wire.event_input import EventInput, parse_event
from sidecar.graph.wire import ANNOTATIONS_ID
from sidecar.graph.wire_writes import (
    cancel_event_call,
    create_event_call,
    decline_event_call,
    event_json,
    update_event_call,
)
from sidecar.model.booking import Person
from sidecar.model.event import EventContent, Invited
from sidecar.model.ids import EventId
from sidecar.model.window import Window
from sidecar.writes.rrule import parse_rule

_BERLIN = "Europe/Berlin"
_WINDOW = Window(datetime(2026, 10, 6, 7, tzinfo=UTC), datetime(2026, 10, 6, 8, tzinfo=UTC))
_CONTENT = EventContent(
    window=_WINDOW,
    time_zone=_BERLIN,
    subject="Design review",
    attendees=(
        Invited(Person("ada@contoso.example", "Ada Lovelace")),
        Invited(Person("bob@contoso.example", ""), True),
    ),
    is_private=True,
    body_text="Bring drawings.",
    annotations={"visitor": "7", "catering": "tea"},
)


def _read(content: EventContent) -> EventInput:
    return parse_event(event_json(content), base=Content(), base_times=None, lookup=lambda _: None)


def test_event_is_read_back_with_all_that_was_written() -> None:
    """Time, words, people and what is kept beside it."""
    found = _read(_CONTENT)
    assert found.times is not None
    assert (found.times.start_at, found.times.end_at, found.times.start_zone) == (
        _WINDOW.start_at,
        _WINDOW.end_at,
        _BERLIN,
    )
    assert (found.content.subject, found.content.body, found.content.sensitivity) == (
        "Design review",
        "Bring drawings.",
        "private",
    )
    assert [(one.person.address, one.kind) for one in found.content.attendees] == [
        ("ada@contoso.example", "required"),
        ("bob@contoso.example", "optional"),
    ]
    (kept,) = found.extras.single_values
    assert kept[0] == ANNOTATIONS_ID


def test_room_is_invited_beside_the_people() -> None:
    """An event in a person's calendar asks the room."""
    told = event_json(_CONTENT, room={"address": "room412@contoso.example", "name": "Room 4.12"})
    assert told["attendees"][-1] == {
        "type": "resource",
        "emailAddress": {"address": "room412@contoso.example", "name": "Room 4.12"},
    }
    assert told["location"]["locationUri"] == "room412@contoso.example"


def test_whole_days_are_midnight_to_midnight_in_their_zone() -> None:
    """Exchange takes no other times for them."""
    zone = ZoneInfo(_BERLIN)
    window = Window(
        datetime(2026, 10, 6, tzinfo=zone).astimezone(UTC), datetime(2026, 10, 8, tzinfo=zone).astimezone(UTC)
    )
    found = _read(EventContent(window=window, time_zone=_BERLIN, is_all_day=True))
    assert found.times is not None
    assert found.times.is_all_day
    assert (found.times.start_at.date(), found.times.end_at.date()) == (date(2026, 10, 6), date(2026, 10, 8))


@pytest.mark.parametrize("hour", [0, 1])
def test_instant_in_the_hour_that_comes_twice_is_kept(hour: int) -> None:
    """The clock shows half past two twice on that night."""
    window = Window(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), datetime(2026, 10, 25, hour + 1, 30, tzinfo=UTC))
    found = _read(EventContent(window=window, time_zone=_BERLIN))
    assert found.times is not None
    assert (found.times.start_at, found.times.end_at) == (window.start_at, window.end_at)


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ("FREQ=DAILY;COUNT=3", ["2026-10-06", "2026-10-07", "2026-10-08"]),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;WKST=SU;UNTIL=20261022",
            ["2026-10-06", "2026-10-08", "2026-10-20", "2026-10-22"],
        ),
        ("FREQ=MONTHLY;BYDAY=1TU;COUNT=2", ["2026-10-06", "2026-11-03"]),
        ("FREQ=MONTHLY;COUNT=2", ["2026-10-06", "2026-11-06"]),
        ("FREQ=YEARLY;COUNT=2", ["2026-10-06", "2027-10-06"]),
        ("FREQ=YEARLY;BYMONTH=10;BYDAY=1TU;COUNT=2", ["2026-10-06", "2027-10-05"]),
    ],
)
def test_series_takes_place_on_the_days_of_its_rule(rule: str, days: list[str]) -> None:
    """As Exchange expands what we wrote."""
    recurrence = parse_rule(rule, start_at=_WINDOW.start_at, zone=ZoneInfo(_BERLIN))
    found = _read(EventContent(window=_WINDOW, time_zone=_BERLIN, recurrence=recurrence)).recurrence
    assert found is not None
    assert [str(day) for day in found.dates(date(2026, 1, 1), date(2028, 1, 1))] == days


def test_change_names_only_what_changes() -> None:
    """What a change does not name stays as it is."""
    assert event_json(_CONTENT, parts={"subject"}) == {"subject": "Design review"}


def test_creation_carries_its_transaction_and_may_be_repeated() -> None:
    """Exchange knows it again, so a lost answer costs nothing."""
    call = create_event_call("room412@contoso.example", {"subject": "x"}, transaction_id="xs1-1")
    assert call.is_repeatable
    assert msgspec.json.decode(call.content)["transactionId"] == "xs1-1"


def test_ids_with_slashes_stay_one_part_of_the_path() -> None:
    """Graph's ids may hold any character of base 64."""
    event_id = EventId("AAMk/a+b=")
    for call in (
        update_event_call("r@contoso.example", event_id, {}),
        cancel_event_call("r@contoso.example", event_id, comment=""),
        decline_event_call("r@contoso.example", event_id, comment="", is_told=True),
    ):
        assert "/events/AAMk%2Fa%2Bb%3D" in call.path


def test_nothing_of_the_contents_is_in_a_repr() -> None:
    """Log lines and tracebacks show values."""
    shown = repr(_CONTENT)
    assert not any(word in shown for word in ("Design", "Ada", "drawings", "catering"))
