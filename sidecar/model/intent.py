"""What is due: background work as rows of the store, not as jobs in a queue."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import TenantUid


class IntentKind(enum.StrEnum):
    """The chores."""

    ROOM_SYNC = "room.sync"
    """Read the events that notifications named."""
    ROOM_CHECK = "room.check"
    """Ask which events of a room changed, and read them."""
    ROOM_COMPARE = "room.compare"
    """Read a room's whole calendar."""
    ROOM_SUBSCRIBE = "room.subscribe"
    """Make sure that Graph will call us about a room."""
    SUBSCRIPTION_REMOVE = "subscription.remove"
    """Delete a subscription at Graph that nothing uses any more."""
    SUBSCRIPTION_AUDIT = "subscription.audit"
    """Compare a tenant's subscriptions with those at Graph."""
    BOOKING_WRITE = "booking.write"
    """Bring a write to its end that nobody works on any more."""
    TENANT_VERIFY = "tenant.verify"
    """Find out whether Microsoft accepts a tenant's credential."""
    TENANT_CREDENTIALS = "tenant.credentials"
    """Prove a tenant's next credential, and say when the current one is about to run out."""
    TENANT_PULSE = "tenant.pulse"
    """Notice when Microsoft has answered nothing for a tenant for a while, or has not called us."""
    TENANT_ERASE = "tenant.erase"
    """Erase what a tenant's settings do not let be kept any more, and a credential that it used before."""
    TENANT_SCRUB = "tenant.scrub"
    """Have a credential that was replaced go from the files, too."""
    TENANT_PROPAGATION = "tenant.propagation"
    """Look whether rooms that refuse us can be read since access was granted."""
    TEST_BOOKING_REMOVE = "test_booking.remove"
    """Remove what a reserve test left in a mailbox."""
    TENANT_REMOVE = "tenant.remove"
    """Erase a deleted tenant."""
    LOG_PRUNE = "log.prune"
    """Drop changes that are too old to resume from."""


class Priority(enum.IntEnum):
    """Lower goes first.

    The number is stored with the work, and a process leaves work of a number that it does not know alone, until somebody marks
    it more urgent: a release that gives known work a new number comes after one that knows it.
    """

    HINT = 10
    REPAIR = 20
    CHECK = 25
    COMPARE = 30
    IMPORT = 40


PRIORITY_ORDER = tuple(sorted(Priority))


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One piece of due work.

    `key` names what it is about (a room uid, a subscription key, a tenant uid, a transaction and a mailbox); no two intents
    with the same key run at once. `generation` counts the marks: one made during a run causes one more run. `lane` is the
    tenant. `trace` holds the contexts of the traces that the marks were made in, separated by spaces.
    """

    kind: IntentKind
    key: str
    lane: TenantUid
    priority: Priority
    ready_at: datetime
    generation: int
    attempts: int
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a lane. `fence` grows with each lease; a write with an old one is refused."""

    lane: TenantUid
    fence: int
