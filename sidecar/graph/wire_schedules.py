"""The form of questions about when mailboxes are free or busy, and of the answers. Pure.

Of an item nothing is read but when it is and as what it shows: its subject and its place are nobody's business here.

Source: Microsoft Learn "calendar: getSchedule", "scheduleInformation", "scheduleItem" and "freeBusyError" pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from sidecar.errors import GraphRefused, GraphUnavailable, MailboxNotFound, SidecarError
from sidecar.graph.events import instant_of, midnight_in
from sidecar.graph.wire import MALFORMED, MARGIN, Call, GraphTime, Malformed, Subject, WireStruct, repair, segment
from sidecar.model.window import Window

SCHEDULES_MAX = 20
"""What one question may ask about."""
_INTERVAL_MINUTES = 1_440
"""Of a digest that is not read, so it may be as coarse as Exchange lets it be."""
_NO_MAILBOX = frozenset({"5009", "5016"})
_TOO_MANY = "5006"
_CODE_CHARS_MAX = 20
_DAY = timedelta(days=1)

Span = tuple[datetime, datetime]


class ScheduleItem(WireStruct, frozen=True):
    """Something in a calendar."""

    status: str | None = None
    start: GraphTime | None = None
    end: GraphTime | None = None


class ScheduleError(WireStruct, frozen=True):
    """Why a calendar is not told; the code is a number, as a text."""

    response_code: str | None = None


class Schedule(WireStruct, frozen=True):
    """One calendar's part of an answer."""

    schedule_id: str | None = None
    schedule_items: list[ScheduleItem] | None = None
    error: ScheduleError | None = None


class _Answer(WireStruct, frozen=True):
    value: list[Schedule]


_ANSWER = msgspec.json.Decoder(_Answer)


def schedules_call(mailbox: str, addresses: Sequence[str], window: Window) -> Call:
    """Ask, through a mailbox that the application may read, when mailboxes of the organisation are busy.

    A day more is asked for at both ends, because whole-day items float; with it Exchange takes 62 days.
    """
    content = {
        "schedules": list(addresses),
        "startTime": _moment(window.start_at - MARGIN),
        "endTime": _moment(window.end_at + MARGIN),
        "availabilityViewInterval": _INTERVAL_MINUTES,
    }
    return Call(
        method="POST",
        path=f"/users/{segment(mailbox)}/calendar/getSchedule",
        subject=Subject.MAILBOX,
        content=msgspec.json.encode(content),
    )


def parse_schedules(body: bytes) -> dict[str, Schedule]:
    """Read an answer, by case-folded address.

    Raises:
        Malformed: it is none.
    """
    try:
        told = _ANSWER.decode(repair(body)).value
    except MALFORMED as error:
        raise Malformed("not an answer about schedules") from error
    return {one.schedule_id.casefold(): one for one in told if one.schedule_id}


def busy_of(schedule: Schedule | None, zone_name: str) -> Sequence[Span] | SidecarError:
    """Tell when a calendar is busy, or why that is not known.

    An item does not say whether it is a whole day. One from midnight to midnight may be, and floats then: it counts as
    busy both as it is told and in the mailbox's own zone, for what may be taken is not to be offered. What cannot be read
    makes the whole calendar unknown.

    Args:
        schedule: None: the answer has nothing about the calendar.
        zone_name: IANA; empty means UTC.
    Returns:
        Starts and ends, in no order; spans may overlap.
    """
    if schedule is None:
        return GraphUnavailable("Exchange's answer says nothing about a calendar that it was asked about")
    if schedule.error is not None or schedule.schedule_items is None:
        return _failure(schedule.error)
    spans: list[Span] = []
    for item in schedule.schedule_items:
        if item.status is not None and item.status.casefold() == "free":
            continue
        start_at = None if item.start is None else instant_of(item.start)
        end_at = None if item.end is None else instant_of(item.end)
        if start_at is None or end_at is None:
            return GraphUnavailable("Exchange's answer about a calendar has times that are none")
        spans.append((start_at, end_at))
        if _may_be_whole_days(start_at, end_at):
            spans.append((midnight_in(start_at, zone_name), midnight_in(end_at, zone_name)))
    return spans


def _may_be_whole_days(start_at: datetime, end_at: datetime) -> bool:
    return (
        start_at.timetz() == end_at.timetz() == datetime.min.replace(tzinfo=UTC).timetz() and end_at - start_at >= _DAY
    )


def _failure(error: ScheduleError | None) -> SidecarError:
    code = ((error.response_code if error is not None else None) or "")[:_CODE_CHARS_MAX]
    details = {"code": code} if code else {}
    if code in _NO_MAILBOX:
        return MailboxNotFound("no mailbox has this address", details=details)
    if code == _TOO_MANY:
        return GraphRefused(
            "there are too many entries in a calendar", details={**details, "cause": "TOO_MANY_ENTRIES"}
        )
    return GraphRefused("Exchange does not tell when a calendar is busy", details=details)


def _moment(instant: datetime) -> dict[str, str]:
    return {"dateTime": instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"), "timeZone": "UTC"}
