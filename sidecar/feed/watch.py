"""One watch: a cursor that moves over a tenant's log, with snapshots where the log alone does not do.

The order of things is the promise of the API. A room's snapshot is read page by page while writers go on; it is complete
because keys never change, and changes since its position follow it, which the reader's revision guard makes harmless
where the snapshot was already newer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.aio.clock import INSTANT_S
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
from sidecar.feed.gaps import epoch_of, expired, log_epoch
from sidecar.feed.source import LogSource
from sidecar.feed.tail import Entries
from sidecar.model.change import Change, ChangeKind, SnapshotReason
from sidecar.model.cursor import Cursor
from sidecar.model.ids import BookingKey, RoomUid, TenantUid
from sidecar.model.room import Room, SyncState
from sidecar.store.changes import LogHead

_DRAIN_RETRY_S = 1.0
_MAX_AGE_RETRY_S = 0.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a watch begins; `reason` is told with the snapshots that its cursor says are not done."""

    cursor: Cursor
    reason: SnapshotReason


class Watch:
    """A watch under way. `_cursor` is always the position after what was yielded last."""

    def __init__(
        self,
        source: LogSource,
        tenant_uid: TenantUid,
        room_uids: tuple[RoomUid, ...] | None,
        start: Start,
        *,
        fail_on_gap: bool,
        heartbeat_s: float,
    ) -> None:
        self._source = source
        self._tenant_uid = tenant_uid
        self._room_uids = None if room_uids is None else frozenset(room_uids)
        self._only_room = room_uids[0] if room_uids is not None and len(room_uids) == 1 else None
        self._cursor = replace(start.cursor, room=None, key=None)  # a paging reader's place within a room is not ours
        self._reason = start.reason
        self._fail_on_gap = fail_on_gap
        self._heartbeat_s = heartbeat_s
        self._is_over = False
        self._is_behind = False
        self._is_live = False
        self._snapshots_count = 0
        # How far each room could be trusted at the last checkpoint, and what was told of single rooms since.
        self._states: Mapping[RoomUid, SyncState] | None = None
        self._told_since: dict[RoomUid, SyncState] = {}

    async def events(self) -> AsyncIterator[WatchEvent]:
        """Yield what happens, for ever or until a `Closing`."""
        clock = self._source.clock
        began_s = clock.monotonic()
        checkpoint_at_s = began_s  # the first one is due as soon as the watcher is up to date
        bell = self._source.tails.tail(self._tenant_uid).bell(self._only_room)
        while not self._is_over:
            if self._source.is_draining:
                yield Closing(ClosingReason.DRAINING, _DRAIN_RETRY_S * (1 + self._source.rng.random()), self._cursor)
                return
            if clock.monotonic() - began_s > self._source.settings.max_age_s:
                yield Closing(ClosingReason.MAX_AGE, _MAX_AGE_RETRY_S, self._cursor)
                return
            if self._cursor.done is not None:
                async for event in self._next_first_snapshot():
                    yield event
            seen_version = bell.version
            async for event in self._catch_up():
                yield event
            if self._cursor.done is not None or self._is_over:
                continue
            self._is_live = not self._is_behind
            wait_s = checkpoint_at_s - clock.monotonic()
            if wait_s < INSTANT_S:
                async for event in self._checkpoint():
                    yield event
                checkpoint_at_s = clock.monotonic() + self._heartbeat_s
            elif not self._is_behind:
                await bell.wait(seen_version, wait_s)

    async def _next_first_snapshot(self) -> AsyncIterator[WatchEvent]:
        """Send the snapshot of the next room that has not had its first, in the order of uids.

        A room that is still being read for the first time has no complete copy to show and is passed over: its snapshot
        comes with the entry that the end of that read writes.
        """
        done = self._cursor.done or ""
        view = await self._source.view(self._tenant_uid, at_least=self._cursor.revision)
        waiting = (room for room in view.rooms if room.uid > done and self._covers(room.uid))
        room = next((room for room in waiting if room.fresh_as_of_at is not None), None)
        if room is None:
            if self._only_room is not None and all(room.uid != self._only_room for room in view.rooms):
                yield self._gone()  # unmapped, and the entry that said so was pruned or passed over
            self._cursor = replace(self._cursor, done=None)
            return
        after = replace(self._cursor, done=room.uid)
        async for event in self._snapshot(room, self._reason, after):
            yield event
        self._cursor = after

    async def _snapshot(self, room: Room, reason: SnapshotReason, after: Cursor) -> AsyncIterator[WatchEvent]:
        assert room.horizon is not None, "only rooms with a complete copy have snapshots"
        calendars = self._source.store.calendars
        self._snapshots_count += 1
        snapshot_id = f"{after.revision}.{self._snapshots_count}"
        count = await calendars.count(room.uid)
        yield SnapshotBegins(room, epoch_of(after), snapshot_id, reason, room.horizon, count)
        key = BookingKey("")
        while True:
            page = await calendars.snapshot_page(room.uid, after=key, count_max=self._source.settings.batch_count_max)
            for bodies in self._split([body for _, body in page]):
                yield SnapshotRows(bodies)
            if len(page) < self._source.settings.batch_count_max:
                break
            key = page[-1][0]
        yield SnapshotEnds(room, snapshot_id, after)

    def _split(self, bodies: Sequence[bytes]) -> list[list[bytes]]:
        """Cut into messages of bounded size."""
        messages: list[list[bytes]] = []
        bytes_count = self._source.settings.batch_bytes_max
        for body in bodies:
            if bytes_count + len(body) > self._source.settings.batch_bytes_max:
                messages.append([])
                bytes_count = 0
            messages[-1].append(body)
            bytes_count += len(body)
        return messages

    def _covers(self, room_uid: RoomUid) -> bool:
        return self._room_uids is None or room_uid in self._room_uids

    def _has_had_first(self, room_uid: RoomUid) -> bool:
        """Tell whether changes of a room may be sent: rooms still to come are told by their snapshot."""
        return self._cursor.done is None or room_uid <= self._cursor.done

    async def _catch_up(self, *, until_revision: int | None = None) -> AsyncIterator[WatchEvent]:
        """Yield what the log has after the cursor, one batch; with `until_revision` all up to there."""
        while not self._is_over:
            entries, through, head = await self._source.tails.read(
                self._tenant_uid,
                epoch=self._cursor.epoch,
                after_revision=self._cursor.revision,
                count_max=self._source.settings.batch_count_max,
                room_uid=self._only_room,
                at_least=until_revision or 0,
            )
            self._is_behind = len(entries) == self._source.settings.batch_count_max
            if head is None:
                yield self._gone()
                return
            if self._cursor.epoch != log_epoch(self._tenant_uid, head):
                self._fall_back(head, SnapshotReason.EPOCH_CHANGED)
                return
            if head.floor > self._cursor.revision:
                self._fall_back(head, SnapshotReason.TOKEN_EXPIRED)
                return
            async for event in self._tell(entries):
                yield event
            if through > self._cursor.revision:
                self._cursor = replace(self._cursor, revision=through)
            if until_revision is None or self._cursor.revision >= until_revision:
                return

    def _fall_back(self, head: LogHead, reason: SnapshotReason) -> None:
        """Begin again with snapshots: the log was pruned past this reader while it was slow, or its epoch was renewed."""
        if self._fail_on_gap:
            raise expired(reason)
        self._reason = reason
        epoch = log_epoch(self._tenant_uid, head)
        self._cursor = replace(self._cursor, epoch=epoch, revision=head.revision, done=RoomUid(""))

    async def _tell(self, entries: Entries) -> AsyncIterator[WatchEvent]:
        """Yield entries as events: runs of booking changes together, the rest one by one."""
        if self._is_plain(entries):
            for event in self._flush(entries):
                yield event
            return
        run: list[Change] = []
        run_bytes = 0
        for entry in entries:
            if entry.kind is ChangeKind.TENANT_DELETED or (
                entry.kind is ChangeKind.ROOM_UNMAPPED and self._only_room is not None
            ):
                for event in self._flush(run):
                    yield event
                if entry.kind is ChangeKind.ROOM_UNMAPPED:
                    yield RoomUnmapped(entry.body.decode(), replace(self._cursor, revision=entry.revision))
                yield self._gone()
                return
            if not self._covers(entry.room_uid) or not self._has_had_first(entry.room_uid):
                continue
            if not entry.is_booking:
                for event in self._flush(run):
                    yield event
                run, run_bytes = [], 0
                async for event in self._tell_about_room(entry):
                    yield event
                continue
            if run and run_bytes + len(entry.body) > self._source.settings.batch_bytes_max:
                for event in self._flush(run):
                    yield event
                run, run_bytes = [], 0
            run.append(entry)
            run_bytes += len(entry.body)
        for event in self._flush(run):
            yield event

    def _is_plain(self, entries: Entries) -> bool:
        """Tell whether all entries go into one message as they are: what nearly always happens, told without a loop."""
        covers_all = self._room_uids is None or self._only_room is not None
        if not covers_all or self._cursor.done is not None:
            return False
        bytes_count = entries.bookings_bytes
        return bytes_count is not None and bytes_count <= self._source.settings.batch_bytes_max

    def _flush(self, run: Sequence[Change]) -> list[WatchEvent]:
        if not run:
            return []
        self._cursor = replace(self._cursor, revision=run[-1].revision)
        return [Changed(run, self._cursor, self._is_live)]

    async def _tell_about_room(self, entry: Change) -> AsyncIterator[WatchEvent]:
        rooms = await self._source.store.rooms.load_many([entry.room_uid])
        room = rooms.get(entry.room_uid)
        after = replace(self._cursor, revision=entry.revision)
        if room is not None and entry.kind is ChangeKind.ROOM_SNAPSHOT and room.horizon is not None:
            async for event in self._snapshot(room, SnapshotReason(entry.cause), after):
                yield event
        elif room is not None and entry.kind is ChangeKind.ROOM_CHANGED:
            if self._only_room is None:
                self._told_since[room.uid] = self._source.state(room)
            yield RoomChanged(room, after)
        elif entry.kind is ChangeKind.ROOM_UNMAPPED:
            yield RoomUnmapped(entry.body.decode(), after)
        self._cursor = after

    async def _checkpoint(self) -> AsyncIterator[WatchEvent]:
        """Read the rooms' states, deliver everything they rest on, then tell them."""
        view = await self._source.view(self._tenant_uid, at_least=self._cursor.revision)
        async for event in self._catch_up(until_revision=view.revision):
            yield event
        if not self._is_over and self._cursor.done is None:
            rooms = [room for room in view.rooms if self._covers(room.uid)]
            if self._only_room is None:  # a watch of one room hears of it by the checkpoint itself
                for room in self._changed_by_time(rooms, view.states):
                    yield RoomChanged(room, self._cursor)
            yield Checkpoint(rooms, self._cursor)

    def _changed_by_time(self, rooms: Sequence[Room], states: Mapping[RoomUid, SyncState]) -> Sequence[Room]:
        """Return the rooms whose state is another than the reader was told, though no entry of the log says so.

        A room turns STALE because nothing happens to it, so nobody writes that down. A stream begins by telling which rooms
        are STALE.
        """
        before, told = self._states, self._told_since
        self._states, self._told_since = states, {}
        if states == before and not told:
            return ()
        return [room for room in rooms if _is_other(states[room.uid], told.get(room.uid), before, room.uid)]

    def _gone(self) -> Closing:
        self._is_over = True
        return Closing(ClosingReason.SCOPE_GONE, 0.0, None)


def _is_other(
    state: SyncState, told: SyncState | None, before: Mapping[RoomUid, SyncState] | None, uid: RoomUid
) -> bool:
    """Tell whether a room's state differs from what was told of it, first of the room itself, else at the last checkpoint."""
    known = told if told is not None else None if before is None else before.get(uid)
    return state is SyncState.STALE if known is None else state is not known
