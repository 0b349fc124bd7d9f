"""The async client's calls about background work: lanes to drain, chores to be done now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import cached_property

import grpc

from exchange_client import task_requests
from exchange_client.aio_connection import AioConnection
from exchange_client.aio_watch import cancelled_by_caller
from exchange_client.errors import DeadlineExceeded, ExchangeError, from_rpc
from exchange_client.gen.ioffice.exchange.v1 import task_service_pb2_grpc
from exchange_client.messages import (
    DrainLaneResponse,
    GetTaskRunRequest,
    Lane,
    ListDueLanesRequest,
    ListTasksRequest,
    Task,
    TaskRun,
    WatchTaskRunRequest,
)
from exchange_client.watching import closed_error
from exchange_client.writing import WRITE_TIMEOUT_S, request_id_or_new


class TaskCalls(AioConnection):
    """A part of `ExchangeClient`."""

    @cached_property
    def _tasks(self) -> task_service_pb2_grpc.TaskServiceAsyncStub:
        return task_service_pb2_grpc.TaskServiceStub(self._channel)

    async def list_tasks(self, *, timeout_s: float | None = None) -> Sequence[Task]:
        """List the chores: what each is for, and how often it is done by itself."""
        request, tasks = ListTasksRequest(), list[Task]()
        while True:
            page = await self._read(self._tasks.ListTasks, request, timeout_s)
            tasks += page.tasks
            if not page.next_page_token:
                return tasks
            request.page_token = page.next_page_token

    async def wait_due_lanes(
        self, *, wait_s: float = 0.0, count_max: int = 100, timeout_s: float | None = None
    ) -> Sequence[Lane]:
        """Return lanes in which something is due and that nobody drains, the longest waiting first.

        Args:
            wait_s: with none, wait this long for one, 60 s at most.
            count_max: only so many, 1,000 at most.
        """
        request = task_requests.due_lanes(wait_s, count_max)
        limit_s = task_requests.due_lanes_s(wait_s, timeout_s, self.timeout_s)
        return list((await self._read(self._tasks.ListDueLanes, request, limit_s)).lanes)

    async def list_lanes(self, *, timeout_s: float | None = None) -> AsyncIterator[Lane]:
        """Go through the lanes of all tenants, by name, whether or not anything is due; pages are read as needed."""
        request = ListDueLanesRequest(show_all=True)
        while True:
            page = await self._read(self._tasks.ListDueLanes, request, timeout_s)
            for lane in page.lanes:
                yield lane
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def drain_lane(
        self, lane: str, *, max_s: float = task_requests.DRAIN_S, timeout_s: float | None = None
    ) -> DrainLaneResponse:
        """Have what is due for a tenant done in the process that is called. Doing it twice, or not at all, does no harm.

        Args:
            lane: a tenant, as `Lane.name` has it.
            max_s: nothing is begun after so long, 1 s to 300 s.
        """
        request = task_requests.drain_lane(lane, max_s)
        return await self._read(self._tasks.DrainLane, request, task_requests.drain_lane_s(max_s, timeout_s))

    async def run_task(
        self, name: str, scope: str = "", *, request_id: str = "", timeout_s: float = WRITE_TIMEOUT_S
    ) -> TaskRun:
        """Have a chore done now; the answer is a run that has only begun. Sent again until it is answered.

        Args:
            name: `tasks/compare-rooms`, as `Task.name` has it.
            scope: a room or a tenant; empty: all that the caller may name.
            request_id: the same one gives the same run; empty: one is made up for this call.
        """
        request_id = request_id_or_new(request_id)
        request = task_requests.run_task(name, scope, request_id)
        return (await self._settle(self._tasks.RunTask, request, request_id, timeout_s)).run

    async def preview_task(self, name: str, scope: str = "", *, timeout_s: float | None = None) -> TaskRun:
        """Return what `run_task` would be about: `total_count` and `examples`. Nothing is done."""
        request = task_requests.run_task(name, scope, "", dry_run=True)
        return (await self._read(self._tasks.RunTask, request, timeout_s)).run

    async def get_task_run(self, name: str, *, timeout_s: float | None = None) -> TaskRun:
        """Get a run."""
        return (await self._read(self._tasks.GetTaskRun, GetTaskRunRequest(name=name), timeout_s)).run

    async def list_task_runs(
        self, task: str = "", *, scope: str = "", timeout_s: float | None = None
    ) -> AsyncIterator[TaskRun]:
        """Go through the runs, the newest first; pages are read as needed.

        Args:
            task: only of this task; empty: of all.
            scope: only about this room, or this tenant and its rooms.
        """
        request = task_requests.list_runs(task, scope)
        while True:
            page = await self._read(self._tasks.ListTaskRuns, request, timeout_s)
            for run in page.runs:
                yield run
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def watch_task_run(self, name: str, *, timeout_s: float | None = None) -> AsyncIterator[TaskRun]:
        """Follow a run to its end, over breaks of the connection: the whole run each time, the last with an end_time.

        Args:
            timeout_s: DeadlineExceeded when it has not ended by then; None: however long it takes.
        """
        ends_s = None if timeout_s is None else self._clock.monotonic() + timeout_s
        failures = 0
        while True:
            left_s = task_requests.FOLLOW_S
            if ends_s is not None:
                left_s = min(left_s, ends_s - self._clock.monotonic())
                if left_s <= 0:
                    raise DeadlineExceeded("the run has not ended in time", "DEADLINE_EXCEEDED")
            try:
                async with aclosing(self._follow(name, left_s)) as runs:
                    async for run in runs:
                        failures = 0
                        yield run
                        if run.HasField("end_time"):
                            return
            except ExchangeError as error:
                if not error.retryable:
                    raise
                await self._sleep(self._backoff.delay_s(failures, self._rng) + (error.retry_after_s or 0.0))
                failures += 1

    async def _follow(self, name: str, timeout_s: float) -> AsyncGenerator[TaskRun, None]:
        if self._closed:
            raise closed_error()
        call = self._tasks.WatchTaskRun(
            WatchTaskRunRequest(name=name), timeout=timeout_s, metadata=self._metadata(), wait_for_ready=True
        )
        try:
            async for message in call:
                yield message.run
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            if cancelled_by_caller():
                raise
            raise self._cancelled() from None
        finally:
            call.cancel()
