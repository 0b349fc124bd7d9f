"""Commands on the database itself: copy it, put a copy back, and tell its histories apart. They do not ask the service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.output import Output, OutputOption, failing_clearly, show_values
from sidecar.cli.server import ConfigOption
from sidecar.settings import StoreSettings, load_settings

if TYPE_CHECKING:
    from sidecar.store.epochs import Renewal
    from sidecar.store.sqlite_backup import Contents

epoch_app = typer.Typer(help="Tell a database's histories apart.", no_args_is_help=True)


def backup(
    to: Annotated[Path, typer.Option("--to", help="The file to write, readable by its owner only.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Copy the database into one file, consistent and proved, while the service goes on.

    Credentials in it are sealed with the key ring, which is not part of it: keep a copy of that elsewhere.
    """
    from sidecar.store.sqlite_backup import back_up

    with failing_clearly():
        contents = back_up(load_settings(config).store.path, to, overwrite=overwrite)
        show_values({"file": str(to), **_shown(contents)}, output)


def restore(
    source: Annotated[Path, typer.Option("--from", help="A file that `backup` wrote.")],
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a backup in the place of the database; the service must be stopped. The former database is kept beside it.

    Watchers begin anew at the next start, and every room is read and every subscription proved again.
    """
    from sidecar.aio.clock import SystemClock
    from sidecar.store.sqlite_restore import restore as put_back

    with failing_clearly():
        database = load_settings(config).store.path
        restored = put_back(source, database, now=SystemClock().now())
        values = {
            "database": str(database),
            **_shown(restored.contents),
            "epochs_renewed_count": restored.renewal.tenants_count,
            "rooms_to_read_count": restored.renewal.rooms_count,
            "former_database": "" if restored.former is None else str(restored.former),
        }
        show_values(values, output)


@epoch_app.command()
def renew(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Id of one tenant; without it: all.")] = None,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin a new history: no resume token given out before is honoured, and everything is read and proved again.

    For a database that went back to an earlier state in a way that the service cannot see, such as a volume that was
    restored as a whole. `restore` does this by itself.
    """
    with failing_clearly():
        renewal = asyncio.run(_renew(load_settings(config).store, tenant))
        values = {"epochs_renewed_count": renewal.tenants_count, "rooms_to_read_count": renewal.rooms_count}
        show_values(values, output)


async def _renew(settings: StoreSettings, tenant: str | None) -> Renewal:
    from sidecar.aio.clock import SystemClock
    from sidecar.model.ids import TenantId
    from sidecar.store.epochs import Epochs
    from sidecar.store.migrate import migrate_sqlite
    from sidecar.store.sqlite import SqliteEngine

    if not settings.path.is_file():
        raise ValueError(f"there is no database {settings.path}")
    migrate_sqlite(settings.path)
    engine = SqliteEngine(settings.path, synchronous=settings.synchronous, busy_s=settings.busy_s, clock=SystemClock())
    try:
        await engine.open()
        epochs = Epochs(engine)
        known = await epochs.renew_if_rolled_back()  # a return concerns every tenant, whichever was asked for
        return known or await epochs.renew(None if tenant is None else TenantId(tenant))
    finally:
        await engine.close()


def _shown(contents: Contents) -> dict[str, object]:
    newest_at = contents.newest_change_at
    return {
        "schema": contents.schema,
        "bytes_count": contents.bytes_count,
        "tenants_count": contents.tenants_count,
        "rooms_count": contents.rooms_count,
        "bookings_count": contents.bookings_count,
        "changes_count": contents.changes_count,
        "subscriptions_count": contents.subscriptions_count,
        "newest_change_time": None if newest_at is None else newest_at.isoformat(timespec="seconds"),
    }
