"""Programs that write through the API: they send a request again until it is answered, and remember what they were told.

Nobody else touches what they make, so at rest each of their bookings is at Exchange exactly as they were told last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

from exchange_client import times
from exchange_client.messages import Booking
from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.errors import SidecarError, Unavailable
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import TimeWindow
from sidecar.model.window import to_micros
from tests.simulation.life import Life
from tests.simulation.network import PeerGone
from tests.simulation.world import World

_DAYS_AHEAD = 6
_HOURS = (8, 9, 9, 9, 10, 10, 14)
"""Few of them, so that many want the same."""
_MINUTES = (15, 30, 60, 90)
_PATIENCE_S = (0.05, 1.0, 20.0, 60.0)
"""How long a caller waits for an answer before it hangs up."""
_PAUSES_S = (0.0, 0.5, 5.0, 60.0)
_SECOND_THOUGHTS_S = (0.0, 2.0, 600.0)
_NEVER = frozenset({"BOOKING_NOT_FOUND", "ETAG_MISMATCH", "REQUEST_ID_REUSED"})
"""Refusals that can only be wrong where nobody else touches a booking, and each request has an id of its own."""
_ANSWERED_WITHIN_S = 4 * 3_600.0
"""Longer than any pause of the service's own once nothing is in its way."""


@dataclass(slots=True)
class Wish:
    """A booking that a caller wants, and what it was told of it.

    Attributes:
        subject: its own, so that it is known again in the calendar.
        reason: why it was refused; empty: it was made, or is not answered yet.
        booking: as the caller was told last; None: it was refused, or is not answered yet.
        is_gone: the caller had it taken out again.
        came: who was said to have come.
        calls_count: how often the caller wanted something of the booking since.
    """

    number: int
    room: str
    request: pb.CreateBookingRequest
    reason: str = ""
    booking: Booking | None = None
    is_gone: bool = False
    came: str = ""
    calls_count: int = 0

    @property
    def subject(self) -> str:
        """Return the subject."""
        return self.request.booking.subject

    @property
    def is_answered(self) -> bool:
        """Whether the caller knows what came of it."""
        return bool(self.reason) or self.booking is not None


class Callers:
    """All programs that write, in a world."""

    def __init__(self, world: World, *, rng: Random | None = None, calls_count: int | None = None) -> None:
        self.world = world
        self.calls_count = world.plan.calls_count if calls_count is None else calls_count
        self.wishes: list[Wish] = []
        self._rng = rng or world.plan.rng("callers")
        self._tasks: list[asyncio.Task[None]] = []

    async def work(self) -> None:
        """Want something as often as the plan says; several want at once, often the same."""
        plan, rng = self.world.plan, self._rng
        moments = sorted(rng.uniform(0.0, plan.duration_s) for _ in range(self.calls_count))
        began_s = asyncio.get_running_loop().time()
        for at_s in moments:
            await asyncio.sleep(max(0.0, began_s + at_s - asyncio.get_running_loop().time()))
            for _ in range(rng.choice((1, 1, 2, 3))):
                if self.world.rooms:
                    self._tasks.append(self.world.start(self._want()))

    async def finish(self) -> None:
        """Wait until each caller has its answer.

        Raises:
            AssertionError: somebody has none although nothing is in the way any more.
        """
        if not self._tasks:
            return
        _, waiting = await asyncio.wait(self._tasks, timeout=_ANSWERED_WITHIN_S)
        assert not waiting, (
            f"{len(waiting)} callers have no answer: {[w.subject for w in self.wishes if not w.is_answered]}"
        )

    async def _want(self) -> None:
        """Want a booking until it is made or refused, and perhaps send the request once more."""
        wish = self._make_wish()
        await self._ask(wish)
        if self._rng.random() < 0.3:
            before = wish.booking is not None, wish.reason
            await self._ask(wish)
            after = wish.booking is not None, wish.reason
            assert after == before, f"{wish.subject}: the same request was answered {before}, and later {after}"
        await self._use(wish)

    async def _use(self, wish: Wish) -> None:
        """Do something with what came of a wish."""
        for _ in range(self._rng.choice((0, 0, 1, 2, 3))):
            if wish.booking is None or wish.is_gone:
                return
            await asyncio.sleep(self._rng.choice(_SECOND_THOUGHTS_S))
            await self._think_again(wish)

    async def _think_again(self, wish: Wish) -> None:
        """Want something else of a booking that was made; a refusal leaves it as it is."""
        wish.calls_count += 1
        act = self._rng.choice((self._move, self._move, self._cancel, self._release, self._come))
        try:
            await act(wish, f"{wish.request.request_id}-{wish.calls_count}")
        except SidecarError as error:
            self.world.trace.note("caller", f"{act.__name__} {wish.subject} is refused: {error.reason}")
            if error.reason in _NEVER and self._is_in_the_copy(wish):
                raise AssertionError(
                    f"{act.__name__} {wish.subject}: {error.reason}, and nobody else did it"
                ) from error
        else:
            self.world.trace.note("caller", f"{act.__name__} {wish.subject} is done")

    def _is_in_the_copy(self, wish: Wish) -> bool:
        """Tell whether a booking is well within what the copy covers: what is not, nobody can name."""
        assert wish.booking is not None, "it was made"
        found = self.world.fetch("SELECT horizon_end_at FROM rooms WHERE room_id = ?", wish.room.rpartition("/")[2])
        end_at = times.to_datetime(wish.booking.time.end_time)
        return bool(found) and found[0][0] is not None and to_micros(end_at + timedelta(days=1)) < found[0][0]

    async def _move(self, wish: Wish, request_id: str) -> None:
        assert wish.booking is not None, "it was made"
        booking = pb.Booking(name=wish.booking.name, time=self._window())
        request = pb.UpdateBookingRequest(booking=booking, update_mask=FieldMask(paths=["time"]), request_id=request_id)
        answer = await self._insist(lambda life: life.servicers.bookings.update_booking(request))
        while answer.booking.state == Booking.STATE_PENDING:
            await asyncio.sleep(self._rng.choice(_PAUSES_S) + 0.05)
            answer = await self._insist(lambda life: life.servicers.bookings.update_booking(request))
        wish.booking = Booking.FromString(answer.booking.SerializeToString())
        assert wish.booking.time == Booking.FromString(booking.SerializeToString()).time, f"{wish.subject} is elsewhere"

    async def _cancel(self, wish: Wish, request_id: str) -> None:
        assert wish.booking is not None, "it was made"
        request = pb.CancelBookingRequest(name=wish.booking.name, request_id=request_id)
        await self._insist(lambda life: life.servicers.bookings.cancel_booking(request))
        wish.is_gone = True

    async def _release(self, wish: Wish, request_id: str) -> None:
        assert wish.booking is not None, "it was made"
        request = pb.ReleaseBookingRequest(name=wish.booking.name, request_id=request_id)
        answer = await self._insist(lambda life: life.servicers.bookings.release_booking(request))
        if answer.HasField("booking"):
            wish.booking = Booking.FromString(answer.booking.SerializeToString())
        else:
            wish.is_gone = True

    async def _come(self, wish: Wish, request_id: str) -> None:
        assert wish.booking is not None, "it was made"
        request = pb.CheckInRequest(name=wish.booking.name, check_in_by=request_id)
        answer = await self._insist(lambda life: life.servicers.bookings.check_in(request))
        wish.came = answer.booking.check_in_by

    def _make_wish(self) -> Wish:
        rng, number = self._rng, len(self.wishes) + 1
        room = rng.choice(sorted(self.world.rooms))
        request = pb.CreateBookingRequest(
            parent=room,
            booking=pb.Booking(time=self._window(), subject=f"CANARY-wish {number}"),
            request_id=f"wish-{number}",
        )
        wish = Wish(number, room, request)
        self.wishes.append(wish)
        return wish

    def _window(self) -> TimeWindow:
        window, start_at = TimeWindow(), self._start()
        window.start_time.FromDatetime(start_at)
        window.end_time.FromDatetime(start_at + timedelta(minutes=self._rng.choice(_MINUTES)))
        return window

    def _start(self) -> datetime:
        rng = self._rng
        day = self.world.now() + timedelta(days=rng.randint(1, _DAYS_AHEAD))
        return day.replace(hour=rng.choice(_HOURS), minute=rng.choice((0, 30)), second=0, microsecond=0)

    async def _ask(self, wish: Wish) -> None:
        """Send a request until it is answered for good."""
        try:
            answer = await self._insist(lambda life: life.servicers.bookings.create_booking(wish.request))
            while answer.booking.state == Booking.STATE_PENDING:
                await asyncio.sleep(self._rng.choice(_PAUSES_S) + 0.05)
                answer = await self._insist(lambda life: life.servicers.bookings.create_booking(wish.request))
        except SidecarError as error:
            wish.booking, wish.reason = None, error.reason
            self.world.trace.note("caller", f"{wish.subject} is refused: {error.reason}")
        else:
            wish.booking, wish.reason = Booking.FromString(answer.booking.SerializeToString()), ""
            self.world.trace.note("caller", f"{wish.subject} is made")
            assert wish.booking.state == Booking.STATE_CONFIRMED, (
                f"{wish.subject} is answered in state {wish.booking.state}"
            )

    async def _insist(self, call: Callable[[Life], Awaitable[Any]]) -> Any:  # Any: answers of all calls
        """Make a call until it has an answer that will not change.

        Raises:
            SidecarError: it was refused.
        """
        rng = self._rng
        while True:
            life = self.world.serving
            if life is not None:
                patience_s = rng.choice(_PATIENCE_S)
                try:
                    async with asyncio.timeout(patience_s):
                        return await life.call(lambda: call(life))  # noqa: B023  (awaited at once)
                except (PeerGone, Unavailable, TimeoutError) as error:
                    self.world.trace.note("caller", f"hears {type(error).__name__}")
            await asyncio.sleep(rng.choice(_PAUSES_S) + 0.05)


async def check_writes(world: World, callers: Callers) -> None:
    """Check that Exchange holds each booking that was said to be made, once, and none that was refused."""
    for mailbox in sorted(set(world.rooms.values())):
        room = next(name for name, address in world.rooms.items() if address == mailbox)
        await _check_room(world, room, [wish for wish in callers.wishes if wish.room == room])
    _check_attendance(world, callers)
    _check_rows(world)
    _check_told(world)


async def _check_room(world: World, room: str, wishes: list[Wish]) -> None:
    span = timedelta(days=_DAYS_AHEAD + 60)
    items = await world.directory.truth(world.rooms[room], world.now() - span, world.now() + span)
    held: dict[str, list[tuple[datetime, datetime]]] = {}
    for item in items:
        if not item["is_cancelled"]:
            when = datetime.fromisoformat(item["start"]), datetime.fromisoformat(item["end"])
            held.setdefault(str(item["subject"]), []).append(when)
    taken: list[tuple[datetime, datetime, str]] = []
    for wish in wishes:
        found = held.get(wish.subject, [])
        if wish.booking is None or wish.is_gone:
            assert found == [], f"{wish.subject} was {wish.reason or 'taken out'}, and is there: {found}"
            continue
        told = times.to_datetime(wish.booking.time.start_time), times.to_datetime(wish.booking.time.end_time)
        assert found == [told], f"{wish.subject} was told to be at {told}, and Exchange has {found}"
        taken.append((*told, wish.subject))
    taken.sort()
    for (_, end_at, first), (start_at, _, second) in pairwise(taken):
        assert end_at <= start_at, f"{first} and {second} overlap in {room}"


def _check_attendance(world: World, callers: Callers) -> None:
    """Whoever was said to have come is told with the booking, whatever became of the copy."""
    bodies = [Booking.FromString(body) for (body,) in world.fetch("SELECT body FROM bookings WHERE takes_room = 1")]
    shown = {booking.name: booking.check_in_by for booking in bodies}
    for wish in callers.wishes:
        if wish.booking is not None and not wish.is_gone and wish.booking.name in shown:
            told = shown[wish.booking.name]
            assert told == wish.came, f"{wish.came!r} came to {wish.subject}, and {told!r} is told"


def _check_rows(world: World) -> None:
    """Every write has ended, and what was asked for is erased."""
    left = world.fetch("SELECT kind, state, request_id FROM writes WHERE state NOT IN ('done', 'failed')")
    assert left == [], f"writes were left: {left}"
    kept = world.fetch("SELECT request_id FROM writes WHERE sealed IS NOT NULL")
    assert kept == [], f"what was asked for is kept: {kept}"


def _check_told(world: World) -> None:
    """Nothing was ever told to be confirmed that had to go again."""
    rows = world.fetch(
        "SELECT c.body FROM changes c JOIN writes w ON w.room_uid = c.room_uid AND w.booking_key = c.booking_key"
        " WHERE w.kind = 'create' AND w.state = 'failed' AND c.kind = 1"
    )
    for (body,) in rows:
        booking = Booking.FromString(body)
        assert booking.state == Booking.STATE_PENDING, (
            f"{booking.subject} failed, and was told in state {booking.state}"
        )
