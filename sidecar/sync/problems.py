"""What a failure means to people: the cause in a sentence, what to do, and who must. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sidecar.errors import SidecarError
from sidecar.model.problem import Actor, Problem

_TEXTS: dict[str, tuple[str, str, Actor]] = {
    "CREDENTIAL_REJECTED": (
        "Microsoft refuses the application id and secret.",
        "Make a new client secret in the app registration and register the tenant again with its Value, not its Secret ID.",
        Actor.CUSTOMER,
    ),
    "DIRECTORY_NOT_FOUND": (
        "Microsoft knows no directory with this id in this cloud.",
        "Compare the directory (tenant) id and the cloud with the overview page of the app registration.",
        Actor.CUSTOMER,
    ),
    "CONSENT_MISSING": (
        "The app has no permission to read calendars.",
        "Add the application permission Calendars.ReadWrite to the app registration and grant admin consent.",
        Actor.CUSTOMER,
    ),
    "MAILBOX_ACCESS_DENIED": (
        "Exchange does not let the app read this mailbox.",
        "Add the room to the scope of the app's access policy or role assignment; Exchange applies it within hours.",
        Actor.CUSTOMER,
    ),
    "MAILBOX_NOT_FOUND": (
        "Exchange knows no mailbox with this address.",
        "Unmap the room, and map it with the right address.",
        Actor.CUSTOMER,
    ),
    "MAILBOX_NOT_IN_CLOUD": (
        "The mailbox is not in Exchange Online, or is inactive.",
        "Move the mailbox to Exchange Online and license it.",
        Actor.CUSTOMER,
    ),
    "SUBSCRIPTION_REFUSED": (
        "Exchange refuses to announce changes of this room; it is read at intervals instead.",
        "Check that the app's permission covers the room; the sidecar tries again by itself.",
        Actor.CUSTOMER,
    ),
    "WEBHOOK_UNREACHABLE": (
        "Exchange cannot reach the sidecar's webhook address; rooms are read at intervals instead.",
        "Make webhook.public_url reachable from the internet over TLS 1.2 without anything that demands a login.",
        Actor.OPERATOR,
    ),
    "DELETION_HELD": (
        "A read of the calendar lacked many bookings at once; they are shown until a second read agrees.",
        "Wait some minutes; if the bookings were deleted, they go by themselves.",
        Actor.NOBODY,
    ),
    "EXCHANGE_THROTTLED": (
        "Exchange asks us to slow down.",
        "Wait; the sidecar obeys and goes on by itself.",
        Actor.NOBODY,
    ),
    "EXCHANGE_UNAVAILABLE": (
        "Exchange cannot be reached or does not answer properly.",
        "Wait; if it lasts, check the sidecar's way to the internet and Microsoft's service health.",
        Actor.MICROSOFT,
    ),
    "EXCHANGE_REFUSED": (
        "Exchange refuses something for a reason that this version does not know.",
        "Look up the code in Microsoft's documentation, or report it together with the request id.",
        Actor.OPERATOR,
    ),
    "SECRET_UNREADABLE": (
        "The sealed credential cannot be opened.",
        "Give the sidecar the key ring that sealed it, or register the tenant again.",
        Actor.OPERATOR,
    ),
}
_UNKNOWN = ("The sidecar met something unexpected.", "Look for the reason in the sidecar's log.", Actor.OPERATOR)


def hold_of(count: int, *, now: datetime, next_check_at: datetime) -> Problem:
    """Tell people that so many bookings are held back, which no error says: the read went well, and is not believed."""
    return _problem("DELETION_HELD", {"bookings_count": str(count)}, now=now, next_check_at=next_check_at)


def problem_of(error: SidecarError, *, now: datetime, next_check_at: datetime | None) -> Problem:
    """Tell people about a failure.

    The error's own message is the more exact one, where it was made from what Microsoft said.
    """
    return _problem(error.reason, error.details, now=now, next_check_at=next_check_at)


def _problem(reason: str, details: Mapping[str, str], *, now: datetime, next_check_at: datetime | None) -> Problem:
    message, action, actor = _TEXTS.get(reason, _UNKNOWN)
    return Problem(
        reason=reason,
        message=message,
        action=action,
        actor=actor,
        first_seen_at=now,
        last_seen_at=now,
        next_check_at=next_check_at,
        metadata=dict(details),
    )
