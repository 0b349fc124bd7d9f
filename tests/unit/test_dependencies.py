"""What comes from others: locked with hashes, declared and used, under licences that we may ship. No network is asked."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock", ".ci/fuzz.lock", ".ci/audit.lock")
OURS = "exchange-sidecar-client"
LICENCES = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"),
    *("Apache Software License", "BSD License", "MIT License", "ISC License (ISCL)", "3-Clause BSD License"),
}
"""They ask for their notice to be kept, and for nothing else."""
WEAKER = {
    "certifi": "Mozilla Public License 2.0 (MPL 2.0)",  # its own file stays under it; we do not change it
    "psycopg": "LGPL-3.0-only",  # an extra; used unchanged, and anybody may put another one in its place
    "psycopg-binary": "LGPL-3.0-only",
    "psycopg-pool": "LGPL-3.0-only",
}
"""Looked at one by one."""
OF_TESTS = {"pytest", "pytest_asyncio"}
"""Imported by `sidecar.emulator.fixture` only, which is for tests of others: they have them."""
NOT_IMPORTED = {
    "sniffio": "httpcore looks for it at each request",
    "tzdata": "zones, where the machine has none",
}
"""Needed without an import that can be seen, and why."""


def pins(lock: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and the rest of each entry of a lock file."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith(("#", " ")):
            name, _, rest = line.partition("==")
            yield canonicalize_name(name.partition("[")[0]), rest.split()[0], rest


def declared() -> Iterator[Requirement]:
    """Yield what the service says it needs, extras too."""
    for text in (
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ):
        yield Requirement(text)


@cache
def imported() -> frozenset[str]:
    """Return the names of all top-level packages that the service imports."""
    found: set[str] = set()
    for path in (ROOT / "sidecar").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found - sys.stdlib_module_names - OF_TESTS - {"sidecar"})


def owners_of_packages() -> dict[str, list[str]]:
    """Return which distributions a top-level package is of; ours is installed as a link, and names none."""
    return {**metadata.packages_distributions(), "exchange_client": [OURS]}


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_locked_has_one_version_and_hashes(lock: str) -> None:
    """What was changed on its way is not installed."""
    entries = list(pins(lock))
    assert entries
    assert [name for name, _, rest in entries if "--hash=sha256:" not in rest] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_has_a_fitting_version_of_everything_declared(lock: str) -> None:
    """A lock that was not written anew after a change is found before an image is built from it."""
    locked = {name: version for name, version, _ in pins(lock)}
    for requirement in declared():
        if requirement.name == OURS:
            continue
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement.name} {version} in {lock}"


def test_image_and_development_have_the_same_versions() -> None:
    """What is tested is what runs."""
    dev = {(name, version) for name, version, _ in pins("requirements-dev.lock")}
    assert {(name, version) for name, version, _ in pins("requirements.lock")} <= dev


def test_everything_imported_is_declared() -> None:
    """What only comes along with something else may be gone with its next version."""
    owners = owners_of_packages()
    names = {canonicalize_name(requirement.name) for requirement in declared()}
    for package in sorted(imported()):
        found = {canonicalize_name(owner) for owner in owners.get(package, [])}
        assert found & names, f"{package} is imported, and {sorted(found)} not declared"


def test_everything_declared_is_imported_or_said_why_not() -> None:
    """What nobody uses is only a way in."""
    owners = owners_of_packages()
    used = {canonicalize_name(owner) for package in imported() for owner in owners.get(package, [])}
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in used or name in NOT_IMPORTED, f"{name} is declared, and nothing imports it"


def _installed() -> Iterator[tuple[str, metadata.PackageMetadata]]:
    """Yield what the lock of the service brings on this machine."""
    for name, _, rest in pins("requirements.lock"):
        marker = re.search(r";\s*(.*?)\s+--hash", rest)
        if marker is None or Marker(marker[1]).evaluate():
            yield name, metadata.metadata(name)


def test_licences_of_everything_shipped_are_known_and_allowed() -> None:
    """A new dependency, or a new version of one, with another licence is a decision, not an accident."""
    checked_count = 0
    for name, told in _installed():
        kinds = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License ::")]
        expression = (told.get_all("License-Expression") or [""])[0]
        named = re.split(r" (?:AND|OR) ", expression) if expression else kinds or told.get_all("License", [])
        is_known = set(named) <= LICENCES or WEAKER.get(name) == " ".join(named)
        assert is_known, f"{name} is under {named}"
        checked_count += 1
    assert checked_count > 50
