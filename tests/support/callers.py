"""Callers files, and tokens to call with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidecar.api.callers import digest_of, make_token
from sidecar.model.access import Scope

Metadata = tuple[tuple[str, str], ...]


def entry(caller_id: str, token: str | None, /, **changes: Any) -> dict[str, Any]:  # any field of an entry
    """Return an entry of a callers file that lets a token do everything, unless told otherwise."""
    proof = {} if token is None else {"sha256": digest_of(token).hex()}
    return {"id": caller_id, **proof, "scopes": sorted(Scope), "tenants": "*"} | changes


def write(path: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """Write a callers file the way Kubernetes does: another file takes its place."""
    fresh = path.with_name(path.name + ".fresh")
    fresh.write_text(json.dumps({"callers": list(entries)}))
    return fresh.replace(path)


def bearing(token: str) -> Metadata:
    """Return the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


__all__ = ["Metadata", "bearing", "entry", "make_token", "write"]
