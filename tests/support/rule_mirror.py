"""A mirror that follows the rules for readers, over the feed's events; each rule has a method of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
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
from sidecar.model.change import Change, ChangeKind
from sidecar.model.cursor import Cursor, encode_cursor
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
