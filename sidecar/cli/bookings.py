"""Commands about bookings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from exchange_client.messages import Booking

from sidecar.aio.clock import SystemClock
from sidecar.cli.attendance import check_in, release
from sidecar.cli.availability import FORMATS, find
from sidecar.cli.booking_changes import cancel, update
from sidecar.cli.booking_writes import create
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, rooms_of
from sidecar.cli.output import Output, OutputOption, at, short, show

app = typer.Typer(help="Bookings of rooms.", no_args_is_help=True)

app.command("find")(find)
app.command("create")(create)
app.command("update")(update)
app.command("cancel")(cancel)
app.command("checkin")(check_in)
app.command("release")(release)


@app.command("list")
def list_all(
    room: Annotated[str, typer.Argument(help="TENANT/ROOM; TENANT/- for all rooms.")],
    start: Annotated[
        datetime | None, typer.Option(help="Start of the window, UTC; default: now.", formats=FORMATS)
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(help="End of the window, UTC; default: a week later.", formats=FORMATS)
    ] = None,
    show_cancelled: Annotated[bool, typer.Option("--all", help="Also cancelled and declined ones.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List bookings that touch a window."""
    with connected(target) as client:
        start_at = SystemClock().now() if start is None else start.replace(tzinfo=UTC)
        end_at = start_at + timedelta(days=7) if end is None else end.replace(tzinfo=UTC)
        found = client.list_bookings(rooms_of(room), start_at, end_at, show_cancelled=show_cancelled).bookings
        show(found, ("room", "start", "end", "state", "subject", "organizer"), map(_row, found), output)


def _row(booking: Booking) -> tuple[str, ...]:
    return (
        booking.name.split("/")[3],
        at(booking.time.start_time),
        at(booking.time.end_time),
        short(Booking.State.Name(booking.state), "STATE_"),
        booking.subject,
        booking.organizer.display_name or booking.organizer.email,
    )
