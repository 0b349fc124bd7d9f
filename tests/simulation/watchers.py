"""Watchers at the API's handlers: real requests and messages, the client package's mirror, and what can happen to readers.

They are cut off anywhere, stall, crash back to what they saved, and come again with old tokens. What each stream said is
recorded for the named checkers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from exchange_client import RoomMirror
from exchange_client.messages import WatchRoomsResponse
from google.protobuf.duration_pb2 import Duration

from sidecar.errors import SidecarError
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from tests.simulation.life import Life
from tests.simulation.network import PeerGone
from tests.simulation.plan import Habits
from tests.simulation.trace import Trace
from tests.support.histories import Stream, of_message

_STALLS_S = (0.0, 0.0, 0.5, 20.0, 90.0)
"""A stall of more than 60 s is one that the service ends the stream for."""


_AWAY_S = (600.0, 5_000.0)


class CutOff(Exception):
    """The connection of a watcher broke."""


class Watcher:
    """A reader as the documents want it, of one room or of all."""

    def __init__(
        self,
        name: str,
        *,
        tenant: str,
        room: str | None,
        rng: Random,
        heartbeat_s: int,
        habits: Habits,
        trace: Trace,
        life: Callable[[], Life | None],
        log: Callable[[], tuple[int, int]],
        epoch: Callable[[], int],
        told: Callable[[Watcher, WatchRoomsResponse], None],
    ) -> None:
        self.name = name
        self.tenant = tenant
        self.room = room
        self.habits = habits
        self.mirror = RoomMirror()
        self.streams: list[Stream] = []
        self._saved = self.mirror.save()
        self._tokens: list[str] = []
        self._rng = rng
        self._heartbeat_s = heartbeat_s
        self._trace = trace
        self._life = life
        self._log = log
        self._epoch = epoch
        self._told = told

    def saves_token_early(self) -> bool:
        """Rule: a token is saved with its effects, never before them."""
        return False

    async def follow(self) -> None:
        """Watch for ever."""
        failures = 0
        while True:
            life = self._life()
            if life is not None:
                heard = await self._watch(life)
                failures = 0 if heard else failures + 1
            if self._rng.random() < self.habits.away_share:
                await asyncio.sleep(self._rng.uniform(*_AWAY_S))
            await asyncio.sleep(self._rng.random() * min(30.0, 0.2 * 2.0 ** min(failures, 10)) + 0.05)

    async def _watch(self, life: Life) -> bool:
        """Have one stream; say whether anything was heard."""
        self.mirror.forget_marks()
        token = self.mirror.resume_token
        stream = Stream(token, None if self.room is None else frozenset((self.room,)), self._epoch())
        self.streams.append(stream)
        try:
            await life.call(lambda: self._call(life, token, stream))
        except (CutOff, PeerGone, SidecarError) as error:
            self._trace.note("watcher", f"{self.name} {type(error).__name__}")
        return bool(stream.told)

    async def _call(self, life: Life, token: str, stream: Stream) -> None:
        async def send(raw: bytes) -> None:
            head, floor = self._log()
            await self._dawdle()
            if life.is_dead:
                raise PeerGone("the process is dead")
            message = WatchRoomsResponse.FromString(raw)
            stream.told.append(of_message(message, head=head, floor=floor))
            self._take(message)

        options = pb.WatchOptions(resume_token=token, heartbeat_interval=Duration(seconds=self._heartbeat_s))
        if self.room is None:
            await life.servicers.watch.watch_rooms(pb.WatchRoomsRequest(parent=self.tenant, options=options), send)
        else:
            await life.servicers.watch.watch_room(pb.WatchRoomRequest(room=self.room, options=options), send)

    async def _dawdle(self) -> None:
        """Be slow now and then, and lose the connection now and then."""
        if self._rng.random() < self.habits.stall_share:
            await asyncio.sleep(self._rng.choice(_STALLS_S))
        if self._rng.random() < self.habits.cut_share:
            raise CutOff

    def _take(self, message: WatchRoomsResponse) -> None:
        habits, rng = self.habits, self._rng
        self._trace.note("watcher", f"{self.name} {_told(message)}")
        if self.saves_token_early() and message.resume_token:
            self.mirror.resume_token = message.resume_token
            self._saved = self.mirror.save()
        self.mirror.apply(message)
        self._told(self, message)
        if message.resume_token and not self.saves_token_early() and rng.random() < 0.5:
            self._saved = self.mirror.save()
            self._tokens.append(message.resume_token)
        if rng.random() < habits.crash_share:
            self.mirror = RoomMirror.load(self._saved)
            raise CutOff
        if rng.random() < habits.old_token_share and self._tokens:
            self.mirror.resume_token = rng.choice((self._tokens[-1], rng.choice(self._tokens)))
            raise CutOff


def _told(message: WatchRoomsResponse) -> str:
    kind = message.WhichOneof("event")
    if kind == "changes":
        return f"changes {[change.booking.revision for change in message.changes.changes]}"
    if kind == "room_changed":
        return f"room_changed {message.room_changed.state}"
    return str(kind)
