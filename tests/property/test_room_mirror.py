"""A mirror ends equal to the truth under any schedule, and each of its rules is needed for that.

Hypothesis chooses what happens to the model service and to the reader: bookings come, move and go, the horizon rolls, rooms are
imported and read anew, the log is compacted, the store restored; the connection breaks, the reader dies and comes back with
what it saved, or with rows newer than its token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest
from exchange_client import Reconnected, RoomMirror, names, times
from exchange_client.messages import Booking, BookingChange, TimeWindow, WatchRoomsResponse
from exchange_client.mirror_room import MirroredRoom
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.unit.client.model_server import ROOMS
from tests.unit.client.server_machine import ServerMachine


class MirrorMachine(ServerMachine):
    mirror_type: ClassVar[type[RoomMirror]] = RoomMirror

    def __init__(self) -> None:
        super().__init__()
        self.mirror = self.mirror_type()
        self.saved = self.mirror.save()
        self.stream: Iterator[WatchRoomsResponse] | None = None
        self.highest: dict[str, int] = {}  # revision last told of each booking, by this epoch's count
        self.epochs: dict[str, str] = {}
        self.complete: set[str] = set()
        self.coverage: dict[str, TimeWindow] = {}

    @rule(
        moves=st.lists(st.tuples(st.sampled_from(ROOMS), st.integers(0, 1), st.integers(-3, 5)), min_size=3, max_size=9)
    )
    def be_busy(self, moves: list[tuple[str, int, int]]) -> None:
        """Changes between almost any two messages, of a few bookings only, so that they meet the snapshots."""
        for room, key, day in moves:
            if day >= 0:
                self.server.write(room, key, day)
            elif f"{room}/bookings/b{key}" in self.server.rows:
                self.server.remove(f"{room}/bookings/b{key}", BookingChange(kind=BookingChange.KIND_REMOVED))
            self.read_one()

    @precondition(lambda self: self.server.rows)
    @rule(pick=st.integers(0, 99), told=st.sampled_from(["cancelled", "deleted", "unkind"]))
    def remove(self, pick: int, told: str) -> None:
        change = {
            "cancelled": BookingChange(kind=BookingChange.KIND_REMOVED, cause=BookingChange.CAUSE_CANCELLED),
            "deleted": BookingChange(kind=BookingChange.KIND_REMOVED, cause=BookingChange.CAUSE_DELETED),
            "unkind": BookingChange(kind=BookingChange.KIND_UPSERTED),
        }[told]
        rows = sorted(self.server.rows)
        self.server.remove(rows[pick % len(rows)], change)

    @rule()
    def break_connection(self) -> None:
        self.stream = None

    @rule(what=st.sampled_from(["save", "crash", "older token"]))
    def lead_a_reader_life(self, what: str) -> None:
        match what:
            case "save":
                self.saved = self.mirror.save()
            case "crash":
                self.stream, self.highest = None, {}
                self.mirror = self.mirror_type.load(self.saved)
                self.complete = {room for room in ROOMS if self.mirror.is_complete(room)}
            case "older token":  # a token store that lags behind the rows, as when the reader died between the two
                self.stream = None
                self.mirror.resume_token = RoomMirror.load(self.saved).resume_token

    @rule(count=st.integers(1, 4))
    def read_some(self, count: int) -> None:
        for _ in range(count):
            self.read_one()

    @rule(count=st.integers(5, 20))
    def read_on(self, count: int) -> None:
        for _ in range(count):
            self.read_one()

    def read_one(self) -> WatchRoomsResponse | None:
        if self.stream is None:
            self.mirror.apply(Reconnected(attempts=1, cause=None))
            self.stream = self.server.stream(self.mirror.resume_token)
        message = next(self.stream, None)
        if message is None:
            self.stream = None
        else:
            self.apply(message)
        return message

    def apply(self, message: WatchRoomsResponse) -> None:
        before = self.shown()
        of_older_epoch = {name for room in self.mirror._rooms.values() for name in room.foreign}
        self.mirror.apply(message)
        after = self.shown()
        vanished = {name: row for name, row in before.items() if name not in after}
        match message.WhichOneof("event"):
            case "snapshot_start":
                start = message.snapshot_start
                self.coverage[start.room] = start.coverage
                if self.epochs.get(start.room) != start.epoch:
                    self.epochs[start.room] = start.epoch
                    self.highest = {n: r for n, r in self.highest.items() if names.room_of(n) != start.room}
                assert not vanished, "the beginning of a snapshot removed something"
            case "changes":
                for change in message.changes.changes:
                    name, revision = change.booking.name, change.booking.revision
                    self.highest[name] = max(revision, self.highest.get(name, 0))
                    assert name not in after or after[name].revision >= self.highest[name], "a booking went back"
                assert not vanished.keys() - {change.booking.name for change in message.changes.changes}
            case "snapshot_end":
                room = message.snapshot_end.room
                self.complete.add(room)
                for name, row in vanished.items():
                    assert names.room_of(name) == room
                    is_covered = times.touches(row.time, self.coverage[room])
                    assert is_covered or name in of_older_epoch, "a snapshot removed what it did not cover"
            case _:
                assert not vanished
        complete = {room for room in ROOMS if self.mirror.is_complete(room)}
        assert complete == self.complete, "a room counts as complete at the wrong time"

    def shown(self) -> dict[str, Booking]:
        return {row.name: row for room in ROOMS for row in self.mirror.bookings(room)}

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        target = json.dumps([self.server.epoch, self.server.revision])[:-1]
        for _ in range(500):
            message = self.read_one()
            if message is not None and message.HasField("checkpoint") and message.resume_token.startswith(target):
                done = json.loads(message.resume_token)[2]
                if set(done) == self.server.imported:
                    break
        else:
            raise AssertionError("the stream did not come to rest")
        span = self.server.span()
        mirrored = {name: row for name, row in self.shown().items() if times.touches(row.time, span)}
        truth = {name: row for name, row in self.server.rows.items() if names.room_of(name) in self.server.imported}
        assert mirrored == truth, "the mirror differs from the truth"


TestMirror = MirrorMachine.TestCase
TestMirror.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


# What goes wrong without one of the rules.


class NoRevisionGuard(MirroredRoom):
    def is_news(self, booking: Booking) -> bool:
        return True


class NoTombstones(MirroredRoom):
    def is_news(self, booking: Booking) -> bool:
        self.tombstones.clear()
        return super().is_news(booking)


class NoEpochs(MirroredRoom):
    def begin_epoch(self) -> None:
        pass


class MarksOutliveTheirSnapshot(MirroredRoom):
    def begin_marks(self) -> None:
        self.marks = self.marks or set()

    def forget_marks(self) -> None:
        pass


class MarksOnlyNews(MirroredRoom):
    def mark(self, booking: Booking) -> None:
        if self.is_news(booking):
            super().mark(booking)


class NoSweep(MirroredRoom):
    def unnamed(self) -> list[Booking]:
        return []


class SweepAtStart(MirroredRoom):
    def begin_marks(self) -> None:
        super().begin_marks()
        self.rows.clear()


class SweepBeyondCoverage(MirroredRoom):
    def is_covered(self, row: Booking, coverage: TimeWindow) -> bool:
        return True


class CancelledTakesTheRoom(MirroredRoom):
    def cause_by_state(self, booking: Booking) -> BookingChange.Cause.ValueType:
        return BookingChange.CAUSE_UNSPECIFIED


class CompleteFromTheStart(MirroredRoom):
    def begin_marks(self) -> None:
        super().begin_marks()
        self.complete = True


class TokenBeforeRows(RoomMirror):
    """Stores the token at once, but the rows only with the next save."""

    def __init__(self) -> None:
        super().__init__()
        self.rows_saved = super().save()

    def save(self) -> bytes:
        stored = RoomMirror.load(self.rows_saved)
        stored.resume_token, self.rows_saved = self.resume_token, super().save()
        return stored.save()


def without(room: type[MirroredRoom]) -> type[RoomMirror]:
    return type(f"MirrorWith{room.__name__}", (RoomMirror,), {"room_type": room})


BROKEN = [
    *map(
        without,
        [
            NoRevisionGuard,
            NoTombstones,
            NoEpochs,
            MarksOutliveTheirSnapshot,
            MarksOnlyNews,
            NoSweep,
            SweepAtStart,
            SweepBeyondCoverage,
            CancelledTakesTheRoom,
            CompleteFromTheStart,
        ],
    ),
    TokenBeforeRows,
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_without_one_of_its_rules_the_mirror_goes_wrong(broken: type[RoomMirror]) -> None:
    """The test above can fail: each rule taken away is found out."""
    machine = type("BrokenMachine", (MirrorMachine,), {"mirror_type": broken})
    found = settings(
        max_examples=1500,
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=found)
