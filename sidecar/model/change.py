"""The tenant's log: what happened, in the order of its commits."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import BookingKey, RoomUid


class ChangeKind(enum.IntEnum):
    """What an entry of the log says. The first three are changes of one booking, with the numbers of the API."""

    UPSERTED = 1
    REMOVED = 2
    LEFT_SCOPE = 3
    ROOM_CHANGED = 10
    """Something about the room itself is different: read it."""
    ROOM_SNAPSHOT = 11
    """The room's bookings were written or confirmed as a whole: read them all. `cause` is a SnapshotReason."""
    ROOM_UNMAPPED = 12
    """The room is gone, and with it each booking that entries before this one did not take away. `body` is its name."""
    TENANT_DELETED = 13
    """Nothing follows."""


class Cause(enum.IntEnum):
    """Why a booking was taken away; the numbers are those of the API."""

    NONE = 0
    CANCELLED = 1
    DECLINED = 2
    DELETED = 3
    OUTSIDE_HORIZON = 4
    ROOM_UNMAPPED = 5
    ROOM_READDRESSED = 6
    RELEASED = 7
    WITHDRAWN = 8


class SnapshotReason(enum.IntEnum):
    """Why a snapshot starts; the numbers are those of the API."""

    REQUESTED = 1
    TOKEN_EXPIRED = 2
    EPOCH_CHANGED = 3
    ROOM_ADDED = 4
    RESYNCED = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log.

    `body` is the encoded booking with this revision; `trace` the context of the trace that it was written in, if in one.
    """

    revision: int
    room_uid: RoomUid
    kind: ChangeKind
    cause: int
    booking_key: BookingKey | None
    body: bytes
    recorded_at: datetime
    trace: str | None = None

    @property
    def is_booking(self) -> bool:
        """Whether the entry is a change of one booking."""
        return self.kind <= ChangeKind.LEFT_SCOPE
