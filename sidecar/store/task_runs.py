"""Runs of chores that somebody asked for: begun together with the marks that make their work due, and read as they go on.

Who may see a run is decided by its row alone: a run about one tenant by that tenant, a run about several by whether the reader
may name all tenants, or exactly those that whoever began it might.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sidecar.errors import (
    RequestIdReused,
    RoomNotFound,
    TaskRunLimit,
    TaskRunNotFound,
    TaskRunTooLarge,
    TenantNotFound,
    TenantSuspended,
)
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.task_run import EXAMPLES_MAX, RUN_LIFE, Aim, Preview, RunProblem, Subject, TaskRun
from sidecar.model.window import from_micros, to_micros
from sidecar.store import journal, locks, rows
from sidecar.store.engine import Connection, Engine, Row, Value, places
from sidecar.store.tenants import new_uid

ITEMS_MAX = 20_000
"""Of one run. They are marked in one transaction, which keeps other writers waiting for as long: a second for so many."""
RUNS_MAX = 20
"""Under way for one tenant, or for those who began runs about several: what one asks for too often delays nobody else."""
_KEPT = timedelta(days=7)
_ANNOUNCED_MAX = 100
"""With more lanes than this all are said to have something new."""
_ALL = "*"

_RUN = (
    "SELECT k.uid, k.task, t.tenant_id, k.room_id, k.total, k.done, k.failed, k.changed, k.left_out, k.problems,"
    " k.started_at, k.ended_at FROM task_runs k LEFT JOIN tenants t ON t.uid = k.tenant_uid"
)
_IN_USE = "t.deleted_at IS NULL AND t.suspended_at IS NULL"
_ABOUT = {
    Subject.ROOM: "SELECT r.uid AS key, r.tenant_uid AS lane FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid",
    Subject.TENANT: "SELECT t.uid AS key, t.uid AS lane FROM tenants t",
    Subject.PLANNED: "SELECT i.key AS key, i.lane AS lane FROM intents i JOIN tenants t ON t.uid = i.lane",
}
_NAMED = {
    Subject.ROOM: "'tenants/' || t.tenant_id || '/rooms/' || r.room_id",
    Subject.TENANT: "'tenants/' || t.tenant_id",
    Subject.PLANNED: "'tenants/' || t.tenant_id",
}


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a run is about, in SQL: the rest of a query after its FROM, with its values numbered from `first` on."""

    where: str
    values: tuple[Value, ...]


class TaskRuns:
    """The runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def begin(self, aim: Aim, *, request_id: str) -> TaskRun:
        """Make work due and note a run of it, or return the run that an equal request began.

        Args:
            request_id: of whoever asks; ids are apart for each tenant, and for runs about several.
        Raises:
            TenantNotFound, RoomNotFound, TenantSuspended, RequestIdReused, TaskRunTooLarge, TaskRunLimit.
        """

        async def run(c: Connection) -> TaskRun:
            if aim.tenant_id is not None:
                await locks.keep_named_tenant(c, aim.tenant_id)
            tenant = None if aim.tenant_id is None else await _load_tenant(c, aim.tenant_id)
            owner = _owner(aim.visible) if tenant is None else str(tenant[0])
            known = await c.fetch_one(f"{_RUN} WHERE k.owner = $1 AND k.request_id = $2", owner, request_id)
            if known is not None:
                found = await _from_row(c, known)
                if (found.task, found.room_id) != (aim.task, aim.room_id):
                    raise RequestIdReused("the request id was used for a request with other contents")
                return found
            if tenant is not None and tenant[1]:
                raise TenantSuspended("the tenant is suspended; resume it first")
            await _check_room(c, aim)
            await _check_limit(c, owner)
            uid = await self._insert(c, aim, owner, None if tenant is None else str(tenant[0]), request_id)
            row = await c.fetch_one(f"{_RUN} WHERE k.uid = $1", uid)
            assert row is not None, "written above"
            return await _from_row(c, row)

        return await self._engine.write(run)

    async def _insert(self, c: Connection, aim: Aim, owner: str, tenant_uid: str | None, request_id: str) -> str:
        uid, now = new_uid("k", c.now), to_micros(c.now)
        left_out_count = await _count_left_out(c, aim)
        await c.execute(
            "INSERT INTO task_runs (uid, task, owner, tenant_uid, room_id, request_id, total, done, failed, changed,"
            " left_out, problems, started_at) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, $7, '[]', $8)",
            uid,
            aim.task,
            owner,
            tenant_uid,
            aim.room_id,
            request_id,
            left_out_count,
            now,
        )
        total_count = await _mark_all(c, aim, uid)
        ended_at = None if total_count else now
        await c.execute("UPDATE task_runs SET total = $2, ended_at = $3 WHERE uid = $1", uid, total_count, ended_at)
        return uid

    async def preview(self, aim: Aim) -> Preview:
        """Return what a run would be about.

        Raises:
            TenantNotFound, RoomNotFound, TenantSuspended, TaskRunTooLarge.
        """

        async def run(c: Connection) -> Preview:
            tenant = None if aim.tenant_id is None else await _load_tenant(c, aim.tenant_id)
            if tenant is not None and tenant[1]:
                raise TenantSuspended("the tenant is suspended; resume it first")
            await _check_room(c, aim)
            choice = _choose(aim, first=1)
            count = await _count(c, aim)
            named = _ABOUT[aim.subject].split(" FROM ", 1)[1]
            found = await c.fetch(
                f"SELECT DISTINCT {_NAMED[aim.subject]} FROM {named}{choice.where} ORDER BY 1 LIMIT {EXAMPLES_MAX}",  # noqa: S608
                *choice.values,
            )
            return Preview(
                total_count=count,
                left_out_count=await _count_left_out(c, aim),
                examples=tuple(str(row[0]) for row in found),
            )

        return await self._engine.read(run)

    async def load(self, task: str, uid: str, *, visible: Collection[TenantId] | None) -> TaskRun:
        """Load a run.

        Raises:
            TaskRunNotFound: or its reader may not see it.
        """

        async def run(c: Connection) -> TaskRun:
            seen = _seen_by(visible, first=3)
            row = await c.fetch_one(f"{_RUN} WHERE k.uid = $1 AND k.task = $2{seen.where}", uid, task, *seen.values)
            if row is None:
                raise TaskRunNotFound("there is no such run, or it is forgotten")
            return await _from_row(c, row)

        return await self._engine.read(run)

    async def load_many(
        self,
        *,
        task: str | None,
        tenant_id: TenantId | None,
        room_id: RoomId | None,
        visible: Collection[TenantId] | None,
        before: str | None,
        count_max: int,
    ) -> Sequence[TaskRun]:
        """Return runs, the newest first.

        Args:
            task, tenant_id, room_id: only those about it; None: all.
            before: only runs that began before this one, by its uid.
        """
        conditions: list[tuple[str, Value]] = [
            (condition, value)
            for condition, value in (
                ("k.uid <", before),
                ("k.task =", task),
                ("t.tenant_id =", tenant_id),
                ("k.room_id =", room_id),
            )
            if value is not None
        ]
        where = "".join(f" AND {condition} ${number}" for number, (condition, _) in enumerate(conditions, 1))
        seen = _seen_by(visible, first=len(conditions) + 1)

        async def run(c: Connection) -> list[TaskRun]:
            found = await c.fetch(
                f"{_RUN} WHERE k.uid > ''{where}{seen.where} ORDER BY k.uid DESC LIMIT {int(count_max)}",
                *(value for _, value in conditions),
                *seen.values,
            )
            return [await _from_row(c, row) for row in found]

        return await self._engine.read(run)

    async def prune(self) -> None:
        """Forget runs that are older than they are kept for, and what those still wait for that were given up."""

        async def run(c: Connection) -> None:
            await c.execute("DELETE FROM task_runs WHERE started_at <= $1", to_micros(c.now - _KEPT))
            await c.execute(
                "DELETE FROM task_run_items WHERE run_uid IN"
                " (SELECT uid FROM task_runs WHERE started_at <= $1 AND ended_at IS NULL)",
                to_micros(c.now - RUN_LIFE),
            )

        await self._engine.write(run)


def _owner(visible: Collection[TenantId] | None) -> str:
    """Return under which name runs about several tenants go: of those who may name all, or who may name the same."""
    return _ALL if visible is None else hashlib.sha256("\n".join(sorted(visible)).encode()).hexdigest()


async def _load_tenant(c: Connection, tenant_id: TenantId) -> tuple[str, bool]:
    """Return the uid of a tenant and whether it is suspended."""
    row = await c.fetch_one(
        "SELECT uid, suspended_at FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL", tenant_id
    )
    if row is None:
        raise TenantNotFound("there is no such tenant")
    return str(row[0]), row[1] is not None


async def _check_room(c: Connection, aim: Aim) -> None:
    if aim.room_id is None:
        return
    found = await c.fetch_one(
        "SELECT 1 FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid WHERE t.tenant_id = $1 AND r.room_id = $2",
        aim.tenant_id,
        aim.room_id,
    )
    if found is None:
        raise RoomNotFound("there is no such room")


async def _check_limit(c: Connection, owner: str) -> None:
    row = await c.fetch_one(
        "SELECT COUNT(*) FROM task_runs WHERE owner = $1 AND ended_at IS NULL AND started_at > $2",
        owner,
        to_micros(c.now - RUN_LIFE),
    )
    if row is not None and row[0] >= RUNS_MAX:
        raise TaskRunLimit("too many runs are under way", details={"runs_max": str(RUNS_MAX)})


def _choose(aim: Aim, *, first: int) -> _Choice:
    where, values = f" WHERE {_IN_USE}", list[Value]()

    def narrow(condition: str, value: Value) -> None:
        nonlocal where
        where += f" AND {condition} ${first + len(values)}"
        values.append(value)

    if aim.subject is Subject.PLANNED:
        narrow("i.kind =", aim.kind.value)
    if aim.tenant_id is not None:
        narrow("t.tenant_id =", aim.tenant_id)
    elif aim.visible is not None:
        ids = tuple(sorted(aim.visible))
        where += f" AND t.tenant_id IN ({places(ids, first=first + len(values))})"
        values += ids
    if aim.room_id is not None:
        narrow("r.room_id =", aim.room_id)
    return _Choice(where, tuple(values))


async def _count(c: Connection, aim: Aim) -> int:
    """Return how many pieces of work a run is about.

    Raises:
        TaskRunTooLarge.
    """
    choice = _choose(aim, first=1)
    row = await c.fetch_one(
        f"SELECT COUNT(*) FROM ({_ABOUT[aim.subject]}{choice.where} LIMIT {ITEMS_MAX + 1}) chosen",  # noqa: S608  (ours)
        *choice.values,
    )
    count = 0 if row is None else int(row[0])
    if count > ITEMS_MAX:
        raise TaskRunTooLarge("the run would be about too much at once", details={"items_max": str(ITEMS_MAX)})
    return count


async def _count_left_out(c: Connection, aim: Aim) -> int:
    if aim.tenant_id is not None:
        return 0
    ids = () if aim.visible is None else tuple(sorted(aim.visible))
    whose = "" if aim.visible is None else f" AND tenant_id IN ({places(ids, first=1)})"
    row = await c.fetch_one(
        f"SELECT COUNT(*) FROM tenants WHERE deleted_at IS NULL AND suspended_at IS NOT NULL{whose}",  # noqa: S608  (ours)
        *ids,
    )
    return 0 if row is None else int(row[0])


async def _mark_all(c: Connection, aim: Aim, run_uid: str) -> int:
    """Make all of a run's work due now, whatever stood in its way, and have the run wait for it; return how much it is.

    By sets and not one by one: ten thousand rooms are one statement.
    """
    await _count(c, aim)
    choice = _choose(aim, first=1)
    merge = journal.ON_KNOWN.format(priority=str(int(aim.priority)), ready_at=str(to_micros(c.now)), force="1")
    chosen = f"{_ABOUT[aim.subject]}{choice.where}"
    await c.execute(
        "INSERT INTO intents (kind, key, lane, priority, ready_at, held_until, generation, attempts, watched)"  # noqa: S608
        f" SELECT '{aim.kind.value}', chosen.key, chosen.lane, {int(aim.priority)}, {to_micros(c.now)}, 0, 1, 0, 1"
        # In one order, so that two runs at once wait for each other once; WHERE, or SQLite takes ON for that of a join.
        f" FROM ({chosen}) chosen WHERE 1 = 1 ORDER BY chosen.key {merge}, watched = 1",
        *choice.values,
    )
    shifted = _choose(aim, first=2)
    count = await c.execute(
        "INSERT INTO task_run_items (kind, key, run_uid, lane, generation)"  # noqa: S608  (ours)
        " SELECT w.kind, w.key, $1, w.lane, w.generation FROM intents w"
        f" JOIN ({_ABOUT[aim.subject]}{shifted.where}) chosen ON chosen.key = w.key WHERE w.kind = '{aim.kind.value}'"
        # PostgreSQL's second statement also sees rooms that came since the first: nobody would tell this run of their end.
        " AND w.watched = 1",
        run_uid,
        *shifted.values,
    )
    lanes = await c.fetch(
        f"SELECT DISTINCT lane FROM task_run_items WHERE run_uid = $1 LIMIT {_ANNOUNCED_MAX + 1}",  # noqa: S608  (ours)
        run_uid,
    )
    for lane in (row[0] for row in lanes) if len(lanes) <= _ANNOUNCED_MAX else ("",):
        c.announce(journal.WORK, lane)
    return count


def _seen_by(visible: Collection[TenantId] | None, *, first: int) -> _Choice:
    if visible is None:
        return _Choice("", ())
    ids = tuple(sorted(visible))
    where = f" AND (t.tenant_id IN ({places(ids, first=first + 1)}) OR (k.tenant_uid IS NULL AND k.owner = ${first}))"
    return _Choice(where, (_owner(visible), *ids))


async def _from_row(c: Connection, row: Row) -> TaskRun:
    return TaskRun(
        uid=row[0],
        task=row[1],
        tenant_id=None if row[2] is None else TenantId(row[2]),
        room_id=None if row[3] is None else RoomId(row[3]),
        total_count=int(row[4]),
        done_count=int(row[5]),
        failed_count=int(row[6]),
        changed_count=int(row[7]),
        left_out_count=int(row[8]),
        problems=[
            RunProblem(reason=reason, count=count, example=await _name_of(c, key))
            for reason, count, key in sorted(json.loads(row[9]), key=lambda one: (-one[1], one[0]))
        ],
        started_at=from_micros(row[10]),
        ended_at=rows.instant(row[11]),
        seen_at=c.now,
    )


async def _name_of(c: Connection, key: str) -> str:
    """Return the name of the room or the tenant that has a uid; "" for neither."""
    row = await c.fetch_one(
        "SELECT 'tenants/' || t.tenant_id || '/rooms/' || r.room_id FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
        " WHERE r.uid = $1",
        key,
    ) or await c.fetch_one("SELECT 'tenants/' || tenant_id FROM tenants WHERE uid = $1", key)
    return "" if row is None else str(row[0])
