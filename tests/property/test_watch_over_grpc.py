"""The watch contract as a state machine over the real server and the real client.

Its rules write bookings and let the reader lose its stream, go back to what it saved last, be away while the log is pruned,
stop in the middle of a snapshot. At every moment the mirror shows nothing that was never there, and at rest it holds exactly
the bookings that take the rooms. The finer schedules, without sockets, are in `test_watch_contract.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from exchange_client import ExchangeClient, RoomMirror
from exchange_client.aio_watch import Watch
from exchange_client.messages import WatchRoomsResponse
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.errors import RoomNotFound
from sidecar.model.booking import Booking
from sidecar.model.ids import BookingKey, RoomId
from tests.support.builders import HORIZON, TENANT, after, complete_read, make_booking, towards
from tests.unit.api.rig import Rig, serving

ROOMS = ("r1", "r2", "r3")
_REST_S = 20.0
_QUIET_S = 0.05

rooms = st.sampled_from(ROOMS)
numbers = st.integers(0, 5)
read_counts = st.sampled_from([100, 1, 2, 0])
"""How many messages are read at most after something happened; a few end within a snapshot."""


class Play:
    """One life: an office that writes, and a reader that is interrupted."""

    def __init__(self, rig: Rig, client: ExchangeClient) -> None:
        self.rig = rig
        self.client = client
        self.wanted: dict[str, dict[BookingKey, Booking]] = {}
        self.addresses = 0
        self.mirror = RoomMirror()
        self.saved = self.mirror.save()
        self.watch: Watch[WatchRoomsResponse] | None = None
        self.ever: set[tuple[str, int]] = set()
        """Every booking that ever was, by name and start."""

    async def write(self, room: str, number: int, hour: int) -> None:
        """Put a booking on a room's calendar, or move it."""
        booking = make_booking(f"{room}{number}", start_at=after(hours=hour))
        self.ever.add((f"tenants/{TENANT}/rooms/{room}/bookings/{booking.key}", int(booking.start_at.timestamp())))
        self.wanted.setdefault(room, {})[booking.key] = booking
        await self._write(room)

    async def drop(self, room: str, number: int) -> None:
        """Take a booking off a room's calendar."""
        self.wanted.setdefault(room, {}).pop(BookingKey(f"{room}{number}"), None)
        await self._write(room)

    async def unmap(self, room: str) -> None:
        """Forget a room."""
        if self.wanted.pop(room, None) is not None:
            await self.rig.db.store.rooms.unmap(TENANT, RoomId(room), etag="")

    async def unmap_untold(self, room: str) -> None:
        """Forget a room without a word about its bookings."""
        if self.wanted.pop(room, None) is not None:
            await self.rig.db.store.rooms.unmap(TENANT, RoomId(room), etag="", tells_each=False)

    async def rename(self, room: str) -> None:
        """Give a room's mailbox another address."""
        await self._readdress(room, is_same_mailbox=True)

    async def replace(self, room: str) -> None:
        """Tie a room to another mailbox, whose calendar holds half of the bookings and is read at once."""
        await self._readdress(room, is_same_mailbox=False)
        if room in self.wanted:
            kept = sorted(self.wanted[room])[::2]
            self.wanted[room] = {key: self.wanted[room][key] for key in kept}
            await self._write(room)

    async def _readdress(self, room: str, *, is_same_mailbox: bool) -> None:
        if room in self.wanted:
            self.addresses += 1
            found = await self.rig.db.store.rooms.load(TENANT, RoomId(room))
            address = f"a{self.addresses}@contoso.example"
            await self.rig.db.readdress(found, address, is_same_mailbox=is_same_mailbox)

    async def resync(self, room: str) -> None:
        """Ask for a room to be read and told anew."""
        if room in self.wanted:
            await self.rig.db.store.rooms.resync(TENANT, RoomId(room))
            await self._write(room)

    async def prune(self) -> None:
        """Forget the whole log."""
        uid = await self.rig.db.tenant_uid()
        await self.rig.db.store.changes.prune(uid, retention=timedelta(days=1), count_max=0)

    async def cut(self) -> None:
        """End the stream."""
        if self.watch is not None:
            await self.watch.aclose()
            self.watch = None

    async def crash(self) -> None:
        """Lose the stream and all that the reader has not saved."""
        await self.cut()
        self.mirror = RoomMirror.load(self.saved)

    async def save(self) -> None:
        """Keep what the mirror holds, token included."""
        self.saved = self.mirror.save()

    async def read(self, count_max: int) -> None:
        """Read some messages, or fewer when the stream falls quiet; that may end within a snapshot."""
        if self.watch is None and not self.wanted:
            return  # nothing would come but the first checkpoint
        with suppress(TimeoutError):  # on a quiet stream the next message is a heartbeat, seconds away
            for _ in range(count_max):
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
            await self.cut()

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


class WatchMachine(RuleBasedStateMachine):
    """Runs one life on an event loop of its own, which stands still between rules."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stop = asyncio.Event()
        self._living, self._play = self._runner.run(self._begin())
        self._run(self._play.write("r1", 0, 0))

    async def _begin(self) -> tuple[asyncio.Task[None], Play]:
        begun: asyncio.Future[Play] = asyncio.get_running_loop().create_future()

        async def live() -> None:  # one task enters and leaves: task groups ask for that
            async with playing() as play:
                begun.set_result(play)
                await self._stop.wait()

        def ended(living: asyncio.Task[None]) -> None:
            if not begun.done():
                begun.set_exception(living.exception() or AssertionError("the server ended before it began"))

        living = asyncio.create_task(live())
        living.add_done_callback(ended)
        return living, await begun

    def _run(self, act: Coroutine[Any, Any, None]) -> None:
        self._runner.run(act)

    # Reading goes with writing, not beside it: Hypothesis likes lives in which only some rules occur.

    @rule(room=rooms, number=numbers, hour=st.integers(0, 8), count_max=read_counts)
    def write(self, room: str, number: int, hour: int, count_max: int) -> None:
        self._run(self._play.write(room, number, hour))
        self._run(self._play.read(count_max))

    @rule(room=rooms, number=numbers, count_max=read_counts)
    def drop(self, room: str, number: int, count_max: int) -> None:
        self._run(self._play.drop(room, number))
        self._run(self._play.read(count_max))

    @rule(what=st.sampled_from(["cut", "crash", "save", "prune"]))
    def befall(self, what: str) -> None:
        self._run(getattr(self._play, what)())

    @rule(
        what=st.sampled_from(["unmap", "unmap_untold", "resync", "rename", "replace"]),
        room=rooms,
        count_max=read_counts,
    )
    def befall_a_room(self, what: str, room: str, count_max: int) -> None:
        self._run(getattr(self._play, what)(room))
        self._run(self._play.read(count_max))

    @invariant()
    def mirror_invents_nothing(self) -> None:
        """What the mirror shows was there once, at that time."""
        assert set(self._play.shown().items()) <= self._play.ever

    def teardown(self) -> None:
        """Come to rest: the mirror must equal the copy, whatever happened."""
        try:
            self._run(self._play.rest())
        finally:
            self._stop.set()
            self._runner.run(asyncio.wait_for(self._living, _REST_S))
            self._runner.close()


TestWatchOverGrpc = WatchMachine.TestCase
# Not shrunk: each try at a reader that lost something waits in vain, and a life is short enough to read.
TestWatchOverGrpc.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.mark.parametrize(
    "script",
    [
        [("read", 100), ("cut",), ("write", "r1", 1, 2), ("prune",)],
        [("read", 100), ("save",), ("drop", "r1", 0), ("read", 100), ("crash",)],
    ],
    ids=["pruned-while-away", "back-to-what-was-saved"],
)
async def test_reader_that_was_away_ends_equal_to_the_copy(script: list[tuple[Any, ...]]) -> None:
    """Two lives that once went wrong."""
    async with playing() as play:
        await play.write("r1", 0, 0)
        for what, *arguments in script:
            await getattr(play, what)(*arguments)
        await play.rest()
