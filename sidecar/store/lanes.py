"""Lanes by their tenants' names, for those who drive them from outside.

A tenant has two lanes: its own, and one for erasing, which nothing asked of Microsoft stands in the way of. They are told as
one. Lanes that no tenant is behind any more have what is left to do after an erasure; they are told as one, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.intent import PRIORITY_ORDER
from sidecar.model.lane import DUE_COUNT_MAX, LEFT_OVER, LaneView
from sidecar.model.window import from_micros, to_micros
from sidecar.store.engine import Connection, Engine, Row, places
from sidecar.store.holds import HOLDER
from sidecar.store.intents import IS_KNOWN, KIND_IS_KNOWN
from sidecar.store.settings import ERASING, erasing_lane

_BEHIND = f"LEFT JOIN tenants t ON t.uid = REPLACE(g.lane, '{ERASING}', '')"
_IS_FREE = "(l.lease_until IS NULL OR l.lease_until <= $1)"
_FREE_AND_DUE = (
    "SELECT i.lane AS lane, MIN(i.ready_at) AS ready_at FROM intents i LEFT JOIN lanes l ON l.lane = i.lane"  # noqa: S608
    f" WHERE i.ready_at <= $1 AND {_IS_FREE} AND {IS_KNOWN} GROUP BY i.lane"
)
_FIRST = "SELECT ready_at FROM intents WHERE lane = $2 AND priority = {priority} AND ready_at {side} $1"
_TIMES = ", ".join(
    f"({_FIRST.format(priority=priority.value, side=side)} AND {KIND_IS_KNOWN} ORDER BY ready_at LIMIT 1)"
    for side in ("<=", ">")
    for priority in PRIORITY_ORDER
)
"""One index seek each, however much is planned."""
_DUE_COUNT = (
    "(SELECT COUNT(*) FROM (SELECT 1 FROM intents WHERE lane = $2 AND ready_at <= $1"  # noqa: S608
    f" AND {IS_KNOWN} LIMIT {DUE_COUNT_MAX}) due)"
)
_VIEW = f"SELECT {_DUE_COUNT}, {_TIMES}"


class TenantLanes:
    """The lanes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def due(
        self,
        *,
        visible: Collection[TenantId] | None,
        after: tuple[datetime, TenantId] | None = None,
        count_max: int,
    ) -> Sequence[LaneView]:
        """Return lanes with due work that nobody holds, the longest waiting first.

        Args:
            visible: only lanes of these tenants; None: all, LEFT_OVER among them.
            after: only lanes that come later than this one: its `oldest_due_at` and its tenant.
        """
        ids = () if visible is None else tuple(sorted(visible))
        whose = "" if visible is None else f" WHERE t.tenant_id IN ({places(ids, first=5)})"
        place = (-1, "") if after is None else (to_micros(after[0]), after[1])

        async def run(c: Connection) -> list[LaneView]:
            name = f"COALESCE(t.tenant_id, '{LEFT_OVER}')"
            found = await c.fetch(
                f"SELECT {name}, MIN(g.ready_at) FROM ({_FREE_AND_DUE}) g {_BEHIND}{whose} GROUP BY {name}"  # noqa: S608
                f" HAVING MIN(g.ready_at) > $2 OR (MIN(g.ready_at) = $2 AND {name} > $3)"
                f" ORDER BY 2, 1 LIMIT $4",
                to_micros(c.now),
                *place,
                count_max,
                *ids,
            )
            return [await _look(c, TenantId(row[0])) for row in found]

        return await self._engine.read(run)

    async def by_name(
        self, *, visible: Collection[TenantId] | None, after: TenantId | None = None, count_max: int
    ) -> Sequence[LaneView]:
        """Return the lanes of all tenants, deleted ones too, by name."""
        ids = () if visible is None else tuple(sorted(visible))
        whose = "" if visible is None else f" AND tenant_id IN ({places(ids, first=3)})"

        async def run(c: Connection) -> list[LaneView]:
            found = await c.fetch(
                f"SELECT tenant_id FROM tenants WHERE tenant_id > $1{whose} ORDER BY tenant_id LIMIT $2",  # noqa: S608
                after or "",
                count_max,
                *ids,
            )
            return [await _look(c, TenantId(row[0])) for row in found]

        return await self._engine.read(run)

    async def look(self, tenant_id: TenantId) -> LaneView | None:
        """Return the lane of a tenant, or LEFT_OVER; None when there is no such tenant."""

        async def run(c: Connection) -> LaneView | None:
            if tenant_id != LEFT_OVER and await _uid_of(c, tenant_id) is None:
                return None
            return await _look(c, tenant_id)

        return await self._engine.read(run)

    async def is_due(self, tenant_id: TenantId) -> bool:
        """Tell whether something is due for a tenant, or for LEFT_OVER, that nobody has."""

        async def run(c: Connection) -> bool:
            whose = "t.uid IS NULL" if tenant_id == LEFT_OVER else "t.tenant_id = $2"
            values = () if tenant_id == LEFT_OVER else (tenant_id,)
            statement = f"SELECT 1 FROM ({_FREE_AND_DUE}) g {_BEHIND} WHERE {whose} LIMIT 1"  # noqa: S608  (ours)
            return await c.fetch_one(statement, to_micros(c.now), *values) is not None

        return await self._engine.read(run)

    async def next_due_at(self, *, visible: Collection[TenantId] | None) -> datetime | None:
        """Return when the next work is due in lanes that nobody holds; in the past when some is."""
        ids = () if visible is None else tuple(sorted(visible))
        lanes = f"SELECT uid FROM tenants WHERE tenant_id IN ({places(ids, first=2)})"  # noqa: S608  (ours)
        whose = "" if visible is None else f" AND REPLACE(i.lane, '{ERASING}', '') IN ({lanes})"

        async def run(c: Connection) -> datetime | None:
            row = await c.fetch_one(
                "SELECT i.ready_at FROM intents i LEFT JOIN lanes l ON l.lane = i.lane"  # noqa: S608  (ours)
                f" WHERE {_IS_FREE} AND {IS_KNOWN}{whose} ORDER BY i.ready_at LIMIT 1",
                to_micros(c.now),
                *ids,
            )
            return None if row is None else from_micros(row[0])

        return await self._engine.read(run)

    async def of_tenant(self, tenant_id: TenantId, *, count_max: int) -> Sequence[TenantUid]:
        """Return the lanes that are told as one: a tenant's two, or of LEFT_OVER those in which something is due.

        Empty: there is no such tenant, or nothing is left over.
        """

        async def run(c: Connection) -> list[TenantUid]:
            if tenant_id == LEFT_OVER:
                return await _left_over(c, count_max)
            uid = await _uid_of(c, tenant_id)
            return [] if uid is None else [uid, erasing_lane(uid)]

        return await self._engine.read(run)


async def _uid_of(c: Connection, tenant_id: TenantId) -> TenantUid | None:
    row = await c.fetch_one("SELECT uid FROM tenants WHERE tenant_id = $1", tenant_id)
    return None if row is None else TenantUid(row[0])


async def _left_over(c: Connection, count_max: int) -> list[TenantUid]:
    found = await c.fetch(
        f"SELECT g.lane FROM ({_FREE_AND_DUE}) g {_BEHIND} WHERE t.uid IS NULL ORDER BY g.ready_at LIMIT $2",  # noqa: S608
        to_micros(c.now),
        count_max,
    )
    return [TenantUid(row[0]) for row in found]


async def _look(c: Connection, tenant_id: TenantId) -> LaneView:
    row = await c.fetch_one(
        "SELECT uid, CASE WHEN suspended_at IS NULL AND deleted_at IS NULL THEN 0 ELSE 1 END FROM tenants"
        " WHERE tenant_id = $1",
        tenant_id,
    )
    if row is None:
        lanes = await _left_over(c, DUE_COUNT_MAX)
    else:
        lanes = [TenantUid(row[0]), erasing_lane(TenantUid(row[0]))]
    now = to_micros(c.now)
    views = [await c.fetch_one(_VIEW, now, lane) for lane in lanes]
    known = [view for view in views if view is not None]
    half = 1 + len(PRIORITY_ORDER)
    owner, held_until_at = ("", None) if row is None else await _holder(c, lanes[0])
    return LaneView(
        tenant_id=tenant_id,
        due_count=min(DUE_COUNT_MAX, sum(int(view[0]) for view in known)),
        oldest_due_at=_soonest(known, slice(1, half)),
        next_due_at=_soonest(known, slice(half, None)),
        owner=owner,
        held_until_at=held_until_at,
        is_at_rest=row is not None and bool(row[1]),
    )


async def _holder(c: Connection, lane: TenantUid) -> tuple[str, datetime | None]:
    row = await c.fetch_one("SELECT owner, lease_until FROM lanes WHERE lane = $1", lane)
    if row is None or row[1] <= to_micros(c.now) or row[0] == HOLDER:
        return "", None
    return str(row[0] or ""), from_micros(row[1])


def _soonest(views: Sequence[Row], part: slice) -> datetime | None:
    return min((from_micros(at) for view in views for at in view[part] if at is not None), default=None)
