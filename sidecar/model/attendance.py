"""What we know of a booking ourselves: who came, and from when on the room was given back. Exchange knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.model.window import Window

CHECK_IN_MARGIN = timedelta(days=1)
"""A check-in this long before the start or after the end can only be meant for another booking."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """Our own data of one booking. It is kept by the booking's key, so it outlives whatever Exchange does to the booking.

    Attributes:
        check_in_at: when somebody came; None: nobody did, as far as we were told.
        check_in_by: the caller's id of who came; no person's address. Empty: not told.
        released_at: from when on the room was given back before the booking's end.
    """

    check_in_at: datetime | None = None
    check_in_by: str = ""
    released_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self.check_in_at is None and self.released_at is None

    def of(self, end_at: datetime) -> Attendance | None:
        """Return what holds for a booking that ends then; None: nothing.

        Whoever makes a released booking longer again takes the room back.
        """
        released_at = self.released_at
        if released_at is not None and end_at > release_end(released_at):
            released_at = None
        shown = Attendance(check_in_at=self.check_in_at, check_in_by=self.check_in_by, released_at=released_at)
        return None if shown.is_empty else shown


def release_end(released_at: datetime) -> datetime:
    """Return the end of a booking that is released at an instant: calendars know whole minutes."""
    whole = released_at.replace(second=0, microsecond=0)
    return whole if whole == released_at else whole + _MINUTE


def check_in_window(start_at: datetime, end_at: datetime) -> Window:
    """Return when somebody may have come to a booking."""
    return Window(start_at - CHECK_IN_MARGIN, end_at + CHECK_IN_MARGIN)
