"""The callers file: what it lets in, and what is refused of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.aio.followed import FollowedFiles
from sidecar.api.callers import TOKEN_PREFIX, Callers, Proof, digest_of, make_token, read_callers
from sidecar.errors import CallerRejected, SettingsInvalid
from sidecar.model.access import Grant, Scope
from tests.support.builders import CANARY, NOW, TENANT
from tests.support.callers import entry, write

TOKEN, OTHER = make_token(), make_token()


def find(callers: Callers, token: str | None, *names: str) -> Grant:
    """Return the grant of whoever brings a token and a certificate with these names, now."""
    proof = Proof(token_digest=None if token is None else digest_of(token), certificate_names=names)
    return callers.find(proof, now=NOW)


def cause(callers: Callers, token: str | None, *names: str) -> str:
    """Return why nobody is found."""
    with pytest.raises(CallerRejected) as caught:
        find(callers, token, *names)
    return caught.value.details["cause"]


def test_token_has_256_random_bits_and_a_mark() -> None:
    assert make_token() != TOKEN
    assert TOKEN.startswith(TOKEN_PREFIX)
    assert len(TOKEN) == 47


def test_token_is_known_by_its_hash_with_what_its_entry_allows(tmp_path: Path) -> None:
    given = entry("backend", TOKEN, scopes=["bookings.read"], tenants=["acme"])
    grant = find(read_callers(write(tmp_path / "c.json", [given])), TOKEN)
    assert (grant.caller, grant.scopes, grant.tenants) == (
        "backend",
        frozenset({Scope.BOOKINGS_READ}),
        frozenset({TENANT}),
    )
    assert grant.identity == f"token:backend/{digest_of(TOKEN).hex()[:8]}"


def test_file_may_be_yaml(tmp_path: Path) -> None:
    path = tmp_path / "callers.yaml"
    hashed = digest_of(TOKEN).hex()
    path.write_text(
        f"callers:\n- id: ops\n  sha256: {hashed}\n  scopes: [audit.read]\n  tenants: '*'\n  expire_at: 2999-01-01T00:00:00Z\n"
    )
    assert find(read_callers(path), TOKEN).tenants is None


def test_both_tokens_of_a_rotation_are_the_same_caller(tmp_path: Path) -> None:
    callers = read_callers(write(tmp_path / "c.json", [entry("backend", TOKEN), entry("backend", OTHER)]))
    assert {find(callers, token).caller for token in (TOKEN, OTHER)} == {"backend"}
    assert find(callers, TOKEN).identity != find(callers, OTHER).identity


def test_token_of_nobody_is_refused(tmp_path: Path) -> None:
    callers = read_callers(write(tmp_path / "c.json", [entry("backend", TOKEN)]))
    assert cause(callers, OTHER) == "UNKNOWN"
    assert cause(callers, digest_of(TOKEN).hex()) == "UNKNOWN"  # the hash in the file opens nothing
    assert cause(callers, None) == "MISSING"


def test_token_is_refused_from_the_moment_it_expires(tmp_path: Path) -> None:
    at = [
        entry("a", TOKEN, expire_at=NOW.isoformat()),
        entry("b", OTHER, expire_at=(NOW + timedelta(seconds=1)).isoformat()),
    ]
    callers = read_callers(write(tmp_path / "c.json", at))
    assert cause(callers, TOKEN) == "EXPIRED"
    assert find(callers, OTHER).caller == "b"


def test_certificate_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    callers = read_callers(write(tmp_path / "c.json", [entry("app", None, certificate="app.example")]))
    grant = find(callers, None, "other.example", "app.example")
    assert (grant.caller, grant.identity) == ("app", "certificate:app.example")
    assert cause(callers, None, "other.example") == "UNKNOWN"


def test_wrong_token_is_not_made_good_by_a_certificate(tmp_path: Path) -> None:
    callers = read_callers(write(tmp_path / "c.json", [entry("app", None, certificate="app.example")]))
    assert cause(callers, TOKEN, "app.example") == "UNKNOWN"


def test_token_bound_to_a_certificate_needs_both(tmp_path: Path) -> None:
    callers = read_callers(write(tmp_path / "c.json", [entry("app", TOKEN, certificate="app.example")]))
    assert find(callers, TOKEN, "app.example").caller == "app"
    assert cause(callers, TOKEN) == cause(callers, TOKEN, "other") == cause(callers, None, "app.example") == "UNKNOWN"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sha256": CANARY}, "$.callers[0].sha256"),
        ({"token": CANARY}, "$.callers[0]"),
        ({"id": f"{CANARY} x"}, "$.callers[0].id"),
        ({"scopes": [CANARY]}, "$.callers[0]"),
        ({"scopes": []}, "$.callers[0].scopes"),
        ({"tenants": []}, "$.callers[0].tenants"),
        ({"tenants": CANARY}, "$.callers[0].tenants"),
        ({"expire_at": "2026-11-22T00:00:00"}, "$.callers[0].expire_at"),
        ({"sha256": None}, "neither sha256 nor certificate"),
    ],
)
def test_entry_that_breaks_the_form_is_refused_without_being_quoted(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        read_callers(write(tmp_path / "c.json", [entry("backend", TOKEN, **changes)]))
    assert told in caught.value.details["grpc.callers_file"]
    assert CANARY not in str(caught.value.details)


@pytest.mark.parametrize("text", ["", "[]", "{", "callers: 1", "\x00", "callers: &a [*a]"])
def test_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(SettingsInvalid):
        read_callers(path)


def test_same_token_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        read_callers(write(tmp_path / "c.json", [entry("a", TOKEN), entry("b", TOKEN)]))


def test_broken_file_leaves_the_last_good_one_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", [entry("backend", TOKEN)])
    followed = FollowedFiles("callers", (path,), lambda: read_callers(path))
    for broken in ("{", '{"callers": [{}]}'):
        path.write_text(broken)
        assert find(followed.current, TOKEN).caller == "backend"
        assert cause(followed.current, OTHER) == "UNKNOWN"
        assert not followed.is_usable
    path.unlink()
    assert find(followed.current, TOKEN).caller == "backend"
    assert not followed.is_usable
    write(path, [entry("backend", OTHER)])
    assert cause(followed.current, TOKEN) == "UNKNOWN"
    assert find(followed.current, OTHER).caller == "backend"
    assert followed.is_usable
