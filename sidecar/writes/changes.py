"""What an update asks for, and what an event or a series is after it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from sidecar.model.event import EventContent, Invited
from sidecar.model.recurrence import Recurrence
from sidecar.model.series import Series, Timing
from sidecar.model.window import Window
from sidecar.writes.occurrences import occurrence_windows, window_on
from sidecar.writes.rrule import parse_rule

_OVERLAPS_LOOKED_AT = 60
_OVERLAPS_WITHIN = timedelta(days=5 * 365 + 2)
"""Gaps of a pattern repeat themselves: whose first occurrences do not meet has none that do."""
_TIME_PARTS = ("window", "time_zone", "is_all_day")
_TEXT_PARTS = ("subject", "attendees", "is_private", "body_text", "is_online_meeting", "annotations")
"""By the names that `graph.wire_writes.WRITABLE` has for them."""


class Scope(enum.IntEnum):
    """How much of a series is meant; the numbers are those of the API. Of a single booking all mean the booking."""

    OCCURRENCE = 1
    FOLLOWING = 2
    SERIES = 3


class ChangeRefused(ValueError):
    """A change cannot be what is meant; the text is a sentence for the caller."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(message)
        self.field_name = field_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an update asks for. None: this stays as it is. `repr` shows when it is only.

    Attributes:
        rule: when a series takes place from now on, as RFC 5545 has it; its first occurrence is then at `window`.
    """

    window: Window | None = None
    time_zone: str | None = None
    is_all_day: bool | None = None
    subject: str | None = field(default=None, repr=False)
    attendees: tuple[Invited, ...] | None = field(default=None, repr=False)
    is_private: bool | None = None
    body_text: str | None = field(default=None, repr=False)
    is_online_meeting: bool | None = None
    annotations: Mapping[str, str] | None = field(default=None, repr=False)
    rule: str = ""

    @property
    def is_retiming(self) -> bool:
        """Whether it says something of when."""
        return bool(self.rule) or any(getattr(self, name) is not None for name in _TIME_PARTS)

    @property
    def parts(self) -> frozenset[str]:
        """What it says something of, apart from when; see `graph.wire_writes.WRITABLE`."""
        return frozenset(name for name in _TEXT_PARTS if getattr(self, name) is not None)


def content_after(
    change: Change, window: Window, time_zone: str, *, is_all_day: bool, recurrence: Recurrence | None = None
) -> EventContent:
    """Return an event's contents after a change: when it takes place, and what the change names of the rest."""
    return EventContent(
        window=change.window or window,
        time_zone=change.time_zone or time_zone,
        is_all_day=is_all_day if change.is_all_day is None else change.is_all_day,
        subject=change.subject or "",
        attendees=change.attendees or (),
        is_private=bool(change.is_private),
        body_text=change.body_text or "",
        is_online_meeting=bool(change.is_online_meeting),
        annotations=change.annotations or {},
        recurrence=recurrence,
    )


def timing_after(change: Change, series: Series, *, named: Window) -> Timing:
    """Return when a series takes place after a change.

    A change of time is told for one occurrence, and all others follow: to another time of day, of another length, in
    another zone. To other days a series is moved by a rule only; its first occurrence is then when the change says.

    Args:
        named: when the occurrence that the change is told for takes place by the pattern.
    Raises:
        ChangeRefused, rrule.RuleRefused.
    """
    before = series.timing
    if not change.is_retiming:
        return before
    after = replace(
        before,
        time_zone=change.time_zone or before.time_zone,
        is_all_day=before.is_all_day if change.is_all_day is None else change.is_all_day,
    )
    window = change.window or named
    if change.rule:
        if change.window is None:
            raise ChangeRefused("booking.time", "a new rule needs the time of the series' first occurrence")
        recurrence = parse_rule(change.rule, start_at=window.start_at, zone=after.zone)
        return _apart(replace(after, first=window, recurrence=recurrence), "rrule")
    if window.start_at.astimezone(after.zone).date() != named.start_at.astimezone(before.zone).date():
        raise ChangeRefused("booking.time", "a series is moved to other days by its rule: say rrule, too")
    return _apart(replace(after, first=window_on(window, before.start_day, zone=after.zone)), "booking.time")


def _apart(timing: Timing, field_name: str) -> Timing:
    """Return a timing whose occurrences do not meet each other.

    Raises:
        ChangeRefused: they do.
    """
    until_at = timing.first.start_at + _OVERLAPS_WITHIN
    told = occurrence_windows(timing.recurrence, timing.first, zone=timing.zone, until_at=until_at)
    if any(one.end_at > following.start_at for one, following in pairwise(islice(told, _OVERLAPS_LOOKED_AT))):
        raise ChangeRefused(field_name, "must not have a booking begin before the one before it has ended")
    return timing


def is_moved(change: Change, window: Window, *, is_all_day: bool) -> bool:
    """Tell whether a change puts an event at another time."""
    return change.window not in {None, window} or change.is_all_day not in {None, is_all_day}


def added_parts(after: Window, before: Window) -> tuple[Window, ...]:
    """Return what of a window lies outside of another one: what is newly taken by a booking that is made longer, or moved."""
    if after.end_at <= before.start_at or after.start_at >= before.end_at:
        return (after,)
    parts = []
    if after.start_at < before.start_at:
        parts.append(Window(after.start_at, before.start_at))
    if after.end_at > before.end_at:
        parts.append(Window(before.end_at, after.end_at))
    return tuple(parts)


def check_whole_days(window: Window, zone_name: str, *, is_all_day: bool, room_zone: str) -> None:
    """Check that whole days are days of the room.

    Raises:
        ChangeRefused.
    """
    if not is_all_day:
        return
    name = room_zone or "UTC"
    if zone_name != name:
        raise ChangeRefused("booking.time_zone", "must be the room's zone or empty for whole days")
    zone = ZoneInfo(name)
    if any(at.astimezone(zone).time() != time() for at in (window.start_at, window.end_at)):
        raise ChangeRefused(
            "booking.time", f"must be from midnight to midnight in {name}, the room's zone, for whole days"
        )
