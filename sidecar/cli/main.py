"""All commands in one tree."""

from __future__ import annotations

import typer

from sidecar.cli import (
    audit,
    backups,
    bookings,
    config,
    connection,
    demo,
    doctor,
    emulator,
    kit,
    rooms,
    server,
    tenant_settings,
    tenant_watch,
    tenants,
    tokens,
    vault,
    watch,
)

app = typer.Typer(
    name="exchange-sidecar",
    help="Keeps Microsoft Exchange room calendars and your product in step, behind a gRPC API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(connection.options)
app.command()(server.serve)
app.command()(server.migrate)
app.add_typer(config.app, name="config")
app.add_typer(vault.app, name="vault")
app.command(  # the emulator reads its own options, which are the same as those of `python -m sidecar.emulator`
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)(emulator.emulator)
app.command()(backups.backup)
app.command()(backups.restore)
app.add_typer(backups.epoch_app, name="epoch")
app.command()(demo.demo)
tenants.app.command()(tenant_settings.show)
tenants.app.command()(tenant_settings.update)
tenants.app.command()(tenant_watch.watch)
app.command()(doctor.doctor)
app.add_typer(tenants.app, name="tenant")
app.add_typer(rooms.app, name="room")
app.add_typer(bookings.app, name="booking")
app.add_typer(kit.app, name="kit")
app.add_typer(audit.app, name="audit")
app.add_typer(tokens.app, name="token")
app.command()(watch.watch)


def main() -> None:
    """Run the command line."""
    app()
