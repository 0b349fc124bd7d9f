"""Why a booking looks as it does: its copy beside what Exchange holds now. Pure."""

from __future__ import annotations

from datetime import datetime

from sidecar.diagnosis.results import passed, skipped, warned
from sidecar.graph.events import to_booking
from sidecar.graph.wire import GraphEvent
from sidecar.model.booking import BookingState, StoredBooking, SubjectState
from sidecar.model.check import CheckResult
from sidecar.model.privacy import HASH_KEY_BYTES
from sidecar.model.problem import Actor
from sidecar.model.room import Room

BOOKING_COPY = "booking.copy"
BOOKING_STATE = "booking.state"
BOOKING_SUBJECT = "booking.subject"

_NO_KEY = bytes(HASH_KEY_BYTES)
"""What becomes of a subject is told, never the subject, so any key will do."""
_STATES = {
    BookingState.PENDING: "It is PENDING, because the room has not answered the invitation.",
    BookingState.TENTATIVE: "It is TENTATIVE, because the room has accepted it tentatively, or waits for a delegate.",
    BookingState.CONFIRMED: "It is CONFIRMED, because the room has accepted it.",
    BookingState.DECLINED: "It is DECLINED, because the room has declined it.",
    BookingState.CANCELLED: "It is CANCELLED, because Exchange keeps cancelled meetings of this room.",
}
_SUBJECTS = {
    SubjectState.SHOWN: "The subject is shown as Exchange holds it in the room's calendar.",
    SubjectState.WITHHELD: "The subject is withheld until the room has answered, since only then its settings are applied.",
    SubjectState.PRIVATE: "The subject is withheld, because the meeting is marked private or confidential.",
    SubjectState.MASKED: "The subject is left out, because the tenant's settings say so.",
    SubjectState.HASHED: "A hash stands for the subject, because the tenant's settings say so.",
}
_REPLACED = " There it is the organizer's name, because the room's own settings put it in the subject's place."


def judge_booking(stored: StoredBooking, event: GraphEvent | None, room: Room, *, now: datetime) -> list[CheckResult]:
    """Say how a copied booking compares with Exchange, and what makes its state and its subject.

    Args:
        event: what Exchange holds now; None when it is gone.
    """
    facts = {"event_id": stored.event_id, "change_key": stored.change_key}
    if stored.master_id is not None:
        facts["series_master_id"] = stored.master_id
    booking = None if event is None else to_booking(event, room=room, hash_key=_NO_KEY)
    if event is None or booking is None:
        gone = warned(
            BOOKING_COPY,
            "Exchange does not hold this booking any more.",
            reason="BOOKING_BEHIND",
            action="Wait: it leaves the copy with the room's next check; if it lasts, resync the room.",
            actor=Actor.NOBODY,
            now=now,
            facts=facts,
        )
        return [gone, *(skipped(name, because=gone) for name in (BOOKING_STATE, BOOKING_SUBJECT))]
    facts["calendar_uid"] = booking.calendar_uid
    state = passed(BOOKING_STATE, _why_state(event, booking.state))
    subject = _SUBJECTS[booking.subject_state]
    if booking.subject_state in (SubjectState.SHOWN, SubjectState.HASHED) and _is_replaced(event):
        subject += _REPLACED
    return [_copy(stored, booking.change_key, facts, now), state, passed(BOOKING_SUBJECT, subject)]


def _copy(stored: StoredBooking, change_key: str, facts: dict[str, str], now: datetime) -> CheckResult:
    if stored.change_key == change_key:
        return passed(BOOKING_COPY, "The copy is of the version that Exchange holds now.", facts=facts)
    return warned(
        BOOKING_COPY,
        "Exchange holds a later version than the copy is of; it may differ in nothing that is shown.",
        reason="BOOKING_BEHIND",
        action="Wait: it is read with the room's next notification or check.",
        actor=Actor.NOBODY,
        now=now,
        facts={**facts, "exchange_change_key": change_key},
    )


def _why_state(event: GraphEvent, state: BookingState) -> str:
    if state is BookingState.CONFIRMED and event.is_organizer is True:
        return "It is CONFIRMED, because it was placed in the room's own calendar."
    return _STATES[state]


def _is_replaced(event: GraphEvent) -> bool:
    address = event.organizer.email_address if event.organizer is not None else None
    name = (address.name or "").strip() if address is not None else ""
    return bool(name) and event.is_organizer is False and (event.subject or "").strip() == name
