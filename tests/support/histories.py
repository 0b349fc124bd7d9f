"""Recorded histories of watches, in one form for all who record them: messages of the API, and events of the feed.

The checkers (`checkers.py`) know this form only, so that a simulated life, processes that are killed and the feed's random
schedules are judged by the same words.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exchange_client import Reconnected, names
from exchange_client.messages import (
    Booking,
    BookingChange,
    SnapshotReason,
    WatchRoomResponse,
    WatchRoomsResponse,
)

from sidecar.feed.events import Changed, Checkpoint, Closing, SnapshotBegins, SnapshotEnds, SnapshotRows, WatchEvent
from sidecar.model.change import Change, ChangeKind
from sidecar.model.change import SnapshotReason as Reason
from sidecar.model.cursor import Cursor, decode_cursor, encode_cursor
from tests.support.stores import decoded

Message = WatchRoomResponse | WatchRoomsResponse


class Kind(enum.Enum):
    """What a message is about, as far as a promise depends on it."""

    BEGINS = "snapshot begins"
    BOOKINGS = "bookings"
    ENDS = "snapshot ends"
    CHECKPOINT = "checkpoint"
    CLOSING = "closing"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A booking as it was told; `body` is all that was said of it."""

    name: str
    revision: int
    is_gone: bool
    body: bytes

    @property
    def room(self) -> str:
        """Name of its room."""
        return names.room_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message as it arrived.

    Attributes:
        token: the resume token it carried, empty if none.
        room: the room, of a snapshot's beginning and end.
        is_gap: of a snapshot's beginning: it is there because a position could not be honoured.
        head, floor: where the log stood at that moment, and what it began after; None where nobody could look.
    """

    kind: Kind
    token: str = ""
    room: str = ""
    snapshot_id: str = ""
    is_gap: bool = False
    items: tuple[Item, ...] = ()
    head: int | None = None
    floor: int | None = None

    @property
    def cursor(self) -> Cursor | None:
        """The position of the token."""
        return decode_cursor(self.token) if self.token else None


@dataclass(slots=True)
class Stream:
    """One stream from its beginning to where it was cut.

    Attributes:
        token: what it was called with, empty without one.
        rooms: names of the rooms watched, None for all of the tenant.
        epoch: tells apart streams before and after a return of the database to a backup.
    """

    token: str = ""
    rooms: frozenset[str] | None = None
    epoch: int = 0
    told: list[Told] = field(default_factory=list)

    @property
    def changes(self) -> list[Item]:
        """All changes in order, without the rows of snapshots."""
        return [item for item, is_row in self.bookings if not is_row]

    @property
    def bookings(self) -> list[tuple[Item, bool]]:
        """All bookings told in order, each with whether it is a row of a snapshot."""
        found: list[tuple[Item, bool]] = []
        is_inside = False
        for told in self.told:
            is_inside = told.kind is Kind.BEGINS or (is_inside and told.kind is not Kind.ENDS)
            found += [(item, is_inside) for item in told.items]
        return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A booking's entry of the log."""

    revision: int
    room: str


@dataclass(frozen=True, slots=True)
class Log:
    """Entries about bookings, in order, and the uid of each room that has any, as far as it is known."""

    entries: Sequence[Entry]
    uids: Mapping[str, str]

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[int, str, bytes]]) -> Log:
        """Make one of the database's (revision, room uid, body of the API)."""
        entries, uids = [], {}
        for revision, room_uid, body in rows:
            room = names.room_of(Booking.FromString(body).name)
            entries.append(Entry(revision, room))
            uids[room] = room_uid
        return cls(entries, uids)

    @classmethod
    def of_changes(cls, changes: Iterable[Change]) -> Log:
        """Make one of the store's entries, whose bodies are JSON."""
        entries, uids = [], {}
        for change in changes:
            if change.is_booking:
                room = str(decoded(change.body)["room"])
                entries.append(Entry(change.revision, room))
                uids[room] = str(change.room_uid)
        return cls(entries, uids)

    @classmethod
    def of_streams(cls, streams: Iterable[Stream]) -> Log:
        """Make one of what anybody was told: whoever should have heard it, too, is found out by comparison."""
        rooms = {item.revision: item.room for stream in streams for item in stream.changes}
        return cls([Entry(revision, room) for revision, room in sorted(rooms.items())], {})


_KINDS = {
    "snapshot_start": Kind.BEGINS,
    "changes": Kind.BOOKINGS,
    "snapshot_end": Kind.ENDS,
    "checkpoint": Kind.CHECKPOINT,
    "closing": Kind.CLOSING,
}
_GAPS = (SnapshotReason.SNAPSHOT_REASON_TOKEN_EXPIRED, SnapshotReason.SNAPSHOT_REASON_EPOCH_CHANGED)


def of_message(message: Message, *, head: int | None = None, floor: int | None = None) -> Told:
    """Take down a message of the API."""
    start, end = message.snapshot_start, message.snapshot_end
    return Told(
        kind=_KINDS.get(str(message.WhichOneof("event")), Kind.OTHER),
        token=message.resume_token,
        room=start.room or end.room,
        snapshot_id=start.snapshot_id or end.snapshot_id,
        is_gap=start.reason in _GAPS,
        items=tuple(
            Item(
                name=change.booking.name,
                revision=change.booking.revision,
                is_gone=change.kind != BookingChange.KIND_UPSERTED,
                body=change.booking.SerializeToString(deterministic=True),
            )
            for change in message.changes.changes
        ),
        head=head,
        floor=floor,
    )


def streams_of(messages: Iterable[Message | Reconnected], *, room: str | None = None, token: str = "") -> list[Stream]:
    """Take down what one watch of the client heard, over all its connections; the first one began at `token`."""
    rooms = None if room is None else frozenset((room,))
    streams = [Stream(token, rooms)]
    for message in messages:
        if isinstance(message, Reconnected):
            streams.append(Stream(token, rooms))
        else:
            streams[-1].told.append(of_message(message))
            token = message.resume_token or token
    return streams


def of_event(event: WatchEvent, *, head: int, floor: int) -> Told:
    """Take down an event of the feed over a store whose bodies are JSON."""
    cursor: Cursor | None = getattr(event, "cursor", None)
    kind, room, snapshot_id, is_gap, items = Kind.OTHER, "", "", False, tuple[Item, ...]()
    match event:
        case SnapshotBegins():
            kind, room, snapshot_id = Kind.BEGINS, event.room.name, event.snapshot_id
            is_gap = event.reason in (Reason.TOKEN_EXPIRED, Reason.EPOCH_CHANGED)
        case SnapshotRows():
            kind, items = Kind.BOOKINGS, tuple(_item(body, is_gone=False) for body in event.bodies)
        case SnapshotEnds():
            kind, room, snapshot_id = Kind.ENDS, event.room.name, event.snapshot_id
        case Changed():
            kind = Kind.BOOKINGS
            items = tuple(_item(one.body, is_gone=one.kind is not ChangeKind.UPSERTED) for one in event.changes)
        case Checkpoint():
            kind = Kind.CHECKPOINT
        case Closing():
            kind = Kind.CLOSING
        case _:
            pass
    return Told(
        kind=kind,
        token="" if cursor is None else encode_cursor(cursor),
        room=room,
        snapshot_id=snapshot_id,
        is_gap=is_gap,
        items=items,
        head=head,
        floor=floor,
    )


def _item(body: bytes, *, is_gone: bool) -> Item:
    shown = decoded(body)
    return Item(name=shown["name"], revision=shown["revision"], is_gone=is_gone, body=body)
