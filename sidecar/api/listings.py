"""Answers of ListBookings, given out again for as long as nothing is written.

A read costs the database's thread 0.1 ms, and with its detour over that thread as much as half of a whole call; most calls
ask for what a call before them asked for. A kept answer is used only while the store's version is the one that was seen
before the answer was read: no transaction has been begun since, so a read would give the same. Any write drops them all.
What depends on the time of asking is not kept but added each time; the age limit bounds the one thing left that
changes without being written, the end of a subscription.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.aio.clock import Clock
from sidecar.api import frames
from sidecar.api.convert import RoomConverter
from sidecar.gen.ioffice.exchange.v1.common_pb2 import SyncState
from sidecar.model.room import Room
from sidecar.store.store import Store

_BYTES_MAX = 32 * 1024 * 1024
_AGE_MAX_S = 1.0
_ANSWER_BYTES = 1_000
"""What an answer takes beside its bookings, roughly."""


@dataclass(slots=True, kw_only=True)
class RoomAnswer:
    """A page of one room's bookings as of one moment, but for the state of the copy, which has to do with now."""

    room: Room
    page: bytes
    state: SyncState.ValueType
    sync: bytes

    def told_now(self, converter: RoomConverter) -> bytes:
        """Return the response."""
        state = converter.sync_state(self.room)
        if state != self.state:
            self.state = state
            self.sync = converter.sync_to_proto(self.room).SerializeToString()
        return frames.list_bookings_response(self.page, sync=self.sync)


class RoomAnswers:
    """Answers by their requests' bytes."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._version: int | None = None
        self._expires_s = 0.0
        self._bytes_count = 0
        self._answers: dict[bytes, RoomAnswer] = {}

    def find(self, asked: bytes) -> tuple[int | None, RoomAnswer | None]:
        """Return the store's version, and an answer that a read begun now would give again, if one is kept."""
        version = self._store.version
        if version is None:
            return None, None
        if version != self._version or self._clock.monotonic() >= self._expires_s:
            self._begin(version)
            return version, None
        return version, self._answers.get(asked)

    def keep(self, asked: bytes, answer: RoomAnswer, *, version: int | None) -> None:
        """Keep an answer that was read after `find` had returned this version."""
        if version is None or version != self._version:
            return
        self._bytes_count += len(asked) + len(answer.page) + _ANSWER_BYTES
        if self._bytes_count > _BYTES_MAX:
            self._begin(version)
        self._answers[asked] = answer

    def _begin(self, version: int) -> None:
        self._version = version
        self._expires_s = self._clock.monotonic() + _AGE_MAX_S
        self._bytes_count = 0
        self._answers = {}
