"""What we write into a calendar: the contents of an event of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.model.booking import Person
from sidecar.model.recurrence import Recurrence
from sidecar.model.window import Window


@dataclass(frozen=True, slots=True)
class Invited:
    """Somebody to invite."""

    person: Person
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContent:
    """An event to be written. `repr` shows when it is only: subjects, texts and people stay out of logs.

    Attributes:
        window: when; of a series, its first occurrence. Whole days run from midnight to midnight in `time_zone`.
        time_zone: IANA zone in which the organizer thinks, and in which a series keeps its time of day.
        body_text: plain text for those who open it.
        annotations: the caller's own data, kept beside the event.
    """

    window: Window
    time_zone: str
    is_all_day: bool = False
    subject: str = field(default="", repr=False)
    attendees: tuple[Invited, ...] = field(default=(), repr=False)
    is_private: bool = False
    body_text: str = field(default="", repr=False)
    is_online_meeting: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict, repr=False)
    recurrence: Recurrence | None = None
