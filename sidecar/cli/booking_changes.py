"""Commands that change and cancel bookings: one, all that follow in its series, or the whole series."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from exchange_client import SyncExchangeClient, times
from exchange_client.messages import LostException, SeriesScope

from sidecar.cli.availability import FORMATS
from sidecar.cli.booking_writes import (
    BookingArgument,
    DryRunOption,
    RequestIdOption,
    WaitOption,
    ZoneOption,
    annotations_of,
    exit_by_state,
    show_written,
    writing,
    zone_of,
)
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, booking_of
from sidecar.cli.output import Output, OutputOption, at, show_one


class Scope(enum.StrEnum):
    """How much of a series."""

    ONE = "one"
    FOLLOWING = "following"
    ALL = "all"


_SCOPES = {
    Scope.ONE: SeriesScope.SERIES_SCOPE_OCCURRENCE,
    Scope.FOLLOWING: SeriesScope.SERIES_SCOPE_FOLLOWING,
    Scope.ALL: SeriesScope.SERIES_SCOPE_SERIES,
}
ScopeOption = Annotated[Scope, typer.Option(help="Of a series: this one, it and all that follow, or all.")]
EtagOption = Annotated[str, typer.Option(help="Only this version.")]


def update(
    booking: BookingArgument,
    start: Annotated[datetime | None, typer.Option(help="New start, in --zone.", formats=FORMATS)] = None,
    end: Annotated[
        datetime | None, typer.Option(help="New end, in --zone; default: as long as before.", formats=FORMATS)
    ] = None,
    minutes: Annotated[int | None, typer.Option("--for", help="New length, in minutes, where no end is given.")] = None,
    subject: Annotated[str | None, typer.Option(help="What people read in the calendar.")] = None,
    attendee: Annotated[list[str] | None, typer.Option(help="Address; all that are to be invited, each once.")] = None,
    zone: ZoneOption = "",
    private: Annotated[bool | None, typer.Option("--private/--public", help="Whether it is private.")] = None,
    body: Annotated[str | None, typer.Option(help="Text for those who open it.")] = None,
    online: Annotated[
        bool | None, typer.Option("--online/--offline", help="Whether it has a link for joining.")
    ] = None,
    annotation: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of your own; all that there are to be.")
    ] = None,
    repeat: Annotated[str, typer.Option(help="New rule of RFC 5545 for the series.")] = "",
    scope: ScopeOption = Scope.ONE,
    etag: EtagOption = "",
    wait: WaitOption = None,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what is given of a booking. Whose new time is taken stays where it was, and the exit code is 1."""
    with writing(target) as client:
        name = booking_of(booking)
        start_at, end_at = _time(client, name, start=start, end=end, minutes=minutes, zone=zone)
        answer = client.update_booking(
            name,
            start_at=start_at,
            end_at=end_at,
            subject=subject,
            attendees=attendee,
            time_zone=zone or None,
            is_private=private,
            body_text=body,
            online_meeting=online,
            annotations=None if annotation is None else annotations_of(annotation),
            rrule=repeat,
            scope=_SCOPES[scope],
            etag=etag,
            wait_s=wait,
            validate_only=dry_run,
            request_id=request_id,
        )
        if output is Output.JSON:
            show_one(answer, output)
        else:
            show_written(answer.booking, is_dry=dry_run)
            _show_lost(answer.lost_exceptions)
        exit_by_state(answer.booking, was_waited=wait is not None and not dry_run)


def cancel(
    booking: BookingArgument,
    scope: ScopeOption = Scope.ONE,
    comment: Annotated[str, typer.Option(help="For those who hear of it by mail.")] = "",
    etag: EtagOption = "",
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="No error when there is none.")] = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel a booking. For somebody else's meeting the room declines; its organizer is told, and keeps the meeting."""
    with writing(target) as client:
        answer = client.cancel_booking(
            booking_of(booking),
            scope=_SCOPES[scope],
            comment=comment,
            etag=etag,
            allow_missing=allow_missing,
            validate_only=dry_run,
            request_id=request_id,
        )
        if output is Output.JSON:
            show_one(answer.booking, output)
        elif dry_run:
            print("it can be done")
        else:
            print("cancelled" if answer.HasField("booking") else "there was none")


def _time(
    client: SyncExchangeClient,
    name: str,
    *,
    start: datetime | None,
    end: datetime | None,
    minutes: int | None,
    zone: str,
) -> tuple[datetime | None, datetime | None]:
    """Return the new time; what is not given of it stays as it is, and both are None where nothing is given."""
    if start is None and end is None and minutes is None:
        return None, None
    told = zone_of(zone)
    if start is not None and end is not None:
        return start.replace(tzinfo=told), end.replace(tzinfo=told)
    before = client.get_booking(name).time
    was_at, ended_at = times.to_datetime(before.start_time), times.to_datetime(before.end_time)
    start_at = was_at if start is None else start.replace(tzinfo=told)
    if end is not None:
        return start_at, end.replace(tzinfo=told)
    length = ended_at - was_at if minutes is None else timedelta(minutes=minutes)
    return start_at, start_at.astimezone(UTC) + length


def _show_lost(lost: Iterable[LostException]) -> None:
    for one in lost:
        was = "it was cancelled" if one.cancelled else f"it was at {at(one.time.start_time)}"
        print(f"lost, what was different about {at(one.original_start_time)}: {was}")
