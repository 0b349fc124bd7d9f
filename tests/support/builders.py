"""Values for tests: each builder gives something whole and ordinary, and takes what the test is about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sidecar.model.booking import Booking, BookingState, Person, StoredBooking, booking_digest
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId, Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.plan import CompleteRead, Removal, RoomPlan, Upsert
from sidecar.model.problem import Actor, Problem
from sidecar.model.room import Room
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.model.tenant import Cloud, Credential, CredentialKind
from sidecar.model.window import Window
from sidecar.store.calendars import Planner
from sidecar.store.rooms import RoomMapping
from sidecar.store.tenants import Registration, secret_fingerprint

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
HORIZON = Window(NOW - timedelta(days=1), NOW + timedelta(days=30))
ALWAYS = Window(NOW - timedelta(days=3650), NOW + timedelta(days=3650))
DIRECTORY = "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"
TENANT = TenantId("acme")
CANARY = "CANARY-5f2b9e"
"""Part of every secret in these tests; it may never turn up in a file, an error or a log."""


def after(**span: float) -> datetime:
    """Return the instant that lies this much after NOW: `after(hours=2)`."""
    return NOW + timedelta(**span)


def make_booking(key: str = "b1", **changes: Any) -> Booking:  # any field of a booking
    """Build a confirmed single meeting of one hour at NOW; `minutes` gives it another length."""
    start_at = changes.pop("start_at", NOW)
    end_at = changes.pop("end_at", start_at + timedelta(minutes=changes.pop("minutes", 60)))
    booking = Booking(
        key=BookingKey(key),
        event_id=EventId(f"event-{key}"),
        master_id=None,
        change_key="ck1",
        start_at=start_at,
        end_at=end_at,
        time_zone="Europe/Berlin",
        is_all_day=False,
        state=BookingState.CONFIRMED,
        subject="Design review",
        organizer=Person("ada@contoso.example", "Ada"),
        attendees=(),
        is_private=False,
        series_id=None,
        original_start_at=None,
        is_exception=False,
        online_meeting_uri="",
        calendar_uid=f"uid-{key}",
        created_at=NOW - timedelta(days=7),
        updated_at=NOW - timedelta(days=6),
    )
    return replace(booking, **changes)


def upsert(booking: Booking, kind: ChangeKind | None = ChangeKind.UPSERTED, cause: Cause = Cause.NONE) -> Upsert:
    """Build the part of a plan that writes a booking."""
    return Upsert(booking, booking_digest(booking), kind, cause)


def removal(key: str, kind: ChangeKind | None = ChangeKind.REMOVED, cause: Cause = Cause.DELETED) -> Removal:
    """Build the part of a plan that drops a booking."""
    return Removal(BookingKey(key), kind, cause)


def always(*items: Upsert | Removal) -> Planner:
    """Build a planner that decides the same whatever is stored."""
    plan = RoomPlan(
        upserts=tuple(item for item in items if isinstance(item, Upsert)),
        removals=tuple(item for item in items if isinstance(item, Removal)),
    )
    return lambda _: plan


def towards(wanted: Mapping[BookingKey, Booking], horizon: Window = ALWAYS) -> Planner:
    """Build a planner that makes the stored bookings equal `wanted`, as far as these lie in the horizon."""
    inside = {key: item for key, item in wanted.items() if horizon.overlaps(item.start_at, item.end_at)}

    def plan(stored: Mapping[BookingKey, StoredBooking]) -> RoomPlan:
        upserts: list[Upsert] = []
        for key, booking in sorted(inside.items()):
            before = stored.get(key)
            if before is not None and before.digest == booking_digest(booking):
                continue
            if booking.state.takes_room:
                upserts.append(upsert(booking))
            elif before is not None and before.takes_room:
                upserts.append(upsert(booking, ChangeKind.REMOVED, Cause.CANCELLED))
            else:
                upserts.append(upsert(booking, None))
        removals = [_departure(stored[key], horizon) for key in sorted(stored.keys() - inside.keys())]
        return RoomPlan(upserts=tuple(upserts), removals=tuple(removals))

    return plan


def _departure(before: StoredBooking, horizon: Window) -> Removal:
    if not before.takes_room:
        return Removal(before.key, None, Cause.NONE)
    if horizon.overlaps(before.start_at, before.end_at):
        return Removal(before.key, ChangeKind.REMOVED, Cause.DELETED)
    return Removal(before.key, ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON)


def complete_read(horizon: Window = HORIZON, *, began_at: datetime = NOW, resyncs: int = 0) -> CompleteRead:
    """Build the facts of a read of the whole horizon."""
    return CompleteRead(horizon=horizon, began_at=began_at, resyncs=resyncs)


def make_registration(tenant_id: str = TENANT, **changes: Any) -> Registration:  # any field of a registration
    """Build a tenant with a client secret; `secret` gives it another one."""
    secret: str = changes.pop("secret", f"{CANARY}-secret")
    registration = Registration(
        tenant_id=TenantId(tenant_id),
        display_name="Acme",
        directory_id=DIRECTORY,
        cloud=Cloud.GLOBAL,
        credential=Credential(application_id="app-1", kind=CredentialKind.CLIENT_SECRET, proof=secret.encode()),
        fingerprint=secret_fingerprint(secret),
        expires_at=None,
    )
    return replace(registration, **changes)


def make_mapping(room_id: str = "r1", **changes: Any) -> RoomMapping:  # any field of a mapping
    """Build a room to be mapped, with a mailbox named after it."""
    mapping = RoomMapping(
        room_id=RoomId(room_id),
        mailbox=Mailbox(f"{room_id}@contoso.example"),
        display_name=f"Room {room_id}",
        time_zone="",
        capacity=8,
        annotations={},
    )
    return replace(mapping, **changes)


def make_room(**changes: Any) -> Room:  # any field of a room
    """Build a room that is up, without a store."""
    room = Room(
        uid=RoomUid("r1"),
        tenant_uid=TenantUid("t1"),
        tenant_id=TENANT,
        room_id=RoomId("r1"),
        mailbox=Mailbox("r1@contoso.example"),
        object_id=None,
        display_name="Room r1",
        time_zone="Europe/Berlin",
        capacity=8,
        annotations={},
        tenant_problem=None,
        problem=None,
        subscription_problem=None,
        horizon=HORIZON,
        fresh_as_of_at=NOW,
        is_subscribed=True,
        drift_count=0,
        resyncs=0,
        version=1,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(room, **changes)


def make_problem(reason: str = "MAILBOX_ACCESS_DENIED", *, seen_at: datetime = NOW) -> Problem:
    """Build a problem that was seen once."""
    return Problem(
        reason=reason,
        message="Exchange refused.",
        action="Ask the administrator.",
        actor=Actor.CUSTOMER,
        first_seen_at=seen_at,
        last_seen_at=seen_at,
    )


def secret_hash(secret: str) -> bytes:
    """Return what is kept of a client state's secret."""
    return hashlib.sha256(secret.encode()).digest()


def make_notification(key: str = "s1", **changes: Any) -> Notification:  # any field of a notification
    """Build a genuine notification about one event; `secret` gives it another secret."""
    notification = Notification(
        key=key,
        secret_hash=secret_hash(changes.pop("secret", f"{CANARY}-state")),
        directory_id=DIRECTORY,
        event_id=EventId("event-b1"),
        lifecycle=None,
    )
    return replace(notification, **changes)


def make_lifecycle(kind: Lifecycle, key: str = "s1") -> Notification:
    """Build one of Graph's maintenance notices."""
    return make_notification(key, event_id=None, lifecycle=kind)
