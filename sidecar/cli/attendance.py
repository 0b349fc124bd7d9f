"""Commands about who came to a booking, and for rooms that nobody uses."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated

import typer
from exchange_client.messages import ReleaseBookingRequest

from sidecar.cli.availability import FORMATS
from sidecar.cli.booking_writes import BookingArgument, RequestIdOption, writing
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, booking_of
from sidecar.cli.output import Output, OutputOption, at, show_one


class Reason(enum.StrEnum):
    """Why a room is given back."""

    NO_SHOW = "no-show"
    ENDED_EARLY = "ended-early"


_REASONS = {
    None: ReleaseBookingRequest.REASON_UNSPECIFIED,
    Reason.NO_SHOW: ReleaseBookingRequest.REASON_NO_SHOW,
    Reason.ENDED_EARLY: ReleaseBookingRequest.REASON_ENDED_EARLY,
}


def check_in(
    booking: BookingArgument,
    by: Annotated[str, typer.Option(help="Your own id of who came; no address.")] = "",
    at_time: Annotated[datetime | None, typer.Option("--at", help="When, UTC; default: now.", formats=FORMATS)] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the check-in back.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Note that somebody came to a booking. Exchange is told nothing; watches tell it."""
    with writing(target) as client:
        when = None if at_time is None else at_time.replace(tzinfo=UTC)
        answer = client.check_in(booking_of(booking), by=by, at=when, undo=undo).booking
        if output is Output.JSON:
            show_one(answer, output)
        elif answer.HasField("check_in_time"):
            who = f" by {answer.check_in_by}" if answer.check_in_by else ""
            print(f"checked in at {at(answer.check_in_time)}{who}\n{answer.name}")
        else:
            print(f"not checked in\n{answer.name}")


def release(
    booking: BookingArgument,
    reason: Annotated[Reason | None, typer.Option(help="Why.")] = None,
    comment: Annotated[str, typer.Option(help="For the organizer; default: a sentence that says the reason.")] = "",
    etag: Annotated[str, typer.Option(help="Release only this version.")] = "",
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="No error when it is gone.")] = False,
    request_id: RequestIdOption = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Free the room from now on. Somebody else's meeting goes on without it; of a series this occurrence only."""
    with writing(target) as client:
        answer = client.release_booking(
            booking_of(booking),
            reason=_REASONS[reason],
            comment=comment,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id,
        )
        if output is Output.JSON:
            show_one(answer.booking, output)
        elif answer.HasField("booking"):
            print(f"free from {at(answer.booking.time.end_time)}\n{answer.booking.name}")
        else:
            print("the room is free")
