"""What a watch tells, before it becomes messages of the API."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from sidecar.model.change import Change, SnapshotReason
from sidecar.model.cursor import Cursor
from sidecar.model.room import Room
from sidecar.model.window import Window


@dataclass(frozen=True, slots=True)
class SnapshotBegins:
    """A room's bookings follow; the last word about `coverage` once it ends. Revisions compare within `epoch` only."""

    room: Room
    epoch: str
    snapshot_id: str
    reason: SnapshotReason
    coverage: Window
    count: int


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """Encoded bookings of the snapshot."""

    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class SnapshotEnds:
    """End of a room's snapshot."""

    room: Room
    snapshot_id: str
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Changed:
    """Changes of bookings, in order. `is_live`: the reader was waiting for them, it is not catching up."""

    changes: Sequence[Change]
    cursor: Cursor
    is_live: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """A room itself is different."""

    room: Room
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class RoomUnmapped:
    """A room is gone; each of its bookings was taken away before. The room can no longer be loaded, so only its name."""

    room_name: str
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the rooms' states rest on was delivered before."""

    rooms: Sequence[Room]
    cursor: Cursor


class ClosingReason(enum.IntEnum):
    """Why a stream ends; the numbers are those of the API."""

    DRAINING = 1
    MAX_AGE = 2
    SCOPE_GONE = 3


@dataclass(frozen=True, slots=True)
class Closing:
    """Last event. `cursor` is None when resuming makes no sense or is not safe."""

    reason: ClosingReason
    retry_after_s: float
    cursor: Cursor | None


WatchEvent = SnapshotBegins | SnapshotRows | SnapshotEnds | Changed | RoomChanged | RoomUnmapped | Checkpoint | Closing
