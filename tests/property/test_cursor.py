"""Resume tokens: what was encoded comes back, and anything else is refused with one error."""

from __future__ import annotations

import base64
import zlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import ResumeTokenMalformed
from sidecar.model.cursor import Cursor, decode_cursor, encode_cursor, scope_hash
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantId
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

names = st.text(st.characters(codec="utf-8"), max_size=24)
cursors = st.builds(
    Cursor,
    store_id=names,
    epoch=names,
    scope=st.binary(max_size=16),
    revision=st.integers(0, 2**63 - 1),
    done=st.none() | names.map(RoomUid),
    room=st.none() | names.map(RoomUid),
    key=st.none() | names.map(BookingKey),
)


def accepted(token: str) -> Cursor | None:
    """Decode; None when refused as malformed. Any other exception fails the test."""
    try:
        return decode_cursor(token)
    except ResumeTokenMalformed:
        return None


@given(cursors)
def test_cursor_survives_the_wire(cursor: Cursor) -> None:
    """A token is the position it was made from, in characters that need no escaping."""
    token = encode_cursor(cursor)
    assert decode_cursor(token) == cursor
    assert token.isascii()
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(cursors, st.data())
def test_damaged_token_is_never_taken_for_another(cursor: Cursor, data: st.DataObject) -> None:
    """A character changed, left out, put in, or the end cut off: refused, or the very same position."""
    token = encode_cursor(cursor)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters())
    for damaged in (
        token[:at] + other + token[at + 1 :],
        token[:at] + token[at + 1 :],
        token[:at] + other + token[at:],
        token[:at],
    ):
        assert accepted(damaged) in (None, cursor)


@given(st.text(max_size=600))
@example("")
@example("=")
@example("====")
@example("AAAAAA")
@example("ä" * 8)
@example("\ud800")
@example("A" * 513)
@example("-" * 512)
def test_text_that_is_no_token_is_refused(text: str) -> None:
    """Whatever a caller sends, the answer is one error."""
    assert accepted(text) is None


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers(-5, 2**64 - 1) | names, st.lists).map(msgspec.msgpack.encode)
)
def test_token_with_a_right_checksum_around_nonsense_is_refused_or_harmless(body: bytes) -> None:
    """The checksum keeps out accidents, not people: what they make is refused, or a position like any other."""
    token = base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")
    cursor = accepted(token)
    assert cursor is None or cursor.revision >= 0


def test_deeply_nested_token_is_refused() -> None:
    """Nesting costs the reader nothing."""
    for body in (b"\x91" * 370, b"\x97" * 300, b"\x81" * 300, b"\xdd\xff\xff\xff\xff"):
        token = base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")
        with pytest.raises(ResumeTokenMalformed):
            decode_cursor(token)


@pytest.mark.parametrize(
    "wire",
    [
        [2, "s", "e", b"", 1, None, None, None],
        [0, "s", "e", b"", 1, None, None, None],
        [1, "s", "e", b"", -1, None, None, None],
        [1, "s", "e", b"", "1", None, None, None],
        [1, "s", "e", b"", 1, None, None],
        [1, None, "e", b"", 1, None, None, None],
        {"version": 1},
        7,
    ],
)
def test_token_of_another_version_or_form_is_refused(wire: object) -> None:
    """A newer server's token is not guessed at."""
    body = msgspec.msgpack.encode(wire)
    token = base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")
    assert accepted(token) is None


@given(names, st.lists(names, max_size=5))
def test_scope_is_the_set_of_its_rooms(tenant: str, rooms: list[str]) -> None:
    """Order and repetition do not matter; another tenant, another room, or all rooms do."""
    tenant_id, room_ids = TenantId(tenant), [RoomId(f"r{room}") for room in rooms]
    again = list(reversed(room_ids)) + room_ids
    assert scope_hash(tenant_id, again) == scope_hash(tenant_id, room_ids)
    assert scope_hash(tenant_id, None) != scope_hash(tenant_id, room_ids)
    assert scope_hash(tenant_id, [*room_ids, RoomId("another")]) != scope_hash(tenant_id, room_ids)
    assert scope_hash(TenantId(f"{tenant}x"), room_ids) != scope_hash(tenant_id, room_ids)


def test_token_is_short() -> None:
    """It travels with every message."""
    cursor = Cursor(store_id="1a6c8a4a", epoch="84dbf938", scope=b"12345678", revision=1_772_438_400_000_050)
    assert len(encode_cursor(cursor)) < 80
