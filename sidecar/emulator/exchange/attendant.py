"""How a room answers an invitation: accept, decline, or leave it to somebody, and what it then makes of the text.

Pure decisions over one room's settings and calendar. When they are taken, and whom they are told, is in `meetings.py`.

Source: Exchange "Set-CalendarProcessing" page; the rewritten subject with its trailing blank is what users have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import Enum

from sidecar.emulator.exchange.event import Content, Event
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.recurrence import RangeKind, Recurrence
from sidecar.emulator.exchange.room_settings import RoomSettings
from sidecar.emulator.exchange.series import expand
from sidecar.emulator.zones import resolve_zone


class Verdict(Enum):
    """What the room answers, by the wire name of the response it causes."""

    ACCEPT = "accepted"
    ASK = "tentativelyAccepted"
    """A delegate decides."""
    DECLINE = "declined"
    LEAVE = "notResponded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the room decides about one item."""

    verdict: Verdict
    conflicts: tuple[Event, ...] = ()
    """Occurrences of an accepted series that are declined."""
    last_day: date | None = None
    """Where an accepted series is cut off; None leaves it whole."""


def judge(
    room: Mailbox, item: Event, now: datetime, *, guests_count: int, apart: frozenset[date] = frozenset()
) -> Ruling:
    """Decide on an invitation as the resource booking attendant does.

    Args:
        room: whose calendar the copy is on.
        item: the copy; a series is judged as a whole.
        now: from which the booking window counts.
        guests_count: how many people are invited, the organizer not counted.
        apart: days of a series that are judged on their own.
    """
    settings = room.settings
    if settings.AutomateProcessing != "AutoAccept":
        return Ruling(verdict=Verdict.LEAVE)
    if settings.BookingType == "Reserved":
        return Ruling(verdict=Verdict.DECLINE)
    last_day = _last_bookable_day(room, now)
    items = _items(room, item, last_day, apart)
    conflicts = [] if settings.AllowConflicts else [one for one in items if _conflicts(room, one)]
    lawful = (
        _is_within_window(room, item, last_day)
        and _lengths_fit(settings, item)
        and not (settings.EnforceCapacity and room.place.capacity is not None and guests_count > room.place.capacity)
        and not (settings.ScheduleOnlyDuringWorkHours and not _all_in_hours(room, items))
        and _may_conflict(settings, item, len(conflicts), len(items))
    )
    verdict = _verdict(settings, item.organizer.address.lower(), lawful=lawful)
    if verdict is not Verdict.ACCEPT:
        return Ruling(verdict=verdict)
    return Ruling(verdict=verdict, conflicts=tuple(conflicts), last_day=_cut(item, last_day))


def accepted_content(settings: RoomSettings, kept: Content, invited: Content, organizer_name: str) -> Content:
    """Rewrite an invitation's text as the room keeps it once it has accepted.

    Args:
        kept: what the room's copy says, of which everything else stays.
        invited: what the organizer wrote, so that rewriting twice is rewriting once.
    """
    subject = "" if settings.DeleteSubject else invited.subject
    if settings.AddOrganizerToSubject:
        subject = f"{organizer_name} {subject}"
    return replace(
        kept,
        subject=subject,
        body="" if settings.DeleteComments else invited.body,
        body_type=invited.body_type,
        sensitivity="normal" if settings.RemovePrivateProperty else invited.sensitivity,
        is_reminder_on=invited.is_reminder_on and not settings.DisableReminders,
    )


def cut_off(recurrence: Recurrence, last_day: date) -> Recurrence:
    """Let a recurrence end with `last_day`."""
    return replace(recurrence, range_kind=RangeKind.END_DATE, end=last_day, count=0)


def _verdict(settings: RoomSettings, organizer: str, *, lawful: bool) -> Verdict:
    """Apply who may book, and who must ask; addresses are compared without regard to case."""
    asks_anything = settings.AllRequestOutOfPolicy or _listed(settings.RequestOutOfPolicy, organizer)
    if not lawful:
        return Verdict.ASK if asks_anything else Verdict.DECLINE
    if settings.AllBookInPolicy or _listed(settings.BookInPolicy, organizer):
        return Verdict.ACCEPT
    asks = settings.AllRequestInPolicy or _listed(settings.RequestInPolicy, organizer) or asks_anything
    return Verdict.ASK if asks else Verdict.DECLINE


def _listed(addresses: Sequence[str], organizer: str) -> bool:
    return any(one.lower() == organizer for one in addresses)


def _last_bookable_day(room: Mailbox, now: datetime) -> date:
    return now.astimezone(resolve_zone(room.time_zone)).date() + timedelta(days=room.settings.BookingWindowInDays)


def _end_of(room: Mailbox, day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=resolve_zone(room.time_zone))


def _items(room: Mailbox, item: Event, last_day: date, apart: frozenset[date]) -> list[Event]:
    """Give what is judged: the item itself, or a series' occurrences up to the last bookable day."""
    if item.series is None:
        return [item]
    first_at = min([item.times.start_at, *(one.times.start_at for one in item.series.exceptions.values())])
    found = expand(item, first_at, max(_end_of(room, last_day), first_at))
    return [one for one in found if one.day not in apart and not one.is_cancelled]


def _is_within_window(room: Mailbox, item: Event, last_day: date) -> bool:
    if item.times.start_at >= _end_of(room, last_day):
        return False
    if item.series is None:
        return True
    settings, last = room.settings, item.series.recurrence.last_date()
    reaches_beyond = last is None or last > last_day
    return settings.AllowRecurringMeetings and not (settings.EnforceSchedulingHorizon and reaches_beyond)


def _cut(item: Event, last_day: date) -> date | None:
    last = item.series.recurrence.last_date() if item.series else item.times.start_at.date()
    return last_day if item.series is not None and (last is None or last > last_day) else None


def _lengths_fit(settings: RoomSettings, item: Event) -> bool:
    minutes = (item.times.end_at - item.times.start_at) / timedelta(minutes=1)
    most = settings.MaximumDurationInMinutes or minutes
    return settings.MinimumDurationInMinutes <= minutes <= most


def _all_in_hours(room: Mailbox, items: Sequence[Event]) -> bool:
    zone = room.working_zone
    return all(room.working_hours.cover(one.times.start_at, one.times.end_at, zone) for one in items)


def _may_conflict(settings: RoomSettings, item: Event, conflicts_count: int, items_count: int) -> bool:
    if not conflicts_count:
        return True
    share = 100 * conflicts_count / max(1, items_count)
    within = conflicts_count <= settings.MaximumConflictInstances and share <= settings.ConflictPercentageAllowed
    return item.series is not None and within


def _conflicts(room: Mailbox, one: Event) -> bool:
    """Tell whether anything settled on the room's calendar touches `one`, its own meeting aside."""
    root = one.master or one
    return any(
        other.is_busy
        and (other.master or other) is not root
        and (root.meeting_id is None or (other.master or other).meeting_id != root.meeting_id)
        for other in room.calendar.view(one.times.start_at, one.times.end_at)
    )
