"""Commands about what holds for one tenant alone."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from exchange_client.messages import TenantSettings, WriteMode

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import Output, OutputOption
from sidecar.cli.tenant_output import show_tenant
from sidecar.cli.tenants import TenantArgument


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


class Mode(enum.StrEnum):
    """In whose calendar bookings are written."""

    ROOM = "room"
    ORGANIZER = "organizer"


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
    WRITE_MODE = "write_mode"


def show(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Show one tenant for people: its state, its settings, and what stands in its way."""
    with connected(target) as client:
        show_tenant(client.get_tenant(tenant_of(tenant)), output)


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
    write_mode: Annotated[
        Mode | None, typer.Option(help="In whose calendar bookings are written whose request does not say.")
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
    if write_mode is not None:
        settings.write_mode = WriteMode.Value(f"WRITE_MODE_{write_mode.name}")
    with connected(target) as client:
        wanted = [setting.value for setting in reset or ()]
        if display_name is None and not settings.ListFields() and not wanted:
            raise ValueError("say what is to change; --help lists it")
        updated = client.update_tenant(
            tenant_of(tenant), display_name=display_name, settings=settings, reset=wanted, etag=etag
        )
        show_tenant(updated, output)


def _visibility(kept: Kept) -> TenantSettings.Visibility.ValueType:
    return TenantSettings.Visibility.Value(f"VISIBILITY_{kept.name}")
