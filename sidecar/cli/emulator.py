"""The command that starts the emulator; the only place where the two packages meet."""

from __future__ import annotations

import typer


def emulator(context: typer.Context) -> None:
    """Play Microsoft's login and Graph calendar on loopback, to develop without a tenant.

    When it listens it prints one JSON line with all addresses, and a tenant with its credentials, on standard output.
    Unkind unless told `--calm`; `--help` tells the rest.
    """
    from sidecar.emulator.__main__ import run

    raise typer.Exit(run(context.args, program=context.command_path))
