"""How far time reaches: the longest wait, the years the present can be in, the years a calendar holds.

Whatever a caller names stays within these bounds, so that no sum of a moment and a wait leaves what a `datetime` can hold. A
bound that is missed in the background would end the whole emulator.

Source: Exchange counts moments from the year 1601 on and writes "never" as 4500 (MS-OXOCAL); items last 5 years at most
(EWS, ErrorCalendarDurationIsTooLong).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec

SECONDS_MAX = 100 * 365 * 86400.0
Seconds = Annotated[float, msgspec.Meta(ge=0, le=SECONDS_MAX)]
PRESENT_MIN, PRESENT_MAX = datetime(1970, 1, 1, tzinfo=UTC), datetime(4000, 1, 1, tzinfo=UTC)
ITEM_DAYS_MAX = 1825
FIRST_YEAR, LAST_YEAR = 1602, 4499  # a year each way is left for zones


def check_present(at: datetime) -> datetime:
    """Give a moment back that the present may move to.

    Raises:
        ValueError: it is out of bounds.
    """
    if not PRESENT_MIN <= at <= PRESENT_MAX:
        raise ValueError(f"the present must stay between {PRESENT_MIN:%Y} and {PRESENT_MAX:%Y}")
    return at


def check_year(day: date) -> None:
    """Check that a calendar reaches as far as a day or moment.

    Raises:
        ValueError: it does not.
    """
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"the year must be from {FIRST_YEAR} to {LAST_YEAR}")


def is_too_long(start_at: datetime, end_at: datetime) -> bool:
    """Tell whether an item would last longer than a calendar takes."""
    return end_at - start_at > timedelta(days=ITEM_DAYS_MAX)
