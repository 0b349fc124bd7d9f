"""Whether Microsoft still reaches us at an address, as far as all processes together know.

What is announced proves it by the way. Where nothing is, some process takes the turn to have Microsoft call the address; the
turn is a row, so that all tenants and processes together make few such requests. Two failures in a row count: from then on no
room that is announced there passes for announced, until a call has arrived again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.problem import Problem
from sidecar.model.window import from_micros, to_micros
from sidecar.store import journal, locks, rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.webhook_urls import by_tenant, load_url, tell_not_announced

QUIET = timedelta(minutes=4)
"""An address at which nothing was heard for this long is called, and no sooner again: known within five minutes."""
TURN = timedelta(minutes=1)
"""How long a turn lasts, should whoever took it die: longer than Microsoft waits for an answer."""
AGAIN = timedelta(seconds=5)
"""After a first failure, which may be Microsoft's own."""
UNDECIDED = timedelta(seconds=30)
"""After a call that told nothing about the address, because Microsoft refused it or was away."""
_FAILURES_MIN = 2
_HEARD_EVERY = timedelta(minutes=1)
"""How often it is noted that something was announced, because that comes in floods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right to have Microsoft call an address, by the subscription of one of the tenant's rooms."""

    url: str
    room_uid: RoomUid
    graph_id: str


class WebhookReach:
    """What is known about addresses being reached."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def take_turn(self, tenant_uid: TenantUid, *, pivot: str) -> Turn | datetime | None:
        """Take the turn to have the address that counts called, if one is due and the tenant has a subscription there.

        Args:
            pivot: any text; of the tenant's subscriptions the first one with an id from there on is used.
        Returns:
            When the next turn is due; None when nothing can be told by this tenant now.
        """

        async def run(c: Connection) -> Turn | datetime | None:
            url = await load_url(c)
            found = await c.fetch_one(
                "SELECT room_uid, graph_id FROM subscriptions WHERE tenant_uid = $1 AND url = $2 AND graph_id IS NOT NULL"
                " AND room_uid IS NOT NULL AND expires_at > $3 ORDER BY (graph_id < $4), graph_id LIMIT 1",
                tenant_uid,
                url,
                to_micros(c.now),
                pivot,
            )
            if found is None:
                return None
            # One statement decides, so that of several processes one has the turn. A time too far ahead was set by a clock
            # that has been set back since.
            taken = await c.fetch_one(
                "UPDATE webhook_urls SET call_due_at = $2 WHERE url = $1 AND (call_due_at <= $3 OR call_due_at > $4)"
                " RETURNING url",
                url,
                to_micros(c.now + TURN),
                to_micros(c.now),
                to_micros(c.now + QUIET),
            )
            if taken is not None:
                return Turn(url=url, room_uid=RoomUid(found[0]), graph_id=str(found[1]))
            row = await c.fetch_one("SELECT call_due_at FROM webhook_urls WHERE url = $1", url)
            return None if row is None else from_micros(row[0])

        return await self._engine.write(run)

    async def note_undecided(self, url: str) -> None:
        """After a call that told nothing: the next one may come soon, by another tenant."""
        await self._engine.write(lambda c: _set_due(c, url, UNDECIDED))

    async def note_heard(self, url: str) -> None:
        """After a genuine call. Where people are told that none arrives, the next call decides, and is due now."""

        async def run(c: Connection) -> None:
            is_told = await standing_problem(c, url) is not None
            await _set_due(c, url, timedelta(0) if is_told else QUIET)

        await self._engine.write(run)

    async def note_reached(self, url: str) -> int:
        """After a call that arrived. If people were told that none does, every room concerned has its subscription asked for.

        Only what Microsoft answers about each makes it count again: some may have been dropped meanwhile.

        Returns:
            How many rooms those are.
        """

        async def run(c: Connection) -> int:
            before = await c.fetch_one("SELECT problem FROM webhook_urls WHERE url = $1", url)
            await _set_due(c, url, QUIET)
            await c.execute("UPDATE webhook_urls SET failures_count = 0, problem = NULL WHERE url = $1", url)
            standing = None if before is None else rows.problem_from_text(before[0])
            if standing is None:
                return 0
            found = await c.fetch(
                "SELECT r.tenant_uid, r.uid, r.subscription_problem FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
                " WHERE r.subscription_problem IS NOT NULL AND t.deleted_at IS NULL ORDER BY 1, 2"
            )
            count = 0
            for lane, room_uid, text in found:
                problem = rows.problem_from_text(text)
                if problem is None or problem.reason != standing.reason:
                    continue
                count += 1
                kind = IntentKind.ROOM_SUBSCRIBE
                await journal.mark(c, kind, str(room_uid), TenantUid(lane), priority=Priority.REPAIR, force=True)
            return count

        return await self._engine.write(run)

    async def note_unreached(self, url: str, problem: Problem) -> int:
        """After a call that did not arrive. A second one in a row makes it the problem of every room that is announced there.

        Returns:
            How many rooms are newly told of it.
        """

        async def run(c: Connection) -> int:
            row = await c.fetch_one(
                "UPDATE webhook_urls SET failures_count = failures_count + 1 WHERE url = $1"
                " RETURNING failures_count, problem",
                url,
            )
            if row is None:
                return 0
            if int(row[0]) < _FAILURES_MIN:
                await _set_due(c, url, AGAIN)
                return 0
            await _set_due(c, url, QUIET)
            told = problem.since(rows.problem_from_text(row[1]))
            text = rows.problem_to_text(told)
            await c.execute("UPDATE webhook_urls SET problem = $2 WHERE url = $1", url, text)
            found = await c.fetch(
                "SELECT DISTINCT s.tenant_uid FROM subscriptions s JOIN tenants t ON t.uid = s.tenant_uid"
                " WHERE s.url = $1 AND s.room_uid IS NOT NULL AND t.deleted_at IS NULL ORDER BY 1",
                url,
            )
            return sum([await _tell_tenant(c, TenantUid(row[0]), url, text) for row in found])

        return await self._engine.write(run)


async def is_heard_noted(c: Connection, url: str) -> bool:
    """Tell whether it need not be noted that a genuine call came at an address; part of somebody's transaction."""
    row = await c.fetch_one("SELECT call_due_at, problem FROM webhook_urls WHERE url = $1", url)
    if row is None:
        return True
    left = timedelta(0) if row[0] == 0 else from_micros(row[0]) - c.now
    if row[1] is not None:
        return left <= timedelta(0)
    return QUIET - _HEARD_EVERY < left <= QUIET


async def standing_problem(c: Connection, url: str) -> Problem | None:
    """Return what people are told of an address, None when calls arrive there; part of somebody's transaction."""
    row = await c.fetch_one("SELECT problem FROM webhook_urls WHERE url = $1", url)
    return None if row is None else rows.problem_from_text(row[0])


async def _set_due(c: Connection, url: str, wait: timedelta) -> None:
    await c.execute("UPDATE webhook_urls SET call_due_at = $2 WHERE url = $1", url, to_micros(c.now + wait))


async def _tell_tenant(c: Connection, lane: TenantUid, url: str, text: str | None) -> int:
    """Tell of a tenant's rooms that nobody announces them, unless something else is told already; return how many."""
    await locks.keep_tenant(c, lane)
    found: Sequence[Sequence[object]] = await c.fetch(
        "SELECT s.tenant_uid, r.uid FROM subscriptions s JOIN rooms r ON r.uid = s.room_uid"
        " WHERE s.tenant_uid = $1 AND s.url = $2 AND s.graph_id IS NOT NULL AND r.subscription_problem IS NULL"
        " ORDER BY r.uid",
        lane,
        url,
    )
    rooms = by_tenant(found).get(lane, [])
    await c.execute_many(
        "UPDATE rooms SET subscription_problem = $2, version = version + 1, updated_at = $3 WHERE uid = $1",
        [(room_uid, text, to_micros(c.now)) for room_uid in rooms],
    )
    if rooms:
        await tell_not_announced(c, lane, rooms)
    return len(rooms)
