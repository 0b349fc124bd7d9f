"""Asks delta right before a full read: what it names, and the link from which the rounds after that read go on.

In this order nothing falls between the two: what changes while the calendar is read is told by the next round, if the read
did not show it. A mailbox for which delta does not work does without for a while, and is read as a whole each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import DeltaUnusable, GraphRefused, GraphUnavailable, SidecarError
from sidecar.model.ids import EventId
from sidecar.model.plan import DeltaPlace
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.model.window import Window
from sidecar.sync.delta import events_named
from sidecar.sync.reading import RoomReader
from sidecar.telemetry.metrics import Telemetry

log = structlog.get_logger(__name__)

_ENDLESS = timedelta(days=1)
"""Rounds without an end are a fault of one mailbox that lasts."""
_FAILING = timedelta(minutes=10)
"""For what may be a fault of the moment; shorter than the time between two checks of a quiet room."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What delta told before a full read; the fields are those of `CompleteRead`."""

    place: DeltaPlace | None = None
    named: frozenset[EventId] | None = None


class Baselines:
    """Takes links."""

    def __init__(self, *, reading: RoomReader, clock: Clock, telemetry: Telemetry) -> None:
        self._reading = reading
        self._clock = clock
        self._telemetry = telemetry

    async def ask(self, room: Room, tenant: Tenant, horizon: Window) -> tuple[Room, Asked]:
        """Return what delta names now, and where the next round begins; with the room as delta left it (`without`).

        The kept link is asked first, also when its window is no longer the horizon: what it names was not lost.

        Raises:
            Whatever says something of the room or the tenant, not of delta.
        """
        if self._is_barred(room):
            return room, Asked()
        named: frozenset[EventId] | None = None
        try:
            if room.delta is not None:
                told = await self._reading.delta(room, tenant, room.delta.window, link=room.delta.link)
                named = events_named(told.items)
                if room.delta.window == horizon:
                    return room, Asked(DeltaPlace(told.link, horizon), named)
        except (DeltaUnusable, GraphUnavailable) as error:
            room = self.without(room, error)
            if self._is_barred(room):
                return room, Asked()
        return await self.begin(room, tenant, horizon, named=named)

    async def begin(
        self, room: Room, tenant: Tenant, horizon: Window, *, named: frozenset[EventId] | None
    ) -> tuple[Room, Asked]:
        """Take a first link for a window."""
        try:
            told = await self._reading.delta(room, tenant, horizon, link=None)
        except (DeltaUnusable, GraphUnavailable, GraphRefused) as error:
            room = self.without(room, error)
            return room if self._is_barred(room) else self._bar(room, _FAILING), Asked(named=named)
        return room, Asked(DeltaPlace(told.link, horizon), named)

    def without(self, room: Room, error: SidecarError) -> Room:
        """Return a room as it goes on after delta did not work: without its link, and perhaps without delta for a while.

        It is nothing yet but what the next full read may write down; that read also finds out whether Exchange is away.
        """
        self._telemetry.count("delta_resets", 1)
        log.warning("room.delta_unusable", room_uid=room.uid, reason=error.reason, **error.details)
        room = replace(room, delta=None)
        if isinstance(error, DeltaUnusable):
            return self._bar(room, _ENDLESS) if error.is_endless else room
        return self._bar(room, _FAILING)

    def _bar(self, room: Room, span: timedelta) -> Room:
        return replace(room, no_delta_until_at=self._clock.now() + span)

    def _is_barred(self, room: Room) -> bool:
        return room.no_delta_until_at is not None and room.no_delta_until_at > self._clock.now()
