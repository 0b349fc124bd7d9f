"""The mirror's copy of one room, and the rules that keep it right."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from exchange_client import times
from exchange_client.messages import Booking, BookingChange, Room, SnapshotEnd, SnapshotStart, TimeWindow
from exchange_client.mirror_file import RoomState

TOMBSTONES_MAX = 1000
"""Removed bookings of a room whose revision is remembered. Forgetting an old one can at worst show a booking again for the
moment between two repeated messages; it never changes what the mirror ends with."""

_NOT_TAKING_THE_ROOM = {
    Booking.STATE_CANCELLED: BookingChange.CAUSE_CANCELLED,
    Booking.STATE_DECLINED: BookingChange.CAUSE_DECLINED,
}


class ChangeKind(enum.Enum):
    """What is different."""

    ADDED = "added"
    """A booking is new: `after`."""
    UPDATED = "updated"
    """A booking is another than before: `before`, `after`."""
    REMOVED = "removed"
    """A booking no longer takes the room, or left what is watched: `before`, and `cause` if it was told."""
    ROOM_CHANGED = "room_changed"
    """The room itself changed; see `RoomMirror.rooms`."""
    ROOM_COMPLETE = "room_complete"
    """The room's first whole snapshot is in: from now on no booking means free."""
    ROOM_GONE = "room_gone"
    """The room is no longer mapped; nothing is known about it any more."""
    SYNC_CHANGED = "sync_changed"
    """State or problems of the service's copy changed; see `RoomMirror.sync`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorChange:
    """One difference that a message made.

    Attributes:
        kind: what is different.
        room: name of the room; empty for SYNC_CHANGED.
        before: the booking as it was; None when new.
        after: the booking as it is; None when removed.
        cause: why it was removed; unspecified when a snapshot no longer held it.
    """

    kind: ChangeKind
    room: str = ""
    before: Booking | None = None
    after: Booking | None = None
    cause: BookingChange.Cause.ValueType = BookingChange.CAUSE_UNSPECIFIED


class MirroredRoom:
    """Rows of one room with all that is needed to tell news from what is known.

    Attributes:
        mapped: it was heard of, and not that it is gone.
        complete: a whole snapshot was seen.
        coverage: what that snapshot was complete for.
        rows: bookings that take the room, by name.
        foreign: names of rows whose revision is of an older epoch, and compares with nothing.
        tombstones: revision of each booking that was removed, oldest removal first.
        marks: names that the snapshot under way has named; None when there is none.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.room: Room | None = None
        self.epoch = ""
        self.mapped = False
        self.complete = False
        self.coverage: TimeWindow | None = None
        self.rows: dict[str, Booking] = {}
        self.foreign: set[str] = set()
        self.tombstones: dict[str, int] = {}
        self.marks: set[str] | None = None
        self._snapshot = SnapshotStart()

    def start(self, start: SnapshotStart) -> None:
        """Begin a snapshot: nothing is removed yet, the rows stay in use until its end."""
        self.mapped = True
        self._snapshot.CopyFrom(start)
        self.begin_marks()
        if start.epoch != self.epoch:
            self.epoch = start.epoch
            self.begin_epoch()

    def change(self, change: BookingChange) -> Iterator[MirrorChange]:
        """Take in one change, of a snapshot or not."""
        booking = change.booking
        removed = change.kind in (BookingChange.KIND_REMOVED, BookingChange.KIND_LEFT_SCOPE)
        if not removed and change.kind != BookingChange.KIND_UPSERTED:
            return  # a kind this client does not know
        cause = change.cause if removed else self.cause_by_state(booking)
        if removed or cause:
            if self.is_news(booking):
                yield from self._remove(booking.name, booking.revision, cause)
                if cause == BookingChange.CAUSE_ROOM_UNMAPPED:
                    yield from self._unmap()
            return
        # Marked before it is judged: a row that is known already must outlive the end of the snapshot as well.
        self.mark(booking)
        if self.is_news(booking):
            yield from self._upsert(booking)

    def end(self, end: SnapshotEnd) -> Iterator[MirrorChange]:
        """End a snapshot: what it covers and did not name is gone."""
        if self.marks is None or end.snapshot_id != self._snapshot.snapshot_id:
            return  # the end of a snapshot whose beginning was not seen says nothing
        for row in self.unnamed():
            # It can come back with a higher revision only: an older one is a repeat from before the snapshot.
            revision = None if row.name in self.foreign else row.revision
            yield from self._remove(row.name, revision, BookingChange.CAUSE_UNSPECIFIED)
        self.marks = None
        self.coverage = TimeWindow()
        self.coverage.CopyFrom(self._snapshot.coverage)
        if not self.complete:
            self.complete = True
            yield MirrorChange(kind=ChangeKind.ROOM_COMPLETE, room=self.name)

    def room_changed(self, room: Room) -> Iterator[MirrorChange]:
        """Take in the room itself."""
        self.mapped, self.room = True, Room()
        self.room.CopyFrom(room)
        if room.state == Room.STATE_IMPORTING:
            # Mapped anew: what was known is of another mailbox, or of a time before a gap. A snapshot follows the import.
            self.complete = False
        yield MirrorChange(kind=ChangeKind.ROOM_CHANGED, room=self.name)

    def forget(self) -> Iterator[MirrorChange]:
        """Drop all that is known of the room."""
        for row in list(self.rows.values()):
            yield from self._remove(row.name, None, BookingChange.CAUSE_ROOM_UNMAPPED)
        yield from self._unmap()

    # The rules, one method each.

    def is_news(self, booking: Booking) -> bool:
        """Rule: a change counts only if its revision is higher than what is known of the booking, or was of its removal."""
        known = self.tombstones.get(booking.name, -1)
        if booking.name in self.rows and booking.name not in self.foreign:
            known = max(known, self.rows[booking.name].revision)
        return booking.revision > known

    def begin_epoch(self) -> None:
        """Rule: revisions of different epochs compare with nothing; the rows themselves stay."""
        self.foreign = set(self.rows)
        self.tombstones.clear()

    def begin_marks(self) -> None:
        """Rule: a snapshot that begins knows nothing of one that did not end."""
        self.marks = set()

    def forget_marks(self) -> None:
        """Rule: a snapshot that broke off with its stream is not ended by the next one."""
        self.marks = None

    def mark(self, booking: Booking) -> None:
        """Rule: within a snapshot each booking that is sent stays, known or not."""
        if self.marks is not None:
            self.marks.add(booking.name)

    def unnamed(self) -> list[Booking]:
        """Rule: at the end of a snapshot, and only there, rows go that were not named and touch its coverage, or are of an
        older epoch."""
        named, coverage = self.marks or set(), self._snapshot.coverage
        if not self._snapshot.HasField("coverage"):
            return []  # complete for nothing it names: to show a room as taken by mistake is better than as free
        unnamed = [row for row in self.rows.values() if row.name not in named]
        # A row of a lost epoch that the new one does not name is nobody's, wherever it lies: a restored copy may cover less.
        return [row for row in unnamed if row.name in self.foreign or self.is_covered(row, coverage)]

    def is_covered(self, row: Booking, coverage: TimeWindow) -> bool:
        """Rule: a row wholly outside the coverage is none of the snapshot's business."""
        return times.touches(row.time, coverage)

    def cause_by_state(self, booking: Booking) -> BookingChange.Cause.ValueType:
        """Rule: a booking that is cancelled or declined takes no room, however it is told."""
        return _NOT_TAKING_THE_ROOM.get(booking.state, BookingChange.CAUSE_UNSPECIFIED)

    def state(self) -> RoomState:
        """Give what is saved. Marks are not: a loaded mirror begins a new stream."""
        return RoomState(
            name=self.name,
            room=self.room,
            epoch=self.epoch,
            mapped=self.mapped,
            complete=self.complete,
            coverage=self.coverage,
            rows=list(self.rows.values()),
            foreign=sorted(self.foreign),
            tombstones=dict(self.tombstones),
        )

    @classmethod
    def from_state(cls, state: RoomState) -> Self:
        """Make it again from what was saved."""
        room = cls(state.name)
        room.room, room.epoch, room.coverage = state.room, state.epoch, state.coverage
        room.mapped, room.complete = state.mapped, state.complete
        room.rows = {row.name: row for row in state.rows}
        room.foreign, room.tombstones = set(state.foreign), dict(state.tombstones)
        return room

    def _unmap(self) -> Iterator[MirrorChange]:
        # Each of its bookings leaves with a change of its own; what is known of their revisions stays, for repeats.
        if self.mapped:
            self.mapped = self.complete = False
            self.room = self.coverage = self.marks = None
            yield MirrorChange(kind=ChangeKind.ROOM_GONE, room=self.name)

    def _upsert(self, booking: Booking) -> Iterator[MirrorChange]:
        before, after = self.rows.get(booking.name), Booking()
        after.CopyFrom(booking)
        self.mapped = True
        self.rows[booking.name] = after
        self.foreign.discard(booking.name)
        self.tombstones.pop(booking.name, None)
        # The etag changes exactly when something told changes; a new epoch alone gives new revisions, but no news.
        if before is None:
            yield MirrorChange(kind=ChangeKind.ADDED, room=self.name, after=after)
        elif not after.etag or before.etag != after.etag:
            yield MirrorChange(kind=ChangeKind.UPDATED, room=self.name, before=before, after=after)

    def _remove(self, name: str, revision: int | None, cause: BookingChange.Cause.ValueType) -> Iterator[MirrorChange]:
        before = self.rows.pop(name, None)
        self.foreign.discard(name)
        if self.marks is not None:
            self.marks.discard(name)
        if revision is not None:
            self.tombstones.pop(name, None)
            self.tombstones[name] = revision
            if len(self.tombstones) > TOMBSTONES_MAX:
                del self.tombstones[next(iter(self.tombstones))]
        if before is not None:
            yield MirrorChange(kind=ChangeKind.REMOVED, room=self.name, before=before, cause=cause)
