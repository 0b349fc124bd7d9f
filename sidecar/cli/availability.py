"""`booking find`: when rooms are free."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from exchange_client import times
from exchange_client.messages import FindAvailabilityResponse

from sidecar.aio.clock import SystemClock
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of, tenant_of
from sidecar.cli.output import Output, OutputOption, at, show, show_table, to_do

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]
"""How times are written on the command line; UTC."""

RoomAvailability = FindAvailabilityResponse.RoomAvailability


def find(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.")],
    room: Annotated[list[str] | None, typer.Argument(help="Ids of rooms; none: all rooms.")] = None,
    start: Annotated[
        datetime | None, typer.Option(help="Start of the window, UTC; default: now.", formats=FORMATS)
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(help="End of the window, UTC; default: a day later.", formats=FORMATS)
    ] = None,
    minutes: Annotated[int, typer.Option("--for", help="Free for so many minutes at least.")] = 0,
    seats: Annotated[int, typer.Option(help="Rooms with so many seats at least.")] = 0,
    before: Annotated[int, typer.Option(help="Minutes kept free after the booking before.")] = 0,
    after: Annotated[int, typer.Option(help="Minutes kept free before the booking after.")] = 0,
    ask_exchange: Annotated[
        bool, typer.Option("--ask-exchange", help="Ask Exchange now instead of the copy; slower.")
    ] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find out when rooms are free. Rooms of which that is not known are named below, with what to do."""
    with connected(target) as client:
        start_at = SystemClock().now() if start is None else start.replace(tzinfo=UTC)
        found = client.find_availability(
            tenant_of(tenant),
            start_at,
            start_at + timedelta(days=1) if end is None else end.replace(tzinfo=UTC),
            rooms=[room_of(one if "/" in one else f"{tenant.removeprefix('tenants/')}/{one}") for one in room or ()],
            min_duration_s=minutes * 60.0,
            min_capacity=seats,
            buffer_before_s=before * 60.0,
            buffer_after_s=after * 60.0,
            bypass_cache=ask_exchange,
        )
        if output is Output.JSON:
            show(found, (), (), output)
        else:
            _show(found)


def _show(found: Sequence[RoomAvailability]) -> None:
    rows = [row for one in found for row in _rows(one)]
    if rows:
        show_table(("room", "free from", "until", "for"), rows)
    else:
        print("nothing is free")
    for one in found:
        if one.HasField("problem"):
            what = "is known in part only" if one.free else "is not known"
            print(f"\n{_id(one)} {what}: {one.problem.reason}: {one.problem.message}\n  {to_do(one.problem)}")


def _rows(one: RoomAvailability) -> list[tuple[str, ...]]:
    return [
        (
            _id(one),
            at(span.start_time),
            at(span.end_time),
            _length(times.to_datetime(span.end_time) - times.to_datetime(span.start_time)),
        )
        for span in one.free
    ]


def _id(one: RoomAvailability) -> str:
    return one.room.rpartition("/")[2]


def _length(duration: timedelta) -> str:
    """Return a duration in days, hours and minutes; parts of a minute are cut off."""
    hours, minutes = divmod(duration // timedelta(minutes=1), 60)
    days, hours = divmod(hours, 24)
    parts = (f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count)
    return " ".join(parts) or "0 min"
