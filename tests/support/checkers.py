"""What a watch promises, by name: one checker for each promise, over recorded histories (`histories.py`).

ordered, unique, complete, atomic, resumable, checkpoint-true, coverage-true; `protos/README.md` states them in words. Each
raises AssertionError with what breaks it, and knows nothing of how the service works. Simulated lives, end-to-end tests on both
databases and the feed's random schedules are all judged here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from sidecar.model.cursor import encode_cursor
from tests.support.histories import Kind, Log, Stream, Told

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def check_ordered(stream: Stream) -> None:
    """Changes come in the order of their revisions, each message's token stands at its last one, none goes back."""
    epoch, last, position = "", -1, -1
    for told in stream.told:
        cursor = told.cursor
        if cursor is None:
            continue
        if cursor.epoch != epoch:  # revisions of different epochs do not compare
            epoch, last, position = cursor.epoch, -1, -1
        assert position <= cursor.revision, f"ordered: the position goes back from {position} to {cursor.revision}"
        position = cursor.revision
        if told.kind is Kind.BOOKINGS:
            for item in told.items:
                assert item.revision > last, f"ordered: {item.revision} of {item.name} after {last}"
                last = item.revision
            assert position == last, f"ordered: the token stands at {position}, the last change is {last}"


def check_unique(streams: Iterable[Stream]) -> None:
    """No stream repeats a change, and one revision of a booking says one thing, to everybody and every time.

    Args:
        streams: of one log between two returns to a backup; what was told before one is told anew.
    """
    said: dict[tuple[str, int, bool], bytes] = {}
    for stream in streams:
        revisions = [item.revision for item in stream.changes]
        assert len(revisions) == len(set(revisions)), f"unique: a change was repeated: {revisions}"
        for item, _ in stream.bookings:
            key = (item.name, item.revision, item.is_gone)
            assert said.setdefault(key, item.body) == item.body, f"unique: {key} says two things"


def check_atomic(stream: Stream) -> None:
    """A snapshot is one piece: begun and ended once, only its rows in between, nothing inside to resume from."""
    under_way: Told | None = None
    for told in stream.told:
        match told.kind:
            case Kind.BEGINS:
                assert under_way is None, "atomic: a snapshot begins within another"
                assert not told.token, "atomic: a token at the beginning of a snapshot"
                under_way = told
            case Kind.ENDS:
                assert under_way is not None, "atomic: a snapshot ends that has not begun"
                assert (told.room, told.snapshot_id) == (under_way.room, under_way.snapshot_id), "atomic: another ends"
                assert told.token, "atomic: a snapshot ends without a token"
                under_way = None
            case Kind.BOOKINGS:
                assert (under_way is None) == bool(told.token), "atomic: a token within a snapshot, or none outside"
                rooms = {item.room for item in told.items}
                assert under_way is None or rooms <= {under_way.room}, (
                    f"atomic: {rooms} in the snapshot of another room"
                )
            case other:
                assert under_way is None, f"atomic: {other.value} within a snapshot"


def check_resumable(stream: Stream) -> None:
    """Every token survives its wire form and stands at nothing that is not there yet; nothing follows the closing."""
    for told in stream.told:
        cursor = told.cursor
        if cursor is None:
            assert told.kind is not Kind.CHECKPOINT, "resumable: a checkpoint without a token"
            continue
        assert encode_cursor(cursor) == told.token, "resumable: the token reads as another one"
        assert cursor.key is None, "resumable: a place within a room, which only paging readers have"
        assert told.head is None or cursor.revision <= told.head, (
            f"resumable: {cursor.revision}, the log is at {told.head}"
        )
    assert all(told.kind is not Kind.CLOSING for told in stream.told[:-1]), "resumable: something follows the closing"


def check_complete(stream: Stream, log: Log) -> None:
    """Between any two positions of a stream every change was sent, of all rooms that have had their snapshot."""
    tracker = _Tracker(stream, log)
    for told in stream.told:
        tracker.take(told)
    tracker.settle()


class _Tracker:
    """Knows, for each room, from where on every change must have been sent, and what was."""

    def __init__(self, stream: Stream, log: Log) -> None:
        self._log = log
        self._rooms = stream.rooms
        self._sent: set[int] = set()
        self._since: dict[str, int] = {}
        self._everywhere: int | None = None
        self._position, self._epoch = -1, ""
        start = Told(kind=Kind.OTHER, token=stream.token).cursor
        if start is not None:
            self._position, self._epoch = start.revision, start.epoch
            if start.done is None:
                self._everywhere = start.revision
            else:
                done = start.done
                self._since = {room: start.revision for room, uid in log.uids.items() if uid <= done}

    def take(self, told: Told) -> None:
        cursor = told.cursor
        if told.floor is not None and told.floor > self._position:
            self.settle()  # pruned past: what comes next may begin anew
        if cursor is not None and self._epoch not in ("", cursor.epoch):
            self._forget()  # positions of another epoch do not compare
        if told.kind is Kind.BEGINS and told.is_gap and (self._everywhere is not None or told.room in self._since):
            self.settle()
        if cursor is not None and told.kind is Kind.BOOKINGS:
            self._sent.update(item.revision for item in told.items)
        if cursor is not None:
            self._position, self._epoch = cursor.revision, cursor.epoch
            if told.kind is Kind.ENDS:
                self._since.setdefault(told.room, cursor.revision)

    def settle(self) -> None:
        """Compare what was sent with the log, up to the last position; then know nothing."""
        for entry in self._log.entries:
            since = self._since.get(entry.room, self._everywhere)
            is_watched = self._rooms is None or entry.room in self._rooms
            if is_watched and since is not None and since < entry.revision <= self._position:
                assert entry.revision in self._sent, (
                    f"complete: {entry.revision} of {entry.room} was not sent between {since} and {self._position}"
                )
        self._forget()

    def _forget(self) -> None:
        self._since.clear()
        self._sent.clear()
        self._everywhere = None


def check_checkpoint_true(what: str, shown: Mapping[K, V], allowed: Mapping[K, Collection[V | None]]) -> None:
    """What a mirror shows at a checkpoint is what was there at the time that the checkpoint vouches for, or later.

    Args:
        what: names the mirror and the checkpoint.
        shown: what the mirror shows, by what identifies a booking.
        allowed: of each booking, what it was at that time and all that it became since; None: nothing.
    """
    for key in shown.keys() | allowed.keys():
        assert key in allowed, f"checkpoint-true: {what}: shows {key}, which never was"
        assert shown.get(key) in allowed[key], (
            f"checkpoint-true: {what}: shows {shown.get(key)} instead of one of {allowed[key]}"
        )


def check_coverage_true(what: str, sent: Collection[str], held: Iterable[str]) -> None:
    """A snapshot names every booking that its coverage touches: nobody may sweep what is still there.

    Args:
        what: names the snapshot.
        sent: names of the bookings sent in it.
        held: names of bookings within its coverage that the copy held unchanged all the while.
    """
    missing = sorted(set(held) - set(sent))
    assert not missing, f"coverage-true: {what} lacks {missing}"
