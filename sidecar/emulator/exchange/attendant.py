"""How a room answers an invitation: accept, decline, or leave it to somebody, and what it then makes of the text.

Pure decisions over one room's settings and calendar. When they are taken, and whom they are told, is in `meetings.py`.

Source: Exchange "Set-CalendarProcessing" page; the rewritten subject with its trailing blank is what users have seen.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from sidecar.emulator.exchange.event import Content, Event, expand
from sidecar.emulator.exchange.mailbox import Mailbox, RoomSettings

_CONFLICT_SEARCH_DAYS_MAX = 1080  # the largest booking window Exchange knows


class Verdict(Enum):
    """What the room answers."""

    ACCEPT = "accepted"
    DECLINE = "declined"
    LEAVE = "notResponded"


def judge(room: Mailbox, event: Event, now: datetime) -> Verdict:
    """Decide on an invitation as the resource booking attendant does.

    Args:
        room: whose calendar the tentative copy is on.
        event: the copy; a series is judged as a whole.
        now: from which the booking window counts.
    """
    settings = room.settings
    if settings.AutomateProcessing != "AutoAccept":
        return Verdict.LEAVE
    minutes = (event.times.end_at - event.times.start_at) / timedelta(minutes=1)
    if not settings.MinimumDurationInMinutes <= minutes <= settings.MaximumDurationInMinutes:
        return Verdict.DECLINE
    horizon = now + timedelta(days=settings.BookingWindowInDays)
    if event.times.start_at > horizon:
        return Verdict.DECLINE
    if event.series is None:
        return Verdict.ACCEPT if settings.AllowConflicts or not _conflicts(room, event, event) else Verdict.DECLINE
    return _judge_series(room, event, now, horizon)


def conflicting_days(room: Mailbox, event: Event, now: datetime) -> list[Event]:
    """Give the occurrences of a series that touch something else, within what the room looks at."""
    horizon = now + timedelta(days=min(room.settings.BookingWindowInDays, _CONFLICT_SEARCH_DAYS_MAX))
    return [one for one in expand(event, now, horizon) if _conflicts(room, one, event)]


def _judge_series(room: Mailbox, event: Event, now: datetime, horizon: datetime) -> Verdict:
    settings, series = room.settings, event.series
    assert series is not None
    if not settings.AllowRecurringMeetings:
        return Verdict.DECLINE
    last = series.recurrence.last_date()
    if settings.EnforceSchedulingHorizon and (last is None or last > horizon.date()):
        return Verdict.DECLINE
    if settings.AllowConflicts:
        return Verdict.ACCEPT
    occurrences, conflicts = expand(event, now, horizon), conflicting_days(room, event, now)
    share = 100 * len(conflicts) / max(1, len(occurrences))
    if not conflicts:
        return Verdict.ACCEPT
    within = len(conflicts) <= settings.MaximumConflictInstances and share <= settings.ConflictPercentageAllowed
    return Verdict.ACCEPT if within else Verdict.DECLINE


def _conflicts(room: Mailbox, one: Event, root: Event) -> bool:
    """Tell whether anything settled on the room's calendar touches `one`, its own series aside."""
    others = room.calendar.view(one.times.start_at, one.times.end_at)
    return any(
        other.is_busy and other is not one and (other.master or other) is not (root.master or root) for other in others
    )


def accepted_content(settings: RoomSettings, invited: Content, organizer_name: str) -> Content:
    """Rewrite an invitation's text as the room keeps it once it has accepted."""
    subject = "" if settings.DeleteSubject else invited.subject
    if settings.AddOrganizerToSubject:
        subject = f"{organizer_name} {subject}"
    return replace(
        invited,
        subject=subject,
        body="" if settings.DeleteComments else invited.body,
        sensitivity="normal" if settings.RemovePrivateProperty else invited.sensitivity,
        is_reminder_on=invited.is_reminder_on and not settings.DisableReminders,
    )
