"""A watcher's position: decoded here, opaque on the wire."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sidecar.errors import ResumeTokenMalformed
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantId

_VERSION = 1
_TOKEN_CHARS_MAX = 512
_REVISION_MAX = 2**63 - 1
"""What databases count up to; a forged token may say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Everything up to `revision` has been delivered.

    While a stream works through first snapshots, `done` is the uid of the last room it has sent, in the order of uids,
    empty before the first; None means that all rooms are done. `key` is set by the paging reader only: it has delivered
    bookings up to this key, of `room` if that is set, else of the room whose entry follows `revision`. `scope` ties the
    position to what is watched; it grants nothing.
    """

    store_id: str
    epoch: str
    scope: bytes
    revision: int
    done: RoomUid | None = None
    room: RoomUid | None = None
    key: BookingKey | None = None


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    version: int
    store_id: str
    epoch: str
    scope: bytes
    revision: int
    done: str | None
    room: str | None
    key: str | None


_DECODER = msgspec.msgpack.Decoder(_Wire)
_ENCODER = msgspec.msgpack.Encoder()


def scope_hash(tenant_id: TenantId, room_ids: Sequence[RoomId] | None) -> bytes:
    """Return what ties a token to a tenant and rooms (None: all, those mapped later too), in any order."""
    names = "*" if room_ids is None else "\n".join(sorted(set(room_ids)))
    return hashlib.blake2b(f"{tenant_id}\n{names}".encode(), digest_size=8).digest()


def encode_cursor(cursor: Cursor) -> str:
    """Return the resume token: URL-safe, about 60 characters."""
    place = (cursor.revision, cursor.done, cursor.room, cursor.key)
    wire = _Wire(_VERSION, cursor.store_id, cursor.epoch, cursor.scope, *place)
    body = _ENCODER.encode(wire)
    return base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")


def decode_cursor(token: str) -> Cursor:
    """Read a resume token.

    Raises:
        ResumeTokenMalformed: it is not one, was cut off or changed, or comes from a newer version.
    """
    if len(token) > _TOKEN_CHARS_MAX:
        raise ResumeTokenMalformed("the resume token is too long to be one")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        body, checksum = raw[:-4], raw[-4:]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise ResumeTokenMalformed("the resume token was cut off or changed")
        wire = _DECODER.decode(body)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise ResumeTokenMalformed("the resume token cannot be read") from error
    if wire.version != _VERSION or not 0 <= wire.revision <= _REVISION_MAX:
        raise ResumeTokenMalformed("the resume token is of a version that this server does not know")
    return Cursor(
        store_id=wire.store_id,
        epoch=wire.epoch,
        scope=wire.scope,
        revision=wire.revision,
        done=None if wire.done is None else RoomUid(wire.done),
        room=None if wire.room is None else RoomUid(wire.room),
        key=None if wire.key is None else BookingKey(wire.key),
    )
