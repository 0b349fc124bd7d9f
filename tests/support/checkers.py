"""What a watch promises, checked on recorded histories; and a mirror that follows the rules for readers.

Each promise has one function, named after it. They raise AssertionError and know nothing of how the feed works.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.feed.events import (
    Changed,
    Checkpoint,
    Closing,
    ClosingReason,
    RoomChanged,
    RoomUnmapped,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotRows,
    WatchEvent,
)
from sidecar.model.change import Change, ChangeKind, SnapshotReason
from sidecar.model.cursor import Cursor, decode_cursor, encode_cursor
from sidecar.model.ids import RoomUid
from sidecar.model.room import Room
from sidecar.model.window import Window
from tests.support.stores import decoded


class Mirror:
    """A reader's copy by the rules: each rule has a method of its own, so that a test can take it away."""

    def __init__(self) -> None:
        self.token = ""
        self.rows: dict[str, bytes] = {}
        self.tombstones: dict[str, int] = {}
        self.foreign: set[str] = set()
        self.epochs: dict[str, str] = {}
        self.went_back = 0
        self._snapshot: tuple[str, Window, set[str]] | None = None

    def state(self) -> Mirror:
        """Return a copy, to be stored in one piece; marks of an unfinished snapshot are not part of it."""
        saved = copy.copy(self)
        saved.rows, saved.tombstones = dict(self.rows), dict(self.tombstones)
        saved.foreign, saved.epochs = set(self.foreign), dict(self.epochs)
        saved._snapshot = None
        return saved

    def reconnect(self) -> None:
        """Give up a snapshot that broke off."""
        self._snapshot = None

    def apply(self, event: WatchEvent) -> None:
        """Take in one event; the token comes last."""
        match event:
            case SnapshotBegins():
                self._snapshot = (event.room.name, event.coverage, set())
                self.begin_epoch(event.room.name, event.epoch)
            case SnapshotRows():
                for body in event.bodies:
                    self._upsert(body)
            case SnapshotEnds():
                self.sweep()
                self._snapshot = None
            case Changed():
                self.apply_changes(event.changes)
            case Checkpoint():
                self.forget({room.name for room in event.rooms})
            case Closing(reason=ClosingReason.SCOPE_GONE):
                self.forget(set())
            case RoomUnmapped():
                self.rows = {name: body for name, body in self.rows.items() if _room(name) != event.room_name}
            case Closing() | RoomChanged():
                pass
        cursor = cursor_of(event)
        if cursor is not None:
            self.token = encode_cursor(cursor)

    def apply_changes(self, changes: Iterable[Change]) -> None:
        """Take in changes of bookings."""
        for change in changes:
            if change.kind is ChangeKind.UPSERTED:
                self._upsert(change.body)
            else:
                self._remove(change.body)

    def replace(self, bodies: Iterable[bytes], token: str) -> None:
        """Begin again from a list, whose token was taken before its first page."""
        self.rows.clear()
        self.tombstones.clear()
        self.foreign.clear()
        for body in bodies:
            self.rows[decoded(body)["name"]] = body
        self.token = token

    def is_news(self, name: str, revision: int) -> bool:
        """Rule: only a higher revision than that of the row, or of its removal, counts."""
        return revision > max(self._revision(name), self.tombstones.get(name, -1))

    def begin_epoch(self, room: str, epoch: str) -> None:
        """Rule: revisions of another epoch compare with nothing."""
        if self.epochs.get(room) != epoch:
            self.epochs[room] = epoch
            self.foreign |= {name for name in self.rows if _room(name) == room}
            self.tombstones = {name: at for name, at in self.tombstones.items() if _room(name) != room}

    def sweep(self) -> None:
        """Rule: at the end of a snapshot, and only there, rows go that touch its coverage and were not sent.

        Rows of another epoch go wherever they lie: a restored store may not reach as far as the lost one, and would never
        speak of what lies beyond.
        """
        if self._snapshot is None:
            return
        room, coverage, marks = self._snapshot
        for name, body in list(self.rows.items()):
            if _room(name) != room or name in marks:
                continue
            if name in self.foreign or is_covered(body, coverage):
                del self.rows[name]
                self.foreign.discard(name)

    def forget(self, listed: set[str]) -> None:
        """Rule: a room that the tenant's list of rooms no longer names is gone, though nobody could tell after a gap."""
        self.rows = {name: body for name, body in self.rows.items() if _room(name) in listed}

    def _revision(self, name: str) -> int:
        return -1 if name not in self.rows or name in self.foreign else int(decoded(self.rows[name])["revision"])

    def _upsert(self, body: bytes) -> None:
        shown = decoded(body)
        name, revision = shown["name"], shown["revision"]
        if self._snapshot is not None and shown["room"] == self._snapshot[0]:
            self._snapshot[2].add(name)
        if self.is_news(name, revision):
            self.went_back += revision < max(self._revision(name), self.tombstones.get(name, -1))
            self.rows[name] = body
            self.foreign.discard(name)
            self.tombstones.pop(name, None)

    def _remove(self, body: bytes) -> None:
        shown = decoded(body)
        if self.is_news(shown["name"], shown["revision"]):
            self.rows.pop(shown["name"], None)
            self.foreign.discard(shown["name"])
            self.tombstones[shown["name"]] = shown["revision"]


def _room(name: str) -> str:
    return name.partition("/bookings/")[0]


def is_covered(body: bytes, span: Window | None) -> bool:
    """Tell whether a booking touches a span."""
    shown = decoded(body)
    start_at, end_at = (datetime.fromisoformat(shown[side]) for side in ("start", "end"))
    return span is not None and span.overlaps(start_at, end_at)


def within_horizons(rows: Mapping[str, bytes], rooms: Iterable[Room]) -> dict[str, bytes]:
    """Return the rows that touch their room's horizon, and those of rooms that are not among `rooms`.

    What left the horizon unseen, in a gap, may stay with a reader: no snapshot is complete for that span.
    """
    spans = {room.name: room.horizon for room in rooms}
    return {
        name: body for name, body in rows.items() if _room(name) not in spans or is_covered(body, spans[_room(name)])
    }


def cursor_of(event: WatchEvent) -> Cursor | None:
    """Return the position that an event carries."""
    return getattr(event, "cursor", None)


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as it arrived, and where the log stood and began at that moment."""

    event: WatchEvent
    head: int
    floor: int


@dataclass(slots=True)
class Connection:
    """One stream from its beginning to where it was cut. `start` is the token's position, None without a token."""

    start: Cursor | None
    events: list[Seen] = field(default_factory=list)

    @property
    def cursors(self) -> list[Cursor]:
        """Return all positions given out, in order."""
        return [cursor for seen in self.events if (cursor := cursor_of(seen.event)) is not None]


@dataclass(frozen=True, slots=True)
class Shown:
    """A mirror's rows at a checkpoint at which all rooms were done, and where the log stood."""

    checkpoint: Checkpoint
    rows: Mapping[str, bytes]
    head: int


def check_ordered(connection: Connection) -> None:
    """Changes come in the order of their revisions, and positions never go back."""
    last = -1
    for seen in connection.events:
        if isinstance(seen.event, Changed):
            for change in seen.event.changes:
                assert change.revision > last, f"{change.revision} after {last}"
                last = change.revision
            assert seen.event.cursor.revision == last, "a position is that of the last change sent"
    revisions = [cursor.revision for cursor in connection.cursors]
    assert revisions == sorted(revisions)


def check_unique(connection: Connection) -> None:
    """No change is repeated within one stream."""
    sent = [
        change.revision
        for seen in connection.events
        if isinstance(seen.event, Changed)
        for change in seen.event.changes
    ]
    assert len(sent) == len(set(sent))


def check_no_token_inside_snapshot(connection: Connection) -> None:
    """Between the two marks of a snapshot come its rows, and nothing that could be resumed from."""
    under_way: SnapshotBegins | None = None
    for seen in connection.events:
        match seen.event:
            case SnapshotBegins():
                assert under_way is None, "a snapshot begins within another"
                under_way = seen.event
            case SnapshotEnds():
                assert under_way is not None, "a snapshot ends that has not begun"
                assert (seen.event.snapshot_id, seen.event.room.uid) == (under_way.snapshot_id, under_way.room.uid)
                under_way = None
            case SnapshotRows():
                assert under_way is not None, "rows come outside of a snapshot"
            case _:
                assert under_way is None, f"{type(seen.event).__name__} comes within a snapshot"


def check_resumable(connection: Connection) -> None:
    """Every position survives its wire form, and is none that the log has not come to."""
    for seen in connection.events:
        cursor = cursor_of(seen.event)
        if cursor is not None:
            assert decode_cursor(encode_cursor(cursor)) == cursor
            assert cursor.revision <= seen.head
            assert cursor.key is None
    for seen in connection.events[:-1]:
        assert not isinstance(seen.event, Closing), "something follows the closing"


_GAPS = (SnapshotReason.TOKEN_EXPIRED, SnapshotReason.EPOCH_CHANGED)


class _Tracker:
    """Knows, for each room, from where on every change must have been sent, and what was."""

    def __init__(self, log: Sequence[Change], rooms: Iterable[RoomUid], start: Cursor | None) -> None:
        self._log = log
        self._sent: dict[RoomUid, list[int]] = defaultdict(list)
        self._since: dict[RoomUid, int] = {}
        self.position = -1
        if start is not None:
            self.position = start.revision
            self._since = {uid: start.revision for uid in rooms if start.done is None or uid <= start.done}

    def take(self, event: WatchEvent) -> None:
        if isinstance(event, SnapshotBegins) and event.reason in _GAPS and event.room.uid in self._since:
            self.settle()
        if isinstance(event, Changed):
            for change in event.changes:
                self._sent[change.room_uid].append(change.revision)
        cursor = cursor_of(event)
        if cursor is not None:
            self.position = cursor.revision
        if isinstance(event, SnapshotEnds):
            self._since.setdefault(event.room.uid, event.cursor.revision)

    def settle(self) -> None:
        """Compare what was sent with the log, up to the last position; then know nothing."""
        for uid, since in self._since.items():
            expected = [
                entry.revision
                for entry in self._log
                if entry.room_uid == uid and entry.is_booking and since < entry.revision <= self.position
            ]
            sent = [revision for revision in self._sent[uid] if since < revision <= self.position]
            assert sent == expected, f"of {uid} after {since}: sent {sent}, expected {expected}"
        self._since.clear()
        self._sent.clear()


def check_complete(connection: Connection, log: Sequence[Change], rooms: Iterable[RoomUid]) -> None:
    """Between any two positions of a stream, every change of the rooms that are done was sent.

    Args:
        log: all entries ever written, in order.
        rooms: the rooms watched, as far as a token could know them.
    """
    tracker = _Tracker(log, rooms, connection.start)
    for seen in connection.events:
        if seen.floor > tracker.position:
            tracker.settle()  # pruned past: what comes next may begin anew
        tracker.take(seen.event)
    tracker.settle()


def check_checkpoint_true(
    shown: Shown,
    versions: Mapping[str, Sequence[tuple[int, bytes | None]]],
    read_heads: Mapping[tuple[RoomUid, datetime], int],
) -> None:
    """At a checkpoint the mirror is the store as of the checkpoint or a later moment, and the states rest on no more.

    Args:
        versions: of each booking, the revisions at which it became what, None for gone.
        read_heads: of each complete read, by room and freshness, where the log stood after it.
    """
    revision = shown.checkpoint.cursor.revision
    for room in shown.checkpoint.rooms:
        if room.fresh_as_of_at is not None:
            assert read_heads[room.uid, room.fresh_as_of_at] <= revision, "a state was told before what it rests on"
    rows, names = within_horizons(shown.rows, shown.checkpoint.rooms), {room.name for room in shown.checkpoint.rooms}
    for name in versions.keys() | rows.keys():
        if _room(name) not in names:
            continue
        was = [body for at, body in versions.get(name, ()) if at <= revision][-1:] or [None]
        became = [body for at, body in versions.get(name, ()) if revision < at <= shown.head]
        assert rows.get(name) in (*was, *became), f"{name} is not what it was at {revision} or later"
