"""Where a list goes on: opaque on the wire, tied to the request it was given out for.

A page token grants nothing and says nothing secret; its checksum covers the request, so that a token from another request,
a cut one and garbage are all refused alike.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Generic, TypeVar

import msgspec
from google.protobuf.message import Message

from sidecar.api.validate import Check

P = TypeVar("P", bound=msgspec.Struct)

_VERSION = b"\x01"
_CHECKSUM_BYTES = 8
_CHARS_MAX = 1_024
_FIELD = "page_token"


class PageTokens(Generic[P]):
    """The page tokens of one method; `place_type` says where its next page begins."""

    def __init__(self, place_type: type[P], *, free_fields: tuple[str, ...] = (), chars_max: int = _CHARS_MAX) -> None:
        """Make it.

        Args:
            free_fields: fields that may change from page to page, `page_token` aside.
            chars_max: longer ones are refused.
        """
        self._decoder = msgspec.msgpack.Decoder(place_type)
        self._encoder = msgspec.msgpack.Encoder()
        self._free_fields = (_FIELD, *free_fields)
        self._chars_max = chars_max

    def encode(self, request: Message, place: P) -> str:
        """Return the token for the page after this request's."""
        body = self._encoder.encode(place)
        return base64.urlsafe_b64encode(_VERSION + self._checksum(request, body) + body).rstrip(b"=").decode()

    def decode(self, check: Check, request: Message, token: str) -> P | None:
        """Read a token that must belong to a request; None when there is none or it was refused."""
        if not token:
            return None
        try:
            raw = base64.b64decode(token[: self._chars_max] + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            body = raw[1 + _CHECKSUM_BYTES :]
            if raw == _VERSION + self._checksum(request, body) + body:
                return self._decoder.decode(body)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            pass  # refused below, like one that was given out for something else
        check.refuse(_FIELD, "is not the next_page_token of a page of this very request; ask for the first page again")
        return None

    def _checksum(self, request: Message, body: bytes) -> bytes:
        bound = type(request)()
        bound.CopyFrom(request)
        for field in self._free_fields:
            bound.ClearField(field)
        hashed = hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES, key=bound.DESCRIPTOR.name.encode())
        hashed.update(bound.SerializeToString(deterministic=True))
        return hashed.digest()
