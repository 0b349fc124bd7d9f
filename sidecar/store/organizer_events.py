"""Events of ours in people's calendars: where each is, for as long as somebody may want to change or cancel it.

A room's own copy of a meeting says neither in which calendar the original lies nor that it is ours, so it is kept here. The
address of a person is sealed, whatever a tenant lets be kept of organizers: without it nothing could be cancelled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import EventId, RoomUid, TenantUid
from sidecar.model.organizer_event import OrganizerEvent, meeting_uid_of
from sidecar.model.window import from_micros, to_micros
from sidecar.model.write import WriteUid
from sidecar.store.engine import Connection, Engine, Row, Transaction, padded, places
from sidecar.store.vault import Vault

ORGANIZER_ROLE = "organizer of "
"""Before the uid of the write that made the event."""
_AT_ONCE = 100
"""Meetings that one query asks for: a full read of a room asks for hundreds, and each query is a way to the database."""

_EVENT = (
    "SELECT room_uid, meeting_uid, tenant_uid, write_uid, event_id, sealed, annotations, over_at FROM organizer_events"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a meeting of ours whatever the room's copy of it says."""

    write_uid: WriteUid
    annotations: tuple[tuple[str, str], ...]


class OrganizerEvents:
    """The events."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault

    def saving(self, event: OrganizerEvent) -> Transaction[None]:
        """Return what notes where an event is, or what is different about it, as part of a transaction."""

        async def run(c: Connection) -> None:
            role = ORGANIZER_ROLE + event.write_uid
            await c.execute(
                "INSERT INTO organizer_events (room_uid, meeting_uid, tenant_uid, write_uid, event_id, sealed, annotations,"
                " over_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (room_uid, meeting_uid) DO UPDATE SET"
                " write_uid = $4, event_id = $5, sealed = $6, annotations = $7, over_at = $8",
                event.room_uid,
                event.meeting_uid,
                event.tenant_uid,
                event.write_uid,
                event.event_id,
                self._vault.seal(event.mailbox.encode(), tenant_uid=event.tenant_uid, role=role),
                json.dumps(dict(event.annotations), sort_keys=True),
                None if event.over_at is None else to_micros(event.over_at),
            )

        return run

    async def save(self, event: OrganizerEvent) -> None:
        """Note where an event is, or what is different about it."""
        await self._engine.write(self.saving(event))

    async def find(self, room_uid: RoomUid, calendar_uid: str) -> OrganizerEvent | None:
        """Return the event behind a booking, by the uid of the booking or of its series; None when it is not ours.

        Raises:
            SecretUnreadable: the key ring lacks the key that its address is sealed with.
        """

        async def run(c: Connection) -> Row | None:
            where = "room_uid = $1 AND meeting_uid = $2"
            return await c.fetch_one(f"{_EVENT} WHERE {where}", room_uid, meeting_uid_of(calendar_uid))

        return self._from_row(await self._engine.read(run))

    async def find_made_by(self, write_uid: WriteUid) -> OrganizerEvent | None:
        """Return the event that a write made; None when it is forgotten. Raises what `find` raises."""
        row = await self._engine.read(lambda c: c.fetch_one(f"{_EVENT} WHERE write_uid = $1", write_uid))
        return self._from_row(row)

    def _from_row(self, row: Row | None) -> OrganizerEvent | None:
        if row is None:
            return None
        tenant_uid, write_uid = TenantUid(row[2]), WriteUid(row[3])
        return OrganizerEvent(
            room_uid=RoomUid(row[0]),
            meeting_uid=row[1],
            tenant_uid=tenant_uid,
            write_uid=write_uid,
            mailbox=self._vault.unseal(bytes(row[5]), tenant_uid=tenant_uid, role=ORGANIZER_ROLE + write_uid).decode(),
            event_id=EventId(row[4]),
            annotations=json.loads(row[6]),
            over_at=None if row[7] is None else from_micros(row[7]),
        )

    async def prune(self, tenant_uid: TenantUid, *, over_before: datetime) -> int:
        """Drop events that were over before then and that the copy does not reach back to any more; return how many."""

        async def run(c: Connection) -> int:
            return await c.execute(
                "DELETE FROM organizer_events WHERE tenant_uid = $1 AND over_at < $2 AND over_at <"
                " (SELECT r.horizon_start_at FROM rooms r WHERE r.uid = organizer_events.room_uid)",
                tenant_uid,
                to_micros(over_before),
            )

        return await self._engine.write(run)


async def drop_in(c: Connection, write_uid: WriteUid) -> None:
    """Forget the event that a write made, within somebody else's transaction."""
    await c.execute("DELETE FROM organizer_events WHERE write_uid = $1", write_uid)


async def load_known(c: Connection, room_uid: RoomUid, calendar_uids: Iterable[str]) -> dict[str, Known]:
    """Return what is known of those calendar uids that belong to meetings of ours, within somebody else's transaction."""
    wanted: dict[str, list[str]] = {}
    for uid in calendar_uids:
        wanted.setdefault(meeting_uid_of(uid), []).append(uid)
    if not wanted or await c.fetch_one("SELECT 1 FROM organizer_events WHERE room_uid = $1 LIMIT 1", room_uid) is None:
        return {}
    known: dict[str, Known] = {}
    meeting_uids = sorted(wanted)
    for first in range(0, len(meeting_uids), _AT_ONCE):
        asked = padded(meeting_uids[first : first + _AT_ONCE])
        found = await c.fetch(
            "SELECT meeting_uid, write_uid, annotations FROM organizer_events"  # noqa: S608  (numbers of places)
            f" WHERE room_uid = $1 AND meeting_uid IN ({places(asked, first=2)})",
            room_uid,
            *asked,
        )
        for meeting_uid, write_uid, noted in found:
            told = Known(WriteUid(write_uid), tuple(sorted(json.loads(noted).items())))
            known |= dict.fromkeys(wanted[meeting_uid], told)
    return known
