"""All commands in one tree.

A command's module is imported when the command is used, or when all of them are listed: what one needs, such as a database
or an HTTP client, the others do not wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

from sidecar.cli import connection

if TYPE_CHECKING:
    from typer._click.core import Command, Context  # typer brings a click of its own, and names these nowhere else

COMMANDS: Mapping[str, str] = {
    "serve": "server:serve",
    "migrate": "server:migrate",
    "probe": "probe_command:probe",
    "config": "config:app",
    "vault": "vault:app",
    "emulator": "emulator:emulator",
    "backup": "backups:backup",
    "restore": "backups:restore",
    "epoch": "backups:epoch_app",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "ping": "ping:ping",
    "tenant": "tenant_commands:app",
    "room": "rooms:app",
    "booking": "bookings:app",
    "kit": "kit:app",
    "task": "tasks:app",
    "audit": "audit:app",
    "token": "tokens:app",
    "watch": "watch:watch",
}
"""Where each command is, in the order in which they are listed: a module of this package, and in it a function or a Typer."""
_READING_THEMSELVES = {"emulator", "probe"}
"""Commands that read their own options, which are the same as those of the program they start, or of their short way in."""


class _Commands(TyperGroup):
    """Finds a command where COMMANDS says."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of all, in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Import a command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"sidecar.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command: Command = typer.main.get_group(found)
        else:
            single = typer.Typer(add_completion=False)
            if cmd_name in _READING_THEMSELVES:
                settings = {"allow_extra_args": True, "ignore_unknown_options": True}
                single.command(add_help_option=False, context_settings=settings)(found)
            else:
                single.command()(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="exchange-sidecar",
    cls=_Commands,
    help="Keeps Microsoft Exchange room calendars and your product in step, behind a gRPC API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(connection.options)


def main() -> None:
    """Run the command line."""
    app()
