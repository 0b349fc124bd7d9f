"""Watchers at the API's handlers: real requests and messages, the client package's mirror, and what can happen to readers.

They are cut off anywhere, stall, crash back to what they saved, and come again with old tokens. What each stream said is
recorded for the named checkers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
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

_STALLS_S = (0.0, 0.0, 0.5, 20.0, 90.0)
"""A stall of more than 60 s is one that the service ends the stream for."""


class CutOff(Exception):
    """The connection of a watcher broke."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A message as it arrived, and where the log stood at that moment."""

    message: WatchRoomsResponse
    head: int


@dataclass(slots=True)
class Stream:
    """One stream from its beginning to where it was cut. `epoch` counts how often the store was restored before."""

    token: str
    room: str | None
    epoch: int
    seen: list[Seen] = field(default_factory=list)


class Watcher:
    """A reader as the documents want it, of one room or of all."""

    saves_token_early = False
    """A mutation: the token is saved before its effects."""

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
        head: Callable[[], int],
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
        self._saved_token = ""
        self._rng = rng
        self._heartbeat_s = heartbeat_s
        self._trace = trace
        self._life = life
        self._head = head
        self._epoch = epoch
        self._told = told

    async def follow(self) -> None:
        """Watch for ever."""
        failures = 0
        while True:
            life = self._life()
            if life is not None:
                heard = await self._watch(life)
                failures = 0 if heard else failures + 1
            await asyncio.sleep(self._rng.random() * min(30.0, 0.2 * 2.0 ** min(failures, 10)) + 0.05)

    async def _watch(self, life: Life) -> bool:
        """Have one stream; say whether anything was heard."""
        self.mirror.forget_marks()
        token = self.mirror.resume_token
        stream = Stream(token, self.room, self._epoch())
        self.streams.append(stream)
        try:
            await life.call(lambda: self._call(life, token, stream))
        except (CutOff, PeerGone, SidecarError) as error:
            self._trace.note("watcher", f"{self.name} {type(error).__name__}")
        return bool(stream.seen)

    async def _call(self, life: Life, token: str, stream: Stream) -> None:
        async def send(raw: bytes) -> None:
            await self._dawdle()
            if life.is_dead:
                raise PeerGone("the process is dead")
            self._take(WatchRoomsResponse.FromString(raw), stream)

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

    def _take(self, message: WatchRoomsResponse, stream: Stream) -> None:
        habits, rng = self.habits, self._rng
        stream.seen.append(Seen(message, self._head()))
        self._trace.note("watcher", f"{self.name} {_told(message)}")
        if self.saves_token_early and message.resume_token:
            self.mirror.resume_token = message.resume_token
            self._saved = self.mirror.save()
        self.mirror.apply(message)
        self._told(self, message)
        if message.resume_token and not self.saves_token_early and rng.random() < 0.5:
            self._saved, self._saved_token = self.mirror.save(), message.resume_token
        if rng.random() < habits.crash_share:
            self.mirror = RoomMirror.load(self._saved)
            raise CutOff
        if rng.random() < habits.old_token_share:
            self.mirror.resume_token = self._saved_token
            raise CutOff


def _told(message: WatchRoomsResponse) -> str:
    kind = message.WhichOneof("event")
    if kind == "changes":
        return f"changes {[change.booking.revision for change in message.changes.changes]}"
    if kind == "room_changed":
        return f"room_changed {message.room_changed.state}"
    return str(kind)
