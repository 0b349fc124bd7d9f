"""PFX files: what is taken, what is refused, and what opening one may cost."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509 import load_pem_x509_certificates
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.pfx import complain_about_pfx, load_pfx
from sidecar.api.pfx_opener import PfxOpener
from sidecar.api.proofs import complain_about_certificate
from tests.support.builders import CANARY, NOW
from tests.unit.api.credentials import make_certificate, make_key


def make_pfx(encryption: Any = None, *, with_key: bool = True, chain: int = 0) -> bytes:
    """Export (Any: any encryption); the key is an elliptic one, which is made fast."""
    key = make_key("ec")
    others = [make_certificate(make_key("ec2")) for _ in range(chain)] or None
    certificate = make_certificate(key)
    if not with_key:
        key = None
    return pkcs12.serialize_key_and_certificates(b"x", key, certificate, others, encryption or NoEncryption())


def sealed(rounds: int = 2_048) -> bytes:
    """Export with a passphrase and a number of rounds."""
    return make_pfx(PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).build(CANARY.encode()))


def with_endless_proof(content: bytes) -> bytes:
    """Have the code that proves a file made with as many rounds as a number can say, and all lengths right."""
    at = content.rindex(b"\x30\x41\x30\x31")  # it is the last part, and ends with its 2,048 rounds
    assert content.endswith(b"\x02\x02\x08\x00")
    proof = b"\x30\x43" + content[at + 2 : -4] + b"\x02\x04\x7f\xff\xff\xff"
    return content[:2] + (len(content) - 4 + 2).to_bytes(2, "big") + content[4:at] + proof


def open_pfx(content: bytes, passphrase: str) -> bytes | str:
    """Look at a file and load it, in this process: what takes a child is the same."""
    complaint = complain_about_pfx(content, passphrase)
    return complaint if complaint is not None else load_pfx(content, passphrase)


PLAIN = make_pfx()


@pytest.mark.parametrize("chain", [0, 2])
def test_file_with_key_and_certificate_becomes_pem(chain: int) -> None:
    pem = open_pfx(make_pfx(BestAvailableEncryption(CANARY.encode()), chain=chain), CANARY)
    assert isinstance(pem, bytes)
    assert complain_about_certificate(pem, now=NOW) is None
    certificates = load_pem_x509_certificates(pem)
    assert certificates[0].public_key() == make_key("ec").public_key()
    assert len(certificates) == 1 + chain


def test_file_without_passphrase_is_taken() -> None:
    assert isinstance(open_pfx(make_pfx(), ""), bytes)


def test_wrong_passphrase_is_told_without_being_shown() -> None:
    for passphrase in ("", f"{CANARY}!"):
        told = open_pfx(sealed(), passphrase)
        assert isinstance(told, str)
        assert "passphrase is wrong" in told
        assert CANARY not in told


def test_file_without_its_key_is_refused() -> None:
    told = open_pfx(make_pfx(with_key=False), "")
    assert isinstance(told, str)
    assert "private key" in told


def test_file_that_asks_for_endless_hashing_is_refused_before_it_is_opened() -> None:
    """The number is written into a file that is in order, as nobody would wait for one that is made with it."""
    rounds = (1_000_001).to_bytes(3, "big")
    content = sealed(1_000_000)
    assert isinstance(open_pfx(content, CANARY), bytes)
    told = open_pfx(content.replace((1_000_000).to_bytes(3, "big"), rounds), CANARY)
    assert told == "asks for more than 1000000 rounds of hashing; export it anew"


def test_file_of_many_parts_that_each_ask_for_little_is_refused_before_it_is_opened() -> None:
    """Five kilobytes may hold thirty parts that are opened one after the other, five seconds in all."""
    salt_and_rounds = b"\x30\x0f\x04\x08saltsalt\x02\x03" + (1_000_000).to_bytes(3, "big")
    parts = salt_and_rounds * 5
    assert "rounds of hashing" in str(open_pfx(b"\x30" + bytes([len(parts)]) + parts, CANARY))


def test_file_that_asks_for_scrypt_is_refused_before_it_is_opened() -> None:
    """Its first number is no number of rounds; 4,096 of them may take a minute."""
    scrypt = bytes.fromhex("06092b06010401da47040b")
    assert "scrypt" in str(open_pfx(b"\x30" + bytes([len(scrypt)]) + scrypt, CANARY))


async def test_file_opened_by_a_child_is_what_it_is_here() -> None:
    content = make_pfx(BestAvailableEncryption(CANARY.encode()), chain=1)
    assert await PfxOpener().open(content, CANARY) == open_pfx(content, CANARY)


async def test_complaint_of_a_child_is_told_without_the_passphrase() -> None:
    told = await PfxOpener().open(sealed(), f"{CANARY}!")
    assert told == "cannot be opened: the passphrase is wrong, or it is no PFX (PKCS #12) file"


async def test_file_that_hides_its_rounds_costs_a_child_its_limit_and_no_more() -> None:
    """Two thousand million rounds are a quarter of an hour; nothing here looks for them first."""
    told = await PfxOpener(cpu_s=1).load(with_endless_proof(sealed()), CANARY)
    assert told == "takes too long to open; export it anew, with fewer rounds of hashing"


async def test_child_sees_neither_secrets_of_the_environment_nor_gets_any_as_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other processes of the machine may read both."""
    seen: dict[str, Any] = {}
    run = subprocess.run

    def spy(command: list[str], **options: Any) -> Any:
        seen.update(options, command=command)
        return run(command, **options)

    monkeypatch.setenv("EXCHANGE_SOMETHING", CANARY)
    monkeypatch.setattr(subprocess, "run", spy)
    assert isinstance(await PfxOpener().open(make_pfx(BestAvailableEncryption(CANARY.encode())), CANARY), bytes)
    assert CANARY not in f"{seen['command']} {seen['env']}"
    assert "preexec_fn" not in seen, "it would make Python fork"


@given(st.binary(max_size=400))
def test_anything_else_is_refused_with_a_sentence(content: bytes) -> None:
    assert isinstance(open_pfx(content, ""), str)


@given(st.data())
def test_damaged_file_is_opened_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(PLAIN)
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[at] ^= data.draw(st.integers(1, 255))
    assert isinstance(open_pfx(bytes(content), ""), bytes | str)
