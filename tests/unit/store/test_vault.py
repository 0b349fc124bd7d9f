"""Sealing credentials, and the key ring they are sealed with."""

from __future__ import annotations

import base64
import json
import stat
import traceback
from pathlib import Path

import pytest

from sidecar.errors import SecretUnreadable, SettingsInvalid
from sidecar.model.ids import TenantUid
from sidecar.store.key_ring import create_key_ring
from sidecar.store.vault import Vault, load_vault
from tests.support.builders import CANARY

KEY_A, KEY_B = bytes(32), bytes([1]) * 32
TENANT, OTHER = TenantUid("t1"), TenantUid("t2")
PROOF = f"{CANARY}-secret".encode()


def sealed_with(vault: Vault) -> bytes:
    return vault.seal(PROOF, tenant_uid=TENANT, role="current")


def test_sealed_proof_opens_for_its_tenant_and_role_only() -> None:
    """A record copied to another tenant, or to another role, is worth nothing there."""
    vault = Vault(primary="k1", keys={"k1": KEY_A})
    sealed = sealed_with(vault)
    assert vault.unseal(sealed, tenant_uid=TENANT, role="current") == PROOF
    for tenant_uid, role in ((OTHER, "current"), (TENANT, "next")):
        with pytest.raises(SecretUnreadable):
            vault.unseal(sealed, tenant_uid=tenant_uid, role=role)


def test_sealing_twice_gives_two_records() -> None:
    """Equal secrets cannot be told by looking at what they were sealed to."""
    vault = Vault(primary="k1", keys={"k1": KEY_A})
    first, second = sealed_with(vault), sealed_with(vault)
    assert first != second
    assert PROOF not in first


def test_changed_record_does_not_open() -> None:
    """Any byte changed, any part cut off: refused with an error of ours, never opened as something else."""
    vault = Vault(primary="k1", keys={"k1": KEY_A})
    sealed = sealed_with(vault)
    damaged = [sealed[:length] for length in range(len(sealed))]
    damaged += [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    damaged += [sealed + b"x"]
    for record in damaged:
        with pytest.raises(SecretUnreadable) as caught:
            vault.unseal(record, tenant_uid=TENANT, role="current")
        assert CANARY not in str(caught.value)


def test_wrong_key_of_the_right_name_does_not_open() -> None:
    """A key ring that was made anew says so instead of giving nonsense."""
    sealed = sealed_with(Vault(primary="k1", keys={"k1": KEY_A}))
    with pytest.raises(SecretUnreadable):
        Vault(primary="k1", keys={"k1": KEY_B}).unseal(sealed, tenant_uid=TENANT, role="current")


def test_older_key_still_opens_what_it_sealed() -> None:
    """Rotation adds a key; a ring that lacks one names it."""
    sealed = sealed_with(Vault(primary="k1", keys={"k1": KEY_A}))
    rotated = Vault(primary="k2", keys={"k1": KEY_A, "k2": KEY_B})
    assert rotated.unseal(sealed, tenant_uid=TENANT, role="current") == PROOF
    again = sealed_with(rotated)
    with pytest.raises(SecretUnreadable) as caught:
        Vault(primary="k1", keys={"k1": KEY_A}).unseal(again, tenant_uid=TENANT, role="current")
    assert caught.value.details == {"key_id": "k2"}


def test_new_key_ring_is_for_its_owner_only_and_never_over_another(tmp_path: Path) -> None:
    """Losing a key ring is losing every credential."""
    path = tmp_path / "keyring.json"
    create_key_ring(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    vault = load_vault(path)
    assert vault.unseal(sealed_with(vault), tenant_uid=TENANT, role="current") == PROOF
    before = path.read_bytes()
    with pytest.raises(SettingsInvalid):
        create_key_ring(path)
    assert path.read_bytes() == before
    with pytest.raises(SettingsInvalid):
        create_key_ring(tmp_path / "missing" / "keyring.json")


KEY = base64.b64encode(f"{CANARY}{'x' * 32}".encode()[:32]).decode()
SHORT = base64.b64encode(CANARY.encode()).decode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        CANARY,
        f'{{"primary": "{CANARY}"',
        json.dumps(CANARY),
        json.dumps([CANARY]),
        json.dumps({"primary": "k1"}),
        json.dumps({"keys": {"k1": KEY}}),
        json.dumps({"primary": "k1", "keys": [KEY]}),
        json.dumps({"primary": "k1", "keys": {"k1": 7}}),
        json.dumps({"primary": "k1", "keys": {"k1": None}}),
        json.dumps({"primary": "k1", "keys": {"k1": f"{CANARY}!"}}),
        json.dumps({"primary": "k1", "keys": {"k1": SHORT}}),
        json.dumps({"primary": "k1", "keys": {"k1": KEY, "k2": SHORT}}),
        json.dumps({"primary": CANARY, "keys": {"k1": KEY}}),
        json.dumps({"primary": ["k1"], "keys": {"k1": KEY}}),
        json.dumps({"primary": {}, "keys": {"k1": KEY}}),
        json.dumps({"primary": "", "keys": {"": KEY}}),
        json.dumps({"primary": "k" * 65, "keys": {"k" * 65: KEY}}),
        json.dumps({"primary": "ä", "keys": {"ä": KEY}}),
        json.dumps({"primary": "\ud800", "keys": {"\ud800": KEY}}),
        json.dumps({"primary": "k1", "keys": {}}),
    ],
)
def test_broken_key_ring_is_refused_without_being_quoted(tmp_path: Path, content: str) -> None:
    """The error names the setting, the file and the rule: a file of keys is never shown, not even a wrong one."""
    path = tmp_path / "keyring.json"
    path.write_text(content)
    with pytest.raises(SettingsInvalid) as caught:
        load_vault(path)
    assert list(caught.value.details) == ["vault.key_ring_file"]
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.details)
    for secret in (CANARY, KEY, SHORT):
        assert secret not in shown


def test_key_ring_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file, a directory and bytes that are no text are told apart from nothing else."""
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe" + CANARY.encode())
    for name in ("missing.json", ".", "bytes.json"):
        with pytest.raises(SettingsInvalid) as caught:
            load_vault(tmp_path / name)
        assert CANARY not in str(caught.value.details)
