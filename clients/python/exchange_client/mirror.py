"""A reader's copy in memory: applies the messages of one watch by the rules of protos/README.md.

Nothing here talks to the service. Each rule has a method of its own, so that a test can take it away and see the copy go
wrong without it. The copy of one room and its rules are in `mirror_room`, the saved form in `mirror_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Self

from exchange_client import mirror_file, names, times
from exchange_client.messages import (
    Booking,
    BookingChange,
    Checkpoint,
    Room,
    SnapshotEnd,
    SnapshotStart,
    StreamClosing,
    SyncStatus,
    TimeWindow,
    WatchRoomResponse,
    WatchRoomsResponse,
)
from exchange_client.mirror_room import ChangeKind, MirrorChange, MirroredRoom
from exchange_client.watching import Reconnected

WatchMessage = WatchRoomResponse | WatchRoomsResponse | Reconnected
"""Whatever a watch hands out."""


class RoomMirror:
    """The bookings of one room or of many, kept equal to what a watch tells.

        mirror = RoomMirror()
        async for message in client.watch_rooms(tenant, resume_token=mirror.resume_token):
            for change in mirror.apply(message): ...

    One mirror belongs to one scope: the same room, or the same tenant and choice of rooms, each time. Apply every message the
    watch hands out, in order. Applying a message again, or an older one, does no harm.

    A room whose snapshot has not been seen to its end is *unknown*, not free: ask `is_complete` before reading anything into
    an empty answer. Not safe for use by several threads at once.

    Attributes:
        resume_token: from where a new watch goes on; empty before the first. It belongs to exactly these rows: store both
            together, with `save`.
        sync: state of the service's copy by the last checkpoint: the room's, or the worst of all rooms.
    """

    room_type = MirroredRoom

    def __init__(self) -> None:
        self.resume_token = ""
        self.sync = SyncStatus()
        self._rooms: dict[str, MirroredRoom] = {}

    @property
    def rooms(self) -> dict[str, Room]:
        """The rooms heard of, by name; one that was only named by a snapshot so far has nothing but its name."""
        return {name: room.room or Room(name=name) for name, room in sorted(self._rooms.items()) if room.mapped}

    @property
    def fresh_as_of(self) -> datetime | None:
        """Everything that was in Exchange at this time is in the mirror's complete rooms; None: not told yet."""
        return times.to_datetime(self.sync.fresh_as_of_time) if self.sync.HasField("fresh_as_of_time") else None

    def is_complete(self, room: str) -> bool:
        """Say whether a whole snapshot of the room has been seen: only then does no booking mean free."""
        return room in self._rooms and self._rooms[room].complete

    def coverage(self, room: str) -> TimeWindow | None:
        """Give the span that the room's last whole snapshot was complete for; None before the first."""
        return self._rooms[room].coverage if room in self._rooms else None

    def bookings(self, room: str) -> list[Booking]:
        """Give the room's bookings by start time, then name. They are the mirror's own: copy before changing one."""
        return sorted(self._rooms[room].rows.values(), key=_start_order) if room in self._rooms else []

    def bookings_between(self, start_at: datetime, end_at: datetime, room: str | None = None) -> list[Booking]:
        """Give the bookings that touch a window, of one room or of all, by start time, then name.

        Args:
            start_at: aware; inside the window.
            end_at: aware; the first instant outside.
            room: name of a room; None: all rooms.
        """
        span = times.window(start_at, end_at)
        rooms = self._rooms if room is None else self._rooms.keys() & {room}
        found = (row for name in rooms for row in self._rooms[name].rows.values() if times.touches(row.time, span))
        return sorted(found, key=_start_order)

    def apply(self, message: WatchMessage) -> list[MirrorChange]:
        """Take in one message.

        Returns:
            What is different now, in order; empty for what was known already.
        Raises:
            ValueError: a booking has no proper name; the mirror is as before that booking.
        """
        if isinstance(message, Reconnected):
            self.forget_marks()
            return []
        changes = list(self._effects(message))
        # After the effects, so that no token ever stands for what is not in the rows.
        if message.resume_token:
            self.resume_token = message.resume_token
        return changes

    def forget_marks(self) -> None:
        """Give up snapshots that have begun: a new stream begins them anew. `apply` does it for `Reconnected`."""
        for room in self._rooms.values():
            room.forget_marks()

    def forget(self, room: str) -> list[MirrorChange]:
        """Drop a room that `list_rooms` no longer names.

        A watch tells when a room is unmapped. It cannot tell of one that was unmapped while nobody watched, once the changes
        of that time are no longer kept: the room merely gets no snapshot. Compare `rooms` with `list_rooms` after such a gap.
        """
        return list(self._rooms[room].forget()) if room in self._rooms else []

    def save(self) -> bytes:
        """Give rows and token as one value, to be stored in one piece; after any message."""
        state = mirror_file.MirrorState(
            resume_token=self.resume_token, sync=self.sync, rooms=[room.state() for room in self._rooms.values()]
        )
        return mirror_file.pack(state)

    @classmethod
    def load(cls, saved: bytes) -> Self:
        """Make a mirror from what `save` gave.

        Raises:
            ValueError: it is damaged or of another format. Start with an empty mirror: the watch fills it again.
        """
        state = mirror_file.unpack(saved)
        mirror = cls()
        mirror.resume_token, mirror.sync = state.resume_token, state.sync
        for room in state.rooms:
            mirror._rooms[room.name] = cls.room_type.from_state(room)
        return mirror

    def _effects(self, message: WatchRoomResponse | WatchRoomsResponse) -> Iterator[MirrorChange]:
        # An event that a newer server has and this client does not know has no effect here.
        match message.WhichOneof("event"):
            case "snapshot_start":
                self._start(message.snapshot_start)
            case "changes":
                for change in message.changes.changes:
                    yield from self._change(change)
            case "snapshot_end":
                yield from self._end(message.snapshot_end)
            case "checkpoint":
                yield from self._checkpoint(message.checkpoint)
            case "room_changed":
                yield from self._room(message.room_changed.name).room_changed(message.room_changed)
            case "room_unmapped":
                yield from self.forget(message.room_unmapped.room)
            case "closing":
                yield from self._closing(message.closing)

    def _room(self, name: str) -> MirroredRoom:
        if name not in self._rooms:
            self._rooms[name] = self.room_type(name)
        return self._rooms[name]

    def _start(self, start: SnapshotStart) -> None:
        self._room(start.room).start(start)

    def _change(self, change: BookingChange) -> Iterator[MirrorChange]:
        name = names.room_of(change.booking.name)
        yield from self._room(name).change(change)

    def _end(self, end: SnapshotEnd) -> Iterator[MirrorChange]:
        yield from self._room(end.room).end(end)

    def _checkpoint(self, checkpoint: Checkpoint) -> Iterator[MirrorChange]:
        before, self.sync = self.sync, SyncStatus()
        self.sync.CopyFrom(checkpoint.sync)
        if before.state != self.sync.state or list(before.problems) != list(self.sync.problems):
            yield MirrorChange(kind=ChangeKind.SYNC_CHANGED)

    def _closing(self, closing: StreamClosing) -> Iterator[MirrorChange]:
        if closing.reason == StreamClosing.REASON_SCOPE_GONE:
            for room in self._rooms.values():
                yield from room.forget()


def _start_order(booking: Booking) -> tuple[tuple[int, int], str]:
    return times.key(booking.time.start_time), booking.name
