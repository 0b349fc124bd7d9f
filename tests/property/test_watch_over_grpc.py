"""The watch contract over the real server and the real client: whatever happens in between, mirrors end equal to the copy.

Hypothesis draws what is written and what befalls the reader: it loses its stream, goes back to what it saved last, is away
while the log is pruned. At rest its mirror holds exactly the bookings that take the rooms. The finer schedules, without
sockets, are in `test_watch_contract.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from exchange_client import ExchangeClient, RoomMirror
from exchange_client.aio_watch import Watch
from exchange_client.messages import WatchRoomsResponse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.errors import RoomNotFound
from sidecar.model.booking import Booking
from sidecar.model.ids import BookingKey, RoomId
from tests.support.builders import HORIZON, TENANT, after, complete_read, make_booking, towards
from tests.unit.api.rig import Rig, serving

ROOMS = ("r1", "r2", "r3")
_REST_S = 20.0
_QUIET_S = 0.05

actions = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(ROOMS), st.integers(0, 5), st.integers(0, 8)),
    st.tuples(st.just("drop"), st.sampled_from(ROOMS), st.integers(0, 5), st.just(0)),
    st.tuples(st.sampled_from(["unmap", "resync"]), st.sampled_from(ROOMS), st.just(0), st.just(0)),
    st.tuples(
        st.sampled_from(["prune", "cut", "crash", "save", "read", "read", "peek"]), st.just(""), st.just(0), st.just(0)
    ),
)


class Play:
    """One life: an office that writes, and a reader that is interrupted."""

    def __init__(self, rig: Rig, client: ExchangeClient) -> None:
        self.rig = rig
        self.client = client
        self.wanted: dict[str, dict[BookingKey, Booking]] = {}
        self.mirror = RoomMirror()
        self.saved = self.mirror.save()
        self.watch: Watch[WatchRoomsResponse] | None = None

    async def act(self, what: str, room: str, number: int, hour: int) -> None:
        """Do one thing."""
        match what:
            case "write":
                booking = make_booking(f"{room}{number}", start_at=after(hours=hour))
                self.wanted.setdefault(room, {})[booking.key] = booking
                await self._write(room)
            case "drop":
                self.wanted.setdefault(room, {}).pop(BookingKey(f"{room}{number}"), None)
                await self._write(room)
            case "unmap" if self.wanted.pop(room, None) is not None:
                await self.rig.db.store.rooms.unmap(TENANT, RoomId(room), etag="")
            case "resync" if room in self.wanted:
                await self.rig.db.store.rooms.resync(TENANT, RoomId(room))
                await self._write(room)
            case "prune":
                uid = await self.rig.db.tenant_uid()
                await self.rig.db.store.changes.prune(uid, retention=timedelta(days=1), count_max=0)
            case "cut":
                await self._cut()
            case "crash":
                await self._cut()
                self.mirror = RoomMirror.load(self.saved)
            case "save":
                self.saved = self.mirror.save()
            case "read":
                with suppress(TimeoutError):  # on a quiet stream the next message is a heartbeat, seconds away
                    while True:
                        async with asyncio.timeout(_QUIET_S):
                            await self._read()
            case "peek":  # and stop anywhere, within a snapshot, too
                with suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_S):
                        await self._read()

    async def _write(self, room_id: str) -> None:
        """Read the room's whole calendar, which holds what is wanted."""
        try:
            room = await self.rig.db.store.rooms.load(TENANT, RoomId(room_id))
        except RoomNotFound:
            room = await self.rig.db.add_room(room_id)
        complete = complete_read(HORIZON, began_at=self.rig.clock.now(), resyncs=room.resyncs)
        planner = towards(self.wanted[room_id])
        await self.rig.db.store.calendars.apply(room, planner, lease=None, complete=complete)

    async def _cut(self) -> None:
        if self.watch is not None:
            await self.watch.aclose()
            self.watch = None

    async def _read(self) -> None:
        if self.watch is None:
            self.watch = self.client.watch_rooms(f"tenants/{TENANT}", resume_token=self.mirror.resume_token)
        self.mirror.apply(await anext(self.watch))

    async def rest(self) -> None:
        """Read until the mirror equals the copy; a reader that lost a change never gets there."""
        try:
            async with asyncio.timeout(_REST_S):
                while self.shown() != await self.truth():
                    await self._read()
        except TimeoutError:
            raise AssertionError(f"the mirror shows {self.shown()}, the copy holds {await self.truth()}") from None
        finally:
            await self._cut()

    def shown(self) -> dict[str, int]:
        """Return what the mirror shows of the rooms that are mapped, as names and starts."""
        names = {f"tenants/{TENANT}/rooms/{room}" for room in self.wanted}
        return {row.name: row.time.start_time.seconds for name in names for row in self.mirror.bookings(name)}

    async def truth(self) -> dict[str, int]:
        """Return what the service lists."""
        found = await self.client.list_bookings(f"tenants/{TENANT}/rooms/-", HORIZON.start_at, HORIZON.end_at)
        return {row.name: row.time.start_time.seconds for row in found.bookings}


@asynccontextmanager
async def playing() -> AsyncIterator[Play]:
    """Serve, connect, and register the tenant."""
    with tempfile.TemporaryDirectory(prefix="w") as folder:
        async with serving(Path(folder)) as rig:
            await rig.db.add_tenant()
            async with ExchangeClient.connect(f"unix://{rig.socket}") as client:
                yield Play(rig, client)


@settings(max_examples=25, deadline=None)
@given(script=st.lists(actions, min_size=12, max_size=40))
@example(script=[("read", "", 0, 0), ("cut", "", 0, 0), ("write", "r1", 1, 2), ("prune", "", 0, 0)])
@example(script=[("read", "", 0, 0), ("save", "", 0, 0), ("drop", "r1", 0, 0), ("read", "", 0, 0), ("crash", "", 0, 0)])
def test_mirror_over_grpc_ends_equal_to_the_copy(script: list[tuple[str, str, int, int]]) -> None:
    """No schedule of writes, cuts, crashes, resyncs, unmappings and prunings loses or invents a booking."""

    async def life() -> None:
        async with playing() as play:
            for action in [("write", "r1", 0, 0), *script]:
                if action[0] in ("read", "peek") and play.watch is None and not play.wanted:
                    continue  # nothing would come but the first checkpoint
                await play.act(*action)
            await play.rest()

    asyncio.run(life())
