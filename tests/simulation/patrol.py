"""Goes round while everything happens: what is said of each room is true at that very moment."""

from __future__ import annotations

import asyncio

from exchange_client import times

from sidecar.errors import SidecarError
from sidecar.gen.ioffice.exchange.v1 import common_pb2, room_service_pb2
from sidecar.model.room import freshness_limits
from tests.simulation.life import Life
from tests.simulation.network import PeerGone
from tests.simulation.world import World

_PAUSE_S = (60.0, 1_200.0)
_SET_CLOCKS_S = 300.0
"""As in `witness.py`: by as much the service's clock may differ from Exchange's."""
_UNTOLD = frozenset(
    {"subscription_removed", "subscription_expired", "restore", "pause", "clock_set"}
    | {"webhook_weather", "deliveries_lost", "deliveries_held", "lifecycle"}
)
"""Troubles in which a subscription goes, or is said to have gone, and the service cannot know it at once."""


class Patrol:
    """Asks what callers ask, at any time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.plan.rng("patrol")
        self._is_all_told = not any(kind in _UNTOLD for _, kind in world.plan.troubles)

    async def walk(self) -> None:
        """Go round for ever."""
        while True:
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
            life = self._world.serving
            if life is not None:
                await self._look(life)

    async def _look(self, life: Life) -> None:
        before = await self._world.directory.subscribed()
        request = room_service_pb2.ListRoomsRequest(parent=self._world.tenant)
        try:
            answer = await life.call(lambda: life.servicers.rooms.list_rooms(request))
        except (PeerGone, SidecarError):
            return
        for room in answer.rooms:
            if room.sync.state == common_pb2.SYNC_STATE_LIVE:
                self._check_fresh(room)
                # One that is being replaced is there before or after.
                if self._is_all_told and room.mailbox not in before:
                    assert room.mailbox in await self._world.directory.subscribed(), (
                        f"{room.name} is said to be live, and Exchange announces nothing of it"
                    )

    def _check_fresh(self, room: room_service_pb2.Room) -> None:
        limit_s = freshness_limits(self._world.plan.settings.sync).live_s + _SET_CLOCKS_S
        age_s = (self._world.now() - times.to_datetime(room.sync.fresh_as_of_time)).total_seconds()
        assert age_s < limit_s, f"{room.name} is said to be live, and is {age_s:.0f} s old"
