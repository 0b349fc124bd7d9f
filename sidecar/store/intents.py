"""What is due, and who works on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.errors import StoreConflict
from sidecar.model.ids import TenantUid
from sidecar.model.intent import PRIORITY_ORDER, Intent, IntentKind, Lease, Priority
from sidecar.model.window import from_micros, to_micros
from sidecar.store import holds, journal, rows, run_items
from sidecar.store.engine import Connection, Engine

_KNOWN_KINDS = ", ".join(f"'{kind.value}'" for kind in IntentKind)
_KNOWN_PRIORITIES = ", ".join(str(priority.value) for priority in PRIORITY_ORDER)
KIND_IS_KNOWN = f"kind || '' IN ({_KNOWN_KINDS})"
"""Work that a newer version of the service planned is left to processes of that version, as if it were not there.

An expression and not the column, or a planner may walk through each kind's rows instead of seeking what is due.
"""
IS_KNOWN = f"{KIND_IS_KNOWN} AND priority IN ({_KNOWN_PRIORITIES})"

_PLANNED = "SELECT ready_at, attempts, last_error FROM intents"


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """What is planned, for people: `attempts` failed in a row, the last one for `last_error` ("" for none)."""

    kind: IntentKind
    ready_at: datetime
    attempts: int
    last_error: str


class Intents:
    """Intents and the lanes they are drained through."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def mark(
        self,
        kind: IntentKind,
        key: str,
        lane: TenantUid,
        *,
        priority: Priority,
        ready_at: datetime | None = None,
        force: bool = False,
    ) -> None:
        """Make work due; see `journal.mark`."""

        async def run(c: Connection) -> None:
            await journal.mark(c, kind, key, lane, priority=priority, ready_at=ready_at, force=force)

        await self._engine.write(run)

    async def due_lanes(self, *, count_max: int) -> list[TenantUid]:
        """Return lanes with due work that nobody holds, the longest waiting first."""

        async def run(c: Connection) -> list[TenantUid]:
            found = await c.fetch(
                "SELECT i.lane FROM intents i LEFT JOIN lanes l ON l.lane = i.lane"  # noqa: S608  (ours)
                f" WHERE i.ready_at <= $1 AND (l.lease_until IS NULL OR l.lease_until <= $1) AND {IS_KNOWN}"
                " GROUP BY i.lane ORDER BY MIN(i.ready_at) LIMIT $2",
                to_micros(c.now),
                count_max,
            )
            return [TenantUid(row[0]) for row in found]

        return await self._engine.read(run)

    async def next_ready_at(self, lane: TenantUid | None = None, *, after: datetime | None = None) -> datetime | None:
        """Return when the next work is due in a lane; without one, in any lane that nobody holds.

        Args:
            after: in a lane, only what becomes due later than this.
        """
        later_than = -1 if after is None else to_micros(after)

        async def run(c: Connection) -> datetime | None:
            if lane is None:
                row = await c.fetch_one(
                    "SELECT i.ready_at FROM intents i LEFT JOIN lanes l ON l.lane = i.lane"  # noqa: S608  (ours)
                    f" WHERE (l.lease_until IS NULL OR l.lease_until <= $1) AND {IS_KNOWN}"
                    " ORDER BY i.ready_at LIMIT 1",
                    to_micros(c.now),
                )
                return None if row is None else from_micros(row[0])
            found = [
                await c.fetch_one(
                    "SELECT ready_at FROM intents WHERE lane = $1 AND priority = $2 AND ready_at > $3"  # noqa: S608  (ours)
                    f" AND {KIND_IS_KNOWN} ORDER BY ready_at LIMIT 1",
                    lane,
                    priority,
                    later_than,
                )
                for priority in PRIORITY_ORDER
            ]
            return min((from_micros(row[0]) for row in found if row is not None), default=None)

        return await self._engine.read(run)

    async def take_lane(self, lane: TenantUid, *, owner: str, lease_s: float) -> Lease | None:
        """Take the lease on a lane; None when somebody else holds it."""

        async def run(c: Connection) -> Lease | None:
            now = to_micros(c.now)
            row = await c.fetch_one(
                "INSERT INTO lanes (lane, owner, lease_until, fence) VALUES ($1, $2, $3, 1)"
                " ON CONFLICT (lane) DO UPDATE SET owner = $2, lease_until = $3, fence = lanes.fence + 1"
                " WHERE lanes.lease_until <= $4 RETURNING fence",
                lane,
                owner,
                to_micros(c.now + timedelta(seconds=lease_s)),
                now,
            )
            return None if row is None else Lease(lane, int(row[0]))

        return await self._engine.write(run)

    async def renew_lane(self, lease: Lease, *, lease_s: float) -> None:
        """Hold a lease longer.

        Raises:
            StoreConflict: somebody else has taken the lane.
        """

        async def run(c: Connection) -> None:
            touched = await c.execute(
                "UPDATE lanes SET lease_until = $3 WHERE lane = $1 AND fence = $2",
                lease.lane,
                lease.fence,
                to_micros(c.now + timedelta(seconds=lease_s)),
            )
            if touched == 0:
                raise StoreConflict("the lease on the lane is lost")

        await self._engine.write(run)

    async def release_lane(self, lease: Lease, *, if_idle: bool) -> bool:
        """Give a lane back; with `if_idle` only if nothing in it is due, in one transaction, so that no mark is missed."""

        async def run(c: Connection) -> bool:
            if if_idle and await c.fetch_one(
                f"SELECT 1 FROM intents WHERE lane = $1 AND ready_at <= $2 AND {IS_KNOWN} LIMIT 1",  # noqa: S608  (ours)
                lease.lane,
                to_micros(c.now),
            ):
                return False
            await c.execute(
                "UPDATE lanes SET lease_until = 0, owner = NULL WHERE lane = $1 AND fence = $2", lease.lane, lease.fence
            )
            return True

        return await self._engine.write(run)

    async def break_leases(self) -> None:
        """Free all lanes but those on hold. Only for a database that one process has to itself: whoever had them is dead."""

        async def run(c: Connection) -> None:
            await c.execute(
                "UPDATE lanes SET lease_until = 0, owner = NULL, fence = fence + 1 WHERE COALESCE(owner, '') <> $1",
                holds.HOLDER,
            )

        await self._engine.write(run)

    async def due(self, lane: TenantUid, *, count_max: int, lease: Lease | None = None) -> Sequence[Intent]:
        """Return due work of a lane that this version knows, the most urgent first.

        Args:
            lease: the right to do it.
        Raises:
            StoreConflict: the lease is lost.
        """

        async def run(c: Connection) -> list[Intent]:
            await journal.check_lease(c, lease)
            found: list[Intent] = []
            for priority in PRIORITY_ORDER:  # one index seek for each, however much waits behind them
                found += [
                    rows.intent_from_row(row)
                    for row in await c.fetch(
                        f"{rows.INTENT} WHERE lane = $1 AND priority = $2 AND ready_at <= $3 AND {KIND_IS_KNOWN}"
                        " ORDER BY ready_at LIMIT $4",
                        lane,
                        priority,
                        to_micros(c.now),
                        count_max - len(found),
                    )
                ]
                if len(found) >= count_max:
                    break
            return found

        return await self._engine.read(run)

    async def about(self, key: str) -> Sequence[PlannedWork]:
        """Return what is planned about a room or a tenant, the soonest first; work of a newer version is left out."""

        async def run(c: Connection) -> list[PlannedWork]:
            found = []
            for kind in IntentKind:  # each a seek by the primary key, which begins with the kind
                row = await c.fetch_one(f"{_PLANNED} WHERE kind = $1 AND key = $2", kind.value, key)
                if row is not None:
                    found.append(PlannedWork(kind, from_micros(row[0]), int(row[1]), row[2] or ""))
            return sorted(found, key=lambda work: (work.ready_at, work.kind))

        return await self._engine.read(run)

    async def finish(
        self, intent: Intent, *, next_at: datetime | None, priority: Priority | None = None, has_changed: bool = False
    ) -> None:
        """Note that work is done: gone, or due again at `next_at`. A mark made meanwhile keeps it due.

        Args:
            has_changed: it changed something, for runs that count it.
        """

        async def run(c: Connection) -> None:
            values = (intent.kind, intent.key, intent.generation)
            if next_at is None:
                row = await c.fetch_one(
                    "DELETE FROM intents WHERE kind = $1 AND key = $2 AND generation = $3 RETURNING watched", *values
                )
            else:
                row = await c.fetch_one(
                    "UPDATE intents SET ready_at = $4, priority = $5, attempts = 0, held_until = 0, first_marked_at = NULL,"
                    " last_error = NULL, trace = NULL WHERE kind = $1 AND key = $2 AND generation = $3"
                    " RETURNING watched",
                    *values,
                    to_micros(next_at),
                    intent.priority if priority is None else priority,
                )
            if row is None:
                row = await c.fetch_one(
                    # Contexts are appended, so those of this run stand first.
                    "UPDATE intents SET attempts = 0, first_marked_at = $3, trace = NULLIF(SUBSTR(trace, $4), '')"
                    " WHERE kind = $1 AND key = $2 RETURNING watched",
                    intent.kind,
                    intent.key,
                    to_micros(c.now),
                    len(intent.trace) + 2 if intent.trace else 1,
                )
                c.announce(journal.WORK, intent.lane)
            if row is not None and row[0]:
                await run_items.settle(c, intent, reason=None, has_changed=has_changed)

        await self._engine.write(run)

    async def postpone(self, intent: Intent, *, until: datetime) -> None:
        """Make work that is due come later because it is not its turn: neither done nor failed. A mark made meanwhile wins."""

        async def run(c: Connection) -> None:
            await c.execute(
                "UPDATE intents SET ready_at = $4 WHERE kind = $1 AND key = $2 AND generation = $3",
                intent.kind,
                intent.key,
                intent.generation,
                to_micros(until),
            )

        await self._engine.write(run)

    async def put_off(self, intent: Intent, *, until: datetime, reason: str) -> None:
        """Note that work failed and shall be tried again at `until`; marks do not bring it forward, unless forced.

        A forced mark that came during the run wins: the work stays due at once.
        """

        async def run(c: Connection) -> None:
            await c.execute(
                "UPDATE intents SET ready_at = $4, held_until = $4, attempts = attempts + 1, last_error = $5"
                " WHERE kind = $1 AND key = $2 AND (generation = $3 OR held_until <> -1)",
                intent.kind,
                intent.key,
                intent.generation,
                to_micros(until),
                reason[:200],
            )
            row = await c.fetch_one("SELECT watched FROM intents WHERE kind = $1 AND key = $2", intent.kind, intent.key)
            if row is not None and row[0]:
                await run_items.settle(c, intent, reason=reason)

        await self._engine.write(run)

    async def hurry_one(self, lane: TenantUid, kind: IntentKind, *, within_s: float, if_count_min: int) -> bool:
        """Make the next of a lane's planned work of a kind due now, if there is enough of it.

        Args:
            within_s: only what is due within this long, and was not put off.
            if_count_min: how much of that there has to be.
        Returns:
            Whether there was.
        """

        async def run(c: Connection) -> bool:
            now = to_micros(c.now)
            found = await c.fetch(
                "SELECT key FROM intents WHERE lane = $1 AND kind = $2 AND held_until = 0 AND ready_at > $3 AND ready_at <= $4"
                " ORDER BY ready_at, key LIMIT $5",
                lane,
                kind,
                now,
                to_micros(c.now + timedelta(seconds=within_s)),
                if_count_min,
            )
            if len(found) < if_count_min:
                return False
            await c.execute(
                "UPDATE intents SET ready_at = $3 WHERE kind = $1 AND key = $2 AND ready_at > $3",
                kind,
                found[0][0],
                now,
            )
            c.announce(journal.WORK, lane)
            return True

        return await self._engine.write(run)

    async def bring_back(self, lane: TenantUid, *, reason: str, step_s: float, spread_s_max: float) -> int:
        """Make due again what was put off for a reason that is over, the most urgent first, one `step_s` after the other.

        Args:
            spread_s_max: the last is due this long from now at the latest.
        Returns:
            How much there was.
        """

        async def run(c: Connection) -> int:
            found = await c.fetch(
                "SELECT kind, key FROM intents WHERE lane = $1 AND last_error = $2 AND held_until > 0"
                " ORDER BY priority, kind, key",
                lane,
                reason,
            )
            if not found:
                return 0
            step = timedelta(seconds=min(step_s, spread_s_max / len(found)))
            await c.execute_many(
                "UPDATE intents SET ready_at = $4, held_until = 0, last_error = NULL"
                " WHERE kind = $1 AND key = $2 AND last_error = $3",
                [(row[0], row[1], reason, to_micros(c.now + step * number)) for number, row in enumerate(found)],
            )
            c.announce(journal.WORK, lane)
            return len(found)

        return await self._engine.write(run)

    async def count(self) -> int:
        """Return how much work is known, due or not."""

        async def run(c: Connection) -> int:
            row = await c.fetch_one("SELECT COUNT(*) FROM intents")
            return 0 if row is None else int(row[0])

        return await self._engine.read(run)
