"""Commands about what holds for one tenant alone."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Annotated

import typer
from exchange_client.messages import Tenant, TenantSettings

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import Output, OutputOption, at, short, show_values, to_json
from sidecar.cli.tenants import TenantArgument, show_problems


class Kept(enum.StrEnum):
    """How much of something is kept."""

    STORED = "stored"
    HASHED = "hashed"
    MASKED = "masked"


class PrivateEvents(enum.StrEnum):
    """What is kept of private events."""

    LIKE_OTHERS = "like_others"
    MASKED = "masked"


class PendingSubjects(enum.StrEnum):
    """What is kept of subjects before the room has answered."""

    SHOWN = "shown"
    WITHHELD = "withheld"


class Setting(enum.StrEnum):
    """The settings, as the API names them."""

    PAST_DAYS = "past_days"
    FUTURE_DAYS = "future_days"
    CHECK_INTERVAL = "check_interval"
    SUBJECT_VISIBILITY = "subject_visibility"
    ORGANIZER_VISIBILITY = "organizer_visibility"
    ATTENDEE_VISIBILITY = "attendee_visibility"
    PRIVATE_EVENTS = "private_events"
    PENDING_SUBJECTS = "pending_subjects"


_SERVERS = "as the server is set"


def show(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Show one tenant for people: its state, its settings, and what stands in its way."""
    with connected(target) as client:
        _show(client.get_tenant(tenant_of(tenant)), output)


def update(
    tenant: TenantArgument,
    display_name: Annotated[str | None, typer.Option(help="Name for people.")] = None,
    past_days: Annotated[int | None, typer.Option(help="Days before today that are kept.")] = None,
    future_days: Annotated[int | None, typer.Option(help="Days after today that are kept.")] = None,
    check_interval: Annotated[
        int | None, typer.Option(help="Seconds between checks of a room whose changes are announced.")
    ] = None,
    subjects: Annotated[Kept | None, typer.Option(help="How much of subjects is kept.")] = None,
    organizers: Annotated[Kept | None, typer.Option(help="How much of organizers is kept.")] = None,
    attendees: Annotated[Kept | None, typer.Option(help="How much of attendees is kept.")] = None,
    private_events: Annotated[PrivateEvents | None, typer.Option(help="What is kept of private events.")] = None,
    pending_subjects: Annotated[
        PendingSubjects | None, typer.Option(help="What is kept of subjects before the room has answered.")
    ] = None,
    reset: Annotated[
        list[Setting] | None, typer.Option(help="Setting that goes back to its default; may be repeated.")
    ] = None,
    etag: Annotated[str, typer.Option(help="Change only this version.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a tenant's name or settings; what is not given stays.

    Keeping less erases what is stored already. Calendars are read anew where other days, or more, are to be kept.
    """
    settings = TenantSettings(past_days=past_days, future_days=future_days)
    if check_interval is not None:
        settings.check_interval.seconds = check_interval
    if subjects is not None:
        settings.subject_visibility = _visibility(subjects)
    if organizers is not None:
        settings.organizer_visibility = _visibility(organizers)
    if attendees is not None:
        settings.attendee_visibility = _visibility(attendees)
    if private_events is not None:
        settings.private_events = TenantSettings.PrivateEvents.Value(f"PRIVATE_EVENTS_{private_events.name}")
    if pending_subjects is not None:
        settings.pending_subjects = TenantSettings.PendingSubjects.Value(f"PENDING_SUBJECTS_{pending_subjects.name}")
    with connected(target) as client:
        wanted = [setting.value for setting in reset or ()]
        if display_name is None and not settings.ListFields() and not wanted:
            raise ValueError("say what is to change; --help lists it")
        updated = client.update_tenant(
            tenant_of(tenant), display_name=display_name, settings=settings, reset=wanted, etag=etag
        )
        _show(updated, output)


def _visibility(kept: Kept) -> TenantSettings.Visibility.ValueType:
    return TenantSettings.Visibility.Value(f"VISIBILITY_{kept.name}")


def _show(tenant: Tenant, output: Output) -> None:
    if output is Output.JSON:
        show_values(to_json(tenant), output)
        return
    show_values(dict(_lines(tenant)), output)
    show_problems(tenant)


def _lines(tenant: Tenant) -> Iterator[tuple[str, str]]:
    settings = tenant.settings
    yield "tenant", tenant.name.removeprefix("tenants/")
    yield "display name", tenant.display_name
    yield "state", short(Tenant.State.Name(tenant.state), "STATE_")
    yield "directory", tenant.directory_id
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
    if tenant.HasField("erase_start_time"):
        yield "being erased since", at(tenant.erase_start_time)
