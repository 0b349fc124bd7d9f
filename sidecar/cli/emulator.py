"""The command that starts the emulator; the only place where the two packages meet."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def emulator(
    port: Annotated[int, typer.Option(help="Port of Graph and login, TLS; 0: any free one.")] = 0,
    control_port: Annotated[int, typer.Option(help="Port of the control API, plain HTTP; 0: any free one.")] = 0,
    ca_dir: Annotated[Path | None, typer.Option(help="Where to write ca.pem; default: a new temporary folder.")] = None,
    calm: Annotated[
        bool, typer.Option("--calm", help="No late, doubled or reordered notifications, no faults.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
) -> None:
    """Play Microsoft's login and Graph calendar on loopback, to develop without a tenant.

    When it listens it prints one JSON line with all addresses on standard output.
    """
    from sidecar.emulator.server import main

    if ca_dir is None:
        ca_dir = Path(tempfile.mkdtemp(prefix="exchange-emulator-"))
    raise typer.Exit(main(port=port, control_port=control_port, ca_dir=ca_dir, calm=calm, seed=seed))
