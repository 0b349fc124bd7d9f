"""Runs of chores: asked for, read, listed, and followed to their end."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import msgspec

from sidecar.aio.clock import Clock
from sidecar.aio.places import Full, Places
from sidecar.api.boundary import Send
from sidecar.api.convert import problem_to_proto
from sidecar.api.door import visible_tenants
from sidecar.api.page_tokens import PageTokens
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.api.write_requests import read_request_id
from sidecar.errors import ServerDraining, TaskNotFound, WatcherLimit, WatcherTooSlow
from sidecar.feed.feed import Feed
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as pb
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.task_run import Aim, Preview, RunProblem, RunState, Subject, TaskRun
from sidecar.store.task_runs import TaskRuns
from sidecar.sync.problems import problem_named
from sidecar.tasks.catalog import TASKS
from sidecar.tasks.tenant_health import PAUSED

_PAGE_DEFAULT, _PAGE_MAX = 50, 500
_LOOK_S = 1.0
_REPEAT_S = 15.0
"""Whoever follows a run that does not move hears of it as often, and knows that the connection lives."""
_FOLLOWED_MAX = 100
"""Followers of this process at once, half of them callers that may name the same: each asks the database once a second."""
_AGAIN_S = 1.0
_NAME = "[a-z][a-z-]{0,62}"
_TASK_NAME = re.compile(f"tasks/({_NAME})")
_RUN_NAME = re.compile(f"tasks/({_NAME})/runs/([A-Za-z0-9]{{1,63}})")
_REASON = re.compile("[A-Z_]{1,63}")
_ANY_TASK = "tasks/-"
_STATES: Final = {
    RunState.RUNNING: pb.TaskRun.STATE_RUNNING,
    RunState.SUCCEEDED: pb.TaskRun.STATE_SUCCEEDED,
    RunState.FAILED: pb.TaskRun.STATE_FAILED,
    RunState.EXPIRED: pb.TaskRun.STATE_EXPIRED,
}


class _Place(msgspec.Struct, array_like=True, frozen=True):
    uid: str


class TaskRunCalls:
    """What is asked about runs."""

    def __init__(self, *, runs: TaskRuns, feed: Feed, send_s: float, clock: Clock) -> None:
        self._runs = runs
        self._feed = feed
        self._send_s = send_s
        self._clock = clock
        self._followed = Places(_FOLLOWED_MAX)
        self._page_tokens = PageTokens(_Place, free_fields=("page_size",))

    async def run(self, request: pb.RunTaskRequest) -> pb.RunTaskResponse:
        """See the proto."""
        check = Check()
        name = _read_task(check, "name", request.name)
        request_id = read_request_id(check, request.request_id)
        tenant_id, room_id = _read_scope(check, request.scope)
        task = TASKS.get(name)
        if task is not None and room_id is not None and task.subject is not Subject.ROOM:
            check.refuse("scope", "must be a tenant, or empty: this task is not about single rooms")
        check.finish()
        if task is None:
            raise TaskNotFound("there is no such task")
        visible = visible_tenants()
        if tenant_id is None and visible is not None and len(visible) == 1:
            (tenant_id,) = visible  # all that the caller may name is one tenant: then the run is that tenant's
        aim = Aim(
            task=task.name,
            kind=task.kind,
            subject=task.subject,
            priority=task.priority,
            tenant_id=tenant_id,
            room_id=room_id,
            visible=visible,
        )
        if request.dry_run:
            return pb.RunTaskResponse(run=_preview_to_proto(await self._runs.preview(aim), request.scope))
        return pb.RunTaskResponse(run=_run_to_proto(await self._runs.begin(aim, request_id=request_id)))

    async def get(self, request: pb.GetTaskRunRequest) -> pb.GetTaskRunResponse:
        """See the proto."""
        check = Check()
        task, uid = _read_run(check, request.name)
        check.finish()
        return pb.GetTaskRunResponse(run=_run_to_proto(await self._runs.load(task, uid, visible=visible_tenants())))

    async def list(self, request: pb.ListTaskRunsRequest) -> pb.ListTaskRunsResponse:
        """See the proto."""
        check = Check()
        task = None if request.parent == _ANY_TASK else _read_task(check, "parent", request.parent)
        tenant_id, room_id = _read_scope(check, request.scope)
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        place = self._page_tokens.decode(check, request, request.page_token)
        check.finish()
        if task is not None and task not in TASKS:
            raise TaskNotFound("there is no such task")
        found = await self._runs.load_many(
            task=task,
            tenant_id=tenant_id,
            room_id=room_id,
            visible=visible_tenants(),
            before=None if place is None else place.uid,
            count_max=count_max + 1,
        )
        page = found[:count_max]
        response = pb.ListTaskRunsResponse(runs=[_run_to_proto(run) for run in page])
        if len(found) > count_max:
            response.next_page_token = self._page_tokens.encode(request, _Place(page[-1].uid))
        return response

    async def watch(self, request: pb.WatchTaskRunRequest, send: Send) -> None:
        """See the proto."""
        check = Check()
        task, uid = _read_run(check, request.name)
        check.finish()
        try:
            with self._followed.taken(visible_tenants()):
                await self._follow(task, uid, send)
        except Full:
            details = {"watches_max": str(_FOLLOWED_MAX)}
            raise WatcherLimit("too many runs are followed", details=details) from None

    async def _follow(self, task: str, uid: str, send: Send) -> None:
        visible = visible_tenants()
        told, told_s = b"", self._clock.monotonic()
        while True:
            run = await self._runs.load(task, uid, visible=visible)
            message = pb.WatchTaskRunResponse(run=_run_to_proto(run)).SerializeToString()
            now_s = self._clock.monotonic()
            if message != told or now_s - told_s >= _REPEAT_S:
                await self._send(send, message)
                told, told_s = message, now_s
            if run.over_at is not None:
                return
            if self._feed.is_draining:
                raise ServerDraining("the server is shutting down", retry_after_s=_AGAIN_S)
            await self._clock.sleep(_LOOK_S)

    async def _send(self, send: Send, message: bytes) -> None:
        try:
            async with asyncio.timeout(self._send_s):
                await send(message)
        except TimeoutError:
            raise WatcherTooSlow("the reader of the stream takes no messages") from None


def _read_task(check: Check, field: str, name: str) -> str:
    match = _TASK_NAME.fullmatch(name)
    if match is None:
        check.refuse(field, "must be tasks/{task}, such as tasks/check-rooms")
    return "" if match is None else match[1]


def _read_run(check: Check, name: str) -> tuple[str, str]:
    match = _RUN_NAME.fullmatch(name)
    if match is None:
        check.refuse("name", "must be tasks/{task}/runs/{run}")
    return ("", "") if match is None else (match[1], match[2])


def _read_scope(check: Check, scope: str) -> tuple[TenantId | None, RoomId | None]:
    return check.tenant_or_room("scope", scope) if scope else (None, None)


def _run_to_proto(run: TaskRun) -> pb.TaskRun:
    message = pb.TaskRun(
        name=f"tasks/{run.task}/runs/{run.uid}",
        state=_STATES[run.state],
        scope=_scope_of(run),
        total_count=run.total_count,
        done_count=run.done_count,
        failed_count=run.failed_count,
        changed_count=run.changed_count,
        remaining_count=run.remaining_count,
        left_out_tenants_count=run.left_out_count,
    )
    for problem in run.problems:
        message.problems.append(_problem_to_proto(problem, run))
    set_time(message.start_time, run.started_at)
    if run.over_at is not None:
        set_time(message.end_time, run.over_at)
    return message


def _preview_to_proto(preview: Preview, scope: str) -> pb.TaskRun:
    return pb.TaskRun(
        state=pb.TaskRun.STATE_SUCCEEDED,
        scope=scope,
        total_count=preview.total_count,
        left_out_tenants_count=preview.left_out_count,
        examples=preview.examples,
    )


def _scope_of(run: TaskRun) -> str:
    if run.tenant_id is None:
        return ""
    return f"tenants/{run.tenant_id}" + ("" if run.room_id is None else f"/rooms/{run.room_id}")


def _problem_to_proto(problem: RunProblem, run: TaskRun) -> common_pb.Problem:
    reason = "EXCHANGE_UNAVAILABLE" if problem.reason == PAUSED else problem.reason
    if _REASON.fullmatch(reason) is None:
        reason = "INTERNAL"  # the name of an exception that nobody expected
    details = {"count": str(problem.count), **({"example": problem.example} if problem.example else {})}
    message = problem_to_proto(problem_named(reason, details, now=run.started_at))
    message.ClearField("first_seen_time")  # the rooms and tenants say since when
    message.ClearField("last_seen_time")
    return message
