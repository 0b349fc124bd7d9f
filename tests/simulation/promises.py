"""The watch contract's named promises, checked on what watchers were really sent: decoded messages of the API, and the log.

Each has one function and raises AssertionError. `protos/README.md` states them in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exchange_client import names
from exchange_client.messages import Booking, BookingChange

from sidecar.model.cursor import Cursor, decode_cursor, encode_cursor
from tests.simulation.watchers import Stream


@dataclass(frozen=True, slots=True)
class Entry:
    """A booking's entry of the log."""

    revision: int
    room: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """All entries about bookings, in order, and the uid of each room that has any."""

    entries: Sequence[Entry]
    uids: Mapping[str, str]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str, bytes]]) -> Log:
        """Make one of (revision, room uid, body)."""
        entries, uids = [], {}
        for revision, room_uid, body in rows:
            room = names.room_of(Booking.FromString(body).name)
            entries.append(Entry(revision, room, body))
            uids[room] = room_uid
        return cls(entries, uids)


def _cursor(token: str) -> Cursor | None:
    return decode_cursor(token) if token else None


def check_ordered(stream: Stream) -> None:
    """Changes come in the order of their revisions, and positions never go back."""
    sent = [change.booking.revision for change, is_row in _changes(stream) if not is_row]
    assert sent == sorted(sent), f"changes out of order: {sent}"
    tokens = [cursor.revision for seen in stream.seen if (cursor := _cursor(seen.message.resume_token)) is not None]
    assert tokens == sorted(tokens), f"positions go back: {tokens}"


def check_unique(streams: Iterable[Stream]) -> None:
    """No stream repeats a change, and one revision of a booking says one thing, to everybody and every time."""
    told: dict[tuple[str, int, bool], bytes] = {}
    for stream in streams:
        sent = [change.booking.revision for change, is_row in _changes(stream) if not is_row]
        assert len(sent) == len(set(sent)), f"a change was repeated: {sent}"
        for change, _ in _changes(stream):
            is_gone = change.kind != BookingChange.KIND_UPSERTED
            key = (change.booking.name, change.booking.revision, is_gone)
            body = change.booking.SerializeToString(deterministic=True)
            assert told.setdefault(key, body) == body, f"{key} says two things"


def check_atomic(stream: Stream) -> None:
    """A snapshot is one piece: begun and ended once, nothing else in between, nothing to resume from inside."""
    under_way = None
    for seen in stream.seen:
        message = seen.message
        match message.WhichOneof("event"):
            case "snapshot_start":
                assert under_way is None, "a snapshot begins within another"
                assert not message.resume_token, "a token at the beginning of a snapshot"
                under_way = message.snapshot_start
            case "snapshot_end":
                end = message.snapshot_end
                assert under_way is not None, "a snapshot ends that has not begun"
                assert (end.room, end.snapshot_id) == (under_way.room, under_way.snapshot_id)
                assert message.resume_token, "a snapshot ends without a token"
                under_way = None
            case "changes":
                assert (under_way is None) == bool(message.resume_token), "a token within a snapshot, or none outside"
            case other:
                assert under_way is None, f"{other} within a snapshot"


def check_resumable(stream: Stream) -> None:
    """Every token survives its wire form and points at nothing that is not there yet; nothing follows the closing."""
    for seen in stream.seen:
        cursor = _cursor(seen.message.resume_token)
        if cursor is not None:
            assert encode_cursor(cursor) == seen.message.resume_token
            assert cursor.revision <= seen.head, f"{cursor.revision} was told when the log stood at {seen.head}"
    kinds = [seen.message.WhichOneof("event") for seen in stream.seen]
    assert "closing" not in kinds[:-1], "something follows the closing"


def check_complete(stream: Stream, log: Log) -> None:
    """Between any two positions of a stream every change of the rooms that have had their snapshot was sent."""
    start, position = _cursor(stream.token), -1
    since: dict[str, int] = {}
    everywhere = None
    if start is not None:
        position = start.revision
        if start.done is None:
            everywhere = start.revision
        else:
            since = {room: start.revision for room, uid in log.uids.items() if uid <= start.done}
    for seen in stream.seen:
        cursor = _cursor(seen.message.resume_token)
        if cursor is not None:
            position = cursor.revision
        if seen.message.WhichOneof("event") == "snapshot_end" and cursor is not None:
            since.setdefault(seen.message.snapshot_end.room, cursor.revision)
    sent = {change.booking.revision for change, is_row in _changes(stream) if not is_row}
    for entry in log.entries:
        if stream.room not in (None, entry.room):
            continue
        from_revision = since.get(entry.room, everywhere)
        if from_revision is not None and from_revision < entry.revision <= position:
            assert entry.revision in sent, f"change {entry.revision} of {entry.room} was not sent; from {from_revision}"


def _changes(stream: Stream) -> list[tuple[BookingChange, bool]]:
    """Return the changes of a stream in order, each with whether it is a row of a snapshot."""
    found: list[tuple[BookingChange, bool]] = []
    is_inside = False
    for seen in stream.seen:
        match seen.message.WhichOneof("event"):
            case "snapshot_start":
                is_inside = True
            case "snapshot_end":
                is_inside = False
            case "changes":
                found += [(change, is_inside) for change in seen.message.changes.changes]
    return found
