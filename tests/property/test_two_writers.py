"""Two sidecars that know nothing of each other, and a person in Outlook, over the same rooms: no room is ever booked twice.

Each sidecar has a store of its own; they meet only in Exchange, which checks nothing. Either may be killed at any moment, and
Exchange may be slow, fail, or do something and not say so. What is asserted is what callers were told.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.api.booking_writes import BookingWriter
from sidecar.api.times import set_time, time_of
from sidecar.emulator.moods import calm_moods
from sidecar.errors import RoomConflict, SidecarError, Unavailable
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.model.ids import Mailbox
from sidecar.model.room import Room
from sidecar.settings import GraphSettings
from tests.simulation.loop import VirtualLoop
from tests.support.builders import make_mapping
from tests.support.stores import no_stray_loop
from tests.support.truth import ZONE
from tests.support.write_desk import NINE, WriteDesk, write_desk
from tests.unit.emulator.rig import Rig, rig

__all__ = ["no_stray_loop"]

T = TypeVar("T")
SIDES = st.sampled_from(["a", "b"])
ROOMS = st.sampled_from(["r1", "r2"])
SLOTS = st.integers(0, 3)
"""Half hours from nine on: few, so that most bookings meet others."""
LENGTHS = st.sampled_from([30, 60, 90])
PAUSES_S = st.sampled_from([0.0, 0.005, 0.02, 0.1, 1.0, 20.0])
TURNS = st.integers(1, 60)
TROUBLES = st.sampled_from(
    [
        {"drop": True},
        {"drop": True, "after": True},
        {"status": 503},
        {"status": 429, "retry_after_s": 2},
        {"delay_s": 3.0},
        {"delay_s": 50.0},
    ]
)
REQUESTS = st.sampled_from([("POST", "/events"), ("POST", "/events"), ("GET", "/calendarView"), ("DELETE", "/events/")])
_MOODS = msgspec.structs.replace(calm_moods(), latency_max_s=0.02)
"""So that requests of both overlap."""
_TRIES_MAX = GraphSettings().attempts_max
_HEALED_S = 120.0
"""Longer than a claim on a write, and than any pause of the service's after a failure."""


@dataclass(slots=True)
class Wish:
    """A booking that somebody wants from one of the sidecars.

    Attributes:
        told: of the room: made (its times), or refused (None).
        is_removed: somebody took it out in Outlook, before or after the caller was told.
    """

    side: str
    room: str
    request: pb.CreateBookingRequest
    told: list[tuple[datetime, datetime] | None]
    is_removed: bool = False
    call: asyncio.Task[None] | None = None

    @property
    def subject(self) -> str:
        """Return by what it is known in the calendar."""
        return self.request.booking.subject


class TwoWriters(RuleBasedStateMachine):
    """Callers of both, a person, and everything that can go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.wishes: list[Wish] = []
        self.dead: set[str] = set()

    @initialize(seed=st.integers(0, 2**16))
    def open(self, seed: int) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.ready, self.over = self.run(_events())
        self.desks: dict[str, WriteDesk] = {}
        self.rooms: dict[tuple[str, str], Room] = {}
        self.stage = self.runner.get_loop().create_task(self._stage(seed))
        self.run(_either(self.ready.wait(), self.stage))

    async def _stage(self, seed: int) -> None:
        """Hold everything open in one task: groups end where they began."""
        async with AsyncExitStack() as stack:
            self.rig: Rig = await stack.enter_async_context(rig(seed=seed, moods=_MOODS, roles=["Calendars.ReadWrite"]))
            for number, side in enumerate(("a", "b")):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                desk = await stack.enter_async_context(write_desk(self.rig, folder, seed=seed + number))
                self.desks[side] = desk
                mirror = desk.mirror
                mapping = make_mapping("r2", mailbox=Mailbox(self.rig.rooms[1]["address"]), time_zone=ZONE)
                second = await mirror.opened.map_room(mapping)
                await mirror.sync.compare(second, mirror.tenant, lease=mirror.lease)
                self.rooms[side, "r1"], self.rooms[side, "r2"] = mirror.room, second
            self.ready.set()
            await self.over.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:  # nothing is sent or yielded
        """Let something happen, and with it what else is due."""
        return self.runner.run(work)

    @rule(side=SIDES, room=ROOMS, slot=SLOTS, minutes=LENGTHS)
    def want(self, side: str, room: str, slot: int, minutes: int) -> None:
        booking = pb.Booking(subject=f"wish {len(self.wishes)}")
        start_at = NINE + timedelta(minutes=30 * slot)
        set_time(booking.time.start_time, start_at)
        set_time(booking.time.end_time, start_at + timedelta(minutes=minutes))
        name = self.rooms[side, room].name
        request = pb.CreateBookingRequest(parent=name, booking=booking, request_id=f"q{len(self.wishes)}")
        wish = Wish(side, room, request, [])
        self.wishes.append(wish)
        self._ask(wish)

    @rule(side=SIDES, room=ROOMS, slot=SLOTS, minutes=LENGTHS, turns=TURNS)
    def want_and_die(self, side: str, room: str, slot: int, minutes: int, turns: int) -> None:
        """The process is killed while it makes a booking, at whatever turn of its loop."""
        self.want(side, room, slot, minutes)
        self.run(_turns(turns))
        self.kill(side)

    @rule(side=SIDES, room=ROOMS, slot=SLOTS, minutes=LENGTHS)
    def want_unheard(self, side: str, room: str, slot: int, minutes: int) -> None:
        """Exchange makes the booking, and does not say so however often it is asked."""
        self.trouble(("POST", "/events"), {"drop": True, "after": True}, _TRIES_MAX)
        self.want(side, room, slot, minutes)

    @precondition(lambda self: self.wishes)
    @rule(number=st.integers(0, 100))
    def repeat(self, number: int) -> None:
        """Send a request once more, whether or not the first one is still under way."""
        self._ask(self.wishes[number % len(self.wishes)])

    def _ask(self, wish: Wish) -> None:
        if wish.side not in self.dead:
            wish.call = self.runner.get_loop().create_task(self._call(wish))

    async def _call(self, wish: Wish) -> None:
        writer: BookingWriter = self.desks[wish.side].writer
        try:
            answer = await writer.create_booking(wish.request)
        except Unavailable:
            return
        except RoomConflict:
            wish.told.append(None)
        except SidecarError:
            assert wish.is_removed, "nothing else stands in its way"
        else:
            if answer.booking.state == Booking.STATE_CONFIRMED:
                time = answer.booking.time
                wish.told.append((time_of(time.start_time), time_of(time.end_time)))

    @rule(pause_s=PAUSES_S)
    def wait(self, pause_s: float) -> None:
        self.run(asyncio.sleep(pause_s))

    @rule(turns=TURNS)
    def turn(self, turns: int) -> None:
        """Let a little happen: what follows meets the others in the middle."""
        self.run(_turns(turns))

    @rule(side=SIDES)
    def kill(self, side: str) -> None:
        if side not in self.dead:
            self.dead.add(side)
            self.run(self.desks[side].die())

    @precondition(lambda self: self.dead)
    @rule()
    def start_again(self) -> None:
        side = min(self.dead)
        self.dead.remove(side)
        self.run(self.desks[side].live_again())

    @rule(side=SIDES)
    def work(self, side: str) -> None:
        """Background work goes on with what was left."""
        if side not in self.dead:
            self.run(self._resume(side))

    async def _resume(self, side: str) -> None:
        with suppress(Unavailable):
            await self.desks[side].resume()

    @rule(side=SIDES, room=ROOMS)
    def read(self, side: str, room: str) -> None:
        """A sync reads the room, in the middle of everything."""
        self.run(self._read(side, room))

    async def _read(self, side: str, room: str) -> None:
        mirror = self.desks[side].mirror
        with suppress(Unavailable):
            stored = await mirror.opened.reload(self.rooms[side, room])
            await mirror.sync.compare(stored, mirror.tenant, lease=mirror.lease)

    @rule(request=REQUESTS, effect=TROUBLES, count=st.sampled_from([1, 4, 8]))
    def trouble(self, request: tuple[str, str], effect: dict[str, Any], count: int) -> None:
        method, path = request
        match = {"method": method, "path": path, "count": count}
        self.run(self.rig.told("POST", "/control/faults", {"match": match, "effect": effect}))

    @rule(room=ROOMS, slot=SLOTS, minutes=LENGTHS, is_invited=st.booleans())
    def person_books(self, room: str, slot: int, minutes: int, is_invited: bool) -> None:
        """Somebody books in Outlook: invites the room, which answers, or writes into its calendar."""
        start_at = NINE + timedelta(minutes=30 * slot)
        address = self.rig.rooms[int(room[1]) - 1]["address"]
        body = {
            "organizer": self.rig.ada if is_invited else address,
            "rooms": [address] if is_invited else [],
            "subject": "Ada's",
            "start": f"{start_at:%FT%T}",
            "end": f"{start_at + timedelta(minutes=minutes):%FT%T}",
            "time_zone": "UTC",
        }
        self.run(self.rig.told("POST", self.rig.path("/outlook/book"), body))

    @precondition(lambda self: self.wishes)
    @rule(number=st.integers(0, 100))
    def person_removes(self, number: int) -> None:
        """Somebody takes a booking out of the room's calendar, settled or not."""
        wish = self.wishes[number % len(self.wishes)]
        self.run(self._remove(wish))

    async def _remove(self, wish: Wish) -> None:
        address = self.rig.rooms[int(wish.room[1]) - 1]["address"]
        for item in await self.rig.truth(address):
            if item["subject"] == wish.subject:
                wish.is_removed = True
                await self.rig.told(
                    "POST", self.rig.path("/outlook/delete_from_room"), {"address": address, "event": item["id"]}
                )

    @invariant()
    def nobody_was_told_that_a_taken_room_is_his(self) -> None:
        for room in ("r1", "r2"):
            made = sorted(
                (*times, wish.subject)
                for wish in self.wishes
                if wish.room == room and not wish.is_removed
                for times in wish.told[-1:]
                if times is not None
            )
            for (_, end_at, first), (start_at, _, second) in pairwise(made):
                assert end_at <= start_at, f"{first} and {second} were both told that {room} is theirs"

    @invariant()
    def nobody_is_told_this_and_then_that(self) -> None:
        for wish in self.wishes:
            assert wish.is_removed or len(set(wish.told)) <= 1, f"{wish.subject} was told {wish.told}"

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            if self.ready.is_set():
                self.run(self._come_to_rest())
                self.run(self._judge())
        finally:
            self.over.set()
            self.run(_either(self.stage))
            self.runner.close()

    async def _come_to_rest(self) -> None:
        """Put everything right, and have every request answered."""
        await self.rig.told("DELETE", "/control/faults")
        for side in sorted(self.dead):
            await self.desks[side].live_again()
        self.dead.clear()
        await asyncio.sleep(_HEALED_S)
        for side in ("a", "b"):
            await self.desks[side].resume()
        for wish in self.wishes:
            if wish.call is not None:
                await asyncio.wait([wish.call])
                wish.call.result()
            await self._call(wish)
            assert wish.told or wish.is_removed, f"{wish.subject} has no answer though nothing is in the way"
        self.nobody_is_told_this_and_then_that()
        self.nobody_was_told_that_a_taken_room_is_his()

    async def _judge(self) -> None:
        """Exchange holds each booking that was said to be made, once; nothing is left; the copies equal the calendars."""
        for number, room in enumerate(("r1", "r2")):
            items = await self.rig.truth(self.rig.rooms[number]["address"])
            for wish in self.wishes:
                count = sum(item["subject"] == wish.subject for item in items)
                is_made = wish.room == room and not wish.is_removed and wish.told[-1] is not None
                assert count == int(is_made), f"{wish.subject} was told {wish.told}, and {room} holds it {count} times"
        for side, desk in self.desks.items():
            opened = desk.mirror.opened
            left = await opened.fetch(
                "SELECT uid FROM writes WHERE sealed IS NOT NULL OR state NOT IN ('done', 'failed')"
            )
            assert left == [], f"{side} left writes"
            await self._check_told(side)
            await desk.mirror.compare()
            await desk.mirror.check_equal()

    async def _check_told(self, side: str) -> None:
        """Watchers were never told that a booking of ours is confirmed that had to go again."""
        opened = self.desks[side].mirror.opened
        failed = await opened.fetch("SELECT booking_key FROM writes WHERE state = 'failed' AND booking_key IS NOT NULL")
        keys = {key for (key,) in failed}
        for change in await self.desks[side].mirror.told():
            booking = Booking.FromString(change.body)
            if change.booking_key in keys:
                assert booking.state == Booking.STATE_PENDING, f"{booking.subject} failed, and was told as settled"


async def _events() -> tuple[asyncio.Event, asyncio.Event]:
    return asyncio.Event(), asyncio.Event()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _either(*works: Any) -> None:  # coroutines and tasks
    """Wait until the first of some is done, and fail as it did."""
    done, _ = await asyncio.wait([asyncio.ensure_future(work) for work in works], return_when=asyncio.FIRST_COMPLETED)
    for one in done:
        one.result()


TestTwoWriters = TwoWriters.TestCase
TestTwoWriters.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
