"""Counting rooms by what their states follow from, in one query: a scrape must not load ten thousand rooms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.problem import Problem
from sidecar.model.room import CHECK_SPREAD, CLOCK_TOLERANCE_S, FreshnessLimits
from sidecar.model.window import to_micros
from sidecar.store import rows
from sidecar.store.engine import Connection, Engine

_REASON = re.compile(r'^\{"reason":"([A-Z_]+)"')
_QUERY = """
SELECT t.problem, substr(r.problem, 1, 64),
       CASE WHEN r.subscription_problem IS NULL AND s.expires_at > $1 THEN 1 ELSE 0 END,
       CASE WHEN r.fresh_as_of_at < COALESCE($3 - t.check_interval_s * $5, $2) THEN 2
            WHEN r.fresh_as_of_at < $3 THEN 1 WHEN r.fresh_as_of_at > $4 THEN 3 ELSE 0 END,
       CASE WHEN r.fresh_as_of_at IS NULL THEN 1 ELSE 0 END,
       CASE WHEN t.suspended_at IS NULL THEN 0 ELSE 1 END,
       CASE WHEN r.problem LIKE '{"reason":"EXCHANGE_%' THEN r.problem END,
       t.check_interval_s, COUNT(*), MIN(r.fresh_as_of_at)
  FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid
  LEFT JOIN subscriptions s ON s.room_uid = r.uid AND s.graph_id IS NOT NULL
 WHERE t.deleted_at IS NULL
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
"""Older than $2 an announced room is stale, or at its tenant's own pace older than that and the polled rooms' limit, $3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomGroup:
    """Rooms that are alike in all that their state follows from; `fresh_as_of_at` is the oldest of theirs."""

    tenant_problem: Problem | None
    problem_reason: str | None
    outage: Problem | None
    """The rooms' own problem, where it may say since when their mailboxes are away."""
    is_announced: bool
    is_paused: bool
    fresh_as_of_at: datetime | None
    check_interval_s: int | None
    count: int


class Census:
    """Counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def groups(self, limits: FreshnessLimits) -> Sequence[RoomGroup]:
        """Return all rooms in groups; each lies on one side of the ages that make a difference to the state."""
        older, younger = timedelta(seconds=limits.live_s), timedelta(seconds=limits.polling_s)

        async def run(c: Connection) -> list[RoomGroup]:
            ages = (c.now, c.now - older, c.now - younger, c.now + timedelta(seconds=CLOCK_TOLERANCE_S))
            found = await c.fetch(_QUERY, *(to_micros(at) for at in ages), round(CHECK_SPREAD * 1_000_000))
            return [
                RoomGroup(
                    tenant_problem=rows.problem_from_text(row[0]),
                    problem_reason=_reason(row[1]),
                    is_announced=bool(row[2]),
                    is_paused=bool(row[5]),
                    outage=rows.problem_from_text(row[6]),
                    fresh_as_of_at=rows.instant(row[9]),
                    check_interval_s=row[7],
                    count=int(row[8]),
                )
                for row in found
            ]

        return await self._engine.read(run)


def _reason(text: str | None) -> str | None:
    """Return the reason that the beginning of a problem column names; it is the first field."""
    found = None if text is None else _REASON.match(text)
    return None if found is None else found[1]
