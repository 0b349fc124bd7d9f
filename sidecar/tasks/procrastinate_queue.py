"""Hints in Procrastinate's tables: the only module that runs Procrastinate; imported when it is chosen.

What was found out about Procrastinate 3.10, and how it is met here:

- A job with a `queueing_lock` that is tried again while a second one waits dies of a UniqueViolation and stays `doing`. Jobs
  here are never tried again: they cannot fail, and what they did not do is still due.
- A job for later on a lock holds back a ready one on the same lock. There are no jobs for later, and no locks.
- A notification that comes while the worker fetches is forgotten until the next poll. The poll is short.
- A job whose process died stays `doing`. That hinders nobody, because only waiting jobs lock the queue, and it is pruned.
- Its worker ends when one of its connections does. The runner starts it again.
- Its log tells whole jobs and drivers' words: `telemetry/logs.py` silences it, and the runner says what matters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import procrastinate
import psycopg
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import DeleteJobCondition, Status

from sidecar.model.ids import TenantUid
from sidecar.model.window import from_micros, to_micros
from sidecar.store.postgres_link import read_dsn
from sidecar.store.procrastinate_schema import SEARCH_PATH
from sidecar.tasks.procrastinate_runner import Take

_NAME = "exchange-sidecar"
_TASK = "drain"
_CONNECTIONS_MAX = 4
"""Fetching, sending and finishing are one statement each; one more connection listens."""
_CONNECT_S = 5
_POLL_S = 0.5
_WAIT_S = 5.0
"""A statement that finds no connection for so long fails, and with it the worker: the sooner it starts again."""
_HEARTBEAT_S, _DEAD_AFTER_S = 10.0, 60.0
_PRUNE_HOURS = 1


class ProcrastinateQueue:
    """A `HintQueue`.

    Args:
        dsn_file: file with the database's URI; read for each new connection, so that a changed password needs no restart.
        store_id: whose hints these are; stores in several schemas of a database may share Procrastinate's tables.
        statement_s: a statement that takes longer is ended.
    """

    def __init__(self, dsn_file: Path, *, store_id: str, statement_s: float) -> None:
        self.name = f"{_NAME}-{store_id}"
        self._dsn_file = dsn_file
        self._statement_s = statement_s
        self._app: procrastinate.App | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """See `HintQueue.open`."""
        # Whether the database is there at all is found out first: the pool would try for longer and longer by itself.
        async with await psycopg.AsyncConnection.connect(read_dsn(self._dsn_file), connect_timeout=_CONNECT_S):
            pass
        connector = procrastinate.PsycopgConnector(
            conninfo=lambda: read_dsn(self._dsn_file),
            kwargs={
                "application_name": _NAME,
                "connect_timeout": _CONNECT_S,
                "tcp_user_timeout": 15_000,
                "keepalives_idle": 15,
            },
            configure=self._configure,
            min_size=1,
            max_size=_CONNECTIONS_MAX,
            timeout=_WAIT_S,
        )
        app = procrastinate.App(connector=connector)
        async with app.open_async():
            self._app = app
            try:
                yield
            finally:
                self._app = None

    async def _configure(self, connection: psycopg.AsyncConnection) -> None:
        await connection.set_autocommit(True)  # each query is one statement
        millis = round(self._statement_s * 1000)
        await connection.execute(f"SET search_path TO {SEARCH_PATH}")
        await connection.execute(f"SET statement_timeout TO {millis}")
        # A hint is no truth: it need not wait for the disk, nor keep others' commits waiting while its NOTIFY does.
        await connection.execute("SET synchronous_commit TO off")

    @property
    def _opened(self) -> procrastinate.App:
        assert self._app is not None, "open() comes first"
        return self._app

    async def send(self, lane: TenantUid, *, now: datetime) -> None:
        """See `HintQueue.send`."""
        job = self._opened.configure_task(_TASK, queue=self.name, queueing_lock=f"{self.name} {lane}")
        try:
            await job.defer_async(lane=lane, sent_at=to_micros(now))
        except AlreadyEnqueued:
            return  # another process was faster

    async def waiting(self) -> frozenset[TenantUid]:
        """See `HintQueue.waiting`."""
        found = await self._opened.job_manager.list_jobs_async(queue=self.name, status=Status.TODO.value)
        return frozenset(TenantUid(str(job.task_kwargs.get("lane"))) for job in found)

    async def work(self, take: Take, *, count_max: int) -> None:
        """See `HintQueue.work`."""
        app = self._opened

        async def drain(lane: str, sent_at: int) -> None:
            await take(TenantUid(lane), from_micros(sent_at))

        app.task(name=_TASK, queue=self.name)(drain)
        await app.run_worker_async(
            queues=[self.name],
            name=_NAME,
            concurrency=count_max,
            fetch_job_polling_interval=_POLL_S,
            update_heartbeat_interval=_HEARTBEAT_S,
            stalled_worker_timeout=_DEAD_AFTER_S,
            delete_jobs=DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
            shutdown_graceful_timeout=0.0,  # a hint ends with its worker; the drain that follows it goes on
        )

    async def prune(self) -> int:
        """See `HintQueue.prune`."""
        manager = self._opened.job_manager
        await manager.prune_stalled_workers(_DEAD_AFTER_S)
        stalled = list(await manager.get_stalled_jobs(queue=self.name, seconds_since_heartbeat=_DEAD_AFTER_S))
        for job in stalled:
            await manager.finish_job(job, status=Status.ABORTED, delete_job=True)
        await manager.delete_old_jobs(
            _PRUNE_HOURS, queue=self.name, include_failed=True, include_cancelled=True, include_aborted=True
        )
        return len(stalled)
