"""Counting what an operator watches beside the rooms: due work, tenants, subscriptions, the webhook's reach.

All of it in one reading transaction, each part an aggregate over an index or a small table: a scrape must not load what it
counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sidecar.model.tenant import BLOCKING_REASONS, TenantState
from sidecar.model.window import to_micros
from sidecar.store import holds
from sidecar.store.census import reason_of
from sidecar.store.engine import Connection, Engine
from sidecar.store.webhook_reach import standing_problem
from sidecar.store.webhook_urls import load_url

_DUE_COUNTED_MAX = 10_000
"""Due work that is counted; with more of it only the order of magnitude matters, and counting takes 10 ms."""
_EXPIRING = timedelta(days=1)
"""Subscriptions are renewed at half of their life: one whose renewal is due, and that has no more left, fails to be renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is counted, as of one moment.

    Attributes:
        due_count: pieces of work that are due and not done, 10,000 at most; those of suspended and deleted tenants rest.
        oldest_due_s: for how long the oldest of them has been due; 0 when nothing is.
        subscriptions: rooms that Exchange is to announce, by `alive`, `expiring` (within a day) and `missing`; all 0 where
            no webhook address is set. One that lives for less than a day by its setting is alive until its renewal is due.
    """

    due_count: int
    oldest_due_s: float
    lanes_due_count: int
    tenants: Mapping[TenantState, int]
    subscriptions: Mapping[str, int]
    is_webhook_unreachable: bool


NOTHING = Standing(
    due_count=0,
    oldest_due_s=0.0,
    lanes_due_count=0,
    tenants={},
    subscriptions=dict.fromkeys(("alive", "expiring", "missing"), 0),
    is_webhook_unreachable=False,
)
"""What is known before the first look."""


class StandingReader:
    """Counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def load(self) -> Standing:
        """Count all of it.

        Raises:
            StoreUnavailable.
        """
        return await self._engine.read(_load)


async def _load(c: Connection) -> Standing:
    due_count, lanes_due_count, oldest_at = await _due(c)
    url = await load_url(c)
    return Standing(
        due_count=due_count,
        oldest_due_s=0.0 if oldest_at is None else max(0.0, (to_micros(c.now) - oldest_at) / 1e6),
        lanes_due_count=lanes_due_count,
        tenants=await _tenants(c),
        subscriptions=await _subscriptions(c) if url else NOTHING.subscriptions,
        is_webhook_unreachable=bool(url) and await standing_problem(c, url) is not None,
    )


async def _due(c: Connection) -> tuple[int, int, int | None]:
    row = await c.fetch_one(
        "SELECT COUNT(*), COUNT(DISTINCT d.lane), MIN(d.ready_at) FROM (SELECT i.lane, i.ready_at FROM intents i"
        " LEFT JOIN lanes l ON l.lane = i.lane WHERE i.ready_at <= $1 AND COALESCE(l.owner, '') <> $2"
        " ORDER BY i.ready_at LIMIT $3) d",
        to_micros(c.now),
        holds.HOLDER,
        _DUE_COUNTED_MAX,
    )
    return (0, 0, None) if row is None else (int(row[0]), int(row[1]), row[2])


async def _tenants(c: Connection) -> Mapping[TenantState, int]:
    """Count tenants that are not deleted by state; see `Tenant.state`."""
    found = await c.fetch(
        "SELECT CASE WHEN suspended_at IS NULL THEN 0 ELSE 1 END, substr(problem, 1, 64),"
        " CASE WHEN verified_at IS NULL THEN 0 ELSE 1 END, COUNT(*)"
        " FROM tenants WHERE deleted_at IS NULL GROUP BY 1, 2, 3"
    )
    counts: Counter[TenantState] = Counter()
    for is_suspended, problem, is_verified, count in found:
        if is_suspended:
            state = TenantState.SUSPENDED
        elif problem is not None:
            state = BLOCKING_REASONS.get(reason_of(problem) or "", TenantState.DEGRADED)
        else:
            state = TenantState.ACTIVE if is_verified else TenantState.VERIFYING
        counts[state] += int(count)
    return counts


async def _subscriptions(c: Connection) -> Mapping[str, int]:
    """Count rooms that can be read, of tenants in use, by how long Exchange goes on announcing them."""
    found = await c.fetch(
        "SELECT CASE WHEN r.subscription_problem IS NOT NULL OR COALESCE(s.expires_at, 0) <= $1 THEN 'missing'"
        " WHEN s.expires_at <= $2 AND s.renew_at <= $1 THEN 'expiring' ELSE 'alive' END, COUNT(*)"
        " FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
        " LEFT JOIN subscriptions s ON s.room_uid = r.uid AND s.graph_id IS NOT NULL"
        " WHERE t.suspended_at IS NULL AND t.deleted_at IS NULL AND t.problem IS NULL AND r.problem IS NULL"
        " AND r.fresh_as_of_at IS NOT NULL GROUP BY 1",
        to_micros(c.now),
        to_micros(c.now + _EXPIRING),
    )
    return {**NOTHING.subscriptions, **{str(state): int(count) for state, count in found}}
