"""Commands on the key ring that seals secrets, and on what it has sealed. They do not ask the service; no key is ever shown.

A running service follows the file: it opens with new keys, seals with a new primary one, and seals anew by itself what
another one has sealed. So nothing here stops it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.output import EXIT_REFUSED, EXIT_UNAVAILABLE, Output, OutputOption, failing_clearly, show_values
from sidecar.cli.server import ConfigOption
from sidecar.settings import Settings, StoreSettings, load_settings

if TYPE_CHECKING:
    from sidecar.store.engine import Engine
    from sidecar.store.sealed import Needs, Reader, Resealing

app = typer.Typer(help="Handle the key ring that seals secrets.", no_args_is_help=True)

FileOption = Annotated[
    Path | None, typer.Option("--file", help="The key ring to change; without it: vault.key_ring_file of the settings.")
]
KeyArgument = Annotated[str, typer.Argument(help="Id of the key, such as k2.")]

_POLL_S = 1.0


@app.command("init")
def init(path: Annotated[Path, typer.Argument(help="The file to make; it must not exist.")]) -> None:
    """Make a key ring with one new key, readable by its owner only."""
    from sidecar.store.key_ring import create_key_ring

    with failing_clearly():
        create_key_ring(path)
        print(f"made {path}; keep a copy where the database's backups are not", file=sys.stderr)


@app.command()
def status(config: ConfigOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the keys of the ring, which of them seals, and how many records each still has to open."""
    from sidecar.store.key_ring import read_key_ring

    with failing_clearly():
        settings = load_settings(config)
        ring = read_key_ring(settings.vault.key_ring_file)
        needs = asyncio.run(_load_needs(settings.store))
        missing = {key_id: need for key_id, need in needs.items() if key_id not in ring.keys}
        values: dict[str, object] = {
            "primary": ring.primary,
            "records_count": {key_id: _count(needs, key_id) for key_id in sorted(ring.keys)},
            "missing_keys": {key_id: need.count for key_id, need in missing.items()},
        }
        show_values(values, output)
        for key_id, need in missing.items():
            print(f"no key {key_id} in the ring: cannot open {_told(need)}", file=sys.stderr)
    if missing:
        raise typer.Exit(EXIT_REFUSED)


@app.command("add-key")
def add_key(file: FileOption = None, config: ConfigOption = None) -> None:
    """Add a new random key, which seals nothing yet. Bring the file to every process before you promote it."""
    from sidecar.store.key_ring import add_key as add

    with failing_clearly():
        path = _path_of(file, config)
        key_id = add(path)
        print(f"added {key_id} to {path}; it seals once it is promoted, when every process has it")


@app.command()
def promote(key_id: KeyArgument, file: FileOption = None, config: ConfigOption = None) -> None:
    """Have a key seal from now on. Services that see the changed file seal everything anew with it by themselves."""
    from sidecar.store.key_ring import promote_key

    with failing_clearly():
        path = _path_of(file, config)
        promote_key(path, key_id)
        print(f"{key_id} is the primary key of {path}; `vault status` shows what others still have to open")


@app.command()
def reseal(
    config: ConfigOption = None,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for a service that does it.")] = 60.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Seal everything anew that another key than the primary one has sealed, in small steps, while the service runs.

    With SQLite a running service does it itself, and this waits until it has. Exit code 3: it has not yet.
    """
    with failing_clearly():
        settings = load_settings(config)
        resealing = asyncio.run(_reseal(settings))
        done_count = resealing.done_count if resealing is not None else None
        left = asyncio.run(_wait_resealed(settings, wait_s))
        values = {"resealed_count": "by the service" if done_count is None else done_count, "left_count": left}
        show_values(values, output)
    if left:
        raise typer.Exit(EXIT_UNAVAILABLE)


@app.command()
def retire(key_id: KeyArgument, file: FileOption = None, config: ConfigOption = None) -> None:
    """Take a key out of the ring, unless it is the primary one or anything in the store still needs it."""
    from sidecar.store.key_ring import remove_key

    with failing_clearly():
        needs = asyncio.run(_load_needs(load_settings(config).store))
        need = needs.get(key_id)
        if need is None:
            path = _path_of(file, config)
            remove_key(path, key_id)
            print(f"took {key_id} out of {path}; keep a copy of it for as long as backups that need it")
            return
        print(f"exchange-sidecar: {key_id} still has to open {_told(need)}; run `vault reseal` first", file=sys.stderr)
        raise typer.Exit(EXIT_REFUSED)


def _path_of(file: Path | None, config: Path | None) -> Path:
    return load_settings(config).vault.key_ring_file if file is None else file


def _count(needs: Mapping[str, Needs], key_id: str) -> int:
    return needs[key_id].count if key_id in needs else 0


def _told(need: Needs) -> str:
    return f"{need.count} records, of tenants such as {', '.join(need.tenant_ids)}"


async def _load_needs(settings: StoreSettings) -> Mapping[str, Needs]:
    from sidecar.aio.clock import SystemClock
    from sidecar.store.sealed import load_needs

    async with AsyncExitStack() as stack:
        reader: Reader
        if settings.dsn_file is None:
            from sidecar.store.sqlite import SqliteReader

            if not settings.path.is_file():
                raise ValueError(f"there is no database {settings.path}")
            reader = SqliteReader(settings.path, now=SystemClock().now())
        else:
            reader = await _open_postgres(settings, stack)
        return await load_needs(reader)


async def _open_postgres(settings: StoreSettings, stack: AsyncExitStack) -> Engine:
    from sidecar.store.postgres import PostgresEngine
    from sidecar.store.postgres_link import Link

    assert settings.dsn_file is not None, "asked for by the caller"
    link = Link(settings.dsn_file, statement_s=settings.statement_s, lock_s=settings.busy_s)
    engine = PostgresEngine(link, connections_max=2, clock=None, rng=Random(0))
    stack.push_async_callback(engine.close)
    await engine.open()
    return engine


async def _reseal(settings: Settings) -> Resealing | None:
    """Seal anew; None when a service has the database, which does it itself."""
    from sidecar.aio.clock import SystemClock
    from sidecar.errors import StoreUnavailable
    from sidecar.store.epochs import Epochs
    from sidecar.store.migrate import migrate_sqlite
    from sidecar.store.sealed import SealedRecords
    from sidecar.store.sqlite import SqliteEngine
    from sidecar.store.vault import load_vault

    vault = load_vault(settings.vault.key_ring_file)
    store = settings.store
    async with AsyncExitStack() as stack:
        if store.dsn_file is not None:
            return await SealedRecords(await _open_postgres(store, stack), vault).reseal()
        if not store.path.is_file():
            raise ValueError(f"there is no database {store.path}")
        engine = SqliteEngine(store.path, synchronous=store.synchronous, busy_s=store.busy_s, clock=SystemClock())
        stack.push_async_callback(engine.close)
        try:
            await engine.open()
        except StoreUnavailable:
            return None
        await asyncio.to_thread(migrate_sqlite, store.path)
        await Epochs(engine).renew_if_rolled_back()  # before anything else is written, as a service does
        return await SealedRecords(engine, vault).reseal()


async def _wait_resealed(settings: Settings, wait_s: float) -> int:
    """Return how many records other keys than the primary one still have to open, at once when none."""
    from sidecar.aio.clock import SystemClock
    from sidecar.store.key_ring import read_key_ring

    clock = SystemClock()
    ends_s = clock.monotonic() + wait_s
    while True:
        primary = read_key_ring(settings.vault.key_ring_file).primary
        needs = await _load_needs(settings.store)
        left = sum(need.count for key_id, need in needs.items() if key_id != primary)
        if not left or clock.monotonic() >= ends_s or settings.store.dsn_file is not None:
            return left
        await clock.sleep(_POLL_S)
