"""Watches the watchers: what Exchange held at any time, and whether what a watcher is told about it is true at that moment."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import msgspec
from exchange_client import times
from exchange_client.messages import Booking, SnapshotStart, WatchRoomsResponse

from sidecar.emulator.control.app import ControlCall
from sidecar.model.change import ChangeKind, SnapshotReason
from sidecar.model.cursor import decode_cursor
from sidecar.model.window import Window, from_micros
from tests.simulation.checks import overlaps
from tests.simulation.watchers import Watcher
from tests.simulation.world import World
from tests.support.checkers import check_checkpoint_true, check_coverage_true
from tests.support.truth import Stay, expected, stay_of

_Key = tuple[str, datetime | None]
_SEEN_SHARE = 0.2
"""Share of checkpoints that are checked: each costs a look at every booking."""
_ROOMS_READ = (
    "SELECT room_id, horizon_start_at, horizon_end_at FROM rooms WHERE uid IN"
    " (SELECT room_uid FROM changes WHERE kind = ? AND cause = ? AND revision <= ?)"
)
_KEPT = timedelta(days=90)
_EDGE = timedelta(days=1)
"""Stays so near to the end of a horizon may be inside or outside, depending on when it moved."""
_SET_CLOCKS_S = 300.0
"""A freshness told by a clock that somebody sets may be off by as much."""


class _Snapshot:
    """A snapshot that a watcher is being sent."""

    def __init__(self, start: SnapshotStart, head: int) -> None:
        self.start = start
        self.head = head
        self.names: set[str] = set()


class Witness:
    """Remembers the calendars, and is called for each message that a watcher has taken in."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.plan.rng("witness")
        self._history: dict[str, dict[_Key, list[tuple[datetime, Stay | None]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._snapshots: dict[str, _Snapshot] = {}
        is_clock_set = any(kind == "clock_set" for _, kind in world.plan.troubles)
        self._margin = timedelta(seconds=_SET_CLOCKS_S if is_clock_set else 0.01)

    def note(self, mailbox: str) -> None:
        """Write down what a calendar holds now; called after each change of it."""
        world = self._world
        if mailbox not in world.directory.rooms:
            return
        now = world.now()
        values = {"tenant": world.directory.id, "address": mailbox}
        span = {"start": (now - _KEPT).isoformat(), "end": (now + _KEPT).isoformat()}
        truth = world.emulator.tenants.truth(ControlCall(values=values, query=span, body=None))
        stays = {(stay.uid, stay.original_start_at): stay for stay in expected(msgspec.to_builtins(truth["items"]))}
        history = self._history[mailbox]
        for key in history.keys() | stays.keys():
            versions = history[key]
            if (versions[-1][1] if versions else None) != stays.get(key):
                versions.append((now, stays.get(key)))

    def take(self, watcher: Watcher, message: WatchRoomsResponse) -> None:
        """Check what a watcher has just taken in."""
        match message.WhichOneof("event"):
            case "snapshot_start":
                self._snapshots[watcher.name] = _Snapshot(message.snapshot_start, self._world.head())
            case "changes" if watcher.name in self._snapshots:
                names = self._snapshots[watcher.name].names
                names.update(change.booking.name for change in message.changes.changes)
            case "snapshot_end":
                self.check_coverage_true(self._snapshots.pop(watcher.name))
            case "checkpoint":
                sync = message.checkpoint.sync
                if sync.HasField("fresh_as_of_time") and self._rng.random() < _SEEN_SHARE:
                    revision = decode_cursor(message.resume_token).revision
                    self.check_checkpoint_true(watcher, times.to_datetime(sync.fresh_as_of_time), revision)

    def check_coverage_true(self, snapshot: _Snapshot) -> None:
        """A snapshot is complete for what it says to cover: nobody may sweep what is still there."""
        coverage = Window(
            times.to_datetime(snapshot.start.coverage.start_time), times.to_datetime(snapshot.start.coverage.end_time)
        )
        rows = self._world.fetch(
            "SELECT b.body FROM bookings b JOIN rooms r ON r.uid = b.room_uid WHERE r.room_id = ?"
            " AND b.takes_room = 1 AND b.revision <= ?",
            snapshot.start.room.rpartition("/")[2],
            snapshot.head,
        )
        bookings = [Booking.FromString(body) for (body,) in rows]
        held = [booking.name for booking in bookings if overlaps(coverage, booking)]
        check_coverage_true(f"the snapshot of {snapshot.start.room}", snapshot.names, held)

    def check_checkpoint_true(self, watcher: Watcher, fresh_at: datetime, revision: int) -> None:
        """What was in Exchange when the copy is said to be fresh, or something later, is in the mirror.

        Args:
            revision: where the checkpoint stands; it may have been on its way for long, and speaks of no room that was
                first read later.
        """
        horizons = self._world.fetch(_ROOMS_READ, ChangeKind.ROOM_SNAPSHOT, SnapshotReason.ROOM_ADDED, revision)
        for room_id, start, end in horizons:
            room = f"{watcher.tenant}/rooms/{room_id}"
            if watcher.room not in (None, room) or room not in self._world.rooms:
                continue
            assert watcher.mirror.is_complete(room), f"{room} is said to be fresh, and {watcher.name} has not seen it"
            inside = Window(from_micros(start) + _EDGE, from_micros(end) - _EDGE)
            stays = map(stay_of, watcher.mirror.bookings(room))
            shown: dict[_Key, Stay | None] = {(stay.uid, stay.original_start_at): stay for stay in stays}
            pending = {stay[:2]: stay for stay in map(stay_of, filter(_is_unsettled, watcher.mirror.bookings(room)))}
            allowed: dict[_Key, list[Stay | None]] = {}
            for key, versions in self._history[self._world.rooms[room]].items():
                since = _versions_since(versions, fresh_at - self._margin)
                if all(stay is None or _is_inside(stay, inside) for stay in since):
                    allowed[key] = [*since, None] if key[0] in self._world.recalled else since
            for key in pending.keys() & allowed.keys():
                shown[key] = self._as_exchange_has_it(pending[key], allowed[key])
            what = f"{watcher.name}, told that {room} is fresh as of {fresh_at}"
            check_checkpoint_true(what, {key: stay for key, stay in shown.items() if key in allowed}, allowed)

    def _as_exchange_has_it(self, stay: Stay, versions: list[Stay | None]) -> Stay | None:
        """Return a pending stay of ours as the calendar may have it.

        In the room's own calendar it is settled before it is told to be. The room may not hold one in a person's calendar yet,
        or not any more: who invited the room asks what that means.
        """
        if stay in versions:
            return stay
        if self._world.plan.invites_count and None in versions:
            return None
        return stay._replace(state=Booking.STATE_CONFIRMED)


def _is_unsettled(booking: Booking) -> bool:
    return booking.origin == Booking.ORIGIN_API and booking.state == Booking.STATE_PENDING


def _versions_since(versions: list[tuple[datetime, Stay | None]], at: datetime) -> list[Stay | None]:
    """Return what a stay was at an instant, and all that it became since."""
    before = [stay for noted_at, stay in versions if noted_at <= at][-1:] or [None]
    return before + [stay for noted_at, stay in versions if noted_at > at]


def _is_inside(stay: Stay, span: Window) -> bool:
    return span.start_at <= stay.start_at and stay.end_at <= span.end_at
