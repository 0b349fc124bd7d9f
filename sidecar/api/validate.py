"""What callers send, checked: all broken rules of a request are told together, and none is told by quoting it.

A check returns the value in its own type, or a harmless stand-in after noting a violation; `finish` raises before anyone
can use a stand-in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.errors import FieldViolation, InvalidArgument
from sidecar.gen.ioffice.exchange.v1.common_pb2 import TimeWindow
from sidecar.model.ids import ALL_ROOMS, BookingKey, Mailbox, RoomId, TenantId
from sidecar.model.window import EPOCH, Window

_ID = "[A-Za-z0-9._~-]{1,63}"
_ID_PATTERN = re.compile(_ID)
_TENANT_NAME = re.compile(f"tenants/({_ID})")
_ROOM_NAME = re.compile(f"tenants/({_ID})/rooms/({_ID})")
_BOOKING_NAME = re.compile(f"tenants/({_ID})/rooms/({_ID})/bookings/({_ID})")
_GUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAILBOX = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_ZONE = re.compile("[A-Za-z][A-Za-z0-9_+/-]{0,63}")

_MAILBOX_CHARS_MAX = 254
_DISPLAY_NAME_CHARS_MAX = 200
_ETAG_CHARS_MAX = 64
_ANNOTATIONS_MAX = 20
_ANNOTATION_KEY_CHARS_MAX = 63
_ANNOTATION_VALUE_CHARS_MAX = 500
_WINDOW_MAX = timedelta(days=5 * 365 + 2)
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_798
"""From year 1 to the last but one second of year 9999, so that rounding up stays inside."""
_CAPACITY_MAX = 2**31 - 1
_NO_WINDOW = Window(EPOCH, EPOCH + timedelta(seconds=1))
_SYSTEM_ZONES = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""Found by zoneinfo in the operating system's files, but no names of the IANA database."""

_ID_RULE = "1 to 63 characters of [A-Za-z0-9._~-]"


def is_guid(text: str) -> bool:
    """Tell whether a text has the form of a GUID."""
    return len(text) == 36 and _GUID.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _is_zone(name: str) -> bool:
    if _ZONE.fullmatch(name) is None or name.startswith(_SYSTEM_ZONES):
        return False
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory, such as America
        return False
    return True


class Check:
    """Collects the broken rules of one request. `prefix` goes before field paths, for requests inside a request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []
        self.prefix = ""

    def refuse(self, field: str, description: str) -> None:
        """Note a broken rule."""
        self._violations.append(FieldViolation(self.prefix + field, description))

    def finish(self) -> None:
        """Raise when a rule is broken.

        Raises:
            InvalidArgument: with all of them.
        """
        if self._violations:
            raise InvalidArgument(self._violations)

    def tenant(self, field: str, name: str) -> TenantId:
        """Read tenants/{tenant}."""
        match = _TENANT_NAME.fullmatch(name)
        if match is None:
            self.refuse(field, f"must be tenants/{{tenant}}, the id {_ID_RULE}")
            return TenantId("")
        return TenantId(match[1])

    def room(self, field: str, name: str) -> tuple[TenantId, RoomId]:
        """Read tenants/{tenant}/rooms/{room}."""
        match = _ROOM_NAME.fullmatch(name)
        if match is None or match[2] == ALL_ROOMS:
            self.refuse(field, f"must be tenants/{{tenant}}/rooms/{{room}}, each id {_ID_RULE}")
            return TenantId(""), RoomId("")
        return TenantId(match[1]), RoomId(match[2])

    def room_or_all(self, field: str, name: str) -> tuple[TenantId, RoomId | None]:
        """Read tenants/{tenant}/rooms/{room}, or rooms/-, which gives None."""
        match = _ROOM_NAME.fullmatch(name)
        if match is None:
            self.refuse(
                field, f"must be tenants/{{tenant}}/rooms/{{room}} or tenants/{{tenant}}/rooms/-, ids {_ID_RULE}"
            )
            return TenantId(""), None
        return TenantId(match[1]), None if match[2] == ALL_ROOMS else RoomId(match[2])

    def tenant_or_room(self, field: str, name: str) -> tuple[TenantId, RoomId | None]:
        """Read tenants/{tenant}/rooms/{room}; tenants/{tenant} and rooms/- give None."""
        if _TENANT_NAME.fullmatch(name) is not None:
            return self.tenant(field, name), None
        match = _ROOM_NAME.fullmatch(name)
        if match is None:
            self.refuse(field, f"must be tenants/{{tenant}} or tenants/{{tenant}}/rooms/{{room}}, each id {_ID_RULE}")
            return TenantId(""), None
        return TenantId(match[1]), None if match[2] == ALL_ROOMS else RoomId(match[2])

    def booking(self, field: str, name: str) -> tuple[TenantId, RoomId, BookingKey]:
        """Read tenants/{tenant}/rooms/{room}/bookings/{booking}."""
        match = _BOOKING_NAME.fullmatch(name)
        if match is None:
            self.refuse(field, f"must be tenants/{{tenant}}/rooms/{{room}}/bookings/{{booking}}, each id {_ID_RULE}")
            return TenantId(""), RoomId(""), BookingKey("")
        return TenantId(match[1]), RoomId(match[2]), BookingKey(match[3])

    def new_id(self, field: str, value: str) -> str:
        """Check an id that the caller wants to give."""
        if _ID_PATTERN.fullmatch(value) is None:
            self.refuse(field, f"must be {_ID_RULE}")
        elif value == ALL_ROOMS:
            self.refuse(field, "must not be -, which stands for all")
        return value

    def guid(self, field: str, value: str) -> str:
        """Check a GUID and return it in lower case, so that its spellings are one value."""
        if not is_guid(value):
            self.refuse(field, "must be a GUID such as 8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80")
        return value.lower()

    def mailbox(self, field: str, value: str) -> Mailbox:
        """Check the shape of a mailbox address."""
        if not value:
            self.refuse(field, "is required")
        elif len(value) > _MAILBOX_CHARS_MAX or _MAILBOX.fullmatch(value) is None:
            self.refuse(field, f"must be an address such as room@example.com, {_MAILBOX_CHARS_MAX} characters at most")
        return Mailbox(value)

    def text(self, field: str, value: str, chars_max: int) -> str:
        """Check the length of a text."""
        if len(value) > chars_max:
            self.refuse(field, f"must have {chars_max} characters at most")
        return value

    def display_name(self, field: str, value: str) -> str:
        """Check a name for people."""
        return self.text(field, value, _DISPLAY_NAME_CHARS_MAX)

    def etag(self, field: str, value: str) -> str:
        """Check the length of a version."""
        return self.text(field, value, _ETAG_CHARS_MAX)

    def time_zone(self, field: str, value: str) -> str:
        """Check that a zone is one of the IANA database; empty is allowed."""
        if value and not _is_zone(value):
            self.refuse(field, "must be an IANA time zone such as America/Chicago")
        return value

    def capacity(self, field: str, value: int) -> int:
        """Check a count of seats."""
        if not 0 <= value <= _CAPACITY_MAX:
            self.refuse(field, "must not be negative")
        return value

    def annotations(self, field: str, value: Mapping[str, str]) -> dict[str, str]:
        """Check the caller's notes."""
        if len(value) > _ANNOTATIONS_MAX:
            self.refuse(field, f"must have {_ANNOTATIONS_MAX} entries at most")
        elif any(not 1 <= len(key) <= _ANNOTATION_KEY_CHARS_MAX for key in value):
            self.refuse(field, f"must have keys of 1 to {_ANNOTATION_KEY_CHARS_MAX} characters")
        elif any(len(text) > _ANNOTATION_VALUE_CHARS_MAX for text in value.values()):
            self.refuse(field, f"must have values of {_ANNOTATION_VALUE_CHARS_MAX} characters at most")
        return dict(value)

    def choice(self, field: str, number: int, known: Collection[int]) -> None:
        """Check that a number is a value of its enum that this version knows."""
        if number not in known:
            self.refuse(field, "has a value that this version does not know")

    def instant(self, field: str, value: Timestamp) -> datetime:
        """Read a timestamp; parts of a microsecond are cut off."""
        if not _is_valid(value):
            self.refuse(field, "must be a timestamp between the years 1 and 9999 with nanos from 0 to 999,999,999")
            return EPOCH
        return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)

    def window(self, field: str, value: TimeWindow) -> Window:
        """Read a window; parts of a microsecond widen it."""
        if not (value.HasField("start_time") and value.HasField("end_time")):
            self.refuse(field, "must have start_time and end_time")
            return _NO_WINDOW
        start, end = value.start_time, value.end_time
        if not (_is_valid(start) and _is_valid(end)):
            self.refuse(field, "must hold timestamps between the years 1 and 9999 with nanos from 0 to 999,999,999")
            return _NO_WINDOW
        if (end.seconds, end.nanos) <= (start.seconds, start.nanos):
            self.refuse(field, "must end after it starts")
            return _NO_WINDOW
        start_at = EPOCH + timedelta(seconds=start.seconds, microseconds=start.nanos // 1_000)
        end_at = EPOCH + timedelta(seconds=end.seconds, microseconds=-(-end.nanos // 1_000))
        if end_at - start_at > _WINDOW_MAX:
            self.refuse(field, "must span 5 years at most")
        return Window(start_at, end_at)

    def page_size(self, field: str, value: int, *, default: int, most: int) -> int:
        """Read a page size: 0 means the default, more than the most means the most."""
        if value < 0:
            self.refuse(field, "must not be negative")
        return min(value, most) if value > 0 else default

    def duration_s(self, field: str, value: Duration, *, least_s: float, most_s: float) -> float:
        """Read a duration in seconds."""
        duration_s = value.seconds + value.nanos / 1e9
        if not least_s <= duration_s <= most_s:
            self.refuse(field, f"must be between {least_s:g} s and {most_s:g} s")
        return duration_s


def _is_valid(value: Timestamp) -> bool:
    return _SECONDS_MIN <= value.seconds <= _SECONDS_MAX and 0 <= value.nanos < 1_000_000_000
