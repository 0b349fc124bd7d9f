"""Time zone names and wire times, in and out.

Source: Graph "dateTimeTimeZone resource type" and "List calendarView" pages: seven fractional digits, no offset, Windows and
IANA names; the years are those of Exchange's PtypTime (MS-OXCDATA), 1601 to 4500.
"""

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from sidecar.emulator.bounds import check_year
from sidecar.emulator.windows_zones import WINDOWS_TO_IANA

UNSET_TIME = "0001-01-01T00:00:00Z"
_CUSTOM = "tzone://microsoft/custom"
_UTC_NAMES = frozenset({"utc", "etc/utc", "tzone://microsoft/utc", _CUSTOM, "gmt"})
_WINDOWS_LOWER = {name.lower(): iana for name, iana in WINDOWS_TO_IANA.items()}


class UnknownZone(ValueError):
    """A time zone name that neither Windows nor IANA knows."""


@lru_cache(maxsize=2048)
def resolve_zone(name: str) -> tzinfo:
    """Find the zone a Windows or IANA name stands for.

    Exchange's own `tzone://Microsoft/Utc` and `tzone://Microsoft/Custom` count as UTC: the rules of a custom zone travel in no
    name. Only items carry them; whoever reads cannot ask for them.

    Raises:
        UnknownZone: no such zone.
    """
    if name.lower() in _UTC_NAMES:
        return UTC
    try:
        return ZoneInfo(_WINDOWS_LOWER.get(name.lower(), name))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; odd names end as the others
        raise UnknownZone(name) from None


def parse_local(text: str) -> datetime:
    """Read a wire time: any number of fractional digits; aware only if the text has an offset.

    Raises:
        ValueError: not a date and time.
    """
    head, dot, tail = text.partition(".")
    if dot:
        digits_count = next((at for at, char in enumerate(tail) if not char.isdigit()), len(tail))
        text = f"{head}.{tail[:digits_count][:6].ljust(6, '0')}{tail[digits_count:]}"
    return datetime.fromisoformat(text)


def parse_instant(text: str, *, zone: str = "UTC") -> datetime:
    """Read a wire time as an instant in UTC; without an offset it is local to `zone`.

    Raises:
        ValueError: not a date and time, or one that no calendar holds.
    """
    return as_instant(parse_local(text), resolve_zone(zone))


def as_instant(moment: datetime, zone: tzinfo) -> datetime:
    """Give a wire time as an instant in UTC; without an offset it is local to `zone`.

    Raises:
        ValueError: it is of a year that no calendar holds.
    """
    check_year(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


def format_local(at: datetime, zone: tzinfo) -> str:
    """Write an instant as local time with seven fractional digits and no offset."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S.%f0")


def format_instant(at: datetime) -> str:
    """Write an instant in UTC with seven fractional digits and a Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def format_seconds(at: datetime) -> str:
    """Write an instant in UTC with whole seconds and a Z, as subscriptions show their expiry."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
