"""A model of the service's watch, in memory: one log for a tenant, read by streams as the contract says.

Snapshots come for one room at a time and are read page by page while the log goes on, so that their rows may be newer than
their position. Tokens stand outside of snapshots only. There is no gRPC here; the mirror's property test drives it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from exchange_client import names, times
from exchange_client.messages import (
    Booking,
    BookingChange,
    BookingChanges,
    Checkpoint,
    SnapshotEnd,
    SnapshotReason,
    SnapshotStart,
    TimeWindow,
    WatchRoomsResponse,
)
from google.protobuf.timestamp_pb2 import Timestamp

ROOMS = [names.room("acme", room) for room in "abc"]
KEYS = 4
HORIZON_DAYS = 6
DAY_S = 86_400


def days(start: int, end: int) -> TimeWindow:
    return TimeWindow(start_time=Timestamp(seconds=start * DAY_S), end_time=Timestamp(seconds=end * DAY_S))


def made(room: str, key: int, revision: int, day: int, state: Booking.State.ValueType) -> Booking:
    name, etag = f"{room}/bookings/b{key}", f"{day}-{state}"
    return Booking(name=name, state=state, time=days(day, day + 1), revision=revision, etag=etag)


@dataclass(frozen=True)
class Entry:
    """One line of the log; without a change it asks for the room to be sent anew."""

    revision: int
    room: str
    change: BookingChange | None


@dataclass
class ModelServer:
    rng: random.Random
    epoch: int = 1
    revision: int = 0
    floor: int = 0
    horizon: int = 0
    rows: dict[str, Booking] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)
    imported: set[str] = field(default_factory=lambda: set(ROOMS[:2]))

    def write(self, room: str, key: int, day: int) -> None:
        self.revision += 1
        booking = made(room, key, self.revision, self.horizon + day, Booking.STATE_CONFIRMED)
        self.rows[booking.name] = booking
        self._record(room, BookingChange(kind=BookingChange.KIND_UPSERTED, booking=booking))

    def remove(self, name: str, change: BookingChange) -> None:
        self.revision += 1
        change.booking.CopyFrom(self.rows.pop(name))
        change.booking.revision = self.revision
        if change.kind == BookingChange.KIND_UPSERTED:  # the unkind way to tell of a cancellation
            change.booking.state = Booking.STATE_CANCELLED
        self._record(names.room_of(name), change)

    def roll(self) -> None:
        self.horizon += 1
        for name, row in list(self.rows.items()):
            if not times.touches(row.time, self.span()):
                cause = BookingChange.CAUSE_OUTSIDE_HORIZON
                self.remove(name, BookingChange(kind=BookingChange.KIND_LEFT_SCOPE, cause=cause))

    def resync(self, room: str) -> None:
        self.revision += 1
        self.log.append(Entry(self.revision, room, None))

    def compact(self, keep: int) -> None:
        self.floor = max(self.floor, self.revision - keep)
        self.log = [entry for entry in self.log if entry.revision > self.floor]

    def restore(self, back: int) -> None:
        self.epoch += 1
        self.revision = max(0, self.revision - back)
        self.floor, self.log = self.revision, []
        self.rows = {name: row for name, row in self.rows.items() if self.rng.random() < 0.7}
        for row in self.rows.values():
            row.revision = min(row.revision, self.revision)

    def span(self) -> TimeWindow:
        return days(self.horizon, self.horizon + HORIZON_DAYS)

    def stream(self, token: str) -> Iterator[WatchRoomsResponse]:
        """Send until the store is restored or the log lost what comes next."""
        epoch, position, done = json.loads(token) if token else (0, 0, [])
        if not (epoch == self.epoch and self.floor <= position <= self.revision):
            epoch, position, done = self.epoch, -1, []
        while epoch == self.epoch and (not done or position >= self.floor):
            waiting = sorted(self.imported - set(done))
            if waiting and (not done or self.rng.random() < 0.6):
                start = self.revision  # what the rooms sent so far missed up to here comes first
                yield from self._changes(epoch, position, start, done)
                if epoch != self.epoch:
                    return
                position = start
                yield from self._snapshot(waiting[0], epoch, f"{waiting[0]}@{start}")
                if epoch != self.epoch:
                    return
                done = [*done, waiting[0]]
                end = SnapshotEnd(room=waiting[0], snapshot_id=f"{waiting[0]}@{start}")
                yield WatchRoomsResponse(snapshot_end=end, resume_token=json.dumps([epoch, position, done]))
            elif not done or position == self.revision:
                token = json.dumps([epoch, position, done]) if done else ""
                yield WatchRoomsResponse(checkpoint=Checkpoint(), resume_token=token)
            else:
                upto = min(self.revision, position + self.rng.randint(1, 3))
                anew = {e.room for e in self.log if position < e.revision <= upto and e.change is None}
                done = [room for room in done if room not in anew]
                yield from self._changes(epoch, position, upto, done)
                position = upto

    def _changes(self, epoch: int, position: int, upto: int, done: list[str]) -> Iterator[WatchRoomsResponse]:
        new = [e for e in self.log if position < e.revision <= upto and e.room in done]
        changes = [BookingChange.FromString(e.change.SerializeToString()) for e in new if e.change is not None]
        if changes:
            token = json.dumps([epoch, upto, done])
            yield WatchRoomsResponse(changes=BookingChanges(changes=changes), resume_token=token)

    def _snapshot(self, room: str, epoch: int, snapshot_id: str) -> Iterator[WatchRoomsResponse]:
        yield WatchRoomsResponse(
            snapshot_start=SnapshotStart(
                room=room,
                snapshot_id=snapshot_id,
                reason=SnapshotReason.SNAPSHOT_REASON_REQUESTED,
                epoch=str(epoch),
                coverage=self.span(),
            )
        )
        after = ""
        while epoch == self.epoch:  # each page is read when it is sent
            page = sorted(n for n in self.rows if names.room_of(n) == room and n > after)[:2]
            if not page:
                return
            rows = [BookingChange(kind=BookingChange.KIND_UPSERTED, booking=self.rows[name]) for name in page]
            yield WatchRoomsResponse(changes=BookingChanges(changes=rows))
            after = page[-1]

    def _record(self, room: str, change: BookingChange) -> None:
        self.log.append(Entry(self.revision, room, change))
