"""A tenant, printed for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from exchange_client.messages import CredentialInfo, Propagation, Tenant, TenantSettings, WriteMode

from sidecar.aio.clock import SystemClock
from sidecar.cli.output import Output, at, short, show_values, to_json

_SERVERS = "as the server is set"


def show_tenant(tenant: Tenant, output: Output) -> None:
    """Print a tenant: what it is, what holds for it, and what stands in its way."""
    if output is Output.JSON:
        show_values(to_json(tenant), output)
        return
    show_values(dict(_lines(tenant)), output)
    show_problems(tenant)


def _credential(known: CredentialInfo) -> str:
    """Say what a credential is, which it is, and when it runs out."""
    kind = short(CredentialInfo.Kind.Name(known.kind), "KIND_").replace("_", " ")
    role = short(CredentialInfo.Role.Name(known.role), "ROLE_")
    ends = f"until {at(known.expire_time)}" if known.HasField("expire_time") else "end not known"
    return f"{kind} {known.fingerprint[:12]} ({role}, {ends})"


def _lines(tenant: Tenant) -> Iterator[tuple[str, str]]:
    settings = tenant.settings
    yield "tenant", tenant.name.removeprefix("tenants/")
    yield "display name", tenant.display_name
    yield "state", short(Tenant.State.Name(tenant.state), "STATE_")
    yield "directory", tenant.directory_id
    yield "credential", ", ".join(_credential(known) for known in tenant.credentials)
    yield "version", tenant.etag
    yield "days kept before today", str(settings.past_days) if settings.HasField("past_days") else _SERVERS
    yield "days kept after today", str(settings.future_days) if settings.HasField("future_days") else _SERVERS
    seconds = settings.check_interval.seconds
    yield "time between checks", f"{seconds} s" if settings.HasField("check_interval") else _SERVERS
    for name, value in (
        ("subjects", settings.subject_visibility),
        ("organizers", settings.organizer_visibility),
        ("attendees", settings.attendee_visibility),
    ):
        yield name, short(TenantSettings.Visibility.Name(value), "VISIBILITY_")
    yield "private events", short(TenantSettings.PrivateEvents.Name(settings.private_events), "PRIVATE_EVENTS_")
    yield (
        "subjects before the answer",
        short(TenantSettings.PendingSubjects.Name(settings.pending_subjects), "PENDING_SUBJECTS_"),
    )
    yield "bookings are written to", f"{short(WriteMode.Name(settings.write_mode), 'WRITE_MODE_')} calendars"
    if tenant.HasField("erase_start_time"):
        yield "being erased since", at(tenant.erase_start_time)


def show_problems(tenant: Tenant) -> None:
    """Print how far access that was granted has reached, what stands in a tenant's way, and what to do about it."""
    if tenant.HasField("propagation"):
        print(f"\naccess was granted: {progress_of(tenant.propagation, now=SystemClock().now())}")
    for problem in tenant.problems:
        print(
            f"\n{problem.reason}: {problem.message}\n  to do: {problem.action}  (next look {at(problem.next_check_time)})"
        )


def progress_of(propagation: Propagation, *, now: datetime) -> str:
    """Say how far a grant of access has got, such as: 41 of 60 rooms, 3 h ago, next look in 5 min."""
    now_s = now.timestamp()
    since, next_look = now_s - propagation.start_time.seconds, propagation.next_look_time.seconds - now_s
    rooms = f"{propagation.readable_rooms_count} of {propagation.rooms_count} rooms"
    return f"{rooms}, {_lasts(since)} ago, next look in {_lasts(next_look)}"


def _lasts(duration_s: float) -> str:
    minutes = max(0, round(duration_s / 60))
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
