"""How inputs are made from good ones: bytes are changed, and values of JSON are replaced by strange ones."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from tests.fuzz.target import INPUT_BYTES_MAX

_STRANGE: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 0.5, 1e308, -1e-308),
    *("", " ", "\x00", "\ud7ff", "\U0010ffff", "a" * 5_000, "-1", "1e999", "NaN", "../../x", "0001-01-01T00:00:00Z"),
    *(
        "9999-12-31T23:59:59.9999999Z",
        "2026-02-30T25:61:61",
        "Mon, 99 Foo 99999 99:99:99 +9999",
        "tzone://Microsoft/Custom",
    ),
    *([], {}, [[]], [None], {"": ""}, [[[[[[[[]]]]]]]]),
)
_BYTES = (
    b"\x00",
    b"\xff",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"{",
    b"[" * 2_000,
    b'"',
    b"\r\n",
    b"=",
    b"%00",
    b"9" * 400,
)
_ROUNDS_MAX = 4


def mutate(seed: bytes, rng: Random) -> bytes:
    """Return another input like a seed."""
    data = seed
    for _ in range(rng.randint(1, _ROUNDS_MAX)):
        data = _mutate_json(data, rng) if rng.random() < 0.5 else _mutate_bytes(data, rng)
    return data[:INPUT_BYTES_MAX]


def _mutate_bytes(data: bytes, rng: Random) -> bytes:
    at = rng.randint(0, len(data))
    match rng.randrange(5):
        case 0:
            return data[:at] + rng.choice(_BYTES) + data[at:]
        case 1:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + data[at + rng.randint(1, 16) :]
        case 3:
            return data[:at]
        case _:
            piece = data[at : at + rng.randint(1, 32)]
            return data[:at] + piece * rng.randint(2, 8) + data[at:]


def _mutate_json(data: bytes, rng: Random) -> bytes:
    """Replace, remove or double one value; bytes that are no JSON are changed as bytes."""
    try:
        tree: Any = msgspec.json.decode(data)  # whatever a seed holds
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _mutate_bytes(data, rng)
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    if not places:
        return msgspec.json.encode(rng.choice(_STRANGE))
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0 if isinstance(holder, dict):
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.extend([holder[key]] * rng.randint(1, 60))
        case _:
            holder[key] = rng.choice(_STRANGE)
    return msgspec.json.encode(tree)


def _collect(tree: Any, places: list[tuple[Any, Any]]) -> None:  # JSON of any form
    found = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in found:
        places.append((tree, key))
        _collect(value, places)
