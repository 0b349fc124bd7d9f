"""PFX files (PKCS #12) on their way in: what is wrong with one, and what it holds.

A file says itself how often its passphrase is to be hashed. A library believes it, and while it hashes nothing else runs: two
thousand million rounds, which a file may ask for, are a quarter of an hour. So the number is looked up first, where it can be
seen. It can also be hidden inside of what is encrypted, so a file is loaded in another process (`pfx_opener.py`).

Source: RFC 7292 "PKCS #12", RFC 8018 "PKCS #5": each number of rounds follows its salt, an OCTET STRING, in a SEQUENCE.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

BYTES_MAX = 32 * 1024
_PASSPHRASE_CHARS_MAX = 256
_ROUNDS_MAX = 1_000_000
"""Half a second. Windows asks for 2,000 rounds, OpenSSL for 2,048, and advice for passwords of people is 600,000."""
_ROUNDS_SUM_MAX = 3 * _ROUNDS_MAX
"""Of all parts, each with its own: the certificates, the key, and the code that proves the file. A file may hold hundreds."""
_DEPTH_MAX = 24
_INTEGER, _OCTETS, _CONSTRUCTED = 0x02, 0x04, 0x20
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
"""1.3.6.1.4.1.11591.4.11 as DER (RFC 7914): it costs as much as three numbers say, and no exporter of PFX files uses it."""


def complain_about_pfx(content: bytes, passphrase: str) -> str | None:
    """Return a sentence about what can be seen to be wrong with a file without opening it; None: nothing."""
    if not content:
        return "must not be empty"
    if len(content) > BYTES_MAX:
        return f"must have {BYTES_MAX // 1024} KiB at most"
    if len(passphrase) > _PASSPHRASE_CHARS_MAX:
        return f"must have a passphrase of {_PASSPHRASE_CHARS_MAX} characters at most"
    try:
        rounds = [max(0, count) for count in _rounds(content, 0)]
    except (ValueError, IndexError):
        return "is no PFX (PKCS #12) file in DER form"
    if _SCRYPT in content:
        return "asks for scrypt, which is not taken; export it anew"
    if max(rounds, default=0) > _ROUNDS_MAX or sum(rounds) > _ROUNDS_SUM_MAX:
        return f"asks for more than {_ROUNDS_MAX} rounds of hashing; export it anew"
    return None


def load_pfx(content: bytes, passphrase: str) -> bytes | str:
    """Return what a file holds as PEM text, key and certificates, or a sentence about what is wrong with it.

    It may take any time and memory that the file asks for.
    """
    try:
        key, certificate, chain = load_key_and_certificates(content, passphrase.encode() or None)
    except (ValueError, UnsupportedAlgorithm):
        return "cannot be opened: the passphrase is wrong, or it is no PFX (PKCS #12) file"
    if key is None or certificate is None:
        return "must hold a private key and its certificate; export it from Windows with the private key"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *chain))


def _rounds(content: bytes, depth: int) -> Iterator[int]:
    """Give every INTEGER that follows an OCTET STRING, at any depth.

    Raises:
        ValueError, IndexError: it is not DER.
    """
    if depth > _DEPTH_MAX:
        raise ValueError("too deep")
    tag_before = 0
    for tag, value in _items(content):
        if tag == _INTEGER and tag_before == _OCTETS:
            yield int.from_bytes(value, "big", signed=True)
        elif tag & _CONSTRUCTED:
            yield from _rounds(value, depth + 1)
        elif tag == _OCTETS:
            yield from _rounds_inside(value, depth + 1)
        tag_before = tag


def _rounds_inside(octets: bytes, depth: int) -> list[int]:
    """Look into an OCTET STRING, which may hold DER itself, a salt, or something encrypted."""
    try:
        return list(_rounds(octets, depth))
    except (ValueError, IndexError):
        return []


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        tag, length, at = content[at], content[at + 1], at + 2
        if tag & 0x1F == 0x1F or length == 0x80:
            raise ValueError("a form that no exporter needs")
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[at : at + size], "big")
            at += size
        if at + length > len(content):
            raise ValueError("cut short")
        yield tag, content[at : at + length]
        at += length
