"""The audit: entries that are committed together with the change they are about.

Whoever acts says so with `acting`; every transaction that is written inside carries the act's entry. So no change can be
made without its entry, and no function of the store has to know who asked for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from sidecar.model.audit import OK, Act, AuditEntry, Caller, CallerKind
from sidecar.model.ids import TenantId
from sidecar.model.window import from_micros, to_micros
from sidecar.store.engine import Connection, Engine, EngineAround, Row, T, Transaction, places
from sidecar.store.tenants import new_uid

_ID_PREFIX = "a"
_REFUSED_MAX = 10_000
"""Refusals kept, some 3 MB: whoever may call may be refused as often as he likes."""
_DONE_MAX = 200_000
"""Other entries kept, some 60 MB: a year of a call every three minutes."""
_NOTES_BETWEEN = 256
"""So many entries that no transaction carries are written before the oldest beyond these numbers are dropped."""
_COLUMNS = "id, recorded_at, tenant_id, method, resource, caller, outcome, fields, details"


class Acting:
    """An act under way. `is_written`: a transaction that carries its entry was committed."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.is_written = False
        self.entry_id = ""


_acting: ContextVar[Acting | None] = ContextVar("acting", default=None)


@contextmanager
def acting(one: Acting | None) -> Iterator[None]:
    """Have everything that is written inside carry an act's entry (None: nobody acts who has to be named)."""
    token = _acting.set(one)
    try:
        yield
    finally:
        _acting.reset(token)


class AuditedEngine(EngineAround):
    """An engine whose writes carry the entry of whoever acts."""

    async def write(self, transaction: Transaction[T]) -> T:
        """See `Engine.write`."""
        one = _acting.get()
        if one is None:
            return await self._inner.write(transaction)

        async def run(c: Connection) -> T:
            result = await transaction(c)
            await _insert(c, one, OK)
            return result

        result = await self._inner.write(run)
        one.is_written = True
        return result


class Audit:
    """The entries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._notes_count = 0

    async def note(self, one: Acting, *, outcome: str) -> None:
        """Write down how an act ended that no transaction carries, or that failed after one did."""

        self._notes_count += 1
        is_due = self._notes_count % _NOTES_BETWEEN == 0  # also where no tenant has background work that would prune

        async def run(c: Connection) -> None:
            if is_due:
                await _drop_surplus(c)
            await _insert(c, one, outcome)
            await c.execute("UPDATE audit SET outcome = $2 WHERE id = $1", one.entry_id, outcome)

        await self._engine.write(run)

    async def page(
        self,
        *,
        among: Collection[TenantId] | None,
        start_at: datetime | None,
        end_at: datetime | None,
        before: str,
        count_max: int,
    ) -> Sequence[AuditEntry]:
        """Return entries, the newest first.

        Args:
            among: only about these tenants and their rooms; None: about anything.
            start_at, end_at: only from then on, and before then.
            before: only entries whose id sorts before this one; empty: all.
        """
        ids = [before] if before else []
        if end_at is not None:
            ids.append(_id_at(end_at))
        last = min(ids, default="b")  # sorts behind all ids
        first = "" if start_at is None else _id_at(start_at)

        async def run(c: Connection) -> list[AuditEntry]:
            values = () if among is None else sorted(among)
            about = "" if among is None else f"AND tenant_id IN ({places(values, first=4)}) "
            found = await c.fetch(
                f"SELECT {_COLUMNS} FROM audit WHERE id >= $1 AND id < $2 {about}ORDER BY id DESC LIMIT $3",  # noqa: S608
                first,
                last,
                count_max,
                *values,
            )
            return [_entry(row) for row in found]

        return await self._engine.read(run)

    async def prune(self, *, retention: timedelta) -> None:
        """Drop entries that are older than the retention, and the oldest beyond what is kept of each kind."""

        async def run(c: Connection) -> None:
            await c.execute("DELETE FROM audit WHERE id < $1", _id_at(c.now - retention))
            await _drop_surplus(c)

        await self._engine.write(run)


async def _drop_surplus(c: Connection) -> None:
    """Drop the oldest entries beyond what is kept of each kind."""
    for is_refused, count_max in ((1, _REFUSED_MAX), (0, _DONE_MAX)):
        row = await c.fetch_one(
            "SELECT id FROM audit WHERE is_refused = $1 ORDER BY id DESC LIMIT 1 OFFSET $2", is_refused, count_max
        )
        if row is not None:
            await c.execute("DELETE FROM audit WHERE is_refused = $1 AND id <= $2", is_refused, row[0])


async def _insert(c: Connection, one: Acting, outcome: str) -> None:
    """Write an act's entry, once, however many transactions it takes."""
    if not one.entry_id:
        one.entry_id = new_uid(_ID_PREFIX, c.now)
    act = one.act
    caller = {"kind": act.caller.kind.value, "address": act.caller.address, "identity": act.caller.identity}
    await c.execute(
        f"INSERT INTO audit ({_COLUMNS}, is_refused) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"  # noqa: S608  (ours)
        " ON CONFLICT (id) DO NOTHING",
        one.entry_id,
        to_micros(c.now),
        act.resource.removeprefix("tenants/").partition("/")[0],
        act.method,
        act.resource,
        json.dumps(caller),
        outcome,
        json.dumps(act.fields),
        json.dumps(act.values, sort_keys=True),
        int(outcome != OK),
    )


def _id_at(at: datetime) -> str:
    """Return what sorts before all ids of an instant, and behind all of those before."""
    return f"{_ID_PREFIX}{max(0, to_micros(at)):014x}"


def _entry(row: Row) -> AuditEntry:
    caller = json.loads(row[5])
    return AuditEntry(
        id=row[0],
        recorded_at=from_micros(row[1]),
        act=Act(
            method=row[3],
            resource=row[4],
            caller=Caller(kind=CallerKind(caller["kind"]), address=caller["address"], identity=caller["identity"]),
            fields=tuple(json.loads(row[7])),
            values=json.loads(row[8]),
        ),
        outcome=row[6],
    )
