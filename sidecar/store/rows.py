"""Rows to model values and back; the only place that knows how a column is spelled as a value."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache

import msgspec

from sidecar.model.change import Change, ChangeKind
from sidecar.model.ids import BookingKey, Mailbox, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.model.lifecycle import Suspension
from sidecar.model.plan import DeltaPlace
from sidecar.model.privacy import DEFAULT_PRIVACY, Privacy
from sidecar.model.problem import Problem
from sidecar.model.room import Room
from sidecar.model.subscription import Subscription
from sidecar.model.tenant import Cloud, CredentialInfo, CredentialKind, CredentialRole, Tenant
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.window import Window, from_micros, to_micros
from sidecar.model.write import WriteMode
from sidecar.store.engine import Row

_CREDENTIAL_COLUMNS = (
    "application_id",
    "kind",
    "fingerprint",
    "expires_at",
    "proven_at",
    "added_at",
    "refused_at",
    "ends_at",
    "problem",
    "read_room",
    "request_id",
)


def _columns_of(alias: str) -> str:
    return ", ".join(f"{alias}.{column}" for column in _CREDENTIAL_COLUMNS)


TENANT = f"""
SELECT t.uid, t.tenant_id, t.display_name, t.directory_id, t.cloud, t.problem, t.verified_at, t.deleted_at, t.version,
       t.revision, t.created_at, t.updated_at, t.suspended_at, t.suspend_reason, t.purge_at,
       t.erasing_since_at, t.past_days, t.future_days, t.check_interval_s, t.privacy, t.write_mode,
       {_columns_of("c")}, {_columns_of("n")}, {_columns_of("p")}
  FROM tenants t JOIN credentials c ON c.tenant_uid = t.uid AND c.role = 'current'
  LEFT JOIN credentials n ON n.tenant_uid = t.uid AND n.role = 'next'
  LEFT JOIN credentials p ON p.tenant_uid = t.uid AND p.role = 'previous'
"""  # noqa: S608  (ours)

ROOM = """
SELECT r.uid, r.tenant_uid, t.tenant_id, r.room_id, r.mailbox, r.object_id, r.display_name, r.time_zone, r.capacity,
       r.annotations, t.problem, r.problem, r.subscription_problem, r.horizon_start_at, r.horizon_end_at,
       r.fresh_as_of_at, s.expires_at, r.drift_count, r.resyncs, r.version, r.created_at, r.updated_at,
       r.delta_link, r.delta_start_at, r.delta_end_at, r.no_delta_until_at, r.news_at, r.hold_problem,
       t.suspended_at, t.suspend_reason,
       t.past_days, t.future_days, t.check_interval_s, t.privacy, r.read_privacy,
       r.calendar_no, r.given_key, t.write_mode, r.readdressed_at
  FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid
  LEFT JOIN subscriptions s ON s.room_uid = r.uid AND s.graph_id IS NOT NULL
"""

SUBSCRIPTION = """
SELECT key, room_uid, beside_room_uid, tenant_uid, directory_id, secret_hash, graph_id, expires_at, renew_at, url, mailbox,
       sealed_state IS NOT NULL, created_at, notified_at, lifecycle_at
  FROM subscriptions
"""

INTENT = "SELECT kind, key, lane, priority, ready_at, generation, attempts, trace FROM intents"

CHANGE = "SELECT revision, room_uid, kind, cause, booking_key, body, recorded_at, trace FROM changes"

_PROBLEM = msgspec.json.Decoder(Problem)
_PRIVACY = msgspec.json.Decoder(Privacy)
_ENCODER = msgspec.json.Encoder()


def problem_to_text(problem: Problem | None) -> str | None:
    """Spell a problem for its column."""
    return None if problem is None else _ENCODER.encode(problem).decode()


def problem_from_text(text: str | None) -> Problem | None:
    """Read a problem column."""
    return None if text is None else _PROBLEM.decode(text)


def instant(micros: int | None) -> datetime | None:
    """Read a column that holds an instant or nothing."""
    return None if micros is None else from_micros(micros)


def micros(at: datetime | None) -> int | None:
    """Spell an instant or nothing."""
    return None if at is None else to_micros(at)


def privacy_to_text(privacy: Privacy) -> str | None:
    """Spell visibilities for their column; the default is no text."""
    return None if privacy == DEFAULT_PRIVACY else _ENCODER.encode(privacy).decode()


@lru_cache(maxsize=1024)
def privacy_from_text(text: str | None) -> Privacy:
    """Read a column of visibilities."""
    return DEFAULT_PRIVACY if text is None else _PRIVACY.decode(text)


@lru_cache(maxsize=1024)
def settings_from_columns(
    past_days: int | None,
    future_days: int | None,
    check_interval_s: int | None,
    privacy: str | None,
    write_mode: int | None,
) -> TenantSettings:
    """Read the columns of a tenant's settings."""
    return TenantSettings(
        past_days=past_days,
        future_days=future_days,
        check_interval_s=check_interval_s,
        privacy=privacy_from_text(privacy),
        write_mode=WriteMode.ROOM if write_mode is None else WriteMode(write_mode),
    )


def _credential_from(columns: Row, role: CredentialRole) -> CredentialInfo:
    return CredentialInfo(
        role=role,
        application_id=columns[0],
        kind=CredentialKind(columns[1]),
        fingerprint=columns[2],
        expires_at=instant(columns[3]),
        proven_at=instant(columns[4]),
        added_at=instant(columns[5]),
        refused_at=instant(columns[6]),
        ends_at=instant(columns[7]),
        problem=problem_from_text(columns[8]),
        read_room=columns[9] or "",
        request_id=columns[10] or "",
    )


def tenant_from_row(row: Row) -> Tenant:
    """Read a row of TENANT, whose last columns are those of the three credentials."""
    width = len(_CREDENTIAL_COLUMNS)
    first = len(row) - 3 * width
    parts = [tuple(row[first + at * width : first + (at + 1) * width]) for at in range(3)]
    credential, following, previous = (
        None if part[0] is None else _credential_from(part, role)
        for part, role in zip(parts, CredentialRole, strict=True)
    )
    assert credential is not None, "joined"
    return Tenant(
        uid=TenantUid(row[0]),
        tenant_id=TenantId(row[1]),
        display_name=row[2],
        directory_id=row[3],
        cloud=Cloud(row[4]),
        problem=problem_from_text(row[5]),
        verified_at=instant(row[6]),
        deleted_at=instant(row[7]),
        version=row[8],
        revision=row[9],
        created_at=from_micros(row[10]),
        updated_at=from_micros(row[11]),
        credential=credential,
        next_credential=following,
        previous_credential=previous,
        suspension=_suspension(row[12], row[13]),
        purge_at=instant(row[14]),
        erasing_since_at=instant(row[15]),
        settings=settings_from_columns(*row[16:21]),
    )


def room_from_row(row: Row, *, now: datetime) -> Room:
    """Read a row of ROOM; a subscription counts only while it is alive at `now`."""
    return Room(
        uid=RoomUid(row[0]),
        tenant_uid=TenantUid(row[1]),
        tenant_id=TenantId(row[2]),
        room_id=RoomId(row[3]),
        mailbox=Mailbox(row[4]),
        object_id=row[5],
        display_name=row[6],
        time_zone=row[7],
        capacity=row[8],
        annotations=json.loads(row[9]),
        tenant_problem=problem_from_text(row[10]),
        problem=problem_from_text(row[11]),
        subscription_problem=problem_from_text(row[12]),
        horizon=None if row[13] is None else Window(from_micros(row[13]), from_micros(row[14])),
        fresh_as_of_at=instant(row[15]),
        is_subscribed=row[16] is not None and row[16] > to_micros(now),
        drift_count=row[17],
        resyncs=row[18],
        version=row[19],
        created_at=from_micros(row[20]),
        updated_at=from_micros(row[21]),
        subscribed_until_at=instant(row[16]),
        delta=None if row[22] is None else DeltaPlace(row[22], Window(from_micros(row[23]), from_micros(row[24]))),
        no_delta_until_at=instant(row[25]),
        news_at=instant(row[26]),
        hold_problem=problem_from_text(row[27]),
        suspension=_suspension(row[28], row[29]),
        settings=settings_from_columns(*row[30:34], row[37]),
        read_privacy=privacy_from_text(row[34]),
        calendar_no=row[35],
        given_key=row[36],
        readdressed_at=instant(row[38]),
    )


def _suspension(since: int | None, reason: str) -> Suspension | None:
    return None if since is None else Suspension(since_at=from_micros(since), reason=reason)


def subscription_from_row(row: Row) -> Subscription:
    """Read a row of SUBSCRIPTION."""
    return Subscription(
        key=row[0],
        room_uid=None if row[1] is None else RoomUid(row[1]),
        beside_room_uid=None if row[2] is None else RoomUid(row[2]),
        tenant_uid=TenantUid(row[3]),
        directory_id=row[4],
        secret_hash=bytes(row[5]),
        graph_id=row[6],
        expires_at=instant(row[7]),
        renew_at=instant(row[8]),
        url=row[9],
        mailbox=row[10],
        is_pending=bool(row[11]),
        created_at=from_micros(row[12]),
        notified_at=instant(row[13]),
        lifecycle_at=instant(row[14]),
    )


def intent_from_row(row: Row) -> Intent:
    """Read a row of INTENT."""
    return Intent(
        kind=IntentKind(row[0]),
        key=row[1],
        lane=TenantUid(row[2]),
        priority=Priority(row[3]),
        ready_at=from_micros(row[4]),
        generation=row[5],
        attempts=row[6],
        trace=row[7] or "",
    )


def change_from_row(row: Row) -> Change:
    """Read a row of CHANGE."""
    return Change(
        revision=row[0],
        room_uid=RoomUid(row[1]),
        kind=ChangeKind(row[2]),
        cause=row[3],
        booking_key=None if row[4] is None else BookingKey(row[4]),
        body=bytes(row[5]),
        recorded_at=from_micros(row[6]),
        trace=row[7],
    )
