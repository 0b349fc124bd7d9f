"""Reading the tenants' logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sidecar.model.change import Change
from sidecar.model.ids import RoomUid, TenantId, TenantUid
from sidecar.model.window import to_micros
from sidecar.store import locks, rows
from sidecar.store.engine import Connection, Engine, Row
from sidecar.store.rooms import load_tenant_uid

_HEAD = "SELECT revision, floor, epoch, deleted_at FROM tenants WHERE uid = $1"
_PRUNE_COUNT = 1_000
"""Entries dropped in one transaction: other writers wait some five milliseconds for it."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """Where a log stands: the newest revision, and the one up to which entries were dropped.

    `epoch` is empty until it is renewed (`epochs.py`). Revisions of different epochs do not compare.
    """

    revision: int
    floor: int
    epoch: str = ""


async def load_head(c: Connection, tenant_uid: TenantUid) -> LogHead | None:
    """Return where a log stands, None when the tenant is gone."""
    row = await c.fetch_one(_HEAD, tenant_uid)
    return None if row is None else _head(row)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many entries were dropped, and whether some of them were younger than the retention: there were too many."""

    dropped_count: int
    is_cut_short: bool


class Changes:
    """The logs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def head(self, tenant_uid: TenantUid) -> LogHead | None:
        """Return where a log stands, None when the tenant is gone."""

        return await self._engine.read(lambda c: load_head(c, tenant_uid))

    async def tenant_head(self, tenant_id: TenantId) -> tuple[TenantUid, LogHead]:
        """Return a tenant's uid and where its log stands.

        Raises:
            TenantNotFound.
        """

        async def run(c: Connection) -> tuple[TenantUid, LogHead]:
            uid = await load_tenant_uid(c, tenant_id)
            head = await load_head(c, uid)
            assert head is not None, "read in the same transaction"
            return uid, head

        return await self._engine.read(run)

    async def read(
        self, tenant_uid: TenantUid, *, after_revision: int, count_max: int, room_uid: RoomUid | None = None
    ) -> tuple[Sequence[Change], LogHead | None]:
        """Return the entries that follow a revision, in order, and where the log stood at that moment.

        Args:
            room_uid: only entries about this room, and the one that ends the log.
        Returns:
            The head is None when the tenant is gone. A floor beyond `after_revision` means that entries are missing.
        """

        async def run(c: Connection) -> tuple[list[Change], LogHead | None]:
            row = await c.fetch_one(_HEAD, tenant_uid)
            if row is None:
                return [], None
            if room_uid is None:
                found = await c.fetch(
                    f"{rows.CHANGE} WHERE tenant_uid = $1 AND revision > $2 ORDER BY revision LIMIT $3",
                    tenant_uid,
                    after_revision,
                    count_max,
                )
            else:
                found = list(
                    await c.fetch(
                        f"{rows.CHANGE} WHERE room_uid = $1 AND revision > $2 ORDER BY revision LIMIT $3",
                        room_uid,
                        after_revision,
                        count_max,
                    )
                )
                if row[3] is not None and len(found) < count_max:
                    # The last entry of a log that has ended is about no room, and concerns every room.
                    found += await c.fetch(
                        f"{rows.CHANGE} WHERE tenant_uid = $1 AND revision = $2 AND revision > $3",
                        tenant_uid,
                        row[0],
                        after_revision,
                    )
            return [rows.change_from_row(item) for item in found], _head(row)

        return await self._engine.read(run)

    async def latest(self, room_uid: RoomUid, *, count_max: int) -> Sequence[Change]:
        """Return the last entries about a room, the newest first."""

        async def run(c: Connection) -> list[Change]:
            statement = f"{rows.CHANGE} WHERE room_uid = $1 ORDER BY revision DESC LIMIT $2"
            return [rows.change_from_row(row) for row in await c.fetch(statement, room_uid, count_max)]

        return await self._engine.read(run)

    async def prune(
        self, tenant_uid: TenantUid, *, retention: timedelta, count_max: int, held: timedelta = timedelta()
    ) -> Pruned:
        """Drop entries older than `retention`, and the oldest beyond `count_max`, in steps that let other writers in.

        No reader is misled: whoever has not read what goes now finds the floor beyond its position, and begins with
        snapshots; bookings are not touched.

        Args:
            held: entries younger than this stay, however many they are, so that a snapshot that is being sent meanwhile
                can be followed by the changes since it began, and does not begin again and again.
        """
        dropped_count, is_cut_short = 0, False
        while True:

            async def run(c: Connection) -> Pruned:
                return await _prune_some(
                    c, tenant_uid, to_micros(c.now - retention), to_micros(c.now - held) + 1, count_max
                )

            step = await self._engine.write(run)
            dropped_count += step.dropped_count
            is_cut_short |= step.is_cut_short
            if step.dropped_count < _PRUNE_COUNT:
                return Pruned(dropped_count, is_cut_short)


def _head(row: Row) -> LogHead:
    return LogHead(int(row[0]), int(row[1]), str(row[2]))


async def _prune_some(c: Connection, tenant_uid: TenantUid, cutoff: int, held_since: int, count_max: int) -> Pruned:
    """Move the floor over the oldest entries that may go, `_PRUNE_COUNT` at most, and drop them.

    Entries are looked at from the floor on and only as far as they are dropped: the search costs no more than the
    dropping, however long the log is. It ends at the first young one, so a clock that went back drops less, never more.
    """
    await locks.keep_tenant(c, tenant_uid)
    head = await load_head(c, tenant_uid)
    if head is None:
        return Pruned(0, False)
    last = min(head.revision, head.floor + _PRUNE_COUNT)
    by_age = await _last_before(c, tenant_uid, head.floor, last, cutoff)
    by_count = min(head.revision - count_max, await _last_before(c, tenant_uid, head.floor, last, held_since))
    floor = max(head.floor, by_age, by_count)
    if floor == head.floor:
        return Pruned(0, False)
    await c.execute("UPDATE tenants SET floor = $2 WHERE uid = $1", tenant_uid, floor)
    dropped_count = await c.execute("DELETE FROM changes WHERE tenant_uid = $1 AND revision <= $2", tenant_uid, floor)
    return Pruned(dropped_count, by_count > by_age)


async def _last_before(c: Connection, tenant_uid: TenantUid, floor: int, last: int, at: int) -> int:
    """Return the last of the entries from `floor` to `last` before the first one that was recorded at `at` or later."""
    young = await c.fetch_one(
        "SELECT revision FROM changes WHERE tenant_uid = $1 AND revision > $2 AND revision <= $3 AND recorded_at >= $4"
        " ORDER BY revision LIMIT 1",
        tenant_uid,
        floor,
        last,
        at,
    )
    return last if young is None else int(young[0]) - 1
