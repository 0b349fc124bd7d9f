"""What a watcher has to see of a calendar, worked out from the emulator's own word about it; no code of the service is used."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from exchange_client import times
from exchange_client.messages import Booking

Json = dict[str, Any]  # Any: JSON
ZONE = "Europe/Berlin"
"""Zone of every room, so that nothing is right only because it is UTC."""
_STATES = {
    "organizer": Booking.STATE_CONFIRMED,
    "accepted": Booking.STATE_CONFIRMED,
    "tentativelyAccepted": Booking.STATE_TENTATIVE,
    "declined": Booking.STATE_DECLINED,
}


class Stay(NamedTuple):
    """What counts about a booking."""

    uid: str
    original_start_at: datetime | None
    start_at: datetime
    end_at: datetime
    state: Booking.State.ValueType
    subject: str
    organizer: str
    is_all_day: bool
    is_private: bool


def stay_of(booking: Booking) -> Stay:
    """Return what a booking tells."""
    is_occurrence = booking.HasField("recurrence")
    return Stay(
        uid=booking.calendar_uid,
        original_start_at=times.to_datetime(booking.recurrence.original_start_time) if is_occurrence else None,
        start_at=times.to_datetime(booking.time.start_time),
        end_at=times.to_datetime(booking.time.end_time),
        state=booking.state,
        subject=booking.subject,
        organizer=booking.organizer.email,
        is_all_day=booking.all_day,
        is_private=booking.is_private,
    )


def expected(items: Iterable[Json], *, zone: str = ZONE) -> list[Stay]:
    """Return what a watcher of a room has to see of the calendar's items."""
    found: list[Stay] = []
    for item in items:
        if item["is_cancelled"] or item["response"] == "declined":
            continue
        start_at, end_at = datetime.fromisoformat(item["start"]), datetime.fromisoformat(item["end"])
        original_at = None if item["original_start"] is None else datetime.fromisoformat(item["original_start"])
        if item["is_all_day"]:
            start_at, end_at = (at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for at in (start_at, end_at))
        state = _STATES.get(item["response"], Booking.STATE_PENDING)
        is_private = item["sensitivity"] in ("private", "confidential")
        is_subject_withheld = is_private or state == Booking.STATE_PENDING
        found.append(
            Stay(
                uid=item["ical_uid"],
                original_start_at=original_at,
                start_at=start_at,
                end_at=end_at,
                state=state,
                subject="" if is_subject_withheld else item["subject"],
                organizer=item["organizer"],
                is_all_day=item["is_all_day"],
                is_private=is_private,
            )
        )
    return sorted(found, key=str)
