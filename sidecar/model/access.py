"""What a caller may do, and with which tenants."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import TenantId


class Scope(enum.StrEnum):
    """What callers may be let do. Nothing is part of another: a caller that also writes is given both."""

    BOOKINGS_READ = "bookings.read"
    """List, get and watch bookings."""
    BOOKINGS_WRITE = "bookings.write"
    """Book, change, cancel and release."""
    ROOMS_READ = "rooms.read"
    """Get and list rooms."""
    ROOMS_ADMIN = "rooms.admin"
    """Discover, map, change and unmap rooms."""
    TENANTS_READ = "tenants.read"
    """Get, list and watch tenants, and read what their administrators run."""
    TENANTS_ADMIN = "tenants.admin"
    """Register, change, suspend and delete tenants, and replace their credentials."""
    AUDIT_READ = "audit.read"
    """Read who changed what."""
    TASKS_READ = "tasks.read"
    """List chores, lanes and runs, and follow runs."""
    TASKS_RUN = "tasks.run"
    """Drain lanes, and have chores done now."""
    DIAGNOSTICS = "diagnostics"
    """Have Microsoft asked what works; with it also a test booking that is removed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a caller may do.

    Attributes:
        caller: id that its limits are counted under; empty: whoever the listener itself lets in, without such limits.
        identity: what was proved, for the audit; empty: nothing.
        tenants: ids of the tenants that it may name; None: all. For such a caller no other tenant exists.
        expire_at: the first instant at which it may nothing any more; None: it has no end.
    """

    caller: str
    identity: str
    scopes: frozenset[Scope]
    tenants: frozenset[TenantId] | None
    expire_at: datetime | None


TRUSTED = Grant(caller="", identity="", scopes=frozenset(Scope), tenants=None, expire_at=None)
"""Of callers that proved themselves by reaching a listener which only trusted ones reach."""
