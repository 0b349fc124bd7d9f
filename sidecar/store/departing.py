"""What the log keeps of bookings that leave the copy: what is stored of them, or less while stricter settings are carried out.

Erasing goes through what is stored. A booking that leaves before its turn comes would take its words into the log, into an
entry that is newer than what is erased of it.

These functions run inside somebody else's transaction and never begin one of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sidecar.model.attendance import Attendance
from sidecar.model.ids import TenantUid
from sidecar.model.privacy import Privacy, Visibility
from sidecar.store import rows
from sidecar.store.engine import Connection


class BodyStamper(Protocol):
    """Gives encoded bookings another revision, takes words and people out of them, and puts our own data in."""

    def stamp(self, body: bytes, *, revision: int) -> bytes:
        """Return the same booking with this revision."""

    def restrict(self, body: bytes, *, privacy: Privacy, hash_key: bytes) -> tuple[bytes, bytes]:
        """Return an encoded booking with no more words and people than may be kept, and its digest."""

    def attend(self, body: bytes, attendance: Attendance) -> tuple[bytes, bytes]:
        """Return an encoded booking with our own data in place of what it has of it, and its digest."""


Departing = Callable[[bytes, int], bytes]
"""Returns what the log keeps of an encoded booking, under a revision."""


async def load_departing(c: Connection, tenant_uid: TenantUid, stamper: BodyStamper) -> Departing:
    """Return how a tenant's bookings leave now; the caller keeps the tenant."""
    row = await c.fetch_one("SELECT privacy FROM tenants WHERE uid = $1 AND erase_through IS NOT NULL", tenant_uid)
    if row is None:
        return lambda body, revision: stamper.stamp(body, revision=revision)
    privacy = _unhashed(rows.privacy_from_text(row[0]))

    def restrict(body: bytes, revision: int) -> bytes:
        return stamper.stamp(stamper.restrict(body, privacy=privacy, hash_key=b"")[0], revision=revision)

    return restrict


def _unhashed(privacy: Privacy) -> Privacy:
    """Leave out what would be hashed: its key may be out of reach, and a booking that goes must not wait for it."""
    subject, organizer, attendees = (
        Visibility.MASKED if known is Visibility.HASHED else known
        for known in (privacy.subject, privacy.organizer, privacy.attendees)
    )
    return replace(privacy, subject=subject, organizer=organizer, attendees=attendees)
