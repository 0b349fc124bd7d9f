"""Which of the events that a delta round names are worth a read: decided without a database, a clock or a network."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from sidecar.graph.wire import DeltaItem, DeltaRemoval, GraphTime
from sidecar.model.booking import Booking
from sidecar.model.ids import EventId
from sidecar.sync.delta import events_named, plan_check
from tests.support.builders import HORIZON, NOW, after, make_booking
from tests.unit.sync.test_plan import stored

SERIES = EventId("m")


def told(event_id: str, start_at: datetime = NOW, **changes: Any) -> DeltaItem:  # any field of an item
    """Build what a round says of a single meeting of one hour; `version` is its change key."""
    version = changes.pop("version", "ck1")
    end_at = changes.pop("end_at", start_at + timedelta(hours=1))
    fields: dict[str, Any] = {
        "id": EventId(event_id),
        "type": "singleInstance",
        "etag": f'W/"{version}"',
        "start": GraphTime(f"{start_at:%Y-%m-%dT%H:%M:%S}.0000000", "UTC"),
        "end": GraphTime(f"{end_at:%Y-%m-%dT%H:%M:%S}.0000000", "UTC"),
        "is_all_day": False,
    }
    return DeltaItem(**fields | changes)


def removed(event_id: str) -> DeltaItem:
    """Build a removal."""
    return DeltaItem(id=EventId(event_id), removed=DeltaRemoval(reason="deleted"))


def part(number: int, **changes: Any) -> DeltaItem:  # any field of an item
    """Build what a round says of an occurrence."""
    at = changes.pop("start_at", after(days=number))
    return told(f"o{number}", at, type="occurrence", series_master_id=SERIES, is_all_day=None, **changes)


def master(version: str = "ck1") -> DeltaItem:
    """Build what a round says of the series."""
    return told(SERIES, type="seriesMaster", version=version)


def days(*numbers: int) -> list[Booking]:
    """Build the stored occurrences of the series."""
    return [make_booking(f"o{n}", event_id=EventId(f"o{n}"), master_id=SERIES, start_at=after(days=n)) for n in numbers]


def single() -> Booking:
    """Build a stored single meeting."""
    return make_booking("b1", event_id=EventId("e1"))


@pytest.mark.parametrize(
    ("bookings", "items", "worth_reading"),
    [
        pytest.param([single()], [told("e1")], [], id="version that is stored"),
        pytest.param([single()], [told("e1", version="ck2")], ["e1"], id="another version"),
        pytest.param([single()], [told("e1", etag=None)], ["e1"], id="no version told"),
        pytest.param([], [told("e1")], ["e1"], id="new"),
        pytest.param([single()], [removed("e1")], ["e1"], id="removed"),
        pytest.param([], [removed("e1")], [], id="removed and never stored"),
        pytest.param([], [told("e1", HORIZON.end_at)], [], id="new, outside the horizon"),
        pytest.param([single()], [told("e1", HORIZON.end_at, version="ck2")], ["e1"], id="moved out of the horizon"),
        pytest.param([], [told("e1", HORIZON.end_at, is_all_day=True)], ["e1"], id="a whole day at the edge"),
        pytest.param([], [DeltaItem(id=EventId("e1"))], ["e1"], id="not understood"),
        pytest.param(days(1, 2), [master(), part(1), part(2)], [], id="series as it is stored"),
        pytest.param(days(1, 2), [master("ck2"), part(1), part(2)], [], id="only the master differs"),
        pytest.param(days(1, 2), [master(), part(1), part(2, version="ck2")], ["m"], id="changed occurrence"),
        pytest.param(days(1, 2, 3), [master(), part(1), part(3)], ["m"], id="occurrence is missing"),
        pytest.param(days(1), [master(), part(1), part(2)], ["m"], id="one occurrence more"),
        pytest.param(days(1, 2), [removed("o2")], ["m"], id="removed occurrence"),
        pytest.param(days(1, 2), [removed("m")], ["m"], id="removed series"),
        pytest.param(days(1, 2), [part(1)], ["m"], id="told in part"),
        pytest.param(days(1), [master()], ["m"], id="no occurrence left"),
        pytest.param([], [master()], [], id="series without anything here"),
        pytest.param(
            days(1), [master(), part(1), part(30, start_at=HORIZON.end_at)], [], id="endless, beyond the horizon"
        ),
        pytest.param(
            days(1),
            [
                master(),
                part(1),
                part(9, start_at=HORIZON.end_at.replace(hour=0), end_at=HORIZON.end_at.replace(hour=0)),
            ],
            ["m"],
            id="perhaps a whole day at the edge",
        ),
        pytest.param([make_booking("b1", event_id=SERIES)], [master(), part(1)], ["m"], id="single became a series"),
        pytest.param(days(1, 2), [told(SERIES)], ["m"], id="series became a single"),
    ],
)
def test_round_makes_worth_reading_what_the_copy_does_not_hold(
    bookings: list[Booking], items: list[DeltaItem], worth_reading: list[str]
) -> None:
    """Nothing that differs is passed over, and nothing that was announced and read is read again."""
    assert sorted(plan_check(stored(*bookings), items, HORIZON)) == worth_reading


def test_round_names_events_and_their_series() -> None:
    """Drift is what a full read finds in neither."""
    assert events_named([told("e1"), part(1), removed("e2")]) == {"e1", "o1", "m", "e2"}
