"""The newest entries of each watched tenant's log, read from the store once for all its watchers.

A watcher is a cursor. It reads here while it keeps up, and the store when it has fallen behind; nothing is queued for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

import structlog

from sidecar.aio.wakeup import Broadcast, Wakeup
from sidecar.feed.gaps import log_epoch
from sidecar.model.change import Change
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.store.changes import Changes, LogHead
from sidecar.store.epochs import Epochs

log = structlog.get_logger(__name__)

_READ_COUNT = 1_000
_SLICES_MAX = 256
_revision = attrgetter("revision")


class Entries(list[Change]):
    """Entries in order. Everybody who reads at the same place is given the same ones, so nobody may change them."""

    __slots__ = ("_bookings_bytes",)
    _bookings_bytes: int | None

    @property
    def bookings_bytes(self) -> int | None:
        """How large their bookings are, taken together; None when one of them is about something else."""
        try:
            return self._bookings_bytes
        except AttributeError:
            are_bookings = all(entry.is_booking for entry in self)
            self._bookings_bytes = sum(len(entry.body) for entry in self) if are_bookings else None
            return self._bookings_bytes


class Tail:
    """The newest entries of one log. Revisions follow each other without a hole."""

    def __init__(self, head: LogHead, *, count_max: int) -> None:
        self.head: LogHead | None = head
        self._count_max = count_max
        self._start = head.revision  # every entry after this revision is here
        # Lists, because a reader finds its place in them without walking over what it has read before.
        self._entries: list[Change] = []
        self._by_room: dict[RoomUid, list[Change]] = defaultdict(list)
        self._slices: dict[tuple[RoomUid | None, int, int], Entries] = {}
        self._bells: dict[RoomUid | None, Broadcast] = defaultdict(Broadcast)
        self.watchers_count = 0

    def bell(self, room_uid: RoomUid | None) -> Broadcast:
        """Return what rings when there is an entry about a room (None: about any)."""
        return self._bells[room_uid]

    def ring_all(self) -> None:
        """Wake every watcher, whatever it waits for."""
        for bell in self._bells.values():
            bell.ring()

    def add(self, entries: Sequence[Change], head: LogHead | None) -> None:
        """Take in what follows the newest entry, and wake those whom it concerns."""
        self.head = head
        if head is None:
            self.ring_all()
            return
        self._slices.clear()
        # A dict for its order: watchers are woken in the same order in every run.
        touched: dict[RoomUid | None, None] = {None: None} if entries else {}
        for entry in entries:
            self._entries.append(entry)
            self._by_room[entry.room_uid].append(entry)
            touched[entry.room_uid] = None
            if not entry.room_uid:  # about the tenant as a whole
                touched.update(dict.fromkeys(self._bells))
        self._drop(max(0, len(self._entries) - self._count_max))
        for room_uid in touched:
            if room_uid in self._bells:
                self._bells[room_uid].ring()

    def _drop(self, count: int) -> None:
        """Forget the oldest entries."""
        for oldest in self._entries[:count]:
            of_room = self._by_room[oldest.room_uid]
            del of_room[0]
            if not of_room:
                del self._by_room[oldest.room_uid]
            self._start = oldest.revision
        del self._entries[:count]

    def skip_to(self, head: LogHead) -> None:
        """Forget all entries and begin again at the end of the log."""
        self._entries.clear()
        self._by_room.clear()
        self._slices.clear()
        self._start = head.revision
        self.head = head
        self.ring_all()

    @property
    def epoch(self) -> str:
        """Epoch of the log that the entries are of."""
        return "" if self.head is None else self.head.epoch

    @property
    def newest(self) -> int:
        """Revision of the newest entry taken in."""
        return self._entries[-1].revision if self._entries else self._start

    def reaches(self, after_revision: int) -> bool:
        """Tell whether every entry after a revision is here."""
        return after_revision >= self._start

    def after(self, after_revision: int, *, count_max: int, room_uid: RoomUid | None) -> Entries:
        """Return entries after a revision that this tail reaches, in order."""
        key = (room_uid, after_revision, count_max)
        known = self._slices.get(key)
        if known is None:
            if len(self._slices) >= _SLICES_MAX:
                self._slices.clear()
            known = self._slices[key] = self._cut(after_revision, count_max, room_uid)
        return known

    def _cut(self, after_revision: int, count_max: int, room_uid: RoomUid | None) -> Entries:
        if room_uid is None:
            skip = after_revision - self._start
            return Entries(self._entries[skip : skip + count_max])
        found = Entries()
        for uid in (room_uid, RoomUid("")):  # what is about the tenant as a whole ends the log
            entries = self._by_room.get(uid)
            if entries and entries[-1].revision > after_revision:
                place = bisect_right(entries, after_revision, key=_revision)
                found += entries[place : place + count_max - len(found)]
        return found


class Tails:
    """The tails of all tenants that are watched now."""

    def __init__(self, changes: Changes, epochs: Epochs, *, count_max: int) -> None:
        self._changes = changes
        self._epochs = epochs
        self._count_max = count_max
        self._tails: dict[TenantUid, Tail] = {}
        self._dirty: set[TenantUid] = set()
        self._wakeup = Wakeup()

    def note(self, tenant_uid: TenantUid) -> None:
        """Take note that a log has grown (empty: perhaps any); call it after the commit."""
        if not tenant_uid:
            self._dirty.update(self._tails)
            self._wakeup.ring()
        elif tenant_uid in self._tails:
            self._dirty.add(tenant_uid)
            self._wakeup.ring()

    def ring_all(self) -> None:
        """Wake every watcher."""
        for tail in self._tails.values():
            tail.ring_all()

    @property
    def watchers_count(self) -> int:
        """How many watches are open."""
        return sum(tail.watchers_count for tail in self._tails.values())

    async def run(self, *, poll_s: float) -> None:
        """Keep the tails up to date for ever; look every `poll_s` even if nothing was announced."""
        while True:
            if not await self._wakeup.wait(poll_s):
                self._dirty.update(self._tails)
            while self._dirty:
                tenant_uid = self._dirty.pop()
                try:
                    await self._refresh(tenant_uid)
                except BaseException:
                    self.note(tenant_uid)  # for the next run; while other logs are busy no poll would make up for it
                    raise

    async def _refresh(self, tenant_uid: TenantUid) -> None:
        tail = self._tails.get(tenant_uid)
        while tail is not None:
            entries, head = await self._changes.read(tenant_uid, after_revision=tail.newest, count_max=_READ_COUNT)
            if head is not None and head.epoch == tail.epoch and head.revision < tail.newest:
                # The database was restored beneath us, and nobody renewed the epoch: what was told is told anew.
                log.error("store.went_back", tenant_uid=tenant_uid, revision=head.revision, known_revision=tail.newest)
                head = await self._epochs.renew_lost(tenant_uid, head)
            if head is not None and (head.floor > tail.newest or head.epoch != tail.epoch):
                tail.skip_to(head)  # pruned unseen, or another history; readers find out by floor and epoch
                return
            tail.add(entries, head)
            if len(entries) < _READ_COUNT:
                return

    @contextmanager
    def watching(self, tenant_uid: TenantUid, head: LogHead) -> Iterator[None]:
        """Keep a tenant's tail while a watcher is there."""
        tail = self._tails.get(tenant_uid)
        if tail is None:
            tail = self._tails[tenant_uid] = Tail(head, count_max=self._count_max)
            self.note(tenant_uid)  # the log may have grown since `head` was read
        tail.watchers_count += 1
        try:
            yield
        finally:
            tail = self._tails[tenant_uid]
            tail.watchers_count -= 1
            if tail.watchers_count == 0:
                del self._tails[tenant_uid]

    def tail(self, tenant_uid: TenantUid) -> Tail:
        """Return the tail of a tenant that is being watched."""
        return self._tails[tenant_uid]

    async def read(
        self,
        tenant_uid: TenantUid,
        *,
        epoch: str,
        after_revision: int,
        count_max: int,
        room_uid: RoomUid | None,
        at_least: int = 0,
    ) -> tuple[Entries, int, LogHead | None]:
        """Return entries after a revision, the revision up to which nothing was left out, and where the log stands.

        When the head that is returned names another epoch than the reader's, the entries are none of the reader's.

        Args:
            epoch: the reader's (`gaps.log_epoch`); a tail of another one, older or newer, is not asked.
            at_least: the log is known to have come this far; a tail that has not is not asked.
        """
        tail = self._tails.get(tenant_uid)
        if tail is not None and tail.reaches(after_revision) and _serves(tail, tenant_uid, epoch, at_least):
            entries = tail.after(after_revision, count_max=count_max, room_uid=room_uid)
            head, newest = tail.head, tail.newest
        else:
            found, head = await self._changes.read(
                tenant_uid, after_revision=after_revision, count_max=count_max, room_uid=room_uid
            )
            entries = Entries(found)
            newest = 0 if head is None else head.revision
        through = entries[-1].revision if len(entries) == count_max else max(newest, after_revision)
        return entries, through, head


def _serves(tail: Tail, tenant_uid: TenantUid, epoch: str, at_least: int) -> bool:
    return tail.head is None or (tail.newest >= at_least and log_epoch(tenant_uid, tail.head) == epoch)
