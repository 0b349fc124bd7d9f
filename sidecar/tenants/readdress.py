"""Change a mapped room; where its address is to be another one, find out first whether it leads to the same mailbox.

Two things prove it. The directory's object id, where it may be read; else an event that the copy holds: its immutable id
is found through the new address if, and only if, that leads to the calendar that the copy is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from sidecar.errors import (
    GraphRefused,
    GraphUnavailable,
    MailboxDiffers,
    RoomBlocked,
    SecretUnreadable,
    StoreConflict,
    TenantBlocked,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_directory import Identity
from sidecar.model.booking import StoredBooking
from sidecar.model.ids import Mailbox, RoomId, TenantId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.store.room_edits import NewAddress, RoomEdit
from sidecar.store.store import Store

log = structlog.get_logger(__name__)

_EVENTS_ASKED_MAX = 3
"""One that is found proves the mailbox; some may have been deleted a moment ago."""
_TRIES_MAX = 3
"""Of an edit that another one overtakes; a person does not change the same room that often at once."""
_PATIENCE_S = 30.0
_UNANSWERED = (TenantBlocked, RoomBlocked, GraphRefused, SecretUnreadable)


class MailboxReader(Protocol):
    """Looking at mailboxes; `graph.client.GraphClient` is one."""

    async def fetch_identity(self, tenant: TenantRef, mailbox: str) -> Identity | None:
        """Read what the directory says of a mailbox; None when that may not be known."""

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """Read one event; None when it is not there."""

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """Read a mailbox's object id and IANA zone; None for what may not be known."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Whether an address leads to the room's mailbox, and how that is known."""

    is_same: bool
    object_id: str | None = None
    cause: str = ""


class RoomEditor:
    """Changes rooms."""

    def __init__(self, *, store: Store, reader: MailboxReader) -> None:
        self._store = store
        self._reader = reader

    async def edit(
        self,
        tenant_id: TenantId,
        room_id: RoomId,
        edit: RoomEdit,
        *,
        mailbox: Mailbox | None,
        allow_other_mailbox: bool,
        etag: str,
    ) -> Room:
        """Change a room.

        Args:
            edit: without an address; an empty zone stands for the mailbox's own.
            mailbox: the new address; None: it stays.
            allow_other_mailbox: tie the room to the mailbox whatever it is.
        Raises:
            RoomNotFound, EtagMismatch, RoomExists, MailboxDiffers. TenantSuspended, Unavailable: Microsoft has to be asked,
            and must not be or does not answer now.
        """
        for _ in range(_TRIES_MAX):
            room = await self._store.rooms.load(tenant_id, room_id)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    whole = await self._complete(room, edit, mailbox, allow_other_mailbox)
            except TimeoutError as error:
                raise GraphUnavailable("Exchange took too long to say whose mailbox it is") from error
            try:
                changed = await self._store.rooms.update(room, whole, etag=etag)
            except StoreConflict:
                continue
            if whole.address is not None:
                log.info("room.readdressed", room_uid=room.uid, is_same_mailbox=whole.address.is_same_mailbox)
            return changed
        raise GraphUnavailable("the room's mailbox is being changed by somebody else")

    async def _complete(
        self, room: Room, edit: RoomEdit, mailbox: Mailbox | None, allow_other_mailbox: bool
    ) -> RoomEdit:
        """Ask Microsoft for what the edit leaves open."""
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        if mailbox is not None and mailbox != room.mailbox:
            answer = await self._compare(tenant, room, mailbox)
            if not answer.is_same and not allow_other_mailbox and room.horizon is not None:
                sentence = "the address leads to another mailbox, or cannot be shown to lead to the same"
                raise MailboxDiffers(sentence, details={"cause": answer.cause, "mailbox": room.mailbox})
            address = NewAddress(mailbox=mailbox, object_id=answer.object_id, is_same_mailbox=answer.is_same)
            edit = replace(edit, address=address)
        if edit.time_zone == "":
            edit = replace(edit, time_zone=await self._zone(ref_of(tenant), mailbox or room.address))
        return edit

    async def _compare(self, tenant: Tenant, room: Room, mailbox: Mailbox) -> _Answer:
        if mailbox.casefold() == room.mailbox.casefold():
            return _Answer(is_same=True)
        if room.horizon is None:
            return _Answer(is_same=False)  # nothing was read yet, so nothing depends on it
        ref = ref_of(tenant)
        try:
            identity = await self._reader.fetch_identity(ref, mailbox)
            object_id = None if identity is None else identity.id
            if object_id is not None and room.object_id is not None:
                is_same = object_id.casefold() == room.object_id.casefold()
                return _Answer(is_same, object_id, "OTHER_MAILBOX")
            is_same = await self._holds_our_events(ref, room, mailbox)
        except _UNANSWERED as error:
            return _Answer(is_same=False, cause=error.reason)
        return _Answer(is_same, object_id, "NOT_PROVED")

    async def _holds_our_events(self, ref: TenantRef, room: Room, mailbox: Mailbox) -> bool:
        stored = await self._store.calendars.load_stored(room.uid)
        for booking in _latest(list(stored.values())):
            if await self._reader.fetch_event(ref, mailbox, booking.event_id) is not None:
                return True
        return False

    async def _zone(self, ref: TenantRef, mailbox: str) -> str:
        try:
            _, zone = await self._reader.fetch_mailbox(ref, mailbox)
        except _UNANSWERED:
            return ""
        return zone or ""


def _latest(stored: Sequence[StoredBooking]) -> list[StoredBooking]:
    """Return the bookings that lie furthest ahead: they are the least likely to be gone."""
    return sorted(stored, key=lambda booking: (booking.end_at, booking.key))[-_EVENTS_ASKED_MAX:]
