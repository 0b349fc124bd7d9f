"""What callers, customers and operators hand over: tokens, rules, certificates, and files."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import trustme

from sidecar.api import audits, bookings, rooms, tenants
from sidecar.api.callers import read_callers
from sidecar.api.page_tokens import PageTokens
from sidecar.api.pfx import complain_about_pfx
from sidecar.api.proofs import complain_about_certificate
from sidecar.api.tls import read_tls
from sidecar.api.validate import Check
from sidecar.cli.room_file import RoomFileInvalid, parse_rooms
from sidecar.errors import InvalidArgument, ResumeTokenMalformed, SettingsInvalid
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.intake.path_secrets import read_path_secrets
from sidecar.model.cursor import Cursor, decode_cursor, encode_cursor
from sidecar.onboarding.result_file import read_result
from sidecar.onboarding.settings_file import ResultUnreadable
from sidecar.settings import read_config_file
from sidecar.store.key_ring import read_key_ring
from sidecar.store.postgres_link import read_dsn
from sidecar.telemetry.collector import read_headers
from sidecar.telemetry.tracing import parse_context
from sidecar.writes.rrule import RuleRefused, format_rule, parse_rule
from tests.fuzz.target import CANARY, Target

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def cursors(data: bytes) -> None:
    """Read a resume token as it stands, and the same bytes as one whose checksum is right."""
    forged = base64.urlsafe_b64encode(data + zlib.crc32(data).to_bytes(4, "big")).decode().rstrip("=")
    for token in (data.decode("utf-8", "replace"), forged):
        try:
            cursor = decode_cursor(token)
        except ResumeTokenMalformed:
            continue
        assert 0 <= cursor.revision < 2**63, "the database counts in 64 bits with a sign"
        assert decode_cursor(encode_cursor(cursor)) == cursor


def page_tokens(data: bytes) -> None:
    """Read a page token of each method as it stands, and a forged one with the right checksum."""
    request = pb.ListBookingsRequest(parent="tenants/acme/rooms/-")
    for module in (audits, bookings, rooms, tenants):
        codec: PageTokens[msgspec.Struct] = PageTokens(module._Place)
        body = base64.urlsafe_b64encode(b"\x01" + codec._checksum(request, data) + data).decode().rstrip("=")
        for token in (data.decode("utf-8", "replace"), body):
            check = Check()
            if codec.decode(check, request, token) is None and token:
                try:
                    check.finish()
                except InvalidArgument:
                    continue
                raise AssertionError("refused without a word")


def rules(data: bytes) -> None:
    """Read a recurrence rule; what is taken means the same when it is written down."""
    text = data.decode("utf-8", "replace")
    start_at, zone = datetime(2026, 11, 23, 9, tzinfo=UTC), ZoneInfo("Europe/Berlin")
    found = parse_rule(text, start_at=start_at, zone=zone)
    assert parse_rule(format_rule(found), start_at=start_at, zone=zone) == found


def certificates(data: bytes) -> None:
    """Look at a certificate in PEM, and at a PFX file as far as that is done in this process."""
    for complaint in (complain_about_certificate(data, now=NOW), complain_about_pfx(data, CANARY)):
        assert complaint is None or CANARY not in complaint


def room_files(data: bytes) -> None:
    """Read a table of rooms."""
    parse_rooms(data)


def results(data: bytes) -> None:
    """Read what the customer's administrator sends back."""
    read_result(data)


def trace_contexts(data: bytes) -> None:
    """Read what a caller says of its trace."""
    found = parse_context(data.decode("utf-8", "replace"))
    assert found is None or found.is_valid


def _of_file(*readers: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Have bytes read as a file, by each reader by itself."""

    def run(data: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            told = "".join(_refusal(read, Path(file.name)) for read in readers)
        assert CANARY not in told, "a secret was told"

    return run


def _refusal(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except SettingsInvalid as error:
        return f"{error} {error.details}"
    return ""


def _tls(path: Path) -> object:
    return read_tls(path, path, path)


_ISSUED = trustme.CA().issue_cert("room.example")
_PEM = _ISSUED.private_key_pem.bytes() + _ISSUED.cert_chain_pems[0].bytes()
_P256 = bytes.fromhex("06082a8648ce3d030107")
"""Names the curve of a key."""


def _pem_of(certificate: bytes) -> bytes:
    """Return a private key, and a certificate of which the DER is given."""
    body = base64.encodebytes(certificate)
    return _ISSUED.private_key_pem.bytes() + b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


_DER = base64.b64decode(b"".join(_ISSUED.cert_chain_pems[0].bytes().splitlines()[1:-1]))
_NO_CURVE = _pem_of(_DER.replace(_P256, _P256[:-1] + b"\x7f"))
_NO_POINT = _pem_of(_DER.replace(_P256 + b"\x03\x42\x00\x04", _P256 + b"\x03\x42\x00\x07"))
"""Certificates that can be read, with keys that cannot: once they ended the reading of the server's certificate."""
_NO_VERSION = _pem_of(_DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42"))
"""A certificate of version 66, for which the library has an error of its own."""
_CURSOR = encode_cursor(Cursor(store_id="s" * 16, epoch="e" * 8, scope=b"12345678", revision=7))
_BODY = base64.urlsafe_b64decode(_CURSOR + "=" * (-len(_CURSOR) % 4))[:-4]
_FAR = msgspec.msgpack.encode((1, "s", "e", b"12345678", 2**63, None, None, None))
"""A revision that no database can hold: it once got as far as the query."""
_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
_KEY = base64.b64encode(b"k" * 32).decode()

TARGETS = (
    Target(name="cursors", run=cursors, errors=(), seeds=(_CURSOR.encode(), _BODY, _FAR)),
    Target(
        name="page_tokens",
        run=page_tokens,
        errors=(),
        seeds=(msgspec.msgpack.encode((1, "uid", "key", "")), msgspec.msgpack.encode(("acme",))),
    ),
    Target(
        name="trace_contexts",
        run=trace_contexts,
        errors=(),
        seeds=(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",),
    ),
    Target(
        name="rules",
        run=rules,
        errors=(RuleRefused,),
        seeds=(
            b"FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10",
            b"RRULE:FREQ=MONTHLY;BYDAY=MO;BYSETPOS=-1;UNTIL=20271231T000000Z",
            b"FREQ=YEARLY;BYMONTH=11;BYMONTHDAY=23;INTERVAL=2",
            b"FREQ=DAILY;INTERVAL=3",
        ),
        examples_count=250,
    ),
    Target(
        name="certificates",
        run=certificates,
        errors=(),
        seeds=(_PEM, _NO_CURVE, _NO_POINT, _NO_VERSION, b"\x30\x03\x02\x01\x03"),
        examples_count=80,
    ),
    Target(
        name="room_files",
        run=room_files,
        errors=(RoomFileInvalid,),
        seeds=(b"room_id,mailbox,capacity,annotation.floor\nr1,r1@contoso.example,8,2\n", b"\xff\xfer\x00;\x00"),
    ),
    Target(
        name="results",
        run=results,
        errors=(ResultUnreadable,),
        seeds=(
            msgspec.json.encode({"kit": 1, "entra": None, "rooms": [], "changes": []}),
            msgspec.json.encode([{"Identity": "r1@contoso.example", "AutomateProcessing": "AutoAccept"}]),
        ),
    ),
    Target(
        name="files",
        run=_of_file(read_key_ring, read_path_secrets, read_dsn, read_headers, _tls),
        errors=(),
        seeds=(
            f'{{"primary": "k1", "keys": {{"k1": "{_KEY}"}}}}'.encode(),
            f"{CANARY}-0123456789\n".encode(),
            f"authorization: Bearer {CANARY}\nx-scope: a\n".encode(),
            f"postgresql://user:{CANARY}@host:1/db?sslmode=verify-full".encode(),
            *(_PEM, _NO_CURVE, _NO_POINT, _NO_VERSION),
        ),
    ),
    Target(
        name="yaml_files",
        run=_of_file(read_callers, read_config_file),
        errors=(),
        seeds=(
            f'{{"callers": [{{"id": "{CANARY}", "sha256": "{_HASH}", "scopes": ["audit.read"], "tenants": "*"}}]}}'.encode(),
            f"callers:\n- id: x\n  certificate: {CANARY}\n  scopes: [audit.read]\n  tenants: [a]\n".encode(),
            b"sync: {past_days: 3}\nlog: {level: debug}\n",
        ),
        examples_count=40,  # PyYAML takes half a second for a thousand brackets
        is_measured=False,
    ),
)
