"""WatchService: the feed's events as messages."""

from __future__ import annotations

from typing import assert_never

from sidecar.aio.clock import Clock
from sidecar.api import frames
from sidecar.api.boundary import Metrics, Send
from sidecar.api.convert import RoomConverter
from sidecar.api.deliveries import Deliveries
from sidecar.api.streaming import Streams, closing_to_proto, read_heartbeat_s, read_watcher_id
from sidecar.api.validate import Check
from sidecar.feed.events import (
    Changed,
    Checkpoint,
    Closing,
    RoomChanged,
    RoomUnmapped,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotRows,
    WatchEvent,
)
from sidecar.feed.feed import Feed, WatchScope
from sidecar.feed.paging import ChangesPage, read_changes
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as pb
from sidecar.model.cursor import Cursor, encode_cursor
from sidecar.model.ids import RoomId
from sidecar.model.window import to_micros
from sidecar.settings import WatchSettings

_ROOMS_MAX = 1_000
_WAIT_MOST_S = 50.0
_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
_RESPONSE_BYTES_MAX = 3 * 1024 * 1024
"""gRPC clients take 4 MiB unless told otherwise."""
_MEASURED_EACH = 8
"""Recording a duration takes 5 us, a tenth of what telling a watcher does; so not each of a thousand watchers' is."""
_TOLD_MAX = 32
"""Messages remembered, each of a batch's size: 8 MiB at most."""


class WatchServicer:
    """Streams and pages of changes."""

    def __init__(
        self,
        *,
        feed: Feed,
        converter: RoomConverter,
        settings: WatchSettings,
        clock: Clock,
        metrics: Metrics,
        streams: Streams,
        deliveries: Deliveries,
    ) -> None:
        self._feed = feed
        self._converter = converter
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._streams = streams
        self._deliveries = deliveries
        self._told = _Told()
        self._live_count = 0

    async def watch_room(self, request: pb.WatchRoomRequest, send: Send) -> None:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("room", request.room)
        heartbeat_s = self._read_options(check, request.options)
        check.finish()
        await self._stream(WatchScope(tenant_id=tenant_id, room_ids=(room_id,)), request.options, heartbeat_s, send)

    async def watch_rooms(self, request: pb.WatchRoomsRequest, send: Send) -> None:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("parent", request.parent)
        room_ids = _read_rooms(check, request)
        heartbeat_s = self._read_options(check, request.options)
        check.finish()
        await self._stream(WatchScope(tenant_id=tenant_id, room_ids=room_ids), request.options, heartbeat_s, send)

    def _read_options(self, check: Check, options: pb.WatchOptions) -> float:
        """Check the options and return the time between heartbeats."""
        check.choice("options.gap_policy", options.gap_policy, pb.GapPolicy.values())
        read_watcher_id(check, "options.watcher_id", options.watcher_id)
        wanted = options.heartbeat_interval if options.HasField("heartbeat_interval") else None
        return read_heartbeat_s(check, "options.heartbeat_interval", wanted, default_s=self._settings.heartbeat_s)

    async def _stream(self, scope: WatchScope, options: pb.WatchOptions, heartbeat_s: float, send: Send) -> None:
        """Send a watch's events until it closes.

        Raises:
            WatcherTooSlow: the reader does not take what is sent.
        """
        events = self._feed.watch(
            scope,
            resume_token=options.resume_token,
            fail_on_gap=options.gap_policy == pb.GAP_POLICY_FAIL,
            heartbeat_s=heartbeat_s,
        )
        await self._streams.send_events(
            events, encode=self._frame, send=send, send_s=self._settings.send_s, taken=self._note_taken
        )

    def _note_taken(self, event: WatchEvent) -> None:
        if isinstance(event, Changed) and event.is_live:
            self._measure(event)
            self._deliveries.note(event.changes)

    def _measure(self, event: Changed) -> None:
        """Record how old a live message's newest change is, now that the transport has it; one message in some."""
        if self._live_count % _MEASURED_EACH == 0:
            age_s = (self._clock.now() - event.changes[-1].recorded_at).total_seconds()
            self._metrics.measure("commit_to_watcher", max(0.0, age_s))
        self._live_count += 1

    def _frame(self, event: WatchEvent) -> bytes:
        """Write an event as a message; WatchRoomResponse and WatchRoomsResponse are laid out alike.

        A resume token goes exactly with the events that have a cursor: there, and only there, resuming is safe.
        """
        match event:
            case Changed():
                return self._told.encode(event)
            case SnapshotRows():
                rows = frames.watch_changes(frames.snapshot_change(body) for body in event.bodies)
                return frames.watch_changes_response(rows, resume_token="")
            case SnapshotBegins():
                self._metrics.count("snapshots", 1, event.reason.name.lower())
                message = pb.WatchRoomsResponse(snapshot_start=self._snapshot_start(event))
            case SnapshotEnds():
                end = pb.SnapshotEnd(room=event.room.name, snapshot_id=event.snapshot_id)
                message = pb.WatchRoomsResponse(resume_token=encode_cursor(event.cursor), snapshot_end=end)
            case RoomChanged():
                room = self._converter.room_to_proto(event.room)
                message = pb.WatchRoomsResponse(resume_token=encode_cursor(event.cursor), room_changed=room)
            case RoomUnmapped():
                gone = pb.RoomUnmapped(room=event.room_name)
                message = pb.WatchRoomsResponse(resume_token=encode_cursor(event.cursor), room_unmapped=gone)
            case Checkpoint():
                checkpoint = pb.Checkpoint(sync=self._converter.rooms_sync_to_proto(event.rooms))
                message = pb.WatchRoomsResponse(resume_token=encode_cursor(event.cursor), checkpoint=checkpoint)
            case Closing():
                message = pb.WatchRoomsResponse(resume_token=_token(event.cursor), closing=closing_to_proto(event))
            case _:
                assert_never(event)
        return message.SerializeToString()

    def _snapshot_start(self, event: SnapshotBegins) -> pb.SnapshotStart:
        start = pb.SnapshotStart(
            room=event.room.name,
            snapshot_id=event.snapshot_id,
            reason=event.reason,  # type: ignore[arg-type]  # the numbers are those of the API
            epoch=event.epoch,
            estimated_count=event.count,
        )
        start.coverage.start_time.FromMicroseconds(to_micros(event.coverage.start_at))
        start.coverage.end_time.FromMicroseconds(to_micros(event.coverage.end_at))
        return start

    async def read_changes(self, request: pb.ReadChangesRequest) -> bytes:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.tenant_or_room("parent", request.parent)
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        max_wait_s = check.duration_s("max_wait", request.max_wait, least_s=0.0, most_s=_WAIT_MOST_S)
        if not request.resume_token:
            check.refuse("resume_token", "is required; take one from ListBookings, a watch or the page before")
        check.finish()
        scope = WatchScope(tenant_id=tenant_id, room_ids=None if room_id is None else (room_id,))
        page, changes = await self._page(scope, request.resume_token, count_max, max_wait_s)
        return frames.read_changes_response(changes, resume_token=encode_cursor(page.cursor), is_more=page.is_more)

    async def _page(
        self, scope: WatchScope, resume_token: str, count_max: int, max_wait_s: float
    ) -> tuple[ChangesPage, list[bytes]]:
        """Read a page that fits into one message: when it does not, read again with fewer changes and no wait."""
        while True:
            page = await read_changes(
                self._feed, scope, resume_token=resume_token, count_max=count_max, max_wait_s=max_wait_s
            )
            changes = [frames.booking_change(change) for change in page.changes]
            bytes_count = sum(map(len, changes))
            if bytes_count <= _RESPONSE_BYTES_MAX or len(changes) == 1:
                return page, changes
            count_max = max(1, len(changes) * _RESPONSE_BYTES_MAX // (2 * bytes_count))
            max_wait_s = 0.0


class _Told:
    """What was encoded last, because many watchers are told the same changes at the same time."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Changed, bytes]] = {}

    def encode(self, event: Changed) -> bytes:
        """Return the message."""
        first = event.changes[0].revision
        known = self._known.get(first)
        # Readers of one log are given the very same entries, so that comparing costs next to nothing.
        if known is not None and known[0] == event:
            return known[1]
        changes = frames.watch_changes(map(frames.booking_change, event.changes))
        encoded = frames.watch_changes_response(changes, resume_token=encode_cursor(event.cursor))
        if len(self._known) >= _TOLD_MAX:
            del self._known[next(iter(self._known))]
        self._known[first] = (event, encoded)
        return encoded


def _read_rooms(check: Check, request: pb.WatchRoomsRequest) -> tuple[RoomId, ...] | None:
    """Return the ids of the rooms asked for, each once; None: all."""
    if not request.rooms:
        return None
    if len(request.rooms) > _ROOMS_MAX:
        check.refuse("rooms", f"must name {_ROOMS_MAX} rooms at most")
        return None
    room_ids: dict[RoomId, None] = {}
    for place, name in enumerate(request.rooms):
        field = f"rooms[{place}]"
        _, room_id = check.room(field, name)
        if room_id and not name.startswith(f"{request.parent}/rooms/"):
            check.refuse(field, "must be a room of the parent")
        room_ids[room_id] = None
    return tuple(room_ids)


def _token(cursor: Cursor | None) -> str:
    return "" if cursor is None else encode_cursor(cursor)
