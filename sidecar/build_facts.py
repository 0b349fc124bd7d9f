"""Which build this is: the version, and what the image was built from and when.

The build of the image writes the facts into a file of its environment; a checkout and a plain install have none. Nothing
else of the service may be imported here: the build runs this module before anything is configured.

Usage in the build: python -m sidecar.build_facts VERSION REVISION CREATED
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FILE = Path(sys.prefix, "build.json")
"""In the image's environment, which is read-only when it runs."""
_FILE_BYTES_MAX = 4_096
_FACT_LENGTH_MAX = 100
"""A revision is 40 or 64 characters; these become a metric's labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """What is known about the running build."""

    version: str
    """Of the installed package, `0+unknown` when it is run without being installed."""
    revision: str | None = None
    """Commit that the image was built from; None: not an image, or the build was not told."""
    created: str | None = None
    """When the image was built, as the build was told, RFC 3339; None as for the revision."""
    is_image: bool = False
    """Whether this runs from an image's environment."""


def read_build_facts(file: Path = FILE) -> BuildFacts:
    """Return what is known; a file that is missing or cannot be read is a build without facts, never an error."""
    try:
        with file.open("rb") as opened:
            told = json.loads(opened.read(_FILE_BYTES_MAX))
    except (OSError, ValueError):
        return BuildFacts(version=installed_version())
    known = {key: str(told[key]) for key in ("revision", "created") if isinstance(told, dict) and told.get(key)}
    return BuildFacts(version=installed_version(), is_image=True, **known)


def installed_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("exchange-sidecar")
    except PackageNotFoundError:
        return "0+unknown"


def write_build_facts(wanted_version: str, revision: str, created: str, *, file: Path = FILE) -> None:
    """Keep the facts for `read_build_facts`; empty ones are left out.

    Raises:
        ValueError: the build was told another version than it builds, or a fact is no short line.
    """
    if wanted_version != installed_version():
        raise ValueError(f"VERSION is {wanted_version!r}, and what is built is {installed_version()}")
    facts = {"revision": revision, "created": created}
    for name, fact in facts.items():
        if len(fact) > _FACT_LENGTH_MAX or not (fact.isprintable() and fact.isascii()):
            raise ValueError(f"{name.upper()} is not one line of at most {_FACT_LENGTH_MAX} ASCII characters")
    file.write_text(json.dumps({name: fact for name, fact in facts.items() if fact}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        write_build_facts(*sys.argv[1:4])
    except ValueError as error:
        sys.exit(str(error))
