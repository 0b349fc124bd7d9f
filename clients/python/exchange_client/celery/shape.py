"""The shape of a change as handlers get it: one JSON object for each, made from the messages of a watch.

Pure: no broker, socket, clock or file in here. README.md tells what handlers may rely on; `SCHEMA` grows when a handler that
was written for the version before would go wrong. Fields may be added within a version: handlers ignore what they do not know.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from exchange_client import names, times
from exchange_client.celery.layout import queue_of
from exchange_client.messages import (
    Booking,
    BookingChange,
    Room,
    SnapshotEnd,
    SnapshotReason,
    SnapshotStart,
    StreamClosing,
    WatchRoomsResponse,
)
from exchange_client.watching import Reconnected

log = logging.getLogger("exchange_client.celery")

SCHEMA = 1
"""Version of the shape; in each change as `schema`."""

SNAPSHOT_BEGIN, SNAPSHOT_ITEM, SNAPSHOT_END = "SNAPSHOT_BEGIN", "SNAPSHOT_ITEM", "SNAPSHOT_END"
"""A room's bookings as they are now: begin, one for each booking, end. They say nothing about what happened."""
UPSERTED, REMOVED, LEFT_SCOPE = "UPSERTED", "REMOVED", "LEFT_SCOPE"
"""Something happened to a booking."""
ROOM_CHANGED, ROOM_UNMAPPED = "ROOM_CHANGED", "ROOM_UNMAPPED"
"""Something happened to a room."""
TENANT_GONE = "TENANT_GONE"
"""The tenant was deleted. Told once in each queue, behind all that was told there before."""

_IDS = uuid.UUID("6f2a4c1e-7d0b-5b8e-9a53-1f0c2f6f8d11")
"""Namespace of the ids of changes; it must never change, or repeats were no longer seen as such."""

_KINDS = {
    BookingChange.KIND_UPSERTED: UPSERTED,
    BookingChange.KIND_REMOVED: REMOVED,
    BookingChange.KIND_LEFT_SCOPE: LEFT_SCOPE,
}
_NOT_TAKING_THE_ROOM = (Booking.STATE_CANCELLED, Booking.STATE_DECLINED)

Change = dict[str, Any]
"""A change as JSON has it; Any: values are whatever JSON allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTask:
    """One change on its way to a queue.

    Attributes:
        id: id of the task; a change that is sent again has the same. `change["id"]` is the same text.
        queue: number of the queue, from 0.
        change: what the handler gets.
    """

    id: str
    queue: int
    change: Change


@dataclass(slots=True)
class _Snapshot:
    """A snapshot that was begun on the stream and has not ended."""

    id: str
    server_id: str
    items_count: int = 0


class ChangeMaker:
    """Makes changes of the messages of one stream after the other.

    Attributes:
        epoch: within which revisions compare; kept with the resume token, because a stream that resumes does not repeat it.
        is_gone: what is watched is; nothing more comes.
    """

    def __init__(self, tenant: str, *, queues_count: int, epoch: str = "", rooms: Sequence[str] = ()) -> None:
        """Begin for a tenant, by its name, or for some of its rooms, by theirs."""
        self.epoch = epoch
        self.is_gone = False
        self._tenant = tenant
        self._queues_count = queues_count
        self._rooms = tuple(rooms)
        self._open: dict[str, _Snapshot] = {}

    def take(self, message: WatchRoomsResponse | Reconnected) -> list[ChangeTask]:
        """Give the changes that a message holds, in order; none for a checkpoint."""
        if isinstance(message, Reconnected):
            # What a stream that broke off had begun is begun anew, under another id: marks of before end nothing.
            self._open.clear()
            return []
        return list(self._tasks(message))

    def _tasks(self, message: WatchRoomsResponse) -> Iterator[ChangeTask]:
        match message.WhichOneof("event"):
            case "snapshot_start":
                yield self._begin(message.snapshot_start)
            case "changes":
                for change in message.changes.changes:
                    if change.kind in _KINDS:
                        yield self._booking(change)
                    else:
                        log.warning("change.kind_unknown kind=%d; a newer client knows it", change.kind)
            case "snapshot_end":
                yield from self._end(message.snapshot_end)
            case "room_changed":
                room = message.room_changed
                # A room grows stale, and fresh again, by time alone: the log stands still, and the token with it.
                key = f"{message.resume_token} {_digest(room)}"
                yield self._task(ROOM_CHANGED, room.name, key=key, room_state=_json(room))
            case "room_unmapped":
                room_name = message.room_unmapped.room
                self._open.pop(room_name, None)
                yield self._task(ROOM_UNMAPPED, room_name, key=message.resume_token)
            case "closing":
                if message.closing.reason == StreamClosing.REASON_SCOPE_GONE:
                    self.is_gone = True
                    yield from self._farewell(message.resume_token)

    def _farewell(self, token: str) -> Iterator[ChangeTask]:
        if self._rooms:
            # A watch of one room ends like that when the room is unmapped: the tenant may well be there.
            for room in self._rooms:
                yield self._task(ROOM_UNMAPPED, room, key=token)
            return
        for queue in range(self._queues_count):
            yield self._task(TENANT_GONE, "", key=str(queue), queue=queue)

    def _begin(self, start: SnapshotStart) -> ChangeTask:
        # The server's id may come again on a later stream. Two tries of a snapshot must never pass for one, or what only
        # the first of them named would outlive the end of the second.
        snapshot = _Snapshot(id=uuid.uuid4().hex, server_id=start.snapshot_id)
        self._open[start.room] = snapshot
        self.epoch = start.epoch
        told = {
            "id": snapshot.id,
            "reason": SnapshotReason.Name(start.reason).removeprefix("SNAPSHOT_REASON_"),
            "start_at": _at(start.coverage.start_time),
            "end_at": _at(start.coverage.end_time),
        }
        return self._task(SNAPSHOT_BEGIN, start.room, key=snapshot.id, snapshot=told)

    def _end(self, end: SnapshotEnd) -> Iterator[ChangeTask]:
        snapshot = self._open.get(end.room)
        if snapshot is not None and snapshot.server_id == end.snapshot_id:
            del self._open[end.room]
            told = {"id": snapshot.id, "items_count": snapshot.items_count}
            yield self._task(SNAPSHOT_END, end.room, key=snapshot.id, snapshot=told)

    def _booking(self, change: BookingChange) -> ChangeTask:
        booking = change.booking
        room = names.room_of(booking.name)
        kind, snapshot = _KINDS[change.kind], self._open.get(room)
        takes_room = kind == UPSERTED and booking.state not in _NOT_TAKING_THE_ROOM
        if kind == UPSERTED and snapshot is not None:
            kind = SNAPSHOT_ITEM
            snapshot.items_count += takes_room
        return self._task(
            kind,
            room,
            key=f"{booking.name} {booking.revision} {snapshot.id if snapshot is not None else ''}",
            revision=booking.revision,
            takes_room=takes_room,
            start_at=_at(booking.time.start_time),
            end_at=_at(booking.time.end_time),
            cause=BookingChange.Cause.Name(change.cause).removeprefix("CAUSE_") if change.cause else None,
            recorded_at=_at(change.record_time) if change.HasField("record_time") else None,
            snapshot={"id": snapshot.id} if snapshot is not None else None,
            booking=_json(booking),
        )

    def _task(self, kind: str, room: str, *, key: str, queue: int | None = None, **fields: object) -> ChangeTask:
        task_id = str(uuid.uuid5(_IDS, "\n".join((self._tenant, self.epoch, kind, room, key))))
        change: Change = {
            "schema": SCHEMA,
            "id": task_id,
            "kind": kind,
            "tenant": self._tenant,
            "room": room,
            "epoch": self.epoch,
            **fields,
        }
        number = queue_of(room, self._queues_count) if queue is None else queue
        return ChangeTask(id=task_id, queue=number, change=change)


def _json(message: Booking | Room) -> Change:
    # Names as in the protos: whoever reads their comments finds the fields.
    return MessageToDict(message, preserving_proto_field_name=True)


def _digest(room: Room) -> str:
    return hashlib.sha256(room.SerializeToString(deterministic=True)).hexdigest()


def _at(timestamp: Timestamp) -> str:
    """Write an instant; all are of one width, so that they sort as text."""
    at = datetime.fromtimestamp(0, UTC) if not timestamp.ByteSize() else times.to_datetime(timestamp)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
