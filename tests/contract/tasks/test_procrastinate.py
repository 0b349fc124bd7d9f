"""What is Procrastinate's own: few hints, none left behind, and tables that our migration makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent
from sidecar.store.postgres_link import Link
from sidecar.store.procrastinate_schema import SCHEMA, migrate_procrastinate
from sidecar.tasks.procrastinate_queue import ProcrastinateQueue
from tests.support import postgres
from tests.support.engines import Office, engine, office_open
from tests.support.processes import eventually

JOBS = f"{SCHEMA}.procrastinate_jobs"


async def nothing(intent: Intent) -> None:
    """Do nothing."""


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with office_open("procrastinate-postgres", tmp_path, nothing) as office:
        yield office


def queue_on(dsn_file: Path, *, store_id: str = "test") -> ProcrastinateQueue:
    return ProcrastinateQueue(dsn_file, store_id=store_id, statement_s=5.0)


def link_of(dsn_file: Path) -> Link:
    return Link(dsn_file, statement_s=10.0, lock_s=5.0)


@contextmanager
def user_without_rights(dsn_file: Path) -> Iterator[Path]:
    """Make a user that has a schema of its own in a database, and may not make another; give the file with its URI."""
    database = postgres.name_of(dsn_file)
    user = f"u{database}"
    server = postgres.server()
    server.query(f"CREATE ROLE {user} LOGIN")
    server.query(f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC")
    server.query(f"CREATE SCHEMA {user} AUTHORIZATION {user}", database)
    theirs = dsn_file.with_name(f"{user}.dsn")
    theirs.write_text(server.dsn(database, user=user))
    try:
        yield theirs
    finally:
        theirs.unlink()
        server.query(f"DROP OWNED BY {user} CASCADE", database)
        server.query(f"DROP ROLE {user}")


async def execute(dsn_file: Path, sql: str) -> None:
    raw = await link_of(dsn_file).connect()
    try:
        await raw.execute(sql)
    finally:
        await raw.close()


async def values(office: Office, sql: str) -> list[Any]:  # of any column
    return [row[0] for row in await office.opened.fetch(sql)]


async def test_many_rooms_of_a_tenant_are_one_hint(office: Office) -> None:
    for number in range(200):
        await office.mark(f"r{number}")
    async with engine(office):
        await office.done()
    (sent_count,) = await values(office, f"SELECT last_value FROM {JOBS}_id_seq")
    print(f"200 rooms: {sent_count} hints")
    assert sent_count <= 3


async def test_no_job_and_no_worker_is_left_after_a_stop(office: Office) -> None:
    async with engine(office) as running:
        for number in range(10):
            await office.mark(f"r{number}", lane=f"t{number}")
        await office.done()
        await running.stop()
    assert await values(office, f"SELECT id FROM {JOBS} WHERE status <> 'todo'") == []
    assert await values(office, f"SELECT id FROM {SCHEMA}.procrastinate_workers") == []


async def test_job_of_a_dead_process_hinders_nobody_and_is_pruned(office: Office) -> None:
    columns = "queue_name, task_name, queueing_lock, status"
    await office.opened.execute(
        f"INSERT INTO {JOBS} ({columns}) VALUES ('exchange-sidecar-test', 'drain', 't1', 'doing')"
    )
    async with engine(office):
        await office.mark("r1")
        await office.done()
        await eventually(lambda: is_empty(office), "the dead job is pruned")


async def is_empty(office: Office) -> bool:
    return not await values(office, f"SELECT id FROM {JOBS} WHERE status = 'doing'")


async def test_hint_that_waited_too_long_is_dropped(office: Office) -> None:
    """What it knew has been said again by the sweeps since."""
    queue = queue_on(office.opened.path)
    async with queue.open():
        await queue.send(TenantUid("t1"), now=office.opened.clock.now().replace(year=2020))
        assert await queue.waiting() == {"t1"}
    async with engine(office):
        await eventually(lambda: is_untouched(office), "the hint was taken")
    assert await values(office, "SELECT lane FROM lanes WHERE lane = 't1'") == []


async def is_untouched(office: Office) -> bool:
    return not await values(office, f"SELECT id FROM {JOBS}")


async def test_second_hint_for_a_waiting_lane_is_not_sent(office: Office) -> None:
    queue = queue_on(office.opened.path)
    async with queue.open():
        for _ in range(2):
            await queue.send(TenantUid("t1"), now=office.opened.clock.now())
    assert len(await values(office, f"SELECT id FROM {JOBS}")) == 1


async def test_hints_of_another_store_are_not_taken(office: Office) -> None:
    """Two services may have their schemas in one database, and find the same tables of Procrastinate."""
    theirs = queue_on(office.opened.path, store_id="theirs")
    async with theirs.open(), engine(office):
        await theirs.send(TenantUid("t1"), now=office.opened.clock.now())
        await office.mark("r1")
        await office.done()
        assert await theirs.waiting() == {"t1"}


async def test_sweep_of_another_process_stands_in_for_a_frozen_sender(office: Office) -> None:
    """The sender's lease is held by somebody who does nothing; work is begun all the same."""
    await office.opened.store.intents.take_lane(TenantUid("(sender of hints)"), owner="frozen", lease_s=3600.0)
    async with engine(office):
        await office.mark("r1")
        await office.done()
    assert office.ran == ["r1"]


async def test_migrating_again_does_nothing() -> None:
    with postgres.database() as dsn_file:
        assert await migrate_procrastinate(link_of(dsn_file))
        assert not await migrate_procrastinate(link_of(dsn_file))


async def test_migrating_from_two_processes_at_once_is_done_by_one() -> None:
    with postgres.database() as dsn_file:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(migrate_procrastinate(link_of(dsn_file))) for _ in range(2)]
        assert sorted(task.result() for task in tasks) == [False, True]


async def test_tables_are_in_the_users_schema_where_none_may_be_made() -> None:
    with postgres.database() as dsn_file, user_without_rights(dsn_file) as theirs:
        assert await migrate_procrastinate(link_of(theirs))
        assert not await migrate_procrastinate(link_of(theirs))
        queue = queue_on(theirs)
        async with queue.open():
            await queue.send(TenantUid("t1"), now=datetime.now(UTC))
            assert await queue.waiting() == {"t1"}


async def test_schema_of_another_user_is_passed_over() -> None:
    """Somebody made it first, for a service of their own."""
    with postgres.database() as dsn_file:
        assert await migrate_procrastinate(link_of(dsn_file))
        with user_without_rights(dsn_file) as theirs:
            assert await migrate_procrastinate(link_of(theirs))
            async with queue_on(theirs).open():
                pass


async def test_procrastinate_of_another_application_is_left_alone() -> None:
    """Where a schema of our own may not be made, somebody else's tables are refused with a sentence."""
    with postgres.database() as dsn_file, user_without_rights(dsn_file) as theirs:
        await execute(theirs, "CREATE TABLE procrastinate_jobs (id bigint)")
        with pytest.raises(StoreUnavailable, match="another application's Procrastinate"):
            await migrate_procrastinate(link_of(theirs))


async def test_tables_of_an_older_procrastinate_are_brought_up_to_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from procrastinate.schema import SchemaManager

    with postgres.database() as dsn_file:
        assert await migrate_procrastinate(link_of(dsn_file))
        folder = tmp_path / "migrations"
        folder.mkdir()
        (folder / "00.00.00_01_initial.sql").write_text("this would fail;")
        (folder / "99.00.00_01_pre_more.sql").write_text("ALTER TABLE procrastinate_jobs ADD COLUMN more text;")
        monkeypatch.setattr(SchemaManager, "get_migrations_path", staticmethod(lambda: str(folder)))
        assert await migrate_procrastinate(link_of(dsn_file))
        assert not await migrate_procrastinate(link_of(dsn_file))
        await execute(dsn_file, f"SELECT more FROM {JOBS}")
