"""Steps of writes: what others' transactions note of them.

Each is a function of a connection, so that it can be part of the transaction that writes the copy.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sidecar.errors import StoreConflict
from sidecar.model.ids import BookingKey, RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.window import to_micros
from sidecar.model.write import Failure, Hold, Write, WriteState, WriteUid
from sidecar.store import journal, run_items
from sidecar.store.engine import Connection, Value

WRITES = "writes"
"""Channel: a write has come further; the payload is its uid."""

Step = Callable[[Connection], Awaitable[None]]
"""Part of a transaction: it notes how far a write has come. Raises StoreConflict when somebody else works on it now."""

ENDED = ", ".join(f"'{state.value}'" for state in WriteState if state.is_ended)
"""In SQL."""


def step_to(write: Write, after: Write, *, claim_s: float, sealed: bytes | None = None) -> Step:
    """Note how far a write has come: `after` is `write` with another state, and what is known since.

    A write that ends is no longer looked for, and what was asked for is erased. One that does not end may be worked on for
    another `claim_s` without a word.

    Args:
        sealed: what is needed to go on, where that is more than before.
    """

    async def run(c: Connection) -> None:
        is_ended = after.state.is_ended
        values: tuple[Value, ...] = (
            after.state.value,
            to_micros(c.now + timedelta(seconds=claim_s)),
            after.event_id,
            None if after.event_created_at is None else to_micros(after.event_created_at),
            after.booking_key,
            _failure_text(after.failure),
            to_micros(c.now),
            after.answer or None,
            None if is_ended else sealed,
            after.hold.value,
        )
        kept = "$11" if is_ended else "COALESCE($11, sealed)"
        touched = await c.execute(
            "UPDATE writes SET state = $3, claimed_until = $4, event_id = $5, event_created_at = $6, booking_key = $7,"  # noqa: S608
            f" failure = $8, updated_at = $9, answer = $10, sealed = {kept}, hold = $12"
            f" WHERE uid = $1 AND fence = $2 AND state NOT IN ({ENDED})",
            write.uid,
            write.fence,
            *values,
        )
        if not touched:
            raise StoreConflict("somebody else works on the write")
        if is_ended:
            await forget_intent(c, write.uid)
        c.announce(WRITES, write.uid)

    return run


async def answer_in(c: Connection, uid: WriteUid, state: WriteState) -> None:
    """Note what a room's own calendar has shown of a write that waits for nothing else, whoever works on it."""
    erased = ", sealed = NULL" if state.is_ended else ""
    touched = await c.execute(
        f"UPDATE writes SET state = $2, updated_at = $3{erased} WHERE uid = $1 AND state <> $2 AND state NOT IN ({ENDED})",  # noqa: S608
        uid,
        state.value,
        to_micros(c.now),
    )
    if not touched:
        return
    if state.is_ended:
        await forget_intent(c, uid)
    c.announce(WRITES, uid)


async def supersede_in(c: Connection, room_uid: RoomUid, key: BookingKey, *, by: WriteUid) -> None:
    """End the writes that wait for what a room answers of a booking: another one has asked it for something else."""
    found = await c.fetch(
        "UPDATE writes SET state = $5, updated_at = $6, sealed = NULL WHERE room_uid = $1 AND booking_key = $2"  # noqa: S608
        f" AND uid <> $3 AND hold IN ($4, $7) AND state NOT IN ({ENDED}, '{WriteState.STARTED.value}',"
        f" '{WriteState.SENT.value}') RETURNING uid",
        room_uid,
        key,
        by,
        Hold.PRESENT.value,
        WriteState.DONE.value,
        to_micros(c.now),
        Hold.MOVED.value,
    )
    for (uid,) in found:
        await forget_intent(c, WriteUid(uid))
        c.announce(WRITES, uid)


async def ask_in(c: Connection, uid: WriteUid, tenant_uid: TenantUid) -> None:
    """Have a write looked at now, by whoever works on it or else by background work: something has happened to it."""
    await look_at(c, uid, tenant_uid, c.now)
    c.announce(WRITES, uid)


async def ask_all_in(c: Connection, tenant_uid: TenantUid) -> None:
    """Have all writes of a tenant looked at that have not ended, within somebody else's transaction: nothing was planned."""
    found = await c.fetch(f"SELECT uid FROM writes WHERE tenant_uid = $1 AND state NOT IN ({ENDED})", tenant_uid)  # noqa: S608
    for row in found:
        await look_at(c, WriteUid(row[0]), tenant_uid, c.now)


async def look_at(c: Connection, uid: WriteUid, tenant_uid: TenantUid, at: datetime) -> None:
    """Have the write looked at when nobody has worked on it for too long; the sweep finds what is due later by itself."""
    await c.execute(
        "INSERT INTO intents (kind, key, lane, priority, ready_at, held_until, generation, attempts)"
        " VALUES ($1, $2, $3, $4, $5, 0, 1, 0)"
        " ON CONFLICT (kind, key) DO UPDATE SET ready_at = $5, held_until = 0, generation = intents.generation + 1",
        IntentKind.BOOKING_WRITE.value,
        uid,
        tenant_uid,
        Priority.HINT,
        to_micros(at),
    )
    if at <= c.now:
        c.announce(journal.WORK, tenant_uid)


async def forget_intent(c: Connection, uid: WriteUid) -> None:
    values = (IntentKind.BOOKING_WRITE.value, uid)
    row = await c.fetch_one("DELETE FROM intents WHERE kind = $1 AND key = $2 RETURNING watched", *values)
    if row is not None and row[0]:
        await run_items.forget(c, "kind = $1 AND key = $2", *values)


def _failure_text(failure: Failure | None) -> str | None:
    return None if failure is None else json.dumps([failure.reason, failure.message, failure.details])
