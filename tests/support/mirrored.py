"""A room of the emulator, and the service's copy of it: real reads over ASGI, a real store, no engine and no notifications.

Time is the loop's, which the test's plugin makes virtual, moved on by the emulator's clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
from exchange_client.messages import Booking

from sidecar.aio.clock import SystemClock
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.emulator.clock import LoopClock
from sidecar.graph.breaker import Breaker
from sidecar.graph.client import GraphClient
from sidecar.graph.clouds import TenantRef
from sidecar.graph.skew import SkewWatch
from sidecar.graph.throttle import Throttle
from sidecar.graph.transport import Transport, build_http
from sidecar.model.change import Change
from sidecar.model.ids import Mailbox, TenantUid
from sidecar.model.intent import Lease
from sidecar.model.plan import Applied
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.settings import GraphSettings, SyncSettings
from sidecar.store.store import Store
from sidecar.sync.rooms import RoomSync
from sidecar.telemetry.metrics import Telemetry
from tests.support.builders import make_mapping
from tests.support.stores import OpenStore, make_vault, open_store
from tests.support.truth import ZONE, Stay, expected, stay_of
from tests.unit.emulator.rig import Rig


class RigClock(SystemClock):
    """The emulator's present."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return the emulator's present."""
        return self._clock.now()


class _RigTokens:
    """The token that the rig has signed in with."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def fetch_token(self, tenant: TenantRef, *, claims: str | None = None) -> str:
        """See `Tokens`."""
        return str(self._rig.graph.headers["authorization"]).removeprefix("Bearer ")

    def forget(self, tenant_uid: TenantUid, *, token: str | None = None) -> None:
        """See `Tokens`; the rig's token is good."""


class Moments:
    """What others do right before or after certain requests."""

    def __init__(self) -> None:
        self._planned: list[tuple[str, str, int, Callable[[], Awaitable[None]]]] = []

    def plan(self, when: str, method: str, act: Callable[[], Awaitable[None]], *, skip: int = 0) -> None:
        """Have something done once, "before" or "after" the first request with a method that comes after `skip` others."""
        self._planned.append((when, method, skip, act))

    @property
    def is_anything_planned(self) -> bool:
        """Whether something has not met its moment yet."""
        return bool(self._planned)

    async def meet(self, when: str, method: str) -> None:
        """Do what is planned for this moment."""
        due, rest = [], []
        for planned in self._planned:
            if planned[:2] != (when, method):
                rest.append(planned)
            elif planned[2]:
                rest.append((*planned[:2], planned[2] - 1, planned[3]))
            else:
                due.append(planned[3])
        self._planned = rest
        for act in due:
            await act()


@dataclass(slots=True, kw_only=True)
class Mirrored:
    """A room's calendar and its copy.

    Attributes:
        requests: path and query of each request since the test last cleared them.
        moments: what happens before and after requests.
    """

    rig: Rig
    opened: OpenStore
    sync: RoomSync
    graph: GraphClient
    transport: Transport
    tenant: Tenant
    room: Room
    lease: Lease
    telemetry: Telemetry
    requests: list[str] = field(default_factory=list)
    moments: Moments = field(default_factory=Moments)

    async def compare(self) -> Applied:
        """Read everything."""
        return self._done(await self.sync.compare(await self.reloaded(), self.tenant, lease=self.lease))

    async def check(self) -> Applied:
        """Ask what changed, and read it."""
        return self._done(await self.sync.check(await self.reloaded(), self.tenant, lease=self.lease))

    @staticmethod
    def _done(applied: Applied | None) -> Applied:
        assert applied is not None, "the room is mapped"
        return applied

    async def reloaded(self) -> Room:
        """Return the room as it is stored."""
        self.room = await self.opened.reload(self.room)
        return self.room

    async def advance(self, seconds: float) -> None:
        """Move the present of everybody forward."""
        await self.rig.told("POST", "/control/clock", {"advance_s": seconds})

    async def told(self, after_revision: int = 0) -> list[Change]:
        """Return the changes of bookings in the log."""
        entries, _ = await self.opened.store.changes.read(
            self.tenant.uid, after_revision=after_revision, count_max=10_000
        )
        return [entry for entry in entries if entry.is_booking]

    async def copy(self) -> list[Stay]:
        """Return what the copy shows."""
        rows = await self.opened.fetch(
            "SELECT body FROM bookings WHERE room_uid = $1 AND takes_room = 1", self.room.uid
        )
        return sorted((_plain(stay_of(Booking.FromString(bytes(body)))) for (body,) in rows), key=str)

    async def truth(self) -> list[Stay]:
        """Return what the copy has to show within its horizon."""
        horizon = (await self.reloaded()).horizon
        assert horizon is not None, "it was read"
        margin = timedelta(days=2)  # whole days are somewhere else in the room's zone
        span = f"?start={horizon.start_at - margin:%Y-%m-%dT%H:%M:%SZ}&end={horizon.end_at + margin:%Y-%m-%dT%H:%M:%SZ}"
        found = await self.rig.told("GET", self.rig.path(f"/calendars/{self.rig.room}") + span)
        stays = [stay for stay in expected(found["items"]) if horizon.overlaps(stay.start_at, stay.end_at)]
        return sorted(map(_plain, stays), key=str)

    async def check_equal(self) -> None:
        """Hold the copy to the calendar."""
        shown, wanted = await self.copy(), await self.truth()
        missing, extra = set(wanted) - set(shown), set(shown) - set(wanted)
        assert shown == wanted, f"missing {sorted(missing, key=str)}, too many {sorted(extra, key=str)}"


def _plain(stay: Stay) -> Stay:
    """Leave out when a whole day was to be originally: the calendar tells its midnight, the copy that of the room."""
    return stay._replace(original_start_at=None) if stay.is_all_day else stay


@asynccontextmanager
async def mirrored(rig: Rig, folder: Path, *, seed: int = 0, **sync_settings: Any) -> AsyncIterator[Mirrored]:
    """Map the rig's first room in a store of its own, not read yet (Any: each setting has a type of its own)."""
    clock, telemetry, rng = RigClock(rig.clock), Telemetry(), Random(seed)
    requests: list[str] = []
    moments = Moments()

    async def note(request: httpx.Request) -> None:
        requests.append(request.url.raw_path.decode())
        await moments.meet("before", request.method)

    async def note_answer(answer: httpx.Response) -> None:
        await moments.meet("after", answer.request.method)

    graph_settings = GraphSettings()
    http = build_http(graph_settings, transport=httpx.ASGITransport(app=rig.emulator.graph_app))
    http.event_hooks = {"request": [note], "response": [note_answer]}
    async with http, open_store(folder / "exchange.sqlite3", clock=clock, stepped=rng) as plain:
        store = Store(plain.engine, vault=make_vault(), codec=ProtoBookingCodec())
        opened = OpenStore(store, plain.engine, clock, plain.path)
        tenant = await opened.add_tenant()
        room = await opened.map_room(make_mapping("r1", mailbox=Mailbox(rig.room), time_zone=ZONE))
        lease = await store.intents.take_lane(tenant.uid, owner="test", lease_s=1e6)
        assert lease is not None
        transport = Transport(
            http=http,
            tokens=_RigTokens(rig),
            throttle=Throttle(settings=graph_settings, clock=clock),
            breaker=Breaker(clock=clock, rng=rng),
            skew=SkewWatch(),
            clock=clock,
            rng=rng,
            settings=graph_settings,
            telemetry=telemetry,
        )
        graph = GraphClient(transport=transport, settings=graph_settings)
        settings = SyncSettings(**sync_settings)
        sync = RoomSync(store=store, reader=graph, clock=clock, settings=settings, telemetry=telemetry)
        try:
            yield Mirrored(
                rig=rig,
                opened=opened,
                sync=sync,
                graph=graph,
                transport=transport,
                tenant=tenant,
                room=room,
                lease=lease,
                telemetry=telemetry,
                requests=requests,
                moments=moments,
            )
        finally:
            telemetry.close()
