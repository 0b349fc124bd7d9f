"""Commands that write bookings. The service is asked again under one request id until it answers or the time is over."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from exchange_client import OutcomeUnknown, RoomConflict, SyncExchangeClient
from exchange_client.messages import Booking, WriteMode

from sidecar.cli.availability import FORMATS
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of
from sidecar.cli.output import EXIT_REFUSED, EXIT_UNAVAILABLE, Output, OutputOption, at, fail, instant, short, show_one


class Mode(enum.StrEnum):
    """In whose calendar a booking lies."""

    ROOM = "room"
    ORGANIZER = "organizer"


BookingArgument = Annotated[str, typer.Argument(help="TENANT/ROOM/BOOKING, or the full name.")]
ZoneOption = Annotated[str, typer.Option("--zone", help="IANA zone of the times given; empty: UTC.")]
RequestIdOption = Annotated[
    str, typer.Option(help="Names this wish: with the same one it is done once; empty: a new one.")
]
WaitOption = Annotated[float | None, typer.Option(help="Wait so many seconds for the room's answer, at most 120.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing, say only whether it could be done.")]


def create(
    room: Annotated[str, typer.Argument(help="TENANT/ROOM, or the full name.")],
    start: Annotated[datetime, typer.Argument(help="When it begins, in --zone.", formats=FORMATS)],
    end: Annotated[datetime | None, typer.Option(help="When it ends, in --zone.", formats=FORMATS)] = None,
    minutes: Annotated[int, typer.Option("--for", help="How long it takes, in minutes, where no end is given.")] = 60,
    subject: Annotated[str, typer.Option(help="What people read in the calendar.")] = "",
    organizer: Annotated[str, typer.Option(help="Address of the person whose meeting it is (mode organizer).")] = "",
    attendee: Annotated[list[str] | None, typer.Option(help="Address to invite; may be repeated.")] = None,
    zone: ZoneOption = "",
    all_day: Annotated[
        bool, typer.Option("--all-day", help="Whole days; without an end one day. --zone must be the room's.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Mark it private.")] = False,
    body: Annotated[str, typer.Option(help="Text for those who open it.")] = "",
    online: Annotated[bool, typer.Option("--online", help="With a link for joining online.")] = False,
    annotation: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of your own; may be repeated.")] = None,
    repeat: Annotated[str, typer.Option(help="Rule of RFC 5545, such as FREQ=WEEKLY;COUNT=10.")] = "",
    mode: Annotated[Mode | None, typer.Option(help="In whose calendar; default: as the tenant is set.")] = None,
    wait: WaitOption = None,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Book a room. Exit code 1: refused, or declined by the room; 3: not known yet."""
    with writing(target) as client:
        told_zone = zone_of(zone)
        start_at = start.replace(tzinfo=told_zone)
        answer = client.create_booking(
            room_of(room),
            start_at,
            _end_at(start_at, end, minutes=minutes, all_day=all_day),
            subject=subject,
            organizer=organizer,
            attendees=attendee or (),
            time_zone=zone,
            all_day=all_day,
            is_private=private,
            body_text=body,
            online_meeting=online,
            annotations=annotations_of(annotation or ()),
            rrule=repeat,
            mode=_MODES[mode],
            wait_s=wait,
            validate_only=dry_run,
            request_id=request_id,
        )
        if output is Output.JSON:
            show_one(answer.booking, output)
        else:
            show_written(answer.booking, is_dry=dry_run)
        exit_by_state(answer.booking, was_waited=wait is not None and not dry_run)


_MODES = {
    None: WriteMode.WRITE_MODE_UNSPECIFIED,
    Mode.ROOM: WriteMode.WRITE_MODE_ROOM,
    Mode.ORGANIZER: WriteMode.WRITE_MODE_ORGANIZER,
}


@contextmanager
def writing(target: str) -> Iterator[SyncExchangeClient]:
    """Connect for a command that writes; what stands in the way is told with what to do about it."""
    with connected(target) as client:
        try:
            yield client
        except RoomConflict as error:
            taken = ", ".join(f"{instant(start_at)} to {instant(end_at)}" for start_at, end_at in error.windows)
            more = int(error.metadata.get("conflicts_count", "0")) - len(error.windows)
            others = f" and {more} more" if more > 0 else ""
            fail(
                f"{error.reason}: the room is taken: {taken}{others}; `booking find` shows when it is free",
                EXIT_REFUSED,
            )
        except OutcomeUnknown as error:
            again = f"--request-id {error.metadata.get('request_id', '')}"
            fail(f"{error.reason}: {error.message}: run the same command with {again}", EXIT_UNAVAILABLE)


def show_written(booking: Booking, *, is_dry: bool) -> None:
    """Show people what came of a write."""
    if is_dry:
        print("it can be done")
        return
    state = short(Booking.State.Name(booking.state), "STATE_")
    print(f"{state}: {at(booking.time.start_time)} to {at(booking.time.end_time)}\n{booking.name}")


def exit_by_state(booking: Booking, *, was_waited: bool) -> None:
    """End by a booking's state: 1 when the room declined, 3 when its answer was waited for in vain."""
    if booking.state == Booking.STATE_DECLINED:
        raise typer.Exit(EXIT_REFUSED)
    if was_waited and booking.state == Booking.STATE_PENDING:
        raise typer.Exit(EXIT_UNAVAILABLE)


def _end_at(start_at: datetime, end: datetime | None, *, minutes: int, all_day: bool) -> datetime:
    """Return when a booking ends; days are added on the clock of the zone, which is what a whole day is."""
    if end is not None:
        return end.replace(tzinfo=start_at.tzinfo)
    if all_day:
        return start_at + timedelta(days=1)
    return (start_at.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(start_at.tzinfo)


def zone_of(name: str) -> tzinfo:
    """Return a zone by its name, UTC by none. Raises ValueError when there is no such zone."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory, such as America
        raise ValueError(f"{name!r} is no IANA time zone such as Europe/Berlin") from None


def annotations_of(pairs: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE pairs. Raises ValueError when one is none."""
    split = [pair.partition("=") for pair in pairs]
    if any(not sign for _, sign, _ in split):
        raise ValueError("an annotation is written KEY=VALUE")
    return {key: value for key, _, value in split}
