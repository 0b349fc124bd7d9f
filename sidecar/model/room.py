"""A mapped room, and how far its copy can be trusted."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from sidecar.model.ids import Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.lifecycle import Suspension, suspended
from sidecar.model.plan import DeltaPlace
from sidecar.model.privacy import DEFAULT_PRIVACY, Privacy
from sidecar.model.problem import PASSING_REASONS, Problem
from sidecar.model.tenant import BLOCKING_REASONS
from sidecar.model.tenant_settings import NO_SETTINGS, TenantSettings
from sidecar.model.window import Window
from sidecar.settings import SyncSettings


class RoomState(enum.StrEnum):
    """What stands between a room and normal service."""

    IMPORTING = "importing"
    UP = "up"
    PENDING_PROPAGATION = "pending_propagation"
    DEGRADED = "degraded"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    NOT_CLOUD_MAILBOX = "not_cloud_mailbox"
    CREDENTIAL_EXPIRED = "credential_expired"
    PAUSED = "paused"

    @property
    def is_blocked(self) -> bool:
        """Whether the room cannot be read before a person acts."""
        return self in _BLOCKED


class SyncState(enum.StrEnum):
    """How far a copy can be trusted, from the best to the worst."""

    LIVE = "live"
    POLLING = "polling"
    INITIALIZING = "initializing"
    STALE = "stale"
    PAUSED = "paused"
    BLOCKED = "blocked"


_ROOM_REASONS = {
    "ACCESS_PENDING": RoomState.PENDING_PROPAGATION,
    "MAILBOX_ACCESS_DENIED": RoomState.DENIED,
    "MAILBOX_NOT_FOUND": RoomState.NOT_FOUND,
    "MAILBOX_NOT_IN_CLOUD": RoomState.NOT_CLOUD_MAILBOX,
}


DENIALS = frozenset({"ACCESS_PENDING", "MAILBOX_ACCESS_DENIED"})
"""Reasons of a room that the application may not read."""


def choose_to_try(rooms: Sequence[Room], *, count_max: int, rng: Random) -> list[Room]:
    """Choose rooms to find out about their tenant by, in another order each time.

    Those in trouble come last: one mailbox's trouble must not pass for all's.
    """
    shuffled = rng.sample(list(rooms), len(rooms))
    return sorted(shuffled, key=lambda room: room.problem is not None)[:count_max]


def outage_since(*problems: Problem | None) -> datetime | None:
    """Return since when problems say that Exchange is away; None when they say nothing of the kind."""
    found = (problem for problem in problems if problem is not None and problem.reason in PASSING_REASONS)
    return min((problem.first_seen_at for problem in found), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room.

    `horizon` is that of the last complete read, None before the first; everything that Exchange held inside of it at
    `fresh_as_of_at` is in the copy. `is_subscribed` means that Exchange has promised to call us, until
    `subscribed_until_at`. Four things can stand in the way: `tenant_problem` (the whole tenant is refused), `problem` (this
    mailbox cannot be read), `hold_problem` (a read lacked many bookings, and is not believed yet) and
    `subscription_problem` (it can be read, but its changes are not announced). `resyncs` counts the requests for a new
    snapshot that no read has answered yet. `delta` is where the next look for changes begins; `no_delta_until_at` says
    until when this mailbox does without. `news_at` is when the room's bookings last changed in the copy. With a `suspension`,
    of the whole tenant, nothing is read. `settings` are the tenant's own; `read_privacy` is what the last full read admitted.
    `calendar_no` counts the mailboxes that the room has been tied to: what was read for another number is of another calendar.
    `readdressed_at` is when it was last tied to another one. `given_key` is the address that the caller gave, case-folded,
    where Microsoft has told another one since.
    """

    uid: RoomUid
    tenant_uid: TenantUid
    tenant_id: TenantId
    room_id: RoomId
    mailbox: Mailbox
    object_id: str | None
    display_name: str
    time_zone: str
    capacity: int
    annotations: dict[str, str]
    tenant_problem: Problem | None
    problem: Problem | None
    subscription_problem: Problem | None
    horizon: Window | None
    fresh_as_of_at: datetime | None
    is_subscribed: bool
    drift_count: int
    resyncs: int
    version: int
    created_at: datetime
    updated_at: datetime
    subscribed_until_at: datetime | None = None
    delta: DeltaPlace | None = None
    no_delta_until_at: datetime | None = None
    news_at: datetime | None = None
    hold_problem: Problem | None = None
    suspension: Suspension | None = None
    settings: TenantSettings = NO_SETTINGS
    read_privacy: Privacy = DEFAULT_PRIVACY
    calendar_no: int = 1
    given_key: str | None = None
    readdressed_at: datetime | None = None

    @property
    def address(self) -> str:
        """What to call the mailbox by at Microsoft: its object id, which survives a change of address, once it is known."""
        return self.object_id or self.mailbox

    @property
    def mapped_at(self) -> datetime:
        """When the room was tied to its present mailbox, from which moment on somebody means it to be read."""
        return self.readdressed_at or self.created_at

    @property
    def name(self) -> str:
        """The name callers use."""
        return f"tenants/{self.tenant_id}/rooms/{self.room_id}"

    @property
    def state(self) -> RoomState:
        """What stands between the room and normal service; follows from the facts and is never stored."""
        return room_state(
            is_paused=self.suspension is not None,
            tenant_reason=None if self.tenant_problem is None else self.tenant_problem.reason,
            room_reason=None if self.problem is None else self.problem.reason,
            is_read=self.fresh_as_of_at is not None,
            is_hindered=bool(self.problems),
        )

    @property
    def is_announced(self) -> bool:
        """Whether Exchange tells of this room's changes."""
        return self.is_subscribed and self.subscription_problem is None

    @property
    def outage_since_at(self) -> datetime | None:
        """Since when Exchange is away from the whole tenant, or from this mailbox; None: it is not."""
        return outage_since(self.tenant_problem, self.problem)

    @property
    def problems(self) -> list[Problem]:
        """Everything that stands in the way, the widest first."""
        wanted = None if self.suspension is None else suspended(self.suspension)
        found = (wanted, self.tenant_problem, self.problem, self.hold_problem, self.subscription_problem)
        return [problem for problem in found if problem is not None]


_BLOCKED = frozenset({*_ROOM_REASONS.values(), RoomState.CREDENTIAL_EXPIRED})
CHECK_SPREAD = 1.1
"""Checks are jittered by a tenth."""
CLOCK_TOLERANCE_S = 60.0
"""Clocks of processes and databases differ by less. A check further ahead was dated by a clock that has been set back since;
its true age is unknown, and nobody may vouch for the copy until the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessLimits:
    """How old a copy may be before nobody vouches for it any more, in seconds.

    Attributes:
        live_s: of a room whose changes are announced, since its last complete check, where the tenant has no own pace.
        polling_s: of a room whose changes are not.
        outage_s: how long Exchange may be away, from the tenant as a whole or from the room's mailbox.
    """

    live_s: float
    polling_s: float
    outage_s: float

    def live_within_s(self, check_interval_s: int | None) -> float:
        """Return how old the copy of an announced room may be, given its tenant's own pace of checks."""
        return self.live_s if check_interval_s is None else check_interval_s * CHECK_SPREAD + self.polling_s


def freshness_limits(settings: SyncSettings) -> FreshnessLimits:
    """Return the limits that follow from how often rooms are checked, and how late a check may be."""
    budget_s = settings.freshness_budget_s
    live_s = settings.check_interval_s * CHECK_SPREAD + budget_s
    return FreshnessLimits(live_s=live_s, polling_s=budget_s, outage_s=budget_s)


def room_state(
    *, is_paused: bool, tenant_reason: str | None, room_reason: str | None, is_read: bool, is_hindered: bool
) -> RoomState:
    """Tell what stands between a room and normal service, from the bare facts.

    Args:
        tenant_reason, room_reason: of the tenant's problem, and of what keeps this mailbox from being read.
        is_read: its calendar was read as a whole at least once.
        is_hindered: something stands in the way, of the room or of the tenant, whatever it is.
    """
    if is_paused:
        return RoomState.PAUSED
    if tenant_reason in BLOCKING_REASONS:
        return RoomState.CREDENTIAL_EXPIRED
    if room_reason in _ROOM_REASONS:
        return _ROOM_REASONS[room_reason]
    if not is_read:
        return RoomState.IMPORTING
    return RoomState.DEGRADED if is_hindered else RoomState.UP


def sync_state(room: Room, *, now: datetime, limits: FreshnessLimits) -> SyncState:
    """Tell how far a room's copy can be trusted at this moment; follows from facts and the clock alone."""
    return copy_state(
        is_paused=room.suspension is not None,
        is_blocked=room.state.is_blocked,
        is_announced=room.is_announced,
        fresh_as_of_at=room.fresh_as_of_at,
        outage_since_at=room.outage_since_at,
        check_interval_s=room.settings.check_interval_s,
        now=now,
        limits=limits,
    )


def copy_state(
    *,
    is_paused: bool,
    is_blocked: bool,
    is_announced: bool,
    fresh_as_of_at: datetime | None,
    outage_since_at: datetime | None,
    check_interval_s: int | None,
    now: datetime,
    limits: FreshnessLimits,
) -> SyncState:
    """Tell the same from the bare facts; the arguments are named like those of `Room`."""
    if is_paused:
        return SyncState.PAUSED
    if is_blocked:
        return SyncState.BLOCKED
    if fresh_as_of_at is None:
        return SyncState.INITIALIZING
    if outage_since_at is not None and (now - outage_since_at).total_seconds() > limits.outage_s:
        return SyncState.STALE
    age_s = (now - fresh_as_of_at).total_seconds()
    if age_s < -CLOCK_TOLERANCE_S or age_s > (
        limits.live_within_s(check_interval_s) if is_announced else limits.polling_s
    ):
        return SyncState.STALE
    return SyncState.LIVE if is_announced else SyncState.POLLING
