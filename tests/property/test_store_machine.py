"""The store beside a plain model: the same calls, and always the same bookings, lists, snapshots and log."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import looptime
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.model.booking import Booking, BookingState
from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, Mailbox, RoomId
from sidecar.model.room import Room
from sidecar.model.window import Window
from tests.support import postgres
from tests.support.builders import ALWAYS, NOW, TENANT, complete_read, make_booking, make_mapping, towards
from tests.support.stores import ManualClock, OpenStore, decoded, no_stray_loop, open_postgres, open_store

__all__ = ["no_stray_loop"]

T = TypeVar("T")
ROOMS = st.sampled_from([RoomId(name) for name in ("a", "b", "c")])
HOURS = st.integers(0, 30)


def built(key: int, hour: int, hours: int, state: BookingState, subject: int) -> Booking:
    start_at = NOW + timedelta(hours=hour)
    return make_booking(f"k{key}", start_at=start_at, minutes=60 * hours, state=state, subject=f"subject {subject}")


BOOKINGS = st.builds(
    built, st.integers(0, 7), HOURS, st.integers(0, 6), st.sampled_from(list(BookingState)), st.integers(0, 2)
)
CALENDARS = st.lists(BOOKINGS, max_size=6).map(lambda found: {booking.key: booking for booking in found})


@dataclass
class ModelRoom:
    """A room as the model knows it. Bookings that never took the room are stored, too."""

    room: Room
    is_read: bool = False
    bookings: dict[BookingKey, Booking] = field(default_factory=dict)


class StoreMachine(RuleBasedStateMachine):
    """Calls on the store, and what a dict makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms: dict[RoomId, ModelRoom] = {}
        self.log: list[tuple[ChangeKind, str, str | None]] = []
        self.floor = 0

    @initialize(seed=st.integers(0, 2**16))
    def open(self, seed: int) -> None:
        self.stack = AsyncExitStack()
        self.runner, opening = self.prepare(seed)
        self.opened: OpenStore = self.run(self.stack.enter_async_context(opening))
        self.tenant = self.run(self.opened.add_tenant())
        self.start = self.run(self.opened.head())

    def prepare(self, seed: int) -> tuple[asyncio.Runner, AbstractAsyncContextManager[OpenStore]]:
        """Return what runs the calls, and what opens the store."""
        path = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "exchange.sqlite3"
        runner = asyncio.Runner(loop_factory=looptime.new_event_loop)
        return runner, open_store(path, clock=ManualClock(), stepped=Random(seed))

    def run(self, call: Coroutine[Any, Any, T]) -> T:  # nothing is sent or yielded
        """Run a call to its end."""
        return self.runner.run(call)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.stack.aclose())
            self.runner.close()

    @rule(name=ROOMS)
    def map_room(self, name: RoomId) -> None:
        mailbox = self.rooms[name].room.mailbox if name in self.rooms else Mailbox(f"{name}@contoso.example")
        room = self.run(self.opened.map_room(make_mapping(name, mailbox=mailbox)))
        if name in self.rooms:
            assert room.uid == self.rooms[name].room.uid
        else:
            self.rooms[name] = ModelRoom(room)
            self.log.append((ChangeKind.ROOM_CHANGED, room.uid, None))

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), tells_each=st.booleans())
    def unmap_room(self, data: st.DataObject, tells_each: bool) -> None:
        gone = self.rooms.pop(data.draw(st.sampled_from(sorted(self.rooms))))
        self.run(self.opened.store.rooms.unmap(TENANT, gone.room.room_id, etag="", tells_each=tells_each))
        if tells_each:
            self._log_departures(gone)
        self.log.append((ChangeKind.ROOM_UNMAPPED, gone.room.uid, None))

    def _log_departures(self, model: ModelRoom) -> None:
        for key, booking in sorted(model.bookings.items()):
            if booking.state.takes_room:
                self.log.append((ChangeKind.LEFT_SCOPE, model.room.uid, key))

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), number=st.integers(0, 2), is_same=st.booleans())
    def readdress_room(self, data: st.DataObject, number: int, is_same: bool) -> None:
        model = self.rooms[data.draw(st.sampled_from(sorted(self.rooms)))]
        address = f"{model.room.room_id}{number}@contoso.example"
        is_news = address != model.room.mailbox or not is_same
        model.room = self.run(self.opened.readdress(model.room, address, is_same_mailbox=is_same))
        assert model.room.mailbox == address
        if not is_same:
            self._log_departures(model)
            model.is_read, model.bookings = False, {}
        if is_news:
            self.log.append((ChangeKind.ROOM_CHANGED, model.room.uid, None))

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), wanted=CALENDARS, is_complete=st.booleans())
    def read_room(self, data: st.DataObject, wanted: dict[BookingKey, Booking], is_complete: bool) -> None:
        model = self.rooms[data.draw(st.sampled_from(sorted(self.rooms)))]
        complete = complete_read(ALWAYS, began_at=NOW) if is_complete else None
        apply = self.opened.store.calendars.apply(model.room, towards(wanted), lease=None, complete=complete)
        applied = self.run(apply)
        assert applied is not None
        if not model.is_read and not is_complete:
            assert applied.changes_count == 0
            return
        assert applied.is_first == (not model.is_read)
        if model.is_read:
            news = self._news(model, wanted)
            assert applied.changes_count == len(news)
            self.log += news
        else:
            self.log += [(kind, model.room.uid, None) for kind in (ChangeKind.ROOM_SNAPSHOT, ChangeKind.ROOM_CHANGED)]
        model.is_read, model.bookings = True, wanted

    def _news(self, model: ModelRoom, wanted: dict[BookingKey, Booking]) -> list[tuple[ChangeKind, str, str | None]]:
        upserted: list[tuple[ChangeKind, str, str | None]] = []
        for key in sorted(wanted):
            before = model.bookings.get(key)
            if before == wanted[key]:
                continue
            if wanted[key].state.takes_room:
                upserted.append((ChangeKind.UPSERTED, model.room.uid, key))
            elif before is not None and before.state.takes_room:
                upserted.append((ChangeKind.REMOVED, model.room.uid, key))
        gone = [key for key in sorted(model.bookings.keys() - wanted.keys()) if model.bookings[key].state.takes_room]
        return upserted + [(ChangeKind.REMOVED, model.room.uid, key) for key in gone]

    @rule(count_max=st.integers(0, 12))
    def prune(self, count_max: int) -> None:
        retention = timedelta(days=1000)
        prune = self.opened.store.changes.prune(self.tenant.uid, retention=retention, count_max=count_max)
        dropped = self.run(prune).dropped_count
        floor = max(self.floor, len(self.log) - count_max)
        assert dropped == floor - self.floor
        self.floor = floor

    @rule(
        start=HOURS,
        hours=st.integers(1, 10),
        count_max=st.integers(1, 5),
        show_all=st.booleans(),
        one=st.none() | ROOMS,
    )
    def list_bookings(self, start: int, hours: int, count_max: int, show_all: bool, one: RoomId | None) -> None:
        window = Window(NOW + timedelta(hours=start), NOW + timedelta(hours=start + hours))
        if one is not None and one not in self.rooms:
            return
        asked = [self.rooms[one]] if one is not None else list(self.rooms.values())
        expected = sorted(
            (booking.start_at, model.room.uid, key)
            for model in asked
            for key, booking in model.bookings.items()
            if window.overlaps(booking.start_at, booking.end_at) and (show_all or booking.state.takes_room)
        )
        found: list[str] = []
        place = None
        uid = None if one is None else asked[0].room.uid
        while True:
            page = self.run(
                self.opened.store.calendars.page(
                    TENANT, uid, window, after=place, count_max=count_max, show_all=show_all
                )
            )
            found += [decoded(body)["key"] for body in page.bodies]
            place = page.last
            if place is None:
                break
        assert found == [key for _, _, key in expected]

    @invariant()
    def snapshots_are_the_models(self) -> None:
        for model in self.rooms.values():
            page = self.run(
                self.opened.store.calendars.snapshot_page(model.room.uid, after=BookingKey(""), count_max=100)
            )
            shown = {key: decoded(body) for key, body in page}
            expected = {key: item for key, item in model.bookings.items() if item.state.takes_room}
            assert list(shown) == sorted(expected)
            for key, booking in expected.items():
                seen = (shown[key]["start"], shown[key]["end"], shown[key]["state"], shown[key]["subject"])
                assert seen == (
                    booking.start_at.isoformat(), booking.end_at.isoformat(), booking.state, booking.subject,
                )  # fmt: skip
            stored = self.run(self.opened.store.calendars.load_stored(model.room.uid))
            assert stored.keys() == model.bookings.keys()

    @invariant()
    def log_is_the_models_and_unbroken(self) -> None:
        if not hasattr(self, "start"):
            return
        after = self.start + self.floor
        entries, head = self.run(
            self.opened.store.changes.read(self.tenant.uid, after_revision=after, count_max=10_000)
        )
        assert head is not None
        assert (head.revision, head.floor) == (self.start + len(self.log), after)
        assert [entry.revision for entry in entries] == list(range(after + 1, head.revision + 1))
        assert [(entry.kind, entry.room_uid, entry.booking_key) for entry in entries] == self.log[self.floor :]
        for entry in entries:
            if entry.is_booking:
                assert decoded(entry.body)["revision"] == entry.revision


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class PostgresMachine(StoreMachine):
    """The same calls on PostgreSQL, in real time: its server knows no other."""

    def prepare(self, seed: int) -> tuple[asyncio.Runner, AbstractAsyncContextManager[OpenStore]]:
        """Return what runs the calls, and what opens the store."""
        dsn_file = self.stack.enter_context(postgres.database())
        return asyncio.Runner(), open_postgres(dsn_file, clock=ManualClock())


TestStoreOnPostgres = PostgresMachine.TestCase
TestStoreOnPostgres.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
