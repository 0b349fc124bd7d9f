"""Generate the Python code of `protos/` into the service and into the Python client.

The generated files are committed, so that nobody needs a compiler to install either package. They are made by the oldest
supported grpcio-tools (pinned in pyproject.toml), because generated code refuses runtimes older than its generator.

Usage: python protos/generate.py [--check]
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGETS = {"sidecar.gen": ROOT / "sidecar" / "gen", "exchange_client.gen": ROOT / "clients/python/exchange_client/gen"}
NOTE = '"""Generated from protos/ by protos/generate.py; never edited by hand."""\n'


def generate(package: str, into: Path) -> None:
    """Write the modules of all proto files below `into`, importable as `package.ioffice.exchange.v1`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    include = str(Path(protoc.__file__).parent / "_proto")
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where protoc finds its plugins
    )
    outputs = [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{include}", *outputs, *files]) != 0:
        sys.exit("protoc failed")
    for path in [*into.rglob("*.py"), *into.rglob("*.pyi")]:
        # protoc writes imports from the root of the include path; the packages live one level deeper.
        text = re.sub(r"^from ioffice\.", f"from {package}.ioffice.", path.read_text(), flags=re.MULTILINE)
        path.write_text(
            re.sub(r"^import ioffice\.([\w.]+) as", rf"import {package}.ioffice.\1 as", text, flags=re.MULTILINE)
        )
        if re.search(r"^import ioffice", path.read_text(), flags=re.MULTILINE):
            sys.exit(f"{path.name} has an import this script does not know how to move")
    for directory in [into, *(path for path in into.rglob("*") if path.is_dir())]:
        (directory / "__init__.py").write_text(NOTE)


def differs(left: Path, right: Path) -> list[str]:
    """Name the files below two directories that are not the same."""
    names = {
        str(path.relative_to(base))
        for base in (left, right)
        for path in base.rglob("*.py*")
        if path.suffix in {".py", ".pyi"}
    }
    pairs = [(name, left / name, right / name) for name in sorted(names)]
    return [name for name, a, b in pairs if not (a.exists() and b.exists() and filecmp.cmp(a, b, shallow=False))]


def main() -> None:
    """Generate, or with --check say which committed files are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file is out of date")
    check = parser.parse_args().check
    stale = []
    for package, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "gen"
            made.mkdir()
            generate(package, made)
            if check:
                stale += [f"{package}: {name}" for name in differs(made, target)]
                continue
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(made, target)
    if stale:
        sys.exit("out of date, run `make proto`:\n" + "\n".join(stale))


if __name__ == "__main__":
    main()
