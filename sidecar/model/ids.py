"""Identifiers, one type each, and the names that callers see."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NewType

TenantId = NewType("TenantId", str)
"""The caller's own id of a tenant."""
TenantUid = NewType("TenantUid", str)
"""Our id of a tenant; another one after it was deleted and registered again."""
RoomId = NewType("RoomId", str)
"""The caller's own id of a room, unique within its tenant."""
RoomUid = NewType("RoomUid", str)
"""Our id of a room; sorts by the time of mapping."""
BookingKey = NewType("BookingKey", str)
"""Id of a booking, unique within its room."""
EventId = NewType("EventId", str)
"""Graph's immutable id of an event. Opaque, case-sensitive."""
Mailbox = NewType("Mailbox", str)
"""Address of a room mailbox as the caller wrote it; compare case-folded."""

ALL_ROOMS = "-"
"""In place of a room id: every room of the tenant."""


def booking_key(room_uid: RoomUid, calendar_uid: str, original_start_at: datetime | None) -> BookingKey:
    """Derive the id of a booking from what Exchange never changes about it.

    A rebuilt copy gives the same id, and a meeting that moves keeps it: a single meeting has no original start, an
    occurrence has the one its pattern gave. Exchange gives each occurrence a calendar uid of its own; the original start
    is there for the calendars that do not.
    """
    start = "" if original_start_at is None else str(int(original_start_at.timestamp()))
    text = f"{room_uid}\n{calendar_uid}\n{start}".encode("utf-8", "surrogatepass")
    return BookingKey(hashlib.blake2b(text, digest_size=12).hexdigest())
