"""Commands that run or prepare the service itself."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.output import failing_clearly
from sidecar.settings import Settings, load_settings

config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file with settings; the environment wins over it.")
]


RolesOption = Annotated[
    str | None, typer.Option("--roles", help="What this process does, as EXCHANGE_ROLES: api,worker,ingress.")
]


def serve(config: ConfigOption = None, roles: RolesOption = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    When everything listens it prints one JSON line with the addresses on standard output; the log is on standard error.
    """
    # Imported here: the other commands start in a fraction of the time without them.
    import uvloop

    from sidecar.app import run, tune_collector
    from sidecar.service import Listening
    from sidecar.telemetry.logs import set_up_logging

    def announce(listening: Listening) -> None:
        line = {
            "event": "sidecar.ready",
            "roles": list(listening.roles),
            "grpc": list(listening.grpc),
            "webhooks": listening.webhooks,
            "probes": listening.probes,
        }
        print(json.dumps(line), flush=True)

    if roles is not None:
        os.environ["EXCHANGE_ROLES"] = roles  # the command line wins over the environment, and that over the file
    with failing_clearly():
        settings = load_settings(config)
        set_up_logging(settings.log)
        tune_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, announce=announce))


def migrate(config: ConfigOption = None) -> None:
    """Make the database, or bring its schema up to date. `serve` does this by itself."""
    from sidecar.store import migrate as schema

    with failing_clearly():
        settings = load_settings(config)
        with_hints = settings.tasks.runner == "procrastinate"
        was_needed = asyncio.run(schema.migrate(settings.store, with_hints=with_hints))
        print(f"schema {schema.SCHEMA_VERSION}: {'brought up to date' if was_needed else 'was up to date'}")


@config_app.command()
def check(config: ConfigOption = None) -> None:
    """Read all settings and say what is wrong with them, everything at once."""
    from sidecar.api.callers import read_callers
    from sidecar.api.tls import follow_tls
    from sidecar.intake.path_secrets import read_path_secrets
    from sidecar.store.vault import load_vault

    with failing_clearly():
        settings = load_settings(config)
        load_vault(settings.vault.key_ring_file)
        if settings.grpc.callers_file is not None:
            read_callers(settings.grpc.callers_file)
        follow_tls(settings.grpc)
        read_path_secrets(settings.webhook.path_secrets_file)
        if settings.store.dsn_file is not None:
            from sidecar.store.postgres_link import read_dsn

            read_dsn(settings.store.dsn_file)
        print("the configuration is in order")


@config_app.command("show")
def show_config(config: ConfigOption = None) -> None:
    """Print the settings in force as JSON. Secrets are not among them: settings only name their files."""
    with failing_clearly():
        print(Settings.model_dump_json(load_settings(config), indent=2))
