"""Checks of one mailbox, asked of Exchange now: may it be read, what is its zone, how does it treat meetings?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sidecar.diagnosis.reading import Prober
from sidecar.diagnosis.results import failed, judged, passed, skipped, warned
from sidecar.errors import MailboxDenied, SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.graph.logins import TokenClaims
from sidecar.graph.wire import GraphEvent
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor
from sidecar.model.room import Room

ROOM_READ = "room.read"
MAILBOX_ZONE = "mailbox.zone"
ROOM_PROCESSING = "room.processing"

PROCESSING_DAYS = 30
"""How far ahead meetings are looked at: enough to find some in a room that is used at all."""
_ANSWER_WITHIN = timedelta(hours=1)
"""A room that answers by itself does so within seconds; Exchange has bad hours."""


class MailboxReader(Prober, Protocol):
    """Asking about a mailbox; `graph.client.GraphClient` is one."""

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """Read a mailbox's object id and its IANA zone; None for what the application may not know."""


async def read_room(
    reader: Prober, tenant: TenantRef, mailbox: str, claims: TokenClaims | None, *, now: datetime
) -> CheckResult:
    """Check that a room's calendar can be read; a refusal is told by what the token says was granted.

    Source: reference table of token roles and answers, Microsoft Learn "Limit mailbox access".
    """
    try:
        await reader.probe(tenant, mailbox)
    except MailboxDenied as error:
        message, action = _denial(error, claims)
        return judged(
            ROOM_READ,
            CheckOutcome.FAILED,
            message,
            reason=error.reason,
            action=action,
            actor=Actor.CUSTOMER,
            now=now,
            error=error,
            facts=error.details,
        )
    except SidecarError as error:
        return failed(ROOM_READ, error, now=now)
    return passed(ROOM_READ, "The calendar can be read.")


def _denial(error: MailboxDenied, claims: TokenClaims | None) -> tuple[str, str]:
    """Return what a refusal means, and what to do."""
    if error.details.get("cause") == "ACCESS_POLICY":
        return (
            "An application access policy of Exchange leaves this mailbox out.",
            "Add the room to the policy's group; Exchange applies it within hours.",
        )
    if claims is not None and not any(role.startswith("Calendars.") for role in claims.roles):
        return (
            "The token names no calendar permission, and no role assignment of Exchange covers this mailbox.",
            "Add the room to the scope of the app's role assignment, or grant the app Calendars.ReadWrite and admin consent.",
        )
    return (
        "Exchange refuses this mailbox, though the app was granted calendars.",
        "Add the room to the scope of the app's access policy or role assignment; if that was done, wait: it takes hours.",
    )


async def read_zone(
    reader: MailboxReader, tenant: TenantRef, mailbox: str, room: Room | None, *, now: datetime
) -> tuple[CheckResult, str | None]:
    """Check that the mailbox's own zone is known, and is the one that whole days are reckoned in; return its object id, too."""
    try:
        object_id, zone = await reader.fetch_mailbox(tenant, mailbox)
    except SidecarError as error:
        return failed(MAILBOX_ZONE, error, now=now), None
    return judge_zone(zone, "" if room is None else room.time_zone, now=now), object_id


def judge_zone(zone: str | None, mapped_zone: str, *, now: datetime) -> CheckResult:
    """Compare a mailbox's own zone with the one the room is mapped with ("" for none)."""
    facts = {"mailbox_zone": zone or "", "room_zone": mapped_zone}
    facts = {name: value for name, value in facts.items() if value}
    if zone is None and not mapped_zone:
        return warned(
            MAILBOX_ZONE,
            "The room's time zone is not known: whole-day bookings are shown as days of UTC.",
            reason="TIME_ZONE_UNKNOWN",
            action="Give the room a time zone, or grant the app the permission MailboxSettings.Read.",
            actor=Actor.OPERATOR,
            now=now,
            facts=facts,
        )
    if zone is not None and mapped_zone and zone != mapped_zone:
        return warned(
            MAILBOX_ZONE,
            f"The room is mapped with {mapped_zone}, and its mailbox is set to {zone}.",
            reason="TIME_ZONE_DIFFERS",
            action="Set both alike: whole-day bookings are reckoned here in the one, and shown by Outlook in the other.",
            actor=Actor.OPERATOR,
            now=now,
            facts=facts,
        )
    if zone is None:
        return passed(
            MAILBOX_ZONE, f"The room is mapped with {mapped_zone}; its mailbox's own may not be read.", facts=facts
        )
    return passed(MAILBOX_ZONE, f"The mailbox's time zone is {zone}.", facts=facts)


def judge_processing(events: Sequence[GraphEvent], *, now: datetime) -> CheckResult:
    """Check what the room makes of meetings that it was invited to: whether it answers, and what becomes of their subjects.

    None of a room's settings can be read through Graph; they show in its copies only. Meetings placed in the room's own
    calendar are left out: Exchange keeps those as they are.
    """
    invited = [event for event in events if event.is_organizer is False and not event.is_cancelled]
    if not invited:
        return skipped(ROOM_PROCESSING, message=f"the room is invited to no meeting in the next {PROCESSING_DAYS} days")
    answered = [event for event in invited if _answer(event) in {"accepted", "tentativelyAccepted", "declined"}]
    replaced_count = sum(_is_replaced(event) for event in answered)
    empty_count = sum(not (event.subject or "").strip() for event in answered)
    waiting = [event for event in invited if event not in answered and _is_old(event, now)]
    facts = {
        "meetings_count": str(len(invited)),
        "answered_count": str(len(answered)),
        "subjects_replaced_count": str(replaced_count),
        "subjects_removed_count": str(empty_count),
        "unanswered_count": str(len(waiting)),
    }
    if waiting:
        return warned(
            ROOM_PROCESSING,
            f"The room has not answered {len(waiting)} of {len(invited)} invitations for more than an hour.",
            reason="ROOM_NOT_ANSWERING",
            action="Set AutomateProcessing to AutoAccept (Set-CalendarProcessing), or have the room's delegates answer.",
            actor=Actor.CUSTOMER,
            now=now,
            facts=facts,
        )
    if not answered:
        return skipped(ROOM_PROCESSING, message="the room has not had time yet to answer its invitations")
    told = f"The room answers invitations ({len(answered)} of {len(invited)})"
    if replaced_count or empty_count:
        what = "the organizer's name" if replaced_count >= empty_count else "nothing"
        count = max(replaced_count, empty_count)
        return passed(
            ROOM_PROCESSING,
            f"{told}, and puts {what} in place of the subject ({count} of {len(answered)}).",
            facts=facts,
        )
    return passed(ROOM_PROCESSING, f"{told}, and leaves subjects as they are.", facts=facts)


def _answer(event: GraphEvent) -> str:
    return (event.response_status.response if event.response_status is not None else None) or ""


def _is_replaced(event: GraphEvent) -> bool:
    """Tell whether Exchange put the organizer's name in place of the subject; it adds a blank."""
    address = event.organizer.email_address if event.organizer is not None else None
    name = (address.name or "").strip() if address is not None else ""
    return bool(name) and (event.subject or "").strip() == name


def _is_old(event: GraphEvent, now: datetime) -> bool:
    return event.created_date_time is not None and now - event.created_date_time > _ANSWER_WITHIN
