"""What a line of a file of rooms would do, and what becomes of it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from exchange_client import Conflict, SyncExchangeClient, Unavailable
from exchange_client.messages import MapRoomRequest, Problem, Room
from exchange_client.requests import MapOutcome

from sidecar.cli.room_file import RoomRow
from sidecar.cli.room_import import Outcome, Step, carry_out, plan_import

TENANT = "tenants/acme"


def row(room_id: str, line: int = 2, **changes: Any) -> RoomRow:  # any field of a row
    return RoomRow(**{"line": line, "room_id": room_id, "mailbox": f"{room_id}@x", **changes})


def room(room_id: str, **changes: Any) -> Room:  # any field of a room
    return Room(**{"name": f"{TENANT}/rooms/{room_id}", "mailbox": f"{room_id}@x", **changes})


def planned(wanted: RoomRow, *rooms: Room, may_update: bool = False) -> Step:
    (step,) = plan_import([wanted], rooms, may_update=may_update)
    return step


def test_room_that_is_not_mapped_is_created() -> None:
    assert planned(row("r1"), room("r2")).outcome is Outcome.CREATE


@pytest.mark.parametrize(
    "wanted",
    [
        row("r1"),
        row("r1", mailbox="R1@X"),
        row("r1", display_name="Hall", time_zone="Europe/Berlin", capacity=8, annotations={"floor": "3"}),
    ],
    ids=["empty cells", "spelling", "equal cells"],
)
def test_room_that_is_mapped_so_is_unchanged(wanted: RoomRow) -> None:
    mapped = room(
        "r1", display_name="Hall", time_zone="Europe/Berlin", capacity=8, annotations={"floor": "3", "x": "y"}
    )
    assert planned(wanted, mapped).outcome is Outcome.UNCHANGED
    assert planned(wanted, mapped, may_update=True).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("may_update", [False, True])
def test_address_that_was_given_once_means_the_same_room_for_ever(may_update: bool) -> None:
    """Microsoft has told its main address since; the file of before may be imported again."""
    mapped = room("r1", mailbox="main@x", given_mailbox="alias@x")
    assert planned(row("r1", mailbox="Alias@x"), mapped, may_update=may_update).outcome is Outcome.UNCHANGED
    assert planned(row("r1", mailbox="main@x"), mapped, may_update=may_update).outcome is Outcome.UNCHANGED
    assert planned(row("r2", mailbox="alias@x"), mapped, may_update=may_update).outcome is Outcome.REFUSED


def test_room_that_is_mapped_otherwise_is_changed_only_if_asked_to() -> None:
    mapped = room("r1", display_name="Hall", annotations={"floor": "3", "x": "y"})
    wanted = row("r1", mailbox="new@x", capacity=0, annotations={"floor": "4"})
    refused = planned(wanted, mapped)
    assert (refused.outcome, refused.changes) == (Outcome.REFUSED, frozenset({"mailbox", "annotations"}))
    assert "mailbox, annotations" in refused.why
    change = planned(wanted, mapped, may_update=True)
    assert (change.outcome, change.annotations) == (Outcome.CHANGE, {"floor": "4", "x": "y"})


@pytest.mark.parametrize("may_update", [False, True])
def test_mailbox_of_another_room_is_refused(may_update: bool) -> None:
    step = planned(row("r1", mailbox="R2@X"), room("r1"), room("r2"), may_update=may_update)
    assert (step.outcome, step.why) == (Outcome.REFUSED, "the mailbox belongs to room r2")


class FakeService:
    """The calls that an import makes. `away_after` calls it cannot be reached."""

    def __init__(self, *, away_after: int = 99, taken: str = "", differs: str = "") -> None:
        self.calls: list[Any] = []  # their arguments
        self._away_after, self._taken, self._differs = away_after, taken, differs

    def _note(self, call: object) -> None:
        if len(self.calls) == self._away_after:
            raise Unavailable("cannot be reached")
        self.calls.append(call)

    def map_rooms(self, parent: str, rooms: list[MapRoomRequest], *, timeout_s: float) -> list[MapOutcome]:
        self._note([mapping.room_id for mapping in rooms])
        problem = Problem(reason="ROOM_EXISTS", message="taken meanwhile")
        return [
            MapOutcome(room_id=one.room_id, problem=problem)
            if one.room_id == self._taken
            else MapOutcome(room_id=one.room_id, room=one.room)
            for one in rooms
        ]

    def update_room(self, name: str, *, timeout_s: float, **changes: Any) -> None:
        self._note((name, {key: value for key, value in changes.items() if value is not None}))
        if name.endswith(f"/{self._differs}"):
            raise Conflict("leads elsewhere")


def carried_out(service: FakeService, *rows: RoomRow, rooms: tuple[Room, ...] = ()) -> list[Outcome]:
    steps = plan_import(rows, rooms, may_update=True)
    return [step.outcome for step in carry_out(cast(SyncExchangeClient, service), TENANT, steps)]


def test_rooms_are_created_in_batches_and_changed_one_by_one() -> None:
    service = FakeService()
    rows = [row(f"r{number}", line=number) for number in range(2, 452)]
    changed = row("old", line=500, mailbox="new@x", capacity=4)
    outcomes = carried_out(service, *rows, changed, rooms=(room("old"),))
    assert outcomes == [Outcome.CREATE] * 450 + [Outcome.CHANGE]
    assert [len(call) for call in service.calls[:3]] == [200, 200, 50]
    assert service.calls[3:] == [(f"{TENANT}/rooms/old", {"mailbox": "new@x", "capacity": 4})]


def test_line_that_the_service_refuses_keeps_no_other_back() -> None:
    service = FakeService(taken="r3", differs="old")
    rows = [row("r2", line=2), row("r3", line=3), row("old", line=4, capacity=4), row("r5", line=5)]
    outcomes = carried_out(service, *rows, rooms=(room("old"),))
    assert outcomes == [Outcome.CREATE, Outcome.REFUSED, Outcome.REFUSED, Outcome.CREATE]


def test_lines_after_the_service_went_away_are_undone() -> None:
    service = FakeService(away_after=1)
    rows = [row(f"r{number}", line=number) for number in range(2, 252)]
    outcomes = carried_out(service, *rows, row("old", line=300), rooms=(room("old"),))
    assert outcomes == [Outcome.CREATE] * 200 + [Outcome.UNDONE] * 50 + [Outcome.UNCHANGED]
