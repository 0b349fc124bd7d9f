"""Identifiers in the shapes Microsoft uses, made from the emulator's seeded randomness.

Two formats of one item id differ only in their prefix until the item moves between folders, which gives the mutable one another
core. An occurrence's id is its master's with the day written into it: it survives a restart of any client, and needs no table.

Source: Graph "Obtain immutable identifiers for Outlook resources" page; the shape of a calendar UID is MS-OXOCAL's
PidLidGlobalObjectId, whose bytes 16-19 hold the day of an occurrence.
"""

import base64
import random
from datetime import date
from typing import NamedTuple

_IMMUTABLE_PREFIX = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A"
_MUTABLE_PREFIX = "AAMkAGY1ZDk0NmM5LWI1YzctNGU2Yi05ZjIy"
_CORE_CHARS = 32
_DAY_CHARS = 8
_SUFFIX = "AA="
_ID_CHARS = len(_IMMUTABLE_PREFIX) + _CORE_CHARS + _DAY_CHARS + len(_SUFFIX)
_NO_DAY = "AAAAAAAA"
_ICAL_CLASS = "040000008200E00074C5B7101A82E008"


class ItemKey(NamedTuple):
    """What an item id says."""

    core: str
    day: date | None
    """Which occurrence of a series it names."""
    immutable: bool


class IdMaker:
    """Makes every identifier of one emulator; the same seed gives the same ids in the same order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.change_count = 0
        """How many change keys there have been."""

    def guid(self) -> str:
        """Make a random GUID, lower case."""
        bits = f"{self._rng.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"

    def item_core(self) -> str:
        """Make the part of an item's id that both formats share."""
        return _b64(self._rng.randbytes(_CORE_CHARS * 3 // 4))

    def ical_uid(self) -> str:
        """Make a calendar UID for a single meeting or a whole series."""
        return f"{_ICAL_CLASS}00000000{self._rng.getrandbits(64):016X}{0:016X}10000000{self._rng.getrandbits(128):032X}"

    def change_key(self) -> str:
        """Make the next change key; keys never repeat."""
        self.change_count += 1
        return base64.b64encode(b"\x07y\x0fi\x0ct\xc2Lw\x9d\x3d\x13" + self.change_count.to_bytes(7, "big")).decode()

    def secret(self) -> str:
        """Make a client secret; like Microsoft's it is 40 characters and not a GUID."""
        return f"{_b64(self._rng.randbytes(2))[:3]}8Q~{_b64(self._rng.randbytes(27)).replace('-', '~')[:34]}"


def format_item_id(core: str, *, immutable: bool, day: date | None = None) -> str:
    """Write an item's id in one of the two formats; `day` names an occurrence of a series."""
    day_part = _NO_DAY if day is None else _b64(day.toordinal().to_bytes(6, "big"))
    return f"{_IMMUTABLE_PREFIX if immutable else _MUTABLE_PREFIX}{core}{day_part}{_SUFFIX}"


def parse_item_id(text: str) -> ItemKey | None:
    """Read an id of either format; None if it is not an id of ours."""
    if (
        len(text) != _ID_CHARS
        or not text.startswith((_IMMUTABLE_PREFIX, _MUTABLE_PREFIX))
        or not text.endswith(_SUFFIX)
    ):
        return None
    start = len(_IMMUTABLE_PREFIX)
    core, day_part = text[start : start + _CORE_CHARS], text[start + _CORE_CHARS : -len(_SUFFIX)]
    immutable = text.startswith(_IMMUTABLE_PREFIX)
    if day_part == _NO_DAY:
        return ItemKey(core, None, immutable)
    try:
        day = date.fromordinal(int.from_bytes(base64.urlsafe_b64decode(day_part), "big"))
        return ItemKey(core, day, immutable)
    except (ValueError, OverflowError):
        return None


def occurrence_ical_uid(series_uid: str, day: date) -> str:
    """Write the day of an occurrence into its series' calendar UID."""
    at = len(_ICAL_CLASS)
    return f"{series_uid[:at]}{day.year:04X}{day.month:02X}{day.day:02X}{series_uid[at + 8 :]}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
