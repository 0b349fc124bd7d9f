"""The pieces of work that runs of chores wait for, and their ends.

A piece ends when a run of its intent ends that began after it was asked for; it is gone then, and its run counts one more. So
a run costs a row for each piece that is left, and none once it is over. These functions run inside somebody else's transaction
and never begin one of their own.
"""

from __future__ import annotations

import json
from datetime import timedelta

from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent
from sidecar.model.task_run import PROBLEMS_MAX, RUN_LIFE
from sidecar.model.window import to_micros
from sidecar.store.engine import Connection, Value

SUSPENDED = "TENANT_SUSPENDED"
_LIFE = RUN_LIFE // timedelta(microseconds=1)


async def settle(c: Connection, intent: Intent, *, reason: str | None, has_changed: bool = False) -> None:
    """Note for all runs that wait for an intent that it was done, or what it failed with.

    Args:
        intent: as it was when it was begun; what was asked for since waits for its next run.
        reason: None: it was done.
    """
    found = await c.fetch(
        "DELETE FROM task_run_items WHERE kind = $1 AND key = $2 AND generation <= $3 RETURNING run_uid",
        intent.kind,
        intent.key,
        intent.generation,
    )
    await c.execute(
        "UPDATE intents SET watched = 0 WHERE kind = $1 AND key = $2 AND generation = $3",
        intent.kind,
        intent.key,
        intent.generation,
    )
    for uid in sorted(row[0] for row in found):  # in one order, so that two that end at once do not wait for each other
        await _count(c, uid, 1, reason=reason, key=intent.key, has_changed=has_changed)


async def forget(c: Connection, condition: str, *values: Value) -> None:
    """Remove intents; runs that wait for them count them as done, for nothing is left to do.

    Args:
        condition: in SQL, about columns that intents and pieces both have: kind, key and lane.
    """
    # First: it waits for runs that are being begun, whose pieces are to be seen by what follows.
    await c.execute(f"DELETE FROM intents WHERE {condition}", *values)  # noqa: S608  (ours)
    found = await c.fetch(f"DELETE FROM task_run_items WHERE {condition} RETURNING run_uid", *values)  # noqa: S608
    counts: dict[str, int] = {}
    for (uid,) in found:
        counts[uid] = counts.get(uid, 0) + 1
    for uid, count in sorted(counts.items()):
        await _count(c, uid, count, reason=None)


async def give_up(c: Connection, lane: TenantUid, *, reason: str) -> None:
    """Have runs wait for nothing in a lane any more; the work stays due."""
    found = await c.fetch(
        "DELETE FROM task_run_items WHERE lane = $1 RETURNING run_uid, key",
        lane,
    )
    keys: dict[str, list[str]] = {}
    for uid, key in found:
        keys.setdefault(uid, []).append(key)
    for uid, waited_for in sorted(keys.items()):
        await _count(c, uid, len(waited_for), reason=reason, key=min(waited_for))


async def _count(
    c: Connection,
    uid: str,
    count: int,
    *,
    reason: str | None,
    key: str = "",
    has_changed: bool = False,
) -> None:
    now = to_micros(c.now)
    row = await c.fetch_one(
        "UPDATE task_runs SET done = done + $2, failed = failed + $3, changed = changed + $4,"
        " ended_at = CASE WHEN done + failed + $2 + $3 >= total THEN $5 ELSE ended_at END"
        " WHERE uid = $1 AND started_at > $6 RETURNING problems",
        uid,
        0 if reason else count,
        count if reason else 0,
        count if has_changed else 0,
        now,
        now - _LIFE,
    )
    if row is not None and reason is not None:  # the row is ours until the commit
        problems = _with_another(json.loads(row[0]), count, reason, key)
        await c.execute("UPDATE task_runs SET problems = $2 WHERE uid = $1", uid, json.dumps(problems))


def _with_another(
    problems: list[tuple[str, int, str]], count: int, reason: str, key: str
) -> list[tuple[str, int, str]]:
    """Count a reason; of more than are kept, the rest is not told apart."""
    for at, (known, known_count, example) in enumerate(problems):
        if known == reason:
            return [*problems[:at], (reason, known_count + count, example), *problems[at + 1 :]]
    return problems if len(problems) >= PROBLEMS_MAX else [*problems, (reason, count, key)]
