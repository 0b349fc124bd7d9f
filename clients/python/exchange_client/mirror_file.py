"""The saved form of a mirror: rows and resume token in one piece of bytes, with a checksum over all of it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from exchange_client.messages import Booking, Room, SyncStatus, TimeWindow

FORMAT = b"exchange-mirror 1\n"
"""First bytes of everything saved; another number means another layout."""

P = TypeVar("P", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomState:
    """What is kept of one room; see `MirroredRoom` for the fields."""

    name: str
    room: Room | None
    epoch: str
    mapped: bool
    complete: bool
    coverage: TimeWindow | None
    rows: list[Booking]
    foreign: list[str]
    tombstones: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """What is kept of a mirror."""

    resume_token: str
    sync: SyncStatus
    rooms: list[RoomState]


def pack(state: MirrorState) -> bytes:
    """Give the bytes to store."""
    document = {
        "resume_token": state.resume_token,
        "sync": _text(state.sync),
        "rooms": [
            {
                "name": room.name,
                "room": _text(room.room),
                "epoch": room.epoch,
                "mapped": room.mapped,
                "complete": room.complete,
                "coverage": _text(room.coverage),
                "rows": [_text(row) for row in room.rows],
                "foreign": room.foreign,
                "tombstones": room.tombstones,
            }
            for room in state.rooms
        ],
    }
    return FORMAT + zlib.compress(json.dumps(document, separators=(",", ":")).encode())


def unpack(saved: bytes) -> MirrorState:
    """Read what `pack` gave.

    Raises:
        ValueError: damaged, cut short, or of another format.
    """
    if not saved.startswith(FORMAT):
        raise ValueError("not a saved mirror, or one of another format")
    try:
        # zlib checks its own sum, so damage does not get past this line as plausible rows.
        document: dict[str, Any] = json.loads(zlib.decompress(saved[len(FORMAT) :]))  # Any: JSON of our own making
        rooms = [
            RoomState(
                name=room["name"],
                room=_message(Room, room["room"]),
                epoch=room["epoch"],
                mapped=room["mapped"],
                complete=room["complete"],
                coverage=_message(TimeWindow, room["coverage"]),
                rows=[Booking.FromString(base64.b64decode(row)) for row in room["rows"]],
                foreign=room["foreign"],
                tombstones=room["tombstones"],
            )
            for room in document["rooms"]
        ]
        sync = _message(SyncStatus, document["sync"]) or SyncStatus()
        return MirrorState(resume_token=document["resume_token"], sync=sync, rooms=rooms)
    except (zlib.error, DecodeError, KeyError, TypeError) as error:
        raise ValueError("the saved mirror is damaged") from error


def _text(message: Message | None) -> str | None:
    return None if message is None else base64.b64encode(message.SerializeToString()).decode()


def _message(kind: type[P], text: str | None) -> P | None:
    return None if text is None else kind.FromString(base64.b64decode(text))
