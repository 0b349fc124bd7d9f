"""An onboarding from the first call to the last room, on virtual time, as the tenant's own stream tells it.

Nobody asks twice and nobody mends anything at the service: the administrator acts at Microsoft, in the wrong order and slowly,
and each step is seen for what it is.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.room_service_pb2 import Room
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_ROOMS = 6
_HOUR_S = 3_600.0
_UP = Room.State.STATE_UP


@dataclass(frozen=True, slots=True)
class _Told:
    """What one message of the stream said."""

    state: str
    reasons: tuple[str, ...]
    up_count: int
    readable: tuple[int, int] | None


def _read(message: pb.WatchTenantResponse) -> _Told:
    tenant = message.tenant
    progress = tenant.propagation
    return _Told(
        state=pb.Tenant.State.Name(tenant.state).removeprefix("STATE_"),
        reasons=tuple(problem.reason for problem in tenant.problems),
        up_count=sum(one.count for one in message.rooms.states if one.state == _UP),
        readable=(progress.readable_rooms_count, progress.rooms_count) if tenant.HasField("propagation") else None,
    )


class _Stream:
    """The messages of WatchTenant, without those that only repeat the one before."""

    def __init__(self) -> None:
        self.told: list[_Told] = []

    async def send(self, body: bytes) -> None:
        """Take a message."""
        told = _read(pb.WatchTenantResponse.FromString(body))
        if not self.told or self.told[-1] != told:
            self.told.append(told)

    def last(self) -> _Told:
        """Return what was told last."""
        return self.told[-1]

    def states(self) -> list[str]:
        """Return the tenant's states, each once as it came."""
        states: list[str] = []
        for one in self.told:
            if not states or states[-1] != one.state:
                states.append(one.state)
        return states


async def _allow(world: World, count: int) -> None:
    await world.directory.call("PATCH", "app", {"access_policy": world.directory.rooms[:count]})


async def _onboard(world: World, stream: _Stream) -> None:
    await world.directory.call("PATCH", "app", {"roles": []})
    await _allow(world, 0)
    await world.begin_life()
    await world.register()
    assert world.life is not None, "it has begun"
    watching = world.start(
        world.life.servicers.tenants.watch_tenant(pb.WatchTenantRequest(name=world.tenant), stream.send)
    )
    await asyncio.sleep(300.0)
    assert (stream.last().state, stream.last().up_count) == ("CONSENT_MISSING", 0)
    assert stream.last().reasons == ("CONSENT_MISSING",)

    await world.directory.call("PATCH", "app", {"roles": ["Calendars.ReadWrite", "MailboxSettings.Read"]})
    await asyncio.sleep(1.2 * _HOUR_S)  # nobody told us: the next look does
    assert (stream.last().state, stream.last().up_count) == ("DEGRADED", 0)
    assert stream.last().reasons == ("MAILBOX_ACCESS_DENIED",)
    assert stream.last().readable == (0, _ROOMS)

    for count in range(1, _ROOMS + 1):
        await _allow(world, count)
        await asyncio.sleep(1.2 * _HOUR_S)
        assert stream.last().up_count == count
    assert stream.last().state == "ACTIVE"
    assert not stream.last().reasons
    await asyncio.sleep(300.0)
    assert stream.last().readable is None, "nothing is waited for any more"
    watching.cancel()


def test_onboarding_is_told_step_by_step_as_it_happens() -> None:
    """From "no permission" over "granted, but for no room" to the last room, without a wrong word in between."""
    stream = _Stream()

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="onboarding") as folder:
            async with world_made(calm_plan(1, rooms=_ROOMS), Path(folder), Trace(None)) as world:
                await _onboard(world, stream)

    run_virtually(main)
    ups = [one.up_count for one in stream.told]
    assert ups == sorted(ups), "no room came up and went down again"
    assert sorted(set(ups)) == list(range(_ROOMS + 1)), "one by one"
    assert stream.states() == ["CONSENT_MISSING", "DEGRADED", "ACTIVE"]
    readable = [one.readable[0] for one in stream.told if one.readable is not None]
    assert readable == sorted(readable), "progress is never taken back"
