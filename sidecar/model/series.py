"""A series as a value: when it takes place, and what became of single days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from sidecar.model.ids import EventId
from sidecar.model.recurrence import Recurrence
from sidecar.model.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a series takes place.

    Attributes:
        first: its first occurrence. Whole days run from midnight to midnight in `time_zone`.
        time_zone: IANA zone in which it keeps its time of day, and whose dates its days are.
    """

    recurrence: Recurrence
    first: Window
    time_zone: str
    is_all_day: bool = False

    @property
    def zone(self) -> ZoneInfo:
        """The zone."""
        return ZoneInfo(self.time_zone)

    @property
    def start_day(self) -> date:
        """The day of the first occurrence."""
        return self.first.start_at.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesException:
    """An occurrence that differs from its series.

    Attributes:
        day: on which its pattern put it; this tells it apart.
        window: when it takes place, which may be on another day.
        event_id: of the occurrence at Exchange.
        own: what it says differently, as Exchange writes it; empty as long as nobody has read it.
    """

    day: date
    window: Window
    is_all_day: bool = False
    event_id: EventId
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)  # Any: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series, whole.

    Attributes:
        exceptions: by day, ascending; none of them is cancelled.
        cancelled: days on which it does not take place although its pattern says so.
    """

    timing: Timing
    exceptions: tuple[SeriesException, ...] = ()
    cancelled: frozenset[date] = frozenset()
