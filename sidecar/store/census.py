"""Counting rooms by what their states follow from, in one query: a scrape must not load ten thousand rooms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.ids import TenantUid
from sidecar.model.intent import IntentKind
from sidecar.model.room import CHECK_SPREAD, CLOCK_TOLERANCE_S, FreshnessLimits
from sidecar.model.room_group import RoomGroup
from sidecar.model.tenant import Tenant
from sidecar.model.window import from_micros, to_micros
from sidecar.store import rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.tenants import load_tenant

_REASON = re.compile(r'^\{"reason":"([A-Z_]+)"')
_QUERY = """
SELECT t.problem, substr(r.problem, 1, 64),
       CASE WHEN r.subscription_problem IS NULL AND s.expires_at > $1 THEN 1 ELSE 0 END,
       CASE WHEN r.fresh_as_of_at < COALESCE($3 - t.check_interval_s * $5, $2) THEN 2
            WHEN r.fresh_as_of_at < $3 THEN 1 WHEN r.fresh_as_of_at > $4 THEN 3 ELSE 0 END,
       CASE WHEN r.fresh_as_of_at IS NULL THEN 1 ELSE 0 END,
       CASE WHEN t.suspended_at IS NULL AND t.deleted_at IS NULL THEN 0 ELSE 1 END,
       CASE WHEN r.problem LIKE '{{"reason":"EXCHANGE_%' THEN r.problem END,
       t.check_interval_s,
       CASE WHEN r.problem IS NULL AND r.hold_problem IS NULL AND r.subscription_problem IS NULL THEN 0 ELSE 1 END,
       COUNT(*), MIN(r.fresh_as_of_at)
  FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid
  LEFT JOIN subscriptions s ON s.room_uid = r.uid AND s.graph_id IS NOT NULL
 WHERE {whose}
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""
"""Older than $2 an announced room is stale, or at its tenant's own pace older than that and the polled rooms' limit, $3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCensus:
    """A tenant and its rooms in groups, as of one moment. `verify_at`: when its verification is due, None for never."""

    tenant: Tenant
    groups: Sequence[RoomGroup]
    verify_at: datetime | None


class Census:
    """Counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def groups(self, limits: FreshnessLimits) -> Sequence[RoomGroup]:
        """Return all rooms in groups; each lies on one side of the ages that make a difference to the state."""
        return await self._engine.read(lambda c: _groups(c, limits, "t.deleted_at IS NULL"))

    async def tenant(self, uid: TenantUid, limits: FreshnessLimits) -> TenantCensus | None:
        """Return a tenant, deleted or not, with its rooms in such groups; None when it is gone."""

        async def run(c: Connection) -> TenantCensus | None:
            tenant = await load_tenant(c, "t.uid = $1", uid)
            if tenant is None:
                return None
            groups = await _groups(c, limits, "r.tenant_uid = $6", uid)
            kind = IntentKind.TENANT_VERIFY
            due = await c.fetch_one("SELECT ready_at FROM intents WHERE kind = $1 AND key = $2", kind, uid)
            return TenantCensus(tenant=tenant, groups=groups, verify_at=None if due is None else from_micros(due[0]))

        return await self._engine.read(run)


async def _groups(c: Connection, limits: FreshnessLimits, whose: str, *values: str) -> list[RoomGroup]:
    older, younger = timedelta(seconds=limits.live_s), timedelta(seconds=limits.polling_s)
    ages = (c.now, c.now - older, c.now - younger, c.now + timedelta(seconds=CLOCK_TOLERANCE_S))
    spread = round(CHECK_SPREAD * 1_000_000)
    found = await c.fetch(_QUERY.format(whose=whose), *(to_micros(at) for at in ages), spread, *values)
    return [
        RoomGroup(
            tenant_problem=rows.problem_from_text(row[0]),
            problem_reason=reason_of(row[1]),
            is_announced=bool(row[2]),
            is_paused=bool(row[5]),
            outage=rows.problem_from_text(row[6]),
            is_hindered=bool(row[8]),
            fresh_as_of_at=rows.instant(row[10]),
            check_interval_s=row[7],
            count=int(row[9]),
        )
        for row in found
    ]


def reason_of(text: str | None) -> str | None:
    """Return the reason that the beginning of a problem column names; it is the first field."""
    found = None if text is None else _REASON.match(text)
    return None if found is None else found[1]
