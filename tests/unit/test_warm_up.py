"""What the image's build imports, so that it is compiled."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import sidecar
from sidecar.warm_up import warm_up


def test_every_module_but_the_migrations_is_imported() -> None:
    warm_up()
    root = Path(sidecar.__file__).parent
    modules = {
        ".".join(("sidecar", *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for file in root.rglob("*.py")
    }
    assert {name for name in modules if ".migrations." not in name} <= set(sys.modules)


def test_missing_library_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise ModuleNotFoundError("No module named 'msal'", name="msal")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError):
        warm_up()
