"""The log by pages, for readers that cannot hold a stream.

Where a stream would send a snapshot, a page gives the same bookings as changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sidecar.aio.clock import INSTANT_S
from sidecar.errors import ServerDraining, TenantNotFound
from sidecar.feed.feed import Feed, WatchScope
from sidecar.feed.gaps import expired, log_epoch
from sidecar.model.change import Cause, Change, ChangeKind, SnapshotReason
from sidecar.model.cursor import Cursor
from sidecar.model.ids import BookingKey, RoomUid, TenantUid


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Changes in order, where the next page begins, and whether more are there now."""

    changes: Sequence[Change]
    cursor: Cursor
    is_more: bool


class _Reader:
    """Fills one page."""

    def __init__(self, feed: Feed, tenant_uid: TenantUid, room_uid: RoomUid | None, cursor: Cursor, count_max: int):
        self._feed = feed
        self._tenant_uid = tenant_uid
        self._room_uid = room_uid
        self.cursor = cursor
        self._count_max = count_max
        self.found: list[Change] = []

    async def fill(self) -> bool:
        """Take what is there until the page is full; say whether more is there."""
        while len(self.found) < self._count_max:
            if self.cursor.done is not None:
                await self._take_first_snapshot(self.cursor.done)
            elif not await self._take_entries():
                return False
        return True

    async def _take_first_snapshot(self, done: RoomUid) -> None:
        """Go on with a token that a stream gave out between its first snapshots."""
        view = await self._feed.view(self._tenant_uid, at_least=self.cursor.revision)
        rooms = (room for room in view.rooms if self._room_uid in (None, room.uid))
        room = next((room for room in rooms if room.uid > done), None)
        if room is None:
            self.cursor = replace(self.cursor, done=None, room=None, key=None)
            return
        if self.cursor.room != room.uid:  # the room that was being read is gone: its place means nothing in this one
            self.cursor = replace(self.cursor, room=room.uid, key=None)
        if room.fresh_as_of_at is None or await self._take_rows(room.uid):
            self.cursor = replace(self.cursor, done=room.uid, room=None, key=None)

    async def _take_entries(self) -> bool:
        """Take entries of the log; False when there are none."""
        entries, through, head = await self._feed.tails.read(
            self._tenant_uid,
            epoch=self.cursor.epoch,
            after_revision=self.cursor.revision,
            count_max=self._count_max - len(self.found),
            room_uid=self._room_uid,
        )
        if head is None:
            raise TenantNotFound("the tenant is gone")
        if self.cursor.epoch != log_epoch(self._tenant_uid, head):
            raise expired(SnapshotReason.EPOCH_CHANGED)
        if head.floor > self.cursor.revision:
            raise expired(SnapshotReason.TOKEN_EXPIRED)
        for entry in entries:
            if entry.is_booking:
                self.found.append(entry)
            elif entry.kind is ChangeKind.ROOM_SNAPSHOT and entry.cause == SnapshotReason.ROOM_ADDED:
                # Its bookings have no entries of their own; other snapshots repeat what their entries told.
                self.cursor = replace(self.cursor, revision=entry.revision - 1)
                if not await self._take_rows(entry.room_uid):
                    return True
            self.cursor = replace(self.cursor, revision=entry.revision, key=None)
            if len(self.found) >= self._count_max:
                return True
        self.cursor = replace(self.cursor, revision=max(through, self.cursor.revision))
        return bool(entries)

    async def _take_rows(self, room_uid: RoomUid) -> bool:
        """Take bookings of a room's copy as changes; say whether that was the last of them."""
        limit = self._count_max - len(self.found)
        if limit <= 0:
            self.cursor = replace(self.cursor, key=self.cursor.key or BookingKey(""))
            return False
        page = await self._feed.store.calendars.snapshot_page(
            room_uid, after=self.cursor.key or BookingKey(""), count_max=limit
        )
        now = self._feed.clock.now()
        self.found += [
            Change(self.cursor.revision, room_uid, ChangeKind.UPSERTED, Cause.NONE, key, body, now)
            for key, body in page
        ]
        if len(page) < limit:
            return True
        self.cursor = replace(self.cursor, key=page[-1][0])
        return False


async def read_changes(
    feed: Feed, scope: WatchScope, *, resume_token: str, count_max: int, max_wait_s: float
) -> ChangesPage:
    """Return the next page after a token, waiting up to `max_wait_s` for a first change.

    Raises:
        ResumeTokenMalformed, ResumeTokenForeign, ResumeTokenExpired, TenantNotFound, RoomNotFound.
        ServerDraining: it wants to wait, and would be back at once again and again if it were not told to go elsewhere.
    """
    if feed.is_draining and max_wait_s >= INSTANT_S:
        raise ServerDraining("the server is shutting down", retry_after_s=1.0)
    cursor = feed.decode(scope, resume_token)
    tenant_uid, head = await feed.head(scope.tenant_id, cursor)
    room_uid = None
    if scope.room_ids is not None:
        room_uid = (await feed.store.rooms.load(scope.tenant_id, scope.room_ids[0])).uid
    gap = feed.gap(cursor, tenant_uid, head)
    if gap is not None:
        raise expired(gap)
    deadline_s = feed.clock.monotonic() + max_wait_s
    with feed.tails.watching(tenant_uid, head):
        bell = feed.tails.tail(tenant_uid).bell(room_uid)
        while True:
            seen_version = bell.version
            reader = _Reader(feed, tenant_uid, room_uid, cursor, count_max)
            is_more = await reader.fill()
            wait_s = deadline_s - feed.clock.monotonic()
            if reader.found or wait_s < INSTANT_S or feed.is_draining:
                return ChangesPage(reader.found, reader.cursor, is_more)
            cursor = reader.cursor
            await bell.wait(seen_version, wait_s)
