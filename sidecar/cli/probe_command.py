"""The probe among all the commands: for the list of them, and with options before it. Alone it is called without this."""

from __future__ import annotations

import typer

from sidecar.cli import probe as asking


def probe(context: typer.Context) -> None:
    """Ask the running service whether it is live, ready or started: exit code 0 or 1. `--help` tells the rest."""
    raise typer.Exit(asking.main(context.args, program=context.command_path))
