"""Model values to proto messages, and back where callers send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sidecar.aio.clock import Clock
from sidecar.api.tenant_settings import settings_to_proto
from sidecar.api.times import set_time
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor, Problem
from sidecar.model.propagation import Propagation
from sidecar.model.room import FreshnessLimits, Room, RoomState, SyncState, sync_state
from sidecar.model.tenant import Cloud, CredentialInfo, CredentialKind, CredentialRole, Tenant, TenantState
from sidecar.model.tenant_problems import tenant_problems, told_state
from sidecar.model.window import Window
from sidecar.tenants.discover import DiscoveredRoom

_NAMED_ROOMS_MAX = 10
"""A problem that many rooms share names so many of them; the count tells the rest."""

_CAPACITY_MAX = 2**31 - 1
_TENANT_STATES: Final = {
    TenantState.VERIFYING: tenant_pb.Tenant.STATE_VERIFYING,
    TenantState.ACTIVE: tenant_pb.Tenant.STATE_ACTIVE,
    TenantState.DEGRADED: tenant_pb.Tenant.STATE_DEGRADED,
    TenantState.CREDENTIAL_REJECTED: tenant_pb.Tenant.STATE_CREDENTIAL_REJECTED,
    TenantState.CONSENT_MISSING: tenant_pb.Tenant.STATE_CONSENT_MISSING,
    TenantState.SUSPENDED: tenant_pb.Tenant.STATE_SUSPENDED,
    TenantState.DELETED: tenant_pb.Tenant.STATE_DELETED,
}
_CLOUDS: Final = {
    Cloud.GLOBAL: tenant_pb.CLOUD_GLOBAL,
    Cloud.US_GOVERNMENT: tenant_pb.CLOUD_US_GOVERNMENT,
    Cloud.US_GOVERNMENT_DOD: tenant_pb.CLOUD_US_GOVERNMENT_DOD,
    Cloud.CHINA: tenant_pb.CLOUD_CHINA,
}
_KINDS: Final = {
    CredentialKind.CLIENT_SECRET: tenant_pb.CredentialInfo.KIND_CLIENT_SECRET,
    CredentialKind.CERTIFICATE: tenant_pb.CredentialInfo.KIND_CERTIFICATE,
    CredentialKind.FEDERATED: tenant_pb.CredentialInfo.KIND_FEDERATED,
}
_ROLES: Final = {
    CredentialRole.CURRENT: tenant_pb.CredentialInfo.ROLE_CURRENT,
    CredentialRole.NEXT: tenant_pb.CredentialInfo.ROLE_NEXT,
    CredentialRole.PREVIOUS: tenant_pb.CredentialInfo.ROLE_PREVIOUS,
}
ROOM_STATES: Final = {
    RoomState.IMPORTING: room_pb.Room.STATE_IMPORTING,
    RoomState.UP: room_pb.Room.STATE_UP,
    RoomState.PENDING_PROPAGATION: room_pb.Room.STATE_PENDING_PROPAGATION,
    RoomState.DEGRADED: room_pb.Room.STATE_DEGRADED,
    RoomState.DENIED: room_pb.Room.STATE_DENIED,
    RoomState.NOT_FOUND: room_pb.Room.STATE_NOT_FOUND,
    RoomState.NOT_CLOUD_MAILBOX: room_pb.Room.STATE_NOT_CLOUD_MAILBOX,
    RoomState.CREDENTIAL_EXPIRED: room_pb.Room.STATE_CREDENTIAL_EXPIRED,
    RoomState.PAUSED: room_pb.Room.STATE_PAUSED,
}
SYNC_STATES: Final = {
    SyncState.LIVE: common_pb.SYNC_STATE_LIVE,
    SyncState.POLLING: common_pb.SYNC_STATE_POLLING,
    SyncState.INITIALIZING: common_pb.SYNC_STATE_INITIALIZING,
    SyncState.STALE: common_pb.SYNC_STATE_STALE,
    SyncState.PAUSED: common_pb.SYNC_STATE_PAUSED,
    SyncState.BLOCKED: common_pb.SYNC_STATE_BLOCKED,
}
_BADNESS: Final = {state: place for place, state in enumerate(SyncState)}
_OUTCOMES: Final = {
    CheckOutcome.PASSED: common_pb.CheckResult.OUTCOME_PASSED,
    CheckOutcome.WARNING: common_pb.CheckResult.OUTCOME_WARNING,
    CheckOutcome.FAILED: common_pb.CheckResult.OUTCOME_FAILED,
    CheckOutcome.SKIPPED: common_pb.CheckResult.OUTCOME_SKIPPED,
}
_ACTORS: Final = {
    Actor.CUSTOMER: common_pb.Problem.ACTOR_CUSTOMER,
    Actor.OPERATOR: common_pb.Problem.ACTOR_OPERATOR,
    Actor.MICROSOFT: common_pb.Problem.ACTOR_MICROSOFT,
    Actor.NOBODY: common_pb.Problem.ACTOR_NOBODY,
}


def cloud_from_proto(number: tenant_pb.Cloud.ValueType) -> Cloud:
    """Return the cloud of a number that was checked; unspecified means global."""
    return next((cloud for cloud, value in _CLOUDS.items() if value == number), Cloud.GLOBAL)


def _set_window(message: common_pb.TimeWindow, window: Window) -> None:
    set_time(message.start_time, window.start_at)
    set_time(message.end_time, window.end_at)


def problem_to_proto(problem: Problem) -> common_pb.Problem:
    """Write a problem."""
    message = common_pb.Problem(
        reason=problem.reason,
        message=problem.message,
        action=problem.action,
        metadata=problem.metadata,
        actor=_ACTORS[problem.actor],
    )
    set_time(message.first_seen_time, problem.first_seen_at)
    set_time(message.last_seen_time, problem.last_seen_at)
    if problem.next_check_at is not None:
        set_time(message.next_check_time, problem.next_check_at)
    return message


def check_to_proto(check: CheckResult) -> common_pb.CheckResult:
    """Write what a check found."""
    return common_pb.CheckResult(
        check_id=check.check_id,
        outcome=_OUTCOMES[check.outcome],
        message=check.message,
        problem=None if check.problem is None else problem_to_proto(check.problem),
        skipped_because=check.because,
        facts=check.facts,
    )


def tenant_to_proto(tenant: Tenant, propagation: Propagation | None = None, *, now: datetime) -> tenant_pb.Tenant:
    """Write a tenant, and how far a grant of access has got; of its credentials only what may be shown.

    What its problems are, and whether there are any, depends on the time of asking.
    """
    problems = tenant_problems(tenant, now=now)
    message = tenant_pb.Tenant(
        name=tenant.name,
        uid=tenant.uid,
        display_name=tenant.display_name,
        directory_id=tenant.directory_id,
        state=_TENANT_STATES[told_state(tenant, problems)],
        problems=[problem_to_proto(problem) for problem in problems],
        etag=str(tenant.version),
        cloud=_CLOUDS[tenant.cloud],
        settings=settings_to_proto(tenant.settings),
    )
    if tenant.erasing_since_at is not None:
        set_time(message.erase_start_time, tenant.erasing_since_at)
    set_time(message.create_time, tenant.created_at)
    set_time(message.update_time, tenant.updated_at)
    if tenant.deleted_at is not None:
        set_time(message.delete_time, tenant.deleted_at)
    if tenant.purge_at is not None:
        set_time(message.purge_time, tenant.purge_at)
    message.credentials.extend(_credential_to_proto(tenant, known) for known in tenant.credentials)
    if propagation is not None:
        message.propagation.CopyFrom(_propagation_to_proto(propagation))
    return message


def _credential_to_proto(tenant: Tenant, known: CredentialInfo) -> tenant_pb.CredentialInfo:
    message = tenant_pb.CredentialInfo(
        application_id=known.application_id,
        kind=_KINDS[known.kind],
        fingerprint=known.fingerprint,
        role=_ROLES[known.role],
        read_room=f"{tenant.name}/rooms/{known.read_room}" if known.read_room else "",
    )
    if known.problem is not None:
        message.problem.CopyFrom(problem_to_proto(known.problem))
    if known.expires_at is not None:
        set_time(message.expire_time, known.expires_at)
    if known.proven_at is not None:
        set_time(message.prove_time, known.proven_at)
    if known.ends_at is not None:
        set_time(message.end_time, known.ends_at)
    return message


def _propagation_to_proto(propagation: Propagation) -> tenant_pb.Propagation:
    message = tenant_pb.Propagation(
        rooms_count=propagation.rooms_count, readable_rooms_count=propagation.readable_count
    )
    set_time(message.start_time, propagation.started_at)
    set_time(message.next_look_time, propagation.next_look_at)
    set_time(message.end_time, propagation.ends_at)
    return message


def discovered_to_proto(found: DiscoveredRoom) -> room_pb.DiscoveredRoom:
    """Write a room mailbox of the organisation."""
    message = room_pb.DiscoveredRoom(
        mailbox=found.mailbox,
        display_name=found.display_name,
        building=found.building,
        floor=found.floor,
        capacity=min(found.capacity, _CAPACITY_MAX),
    )
    if found.room is not None:
        message.mapped_room = found.room.name
        message.mailbox_object_id = found.room.object_id or ""
        message.time_zone = found.room.time_zone
    return message


class RoomConverter:
    """Writes rooms and the state of their copies, which depends on the time of asking."""

    def __init__(self, *, clock: Clock, limits: FreshnessLimits) -> None:
        self._clock = clock
        self._limits = limits

    def room_to_proto(self, room: Room) -> room_pb.Room:
        """Write a room."""
        message = room_pb.Room(
            name=room.name,
            uid=room.uid,
            mailbox=room.mailbox,
            mailbox_object_id=room.object_id or "",
            given_mailbox=room.given_key or "",
            display_name=room.display_name,
            time_zone=room.time_zone,
            capacity=room.capacity,
            sync=self.sync_to_proto(room),
            etag=str(room.version),
            annotations=room.annotations,
            state=ROOM_STATES[room.state],
        )
        set_time(message.create_time, room.created_at)
        set_time(message.update_time, room.updated_at)
        return message

    def sync_state(self, room: Room) -> common_pb.SyncState.ValueType:
        """Return how far a room's copy can be trusted now."""
        return SYNC_STATES[self._state(room, self._clock.now())]

    def sync_to_proto(self, room: Room) -> common_pb.SyncStatus:
        """Write the state of one room's copy."""
        message = common_pb.SyncStatus(
            state=self.sync_state(room), problems=[problem_to_proto(problem) for problem in room.problems]
        )
        if room.fresh_as_of_at is not None:
            set_time(message.fresh_as_of_time, room.fresh_as_of_at)
        if room.horizon is not None:
            _set_window(message.horizon, room.horizon)
        return message

    def rooms_sync_to_proto(self, rooms: Sequence[Room]) -> common_pb.SyncStatus:
        """Write the state of several copies taken together.

        The worst state, the oldest `fresh_as_of_time` (unset when one room has none), and the span of time that all of
        them keep. One problem for each reason, with the count of the rooms that have it and the ids of some. Of no room at
        all nothing is known.
        """
        if len(rooms) == 1:
            return self.sync_to_proto(rooms[0])
        message = common_pb.SyncStatus()
        if not rooms:
            return message
        now = self._clock.now()
        message.state = SYNC_STATES[max((self._state(room, now) for room in rooms), key=_BADNESS.__getitem__)]
        fresh = [room.fresh_as_of_at for room in rooms if room.fresh_as_of_at is not None]
        if len(fresh) == len(rooms):
            set_time(message.fresh_as_of_time, min(fresh))
        horizon = _common_horizon(rooms)
        if horizon is not None:
            _set_window(message.horizon, horizon)
        message.problems.extend(problem_to_proto(problem) for problem in _merge_problems(rooms))
        return message

    def _state(self, room: Room, now: datetime) -> SyncState:
        return sync_state(room, now=now, limits=self._limits)


def _common_horizon(rooms: Sequence[Room]) -> Window | None:
    horizons = [room.horizon for room in rooms if room.horizon is not None]
    if len(horizons) < len(rooms):
        return None
    start_at = max(horizon.start_at for horizon in horizons)
    end_at = min(horizon.end_at for horizon in horizons)
    return Window(start_at, end_at) if start_at < end_at else None


def _merge_problems(rooms: Sequence[Room]) -> list[Problem]:
    merged: dict[str, tuple[Problem, list[str]]] = {}
    for room in rooms:
        for problem in room.problems:
            before, room_ids = merged.get(problem.reason, (problem, []))
            room_ids.append(room.room_id)
            first_seen_at = min(before.first_seen_at, problem.first_seen_at)
            last_seen_at = max(before.last_seen_at, problem.last_seen_at)
            both = replace(before, first_seen_at=first_seen_at, last_seen_at=last_seen_at)
            merged[problem.reason] = (both, room_ids)
    return [
        replace(
            problem,
            metadata={
                **problem.metadata,
                "rooms_count": str(len(room_ids)),
                "rooms": ", ".join(room_ids[:_NAMED_ROOMS_MAX]),
            },
        )
        for problem, room_ids in merged.values()
    ]
