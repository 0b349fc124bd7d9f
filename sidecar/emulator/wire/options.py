"""The options of one Graph request: Prefer header and OData query, read strictly.

An option nobody wrote down here is refused with 501, because an option silently ignored is a wrong answer.

Source: Graph "Use query parameters", "Obtain immutable identifiers for Outlook resources" and "List calendarView" pages.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from urllib.parse import parse_qsl

from sidecar.emulator.errors import GraphError, NotEmulated, invalid_request, zone_not_supported
from sidecar.emulator.wire.expand import Expansion
from sidecar.emulator.zones import UnknownZone, resolve_zone

PAGE_SIZE_DEFAULT = 10
PAGE_SIZE_MAX = 1000
INT32_MAX = 2**31 - 1
_INT32_DIGITS_MAX = len(str(INT32_MAX))
_PREFERENCE = re.compile(r'\s*([A-Za-z.\-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,;"]+)))?\s*(?:,|$)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a Prefer header asks for."""

    zone: str = "UTC"
    immutable: bool = False
    text_body: bool = False
    page_size: int | None = None
    applied: str = ""
    """The value of Preference-Applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How events are to be written: zone, id format, body format, the properties asked for (None is all), and more."""

    zone: str = "UTC"
    immutable: bool = False
    text_body: bool = False
    select: frozenset[str] | None = None
    expand: tuple[Expansion, ...] = ()

    @property
    def tz(self) -> tzinfo:
        """Give the zone times are written in."""
        return resolve_zone(self.zone)


@lru_cache(maxsize=512)
def parse_prefer(header: str) -> Preferences:
    """Read the values of all Prefer headers, joined by commas.

    Raises:
        GraphError: 400 for a time zone nobody knows, 501 for a preference the emulator does not play.
    """
    zone, immutable, text_body, page_size, at = "UTC", False, False, None, 0
    while at < len(header):
        match = _PREFERENCE.match(header, at)
        if match is None:
            raise NotEmulated(f"the Prefer header {header!r}")
        at = match.end()
        name, value = match[1].lower(), match[2] if match[2] is not None else match[3] or ""
        if name == "outlook.timezone":
            zone = _known_zone(value)
        elif name == "idtype" and value.lower() in ("immutableid", "restid"):
            immutable = value.lower() == "immutableid"
        elif name == "outlook.body-content-type" and value.lower() in ("text", "html"):
            text_body = value.lower() == "text"
        elif name == "odata.maxpagesize" and whole_number(value):
            page_size = whole_number(value)
        else:
            raise NotEmulated(f"the preference {match[0].strip(' ,')!r}")
    return Preferences(zone=zone, immutable=immutable, text_body=text_body, page_size=page_size, applied=header.strip())


def _known_zone(name: str) -> str:
    if name.lower().startswith("tzone:"):
        raise zone_not_supported(name)
    try:
        resolve_zone(name)
    except UnknownZone:
        raise zone_not_supported(name) from None
    return name


@lru_cache(maxsize=512)
def shape_of(preferences: Preferences, select: frozenset[str] | None, expand: tuple[Expansion, ...] = ()) -> Shape:
    """Join preferences, $select and $expand; equal questions give the same object, which the rendering cache compares."""
    return Shape(
        zone=preferences.zone,
        immutable=preferences.immutable,
        text_body=preferences.text_body,
        select=select,
        expand=expand,
    )


def check_given_once(query_string: str) -> None:
    """Refuse options that are given more than once.

    Raises:
        GraphError: 400.
    """
    names = [name for name, _ in parse_qsl(query_string, keep_blank_values=True)]
    for name, count in Counter(names).items():
        if count > 1:
            message = f"Query option '{name}' was specified more than once, but it must be specified at most once."
            raise GraphError(400, "RequestBroker--ParseUri", message)


def check_options(query: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse query options that are not played here.

    Raises:
        NotEmulated: with the option's name.
    """
    for name in query:
        if name not in known:
            raise NotEmulated(f"the query option {name!r} on this path")


def parse_top(query: Mapping[str, str], preferences: Preferences, *, default: int = PAGE_SIZE_DEFAULT) -> int:
    """Read the page size: $top, else odata.maxpagesize, else the default.

    Raises:
        GraphError: 400 outside 1 to 1,000.
    """
    text = query.get("$top")
    size = preferences.page_size or default if text is None else whole_number(text)
    if size is None or not 1 <= size <= PAGE_SIZE_MAX:
        raise invalid_request(f"The value of $top must be from 1 to {PAGE_SIZE_MAX}.")
    return size


def parse_skip(query: Mapping[str, str]) -> int:
    """Read how many items earlier pages have given."""
    skip = whole_number(query.get("$skip", "0"))
    if skip is None:
        raise invalid_request("The value of $skip must be a number.")
    return skip


def whole_number(text: str) -> int | None:
    """Read a number that is not negative; None for anything else, and for what no Int32 holds."""
    if not 1 <= len(text) <= _INT32_DIGITS_MAX or not (text.isascii() and text.isdecimal()):
        return None
    found = int(text)
    return found if found <= INT32_MAX else None


def parse_count(query: Mapping[str, str]) -> bool:
    """Read whether `@odata.count` is asked for.

    Raises:
        GraphError: 400 for anything but true and false.
    """
    text = query.get("$count", "false").lower()
    if text not in ("true", "false"):
        raise GraphError(400, "BadRequest", f"Invalid value '{query['$count']}' for $count query option found.")
    return text == "true"
