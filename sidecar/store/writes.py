"""Writes to Exchange on their way, each a row from before the first request until long after its end.

A row is there before anything is sent, so whatever happens to the process, somebody finds it and brings it to its end. It
holds what was asked for only as long as that is needed, and sealed. Ended rows stay a while: they are the memory by which
the same request, sent again, gets the same answer.

What others' transactions note of a write is in `write_steps`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sidecar.errors import RequestIdReused, RoomNotFound, StoreConflict
from sidecar.model.ids import BookingKey, EventId, RoomUid, TenantUid
from sidecar.model.intent import IntentKind
from sidecar.model.window import from_micros, to_micros
from sidecar.model.write import Failure, Hold, Write, WriteKind, WriteState, WriteUid
from sidecar.store import locks
from sidecar.store.engine import Connection, Engine, Row
from sidecar.store.tenants import new_uid
from sidecar.store.vault import Vault
from sidecar.store.write_steps import ENDED, WRITES, Step, forget_intent, look_at, step_to

DIGEST_ROLE = "digest of "
"""Digests are sealed: they stay longer than what was asked for, and short texts and known people can be guessed from them."""

_COLUMNS = (
    "uid, tenant_uid, room_uid, request_id, kind, state, sealed, event_id, event_created_at, booking_key, failure, fence,"
    " claimed_until, created_at, answer, hold"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWrite:
    """What a caller asks for.

    Attributes:
        digest: tells requests with other contents apart.
        payload: what is needed to go on.
        hold: what it makes or changes is told as until it ends.
        event_id, booking_key: of what it changes, where that is there already.
    """

    tenant_uid: TenantUid
    room_uid: RoomUid
    request_id: str
    kind: WriteKind
    digest: bytes
    payload: bytes = field(repr=False)
    hold: Hold = Hold.NONE
    event_id: EventId | None = None
    booking_key: BookingKey | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A write, and whether it was begun by this very call: then it is the caller's to carry out."""

    write: Write
    is_ours: bool


class Writes:
    """The writes."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault

    async def begin(self, new: NewWrite, *, claim_s: float) -> Begun:
        """Note a write before anything is sent, or find the one that an earlier call with this request id began.

        Args:
            claim_s: how long the caller may work on it without a word, before others take it over.
        Raises:
            RequestIdReused: the id was used for other contents. RoomNotFound: the room was unmapped meanwhile.
        """

        async def run(c: Connection) -> Begun:
            await locks.keep_tenant(c, new.tenant_uid)
            found = await self._find_equal(c, new.tenant_uid, new.request_id, new.digest)
            if found is not None:
                return Begun(found, is_ours=False)
            if await c.fetch_one("SELECT 1 FROM rooms WHERE uid = $1", new.room_uid) is None:
                raise RoomNotFound("there is no such room")
            write = Write(
                uid=WriteUid(new_uid("w", c.now)),
                tenant_uid=new.tenant_uid,
                room_uid=new.room_uid,
                request_id=new.request_id,
                kind=new.kind,
                state=WriteState.STARTED,
                payload=new.payload,
                event_id=new.event_id,
                event_created_at=None,
                booking_key=new.booking_key,
                failure=None,
                fence=1,
                claimed_until_at=c.now + timedelta(seconds=claim_s),
                created_at=c.now,
                hold=new.hold,
            )
            await self._insert(c, write, new)
            await look_at(c, write.uid, write.tenant_uid, write.claimed_until_at)
            return Begun(write, is_ours=True)

        return await self._engine.write(run)

    async def _insert(self, c: Connection, write: Write, new: NewWrite) -> None:
        await c.execute(
            "INSERT INTO writes (uid, tenant_uid, room_uid, request_id, kind, state, hold, digest, sealed, event_id,"
            " booking_key, fence, claimed_until, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $13, $13)",
            write.uid,
            write.tenant_uid,
            write.room_uid,
            write.request_id,
            write.kind.value,
            write.state.value,
            new.hold.value,
            self._vault.seal(new.digest, tenant_uid=write.tenant_uid, role=DIGEST_ROLE + write.uid),
            self._vault.seal(new.payload, tenant_uid=write.tenant_uid, role=write.uid),
            write.event_id,
            write.booking_key,
            to_micros(write.claimed_until_at),
            to_micros(write.created_at),
        )

    async def find(self, tenant_uid: TenantUid, request_id: str) -> Write | None:
        """Load the write that a request began; None when it began none, or it is forgotten."""

        async def run(c: Connection) -> Write | None:
            row = await c.fetch_one(
                f"SELECT {_COLUMNS} FROM writes WHERE tenant_uid = $1 AND request_id = $2",  # noqa: S608  (ours)
                tenant_uid,
                request_id,
            )
            return None if row is None else self._from_row(row)

        return await self._engine.read(run)

    async def find_invitation(self, room_uid: RoomUid, key: BookingKey) -> Write | None:
        """Load the write that made a booking in a person's calendar; None when none did, or it is forgotten."""

        async def run(c: Connection) -> Row | None:
            return await c.fetch_one(
                f"SELECT {_COLUMNS} FROM writes WHERE room_uid = $1 AND kind = $2 AND booking_key = $3",  # noqa: S608  (ours)
                room_uid,
                WriteKind.INVITE.value,
                key,
            )

        row = await self._engine.read(run)
        return None if row is None else self._from_row(row)

    async def find_equal(self, tenant_uid: TenantUid, request_id: str, digest: bytes) -> Write | None:
        """Load the write that an equal request began; None when its id began none, or it is forgotten.

        Raises:
            RequestIdReused: the id was used for other contents.
        """

        async def run(c: Connection) -> Write | None:
            return await self._find_equal(c, tenant_uid, request_id, digest)

        return await self._engine.read(run)

    async def _find_equal(self, c: Connection, tenant_uid: TenantUid, request_id: str, digest: bytes) -> Write | None:
        row = await c.fetch_one(
            f"SELECT digest, {_COLUMNS} FROM writes WHERE tenant_uid = $1 AND request_id = $2",  # noqa: S608  (ours)
            tenant_uid,
            request_id,
        )
        if row is None:
            return None
        write = self._from_row(row[1:])
        known = self._vault.unseal(bytes(row[0]), tenant_uid=tenant_uid, role=DIGEST_ROLE + write.uid)
        if known != digest:
            raise RequestIdReused("the request id was used for a request with other contents")
        return write

    async def is_other_first(self, write: Write, event_id: EventId) -> bool:
        """Tell whether another write is half-way with an event, with its series, or with an occurrence of it.

        Two that have both merely sent something do not wait for each other: the younger one waits. Nobody waits for what a room
        has still to answer.
        """

        async def run(c: Connection) -> bool:
            found = await c.fetch_one(
                "SELECT 1 FROM writes WHERE room_uid = $1 AND uid <> $2"
                " AND (state IN ($4, $5) OR (state = $6 AND (created_at < $8 OR created_at = $8 AND uid < $2)))"
                " AND kind <> $7 AND (kind <> $9 OR state = $6)"
                " AND (event_id = $3"
                " OR event_id IN (SELECT event_id FROM bookings WHERE room_uid = $1 AND master_id = $3)"
                " OR event_id IN (SELECT master_id FROM bookings WHERE room_uid = $1 AND event_id = $3)) LIMIT 1",
                write.room_uid,
                write.uid,
                event_id,
                WriteState.UNSETTLED.value,
                WriteState.WITHDRAWING.value,
                WriteState.SENT.value,
                WriteKind.INVITE.value,
                to_micros(write.created_at),
                WriteKind.REINVITE.value,
            )
            return found is not None

        return await self._engine.read(run)

    async def is_known(self, tenant_uid: TenantUid, request_id: str) -> bool:
        """Tell whether something was begun under a request id."""

        async def run(c: Connection) -> bool:
            statement = "SELECT 1 FROM writes WHERE tenant_uid = $1 AND request_id = $2"
            return await c.fetch_one(statement, tenant_uid, request_id) is not None

        return await self._engine.read(run)

    async def is_awaited(self, room_uid: RoomUid, key: BookingKey) -> bool:
        """Tell whether a write of ours waits for a room's answer to the meeting behind a booking."""

        async def run(c: Connection) -> bool:
            waiting = f"hold IN ($3, $4) AND state NOT IN ({ENDED})"
            statement = f"SELECT 1 FROM writes WHERE room_uid = $1 AND booking_key = $2 AND {waiting}"  # noqa: S608  (ours)
            return await c.fetch_one(statement, room_uid, key, Hold.PRESENT.value, Hold.MOVED.value) is not None

        return await self._engine.read(run)

    async def load(self, uid: WriteUid) -> Write | None:
        """Load a write; None when it is forgotten."""

        async def run(c: Connection) -> Write | None:
            row = await c.fetch_one(f"SELECT {_COLUMNS} FROM writes WHERE uid = $1", uid)  # noqa: S608  (ours)
            return None if row is None else self._from_row(row)

        return await self._engine.read(run)

    async def load_awaited(self, room_uid: RoomUid) -> frozenset[EventId]:
        """Return the events in people's calendars that a room has still to answer: its own calendar may not show them."""

        async def run(c: Connection) -> frozenset[EventId]:
            found = await c.fetch(
                f"SELECT event_id FROM writes WHERE room_uid = $1 AND hold IN ($2, $3) AND state NOT IN ({ENDED})"  # noqa: S608
                " AND event_id IS NOT NULL",
                room_uid,
                Hold.PRESENT.value,
                Hold.MOVED.value,
            )
            return frozenset(EventId(row[0]) for row in found)

        return await self._engine.read(run)

    async def claim(self, uid: WriteUid, *, claim_s: float) -> Write | None:
        """Take over a write that nobody works on; None when it has ended, is gone, or somebody does.

        Whoever had it before may have sent something, so one that was merely begun counts as sent from here on.
        """

        async def run(c: Connection) -> Write | None:
            row = await c.fetch_one(
                "UPDATE writes SET fence = fence + 1, claimed_until = $2,"  # noqa: S608  (ours)
                f" state = CASE WHEN state = '{WriteState.STARTED.value}' THEN '{WriteState.SENT.value}' ELSE state END"
                f" WHERE uid = $1 AND claimed_until <= $3 AND state NOT IN ({ENDED}) RETURNING {_COLUMNS}",
                uid,
                to_micros(c.now + timedelta(seconds=claim_s)),
                to_micros(c.now),
            )
            return None if row is None else self._from_row(row)

        return await self._engine.write(run)

    async def hold(self, write: Write, *, claim_s: float) -> None:
        """Say that a write is still being worked on; no error when somebody else does, or it has ended."""

        async def run(c: Connection) -> None:
            await c.execute(
                f"UPDATE writes SET claimed_until = $3 WHERE uid = $1 AND fence = $2 AND state NOT IN ({ENDED})",  # noqa: S608
                write.uid,
                write.fence,
                to_micros(c.now + timedelta(seconds=claim_s)),
            )

        await self._engine.write(run)

    async def break_claims(self) -> None:
        """Free all writes. Only for a database that one process has to itself: whoever worked on them is dead."""

        async def run(c: Connection) -> None:
            now = to_micros(c.now)
            await c.execute(
                f"UPDATE writes SET claimed_until = $1 WHERE state NOT IN ({ENDED}) AND claimed_until > $1",  # noqa: S608
                now,
            )
            await c.execute(
                "UPDATE intents SET ready_at = $1 WHERE kind = $2 AND held_until = 0 AND ready_at > $1",
                now,
                IntentKind.BOOKING_WRITE.value,
            )

        await self._engine.write(run)

    def step_to(self, write: Write, after: Write, *, claim_s: float) -> Step:
        """Return the step that notes how far a write has come; see the function of this name."""
        is_kept = after.payload is None or after.payload == write.payload
        sealed = None
        if not is_kept:
            assert after.payload is not None, "it is kept otherwise"
            sealed = self._vault.seal(after.payload, tenant_uid=write.tenant_uid, role=write.uid)
        return step_to(write, after, claim_s=claim_s, sealed=sealed)

    async def note(self, step: Step) -> None:
        """Carry out a step that is a transaction by itself."""
        await self._engine.write(step)

    async def leave(self, write: Write, *, until: datetime | None = None) -> None:
        """Stop working on a write that has not ended; it is looked at again at `until` (None: at once).

        No error when somebody else works on it already.
        """

        async def run(c: Connection) -> None:
            touched = await c.execute(
                "UPDATE writes SET claimed_until = $3,"  # noqa: S608  (ours)
                f" state = CASE WHEN state = '{WriteState.STARTED.value}' THEN '{WriteState.SENT.value}' ELSE state END"
                f" WHERE uid = $1 AND fence = $2 AND state NOT IN ({ENDED})",
                write.uid,
                write.fence,
                to_micros(c.now),
            )
            if touched:
                await look_at(c, write.uid, write.tenant_uid, until or c.now)
                c.announce(WRITES, write.uid)

        await self._engine.write(run)

    async def forget(self, write: Write) -> None:
        """Undo the beginning of a write of which certainly nothing was sent: the same request may begin anew.

        Raises:
            StoreConflict: somebody else works on it now.
        """

        async def run(c: Connection) -> None:
            if not await c.execute("DELETE FROM writes WHERE uid = $1 AND fence = $2", write.uid, write.fence):
                raise StoreConflict("somebody else works on the write")
            await forget_intent(c, write.uid)
            c.announce(WRITES, write.uid)

        await self._engine.write(run)

    async def prune(self, tenant_uid: TenantUid, *, retention: timedelta, count_max: int) -> int:
        """Drop the oldest writes that ended long ago; return how many."""

        async def run(c: Connection) -> int:
            return await c.execute(
                "DELETE FROM writes WHERE uid IN (SELECT uid FROM writes WHERE tenant_uid = $1 AND updated_at < $2"  # noqa: S608
                f" AND state IN ({ENDED}) ORDER BY updated_at LIMIT $3)",
                tenant_uid,
                to_micros(c.now - retention),
                count_max,
            )

        return await self._engine.write(run)

    def on_news(self, listener: Callable[[WriteUid], None]) -> Callable[[], None]:
        """Call `listener` whenever a write has come further (empty: perhaps any); the result ends it."""
        return self._engine.listen(WRITES, lambda payload: listener(WriteUid(payload)))

    def _from_row(self, row: Row) -> Write:
        uid, tenant_uid = WriteUid(row[0]), TenantUid(row[1])
        return Write(
            uid=uid,
            tenant_uid=tenant_uid,
            room_uid=RoomUid(row[2]),
            request_id=row[3],
            kind=WriteKind(row[4]),
            state=WriteState(row[5]),
            payload=None if row[6] is None else self._vault.unseal(bytes(row[6]), tenant_uid=tenant_uid, role=uid),
            event_id=None if row[7] is None else EventId(row[7]),
            event_created_at=None if row[8] is None else from_micros(row[8]),
            booking_key=None if row[9] is None else BookingKey(row[9]),
            failure=_failure_from(row[10]),
            fence=int(row[11]),
            claimed_until_at=from_micros(row[12]),
            created_at=from_micros(row[13]),
            answer=b"" if row[14] is None else bytes(row[14]),
            hold=Hold(row[15]),
        )


def _failure_from(text: str | None) -> Failure | None:
    return None if text is None else Failure(*json.loads(text))
