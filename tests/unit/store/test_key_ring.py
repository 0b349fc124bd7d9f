"""The key ring in its file: followed while it changes, and edited in one step."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.errors import SecretUnreadable, SettingsInvalid
from sidecar.model.ids import TenantUid
from sidecar.store.key_ring import add_key, create_key_ring, promote_key, read_key_ring, remove_key
from sidecar.store.vault import key_id_of, load_vault
from tests.support.builders import CANARY

TENANT = TenantUid("t1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A new key ring."""
    path = tmp_path / "keyring.json"
    create_key_ring(path)
    return path


def test_added_key_opens_and_does_not_seal_until_it_is_promoted(path: Path) -> None:
    vault = load_vault(path)
    first = vault.seal(b"x", tenant_uid=TENANT, role="r")
    assert add_key(path) == "k2"
    assert vault.primary == "k1"
    assert vault.key_ids == {"k1", "k2"}
    promote_key(path, "k2")
    second = vault.seal(b"x", tenant_uid=TENANT, role="r")
    assert (key_id_of(first), key_id_of(second)) == ("k1", "k2")
    assert {vault.unseal(one, tenant_uid=TENANT, role="r") for one in (first, second)} == {b"x"}


def test_retired_key_opens_no_more(path: Path) -> None:
    vault = load_vault(path)
    sealed = vault.seal(b"x", tenant_uid=TENANT, role="r")
    add_key(path)
    promote_key(path, "k2")
    remove_key(path, "k1")
    with pytest.raises(SecretUnreadable) as caught:
        vault.unseal(sealed, tenant_uid=TENANT, role="r")
    assert caught.value.details == {"key_id": "k1"}


def test_primary_and_unknown_keys_are_not_retired(path: Path) -> None:
    before = path.read_bytes()
    for key_id in ("k1", "k9"):
        with pytest.raises(SettingsInvalid):
            remove_key(path, key_id)
    with pytest.raises(SettingsInvalid):
        promote_key(path, "k9")
    assert path.read_bytes() == before


def test_new_id_is_never_one_that_is_in_use(path: Path) -> None:
    add_key(path)
    add_key(path)
    promote_key(path, "k3")
    remove_key(path, "k1")
    assert add_key(path) == "k4"
    assert set(read_key_ring(path).keys) == {"k2", "k3", "k4"}


def test_new_id_is_never_that_of_a_key_whose_backups_may_still_exist(path: Path) -> None:
    """Year after year the former key is retired, and copies of it are kept for backups."""
    seen = ["k1"]
    for _ in range(4):
        seen.append(add_key(path))
        promote_key(path, seen[-1])
        remove_key(path, seen[-2])
    assert seen == ["k1", "k2", "k3", "k4", "k5"]


def test_edited_file_keeps_its_permissions_and_leaves_nothing_beside_it(path: Path) -> None:
    path.chmod(0o440)
    add_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert list(path.parent.iterdir()) == [path]


def test_edit_of_a_link_changes_what_it_leads_to(path: Path) -> None:
    link = path.parent / "link.json"
    link.symlink_to(path.name)
    add_key(link)
    assert link.is_symlink()
    assert len(read_key_ring(path).keys) == 2


def test_ring_replaced_by_another_link_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a secret as a link to a folder that it replaces."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        create_key_ring(tmp_path / name / "keyring.json")
    (tmp_path / "data").symlink_to("one")
    vault = load_vault(tmp_path / "data" / "keyring.json")
    sealed = vault.seal(b"x", tenant_uid=TENANT, role="r")
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "data")
    with pytest.raises(SecretUnreadable):
        vault.unseal(sealed, tenant_uid=TENANT, role="r")


@pytest.mark.parametrize("content", ["", f'{{"primary": "{CANARY}"', None])
def test_file_that_breaks_under_a_running_process_leaves_the_ring_in_use(path: Path, content: str | None) -> None:
    vault = load_vault(path)
    good = path.read_text()
    with capture_logs() as logs:
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        sealed = vault.seal(b"x", tenant_uid=TENANT, role="r")
        assert vault.unseal(sealed, tenant_uid=TENANT, role="r") == b"x"
    assert [line["event"] for line in logs] == ["key_ring.unusable"]  # once, however often it is looked at
    assert CANARY not in str(logs)
    ring = json.loads(good)
    ring["keys"]["k2"] = base64.b64encode(bytes(32)).decode()
    path.write_text(json.dumps(ring))
    assert vault.key_ids == {"k1", "k2"}


def test_number_of_keys_is_limited(path: Path) -> None:
    for _ in range(63):
        add_key(path)
    with pytest.raises(SettingsInvalid):
        add_key(path)


def test_ring_does_not_show_its_keys(path: Path) -> None:
    ring = read_key_ring(path)
    assert str(ring.keys["k1"]) not in repr(ring)
    assert "keys" not in repr(ring)
