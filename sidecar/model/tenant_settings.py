"""What one tenant wants otherwise than the server's settings say, how much of its meetings may be kept, and how it is written
to."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.model.privacy import DEFAULT_PRIVACY, Privacy
from sidecar.model.write import WriteMode

PAST_DAYS_MAX = 365
FUTURE_DAYS_MIN, FUTURE_DAYS_MAX = 1, 1_400
"""The bounds of the server's own settings: Exchange lists no more than about five years at once."""
CHECK_INTERVAL_S_MIN = 60
"""Checking a thousand rooms more often takes most of what one tenant may ask."""
CHECK_INTERVAL_S_MAX = 21_600
"""Six hours: a change whose notification got lost is to be found within a working day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """A tenant's own settings. None: what the server's settings say.

    Attributes:
        past_days, future_days: days before and after today that are kept.
        check_interval_s: time between checks of a room whose changes are announced.
        write_mode: in whose calendar bookings are written whose request does not say.
    """

    past_days: int | None = None
    future_days: int | None = None
    check_interval_s: int | None = None
    privacy: Privacy = DEFAULT_PRIVACY
    write_mode: WriteMode = WriteMode.ROOM

    @property
    def reading(self) -> tuple[int | None, int | None, Privacy]:
        """What a read of a calendar depends on: when it is another, calendars are read anew."""
        return self.past_days, self.future_days, self.privacy


NO_SETTINGS = TenantSettings()
