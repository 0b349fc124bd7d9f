"""Requests of any message type with anything in their fields.

Wild ones have something strange in most fields, and show that all of it is refused. Calm ones have what belongs there in all
but a few, and so get past the first checks.
"""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.fuzz.target import CANARY
from tests.support.builders import NOW

_NAMES = (
    *(
        "tenants/acme",
        "tenants/acme/rooms/r1",
        "tenants/acme/rooms/-",
        "tenants/acme/rooms/r1/bookings/b1",
        "tenants/-",
    ),
    *("acme", "r1", "tenants//rooms/", "tenants/acme/rooms/../../x", "tenants/" + "a" * 70, "rooms/r1"),
)
_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\n",
        "\u202e",
        "\ufffd\U0010ffff",
        "'; DROP TABLE rooms; --",
        "%s%n{0}",
        "a" * 3_000,
        CANARY,
    ),
    *("r1@contoso.example", "@", "x@y", "Europe/Berlin", "../../etc/passwd", "8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80"),
    *("FREQ=DAILY;COUNT=3", "FREQ=SECONDLY", "2026-11-23", "*", "name,state", "paths.paths"),
)
_NUMBERS = (
    0,
    1,
    -1,
    2,
    10,
    100,
    1_000,
    10**6,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**53,
    2**63 - 1,
    -(2**63),
    253402300800,
)
_REALS = (0.0, -0.0, 1.5, -1.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_TIMES = tuple(int(NOW.timestamp()) + hours * 3_600 for hours in (1, 2, 30))
_GOOD: dict[str, tuple[object, ...]] = {
    "name": ("tenants/acme/rooms/r1", "tenants/acme", "tenants/acme/rooms/r1/bookings/b1"),
    "parent": ("tenants/acme", "tenants/acme/rooms/r1", "tenants/acme/rooms/-"),
    "tenant_id": ("acme", "new"),
    "room_id": ("r1", "r2"),
    "mailbox": ("r1@contoso.example", "r2@contoso.example"),
    "email": ("ada@contoso.example",),
    "directory_id": ("8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80",),
    "application_id": ("0d1f6a5b-3c2e-4f7a-8b9c-1a2b3c4d5e6f",),
    "client_secret": (CANARY,),
    "time_zone": ("Europe/Berlin", ""),
    "rrule": ("", "FREQ=DAILY;COUNT=3"),
    "request_id": ("request-1", "request-2"),
    "page_size": (0, 1, 10),
    "paths": ("display_name", "subject", "time"),
    "nanos": (0,),
    "seconds": _TIMES,
}
"""What belongs into fields, by their names."""
_EMPTY = frozenset({"page_token", "resume_token", "read_after_token", "etag", "view", "fields", "filter", "watcher_id"})
_STRANGE_SHARE = 0.08
_DEPTH_MAX = 4
_ITEMS = (0, 1, 1, 2, 3, 300)
_LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def any_message(kind: Descriptor, rng: Random, *, is_calm: bool, depth: int = 0) -> Any:  # a message of any type
    """Return a message of a type; each field may be set."""
    message: Any = GetMessageClass(kind)()
    if is_calm and kind.name == "TimeWindow":
        message.start_time.seconds = rng.choice(_TIMES)
        message.end_time.seconds = message.start_time.seconds + rng.choice((1_800, 3_600, 86_400))
        return message
    for field in kind.fields:
        share = 1.0 if is_calm and field.name in _GOOD else 0.3 if is_calm else 0.6
        if rng.random() < share:
            _fill(message, field, rng, is_calm and rng.random() > _STRANGE_SHARE, depth)
    return message


def _fill(
    message: Any, field: FieldDescriptor, rng: Random, is_calm: bool, depth: int
) -> None:  # a message of any type
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        values = field.message_type.fields_by_name["value"]
        if values.message_type is None:
            getattr(message, field.name)[rng.choice(_TEXTS)] = _value(values, rng, is_calm)
    elif field.message_type is not None:
        if depth >= _DEPTH_MAX:
            return
        if field.is_repeated:
            for _ in range(rng.choice(_ITEMS) if depth < 2 else 1):
                inner = any_message(field.message_type, rng, is_calm=is_calm, depth=depth + 1)
                getattr(message, field.name).append(inner)
        else:
            inner = any_message(field.message_type, rng, is_calm=is_calm, depth=depth + 1)
            getattr(message, field.name).CopyFrom(inner)
    elif field.is_repeated:
        getattr(message, field.name).extend(_value(field, rng, is_calm) for _ in range(rng.choice(_ITEMS)))
    else:
        setattr(message, field.name, _value(field, rng, is_calm))


def _value(field: FieldDescriptor, rng: Random, is_calm: bool) -> object:
    if is_calm and field.name in _GOOD:
        return rng.choice(_GOOD[field.name])
    if is_calm and field.name in _EMPTY:
        return ""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.choice((b"", b"\x00" * 100, rng.randbytes(40), b"-----BEGIN CERTIFICATE-----\n"))
        is_name = field.name in {"name", "parent", "names", "rooms", "room", "tenant"} and rng.random() < 0.8
        return "a word" if is_calm else rng.choice(_NAMES if is_name else (*_TEXTS, *_NAMES))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return rng.choice(_REALS)
    least, most = _LIMITS[field.cpp_type]
    numbers = tuple(number for number in _NUMBERS if least <= number <= most and (not is_calm or 0 <= number <= 100))
    if field.enum_type is not None and rng.random() < 0.8:
        return rng.choice([value.number for value in field.enum_type.values])
    return rng.choice(numbers)
