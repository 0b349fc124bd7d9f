"""Commands that run or prepare the service itself."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from sidecar.cli.output import failing_clearly
from sidecar.setting_names import variable_of
from sidecar.settings import load_settings, named_config_file

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file with settings; the environment wins over it.")
]


RolesOption = Annotated[
    str | None, typer.Option("--roles", help="What this process does, as EXCHANGE_ROLES: api,worker,ingress.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Whom this process serves, as EXCHANGE_PROFILE: sidecar or service.")
]


def take_from_command_line(*, roles: str | None, profile: str | None) -> frozenset[str]:
    """Let the command line win over the environment, and that over the file; return which settings it gives."""
    given = {"roles": roles, "profile": profile}
    for name, value in given.items():
        if value is not None:
            os.environ[variable_of(name)] = value
    return frozenset(name for name, value in given.items() if value is not None)


def serve(config: ConfigOption = None, roles: RolesOption = None, profile: ProfileOption = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    When everything listens it prints one JSON line with the addresses on standard output; the log is on standard error.
    """
    # Imported here: the other commands start in a fraction of the time without them.
    import uvloop

    from sidecar.aio.clock import SystemClock
    from sidecar.app import run, tune_collector
    from sidecar.reloading import Reloading
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

    take_from_command_line(roles=roles, profile=profile)
    with failing_clearly():
        settings = load_settings(config)
        level = set_up_logging(settings.log)
        tune_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            reloading = Reloading(
                settings,
                file=named_config_file(config),
                read=partial(load_settings, config),
                log_level=level,
                clock=SystemClock(),
                rng=Random(),
            )
            runner.run(run(settings, reloading=reloading, announce=announce))


def migrate(config: ConfigOption = None) -> None:
    """Make the database, or bring its schema up to date. `serve` does this by itself."""
    from sidecar.store import migrate as schema

    with failing_clearly():
        settings = load_settings(config)
        with_hints = settings.tasks.runner == "procrastinate"
        was_needed = asyncio.run(schema.migrate(settings.store, with_hints=with_hints))
        print(f"schema {schema.SCHEMA_VERSION}: {'brought up to date' if was_needed else 'was up to date'}")
