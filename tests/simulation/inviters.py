"""Programs that book in people's calendars, and wait for what the rooms answer.

Nobody else touches their meetings, so at rest each of them lies in its person's calendar once, and the room holds it exactly
when that was the answer; those that were cancelled lie nowhere.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from exchange_client.messages import Booking

from sidecar.errors import SidecarError
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import WRITE_COMPLETION_ROOM_ANSWERED, WRITE_MODE_ORGANIZER
from tests.simulation.callers import Callers, Wish
from tests.simulation.world import World

_DAYS = timedelta(days=60)
_FINAL = (Booking.STATE_CONFIRMED, Booking.STATE_DECLINED)
_CANCELLED_SHARE = 0.25


class Inviters(Callers):
    """All programs that book in people's calendars."""

    def __init__(self, world: World) -> None:
        super().__init__(world, rng=world.plan.rng("inviters"), calls_count=world.plan.invites_count)

    def _make_wish(self) -> Wish:
        wish = super()._make_wish()
        request = wish.request
        request.booking.organizer.email = self._rng.choice(self.world.directory.people)
        request.booking.subject = f"CANARY-invited {wish.number}"
        request.request_id = f"invited-{wish.number}"
        request.mode = WRITE_MODE_ORGANIZER
        request.completion = WRITE_COMPLETION_ROOM_ANSWERED
        return wish

    async def _ask(self, wish: Wish) -> None:
        """Send a request until the room's answer is known."""
        while True:
            try:
                answer = await self._insist(lambda life: life.servicers.bookings.create_booking(wish.request))
            except SidecarError as error:
                wish.booking, wish.reason = None, error.reason
                self.world.trace.note("caller", f"{wish.subject} is refused: {error.reason}")
                return
            booking = Booking.FromString(answer.booking.SerializeToString())
            if booking.state in _FINAL:
                wish.booking, wish.reason = booking, ""
                self.world.trace.note("caller", f"{wish.subject}: {Booking.State.Name(booking.state)}")
                return
            await asyncio.sleep(5.0)

    async def _use(self, wish: Wish) -> None:
        """Perhaps cancel a meeting, whatever the room has answered."""
        if wish.booking is None or self._rng.random() > _CANCELLED_SHARE:
            return
        wish.is_gone = True
        self.world.recalled.add(wish.booking.calendar_uid)
        request = pb.CancelBookingRequest(name=wish.booking.name, request_id=f"gone-{wish.number}", allow_missing=True)
        await self._insist(lambda life: life.servicers.bookings.cancel_booking(request))
        self.world.trace.note("caller", f"{wish.subject} is cancelled")


async def check_invitations(world: World, inviters: Inviters) -> None:
    """Check that each meeting exists once, and that the room holds it exactly when it was said to."""
    for wish in inviters.wishes:
        person, room = wish.request.booking.organizer.email, world.rooms[wish.room]
        made = [item for item in await _items(world, person) if item["subject"] == wish.subject]
        if wish.booking is None:
            assert wish.reason != "BOOKING_NOT_FOUND", f"{wish.subject} is said to have been removed, by nobody"
            assert made == [], f"{wish.subject} was refused, and is there"
            continue
        if wish.is_gone:
            assert made == [], f"{wish.subject} was cancelled, and is there"
            continue
        assert len(made) == 1, f"{wish.subject} was made {len(made)} times"
        held = [item for item in await _items(world, room) if item["ical_uid"] == made[0]["ical_uid"]]
        is_held = wish.booking.state == Booking.STATE_CONFIRMED
        assert [item["response"] for item in held if not item["is_cancelled"]] == ["accepted"] * is_held, (
            f"{wish.subject} was told {Booking.State.Name(wish.booking.state)}, and the room has {held}"
        )
    _check_told(world, inviters)


def _check_told(world: World, inviters: Inviters) -> None:
    """What a room declined was never told to be confirmed, and says why it was declined."""
    for wish in inviters.wishes:
        if wish.booking is None or wish.booking.state != Booking.STATE_DECLINED:
            continue
        assert wish.booking.decline.reason or not _is_in_copy(world, wish.booking), f"{wish.subject}: no reason"
        key = wish.booking.name.rpartition("/")[2]
        for (body,) in world.fetch("SELECT body FROM changes WHERE booking_key = ?", key):
            told = Booking.FromString(body)
            assert told.state != Booking.STATE_CONFIRMED, f"{wish.subject} was declined, and told to be confirmed"


def _is_in_copy(world: World, booking: Booking) -> bool:
    key = booking.name.rpartition("/")[2]
    return bool(world.fetch("SELECT 1 FROM bookings WHERE key = ?", key))


async def _items(world: World, mailbox: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = await world.directory.truth(mailbox, world.now() - _DAYS, world.now() + _DAYS)
    return found
