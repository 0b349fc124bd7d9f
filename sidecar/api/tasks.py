"""TaskService: the chores, and the lanes that they are due in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sidecar.aio.clock import Clock
from sidecar.api.boundary import Send, answering_s
from sidecar.api.door import visible_tenants
from sidecar.api.page_tokens import PageTokens
from sidecar.api.task_runs import TaskRunCalls
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as pb
from sidecar.model.ids import TenantId
from sidecar.model.lane import LaneView
from sidecar.model.task_run import Subject
from sidecar.settings import Settings
from sidecar.store.lanes import TenantLanes
from sidecar.tasks.catalog import TASKS, Task
from sidecar.tasks.driving import LaneDrained, LaneDriving
from sidecar.tasks.lanes import Ending

_TASKS_PAGE_MAX = 100
_LANES_PAGE_DEFAULT, _LANES_PAGE_MAX = 100, 1_000
_WAIT_S_MAX = 60.0
_DRAIN_S_DEFAULT, _DRAIN_S_MIN, _DRAIN_S_MAX = 30.0, 1.0, 300.0
_SCOPES: Final = {
    Subject.ROOM: pb.Task.SCOPE_ROOM,
    Subject.TENANT: pb.Task.SCOPE_TENANT,
    Subject.PLANNED: pb.Task.SCOPE_TENANT,
}


class _TaskPlace(msgspec.Struct, array_like=True, frozen=True):
    name: str


class _LanePlace(msgspec.Struct, array_like=True, frozen=True):
    tenant_id: str
    due_at: Annotated[datetime, Meta(tz=True)] | None = None


class TaskServicer:
    """Lists chores and lanes, and has lanes drained. Runs are `TaskRunCalls`'."""

    def __init__(
        self, *, driving: LaneDriving, lanes: TenantLanes, runs: TaskRunCalls, settings: Settings, clock: Clock
    ) -> None:
        self._driving = driving
        self._lanes = lanes
        self._runs = runs
        self._settings = settings
        self._clock = clock
        self._task_tokens = PageTokens(_TaskPlace, free_fields=("page_size",))
        self._lane_tokens = PageTokens(_LanePlace, free_fields=("page_size", "wait"))

    async def list_tasks(self, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        """See the proto."""
        check = Check()
        count_max = check.page_size("page_size", request.page_size, default=_TASKS_PAGE_MAX, most=_TASKS_PAGE_MAX)
        place = self._task_tokens.decode(check, request, request.page_token)
        check.finish()
        names = [name for name in TASKS if place is None or name > place.name]
        page = names[:count_max]
        response = pb.ListTasksResponse(tasks=[self._task_to_proto(TASKS[name]) for name in page])
        if len(names) > len(page):
            response.next_page_token = self._task_tokens.encode(request, _TaskPlace(page[-1]))
        return response

    def _task_to_proto(self, task: Task) -> pb.Task:
        message = pb.Task(
            name=f"tasks/{task.name}",
            description=task.description,
            scope=_SCOPES[task.subject],
            work=task.kind.value,
            self_scheduled=self._settings.tasks.runner != "outside",
        )
        interval_s = task.interval(self._settings)
        if interval_s is not None:
            message.interval.FromMilliseconds(round(interval_s * 1_000))
        return message

    async def list_due_lanes(self, request: pb.ListDueLanesRequest) -> pb.ListDueLanesResponse:
        """See the proto."""
        check = Check()
        count_max = check.page_size("page_size", request.page_size, default=_LANES_PAGE_DEFAULT, most=_LANES_PAGE_MAX)
        place = self._lane_tokens.decode(check, request, request.page_token)
        wait_s = 0.0
        if request.HasField("wait"):
            wait_s = check.duration_s("wait", request.wait, least_s=0.0, most_s=_WAIT_S_MAX)
            if request.page_token or request.show_all:
                check.refuse("wait", "must not be set together with page_token or show_all")
        check.finish()
        budget_s = answering_s(self._clock)
        if budget_s is not None:
            wait_s = min(wait_s, budget_s)
        visible = visible_tenants()
        if request.show_all:
            after = None if place is None else TenantId(place.tenant_id)
            found = await self._lanes.by_name(visible=visible, after=after, count_max=count_max + 1)
        elif place is not None and place.due_at is not None:
            where = (place.due_at, TenantId(place.tenant_id))
            found = await self._lanes.due(visible=visible, after=where, count_max=count_max + 1)
        else:
            found = await self._driving.wait_due(visible=visible, count_max=count_max + 1, wait_s=wait_s)
        response = pb.ListDueLanesResponse(lanes=[_lane_to_proto(lane) for lane in found[:count_max]])
        if len(found) > count_max:
            last = found[count_max - 1]
            due_at = None if request.show_all else last.oldest_due_at
            response.next_page_token = self._lane_tokens.encode(request, _LanePlace(last.tenant_id, due_at))
        if place is None:
            next_at = await self._lanes.next_due_at(visible=visible)
            if next_at is not None:
                set_time(response.next_due_time, next_at)
        return response

    async def drain_lane(self, request: pb.DrainLaneRequest) -> pb.DrainLaneResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("lane", request.lane)
        max_s = _DRAIN_S_DEFAULT
        if request.HasField("max_duration"):
            max_s = check.duration_s("max_duration", request.max_duration, least_s=_DRAIN_S_MIN, most_s=_DRAIN_S_MAX)
        check.finish()
        return _drained_to_proto(await self._driving.drain(tenant_id, max_s=max_s, budget_s=answering_s(self._clock)))

    async def run_task(self, request: pb.RunTaskRequest) -> pb.RunTaskResponse:
        """See the proto."""
        return await self._runs.run(request)

    async def get_task_run(self, request: pb.GetTaskRunRequest) -> pb.GetTaskRunResponse:
        """See the proto."""
        return await self._runs.get(request)

    async def list_task_runs(self, request: pb.ListTaskRunsRequest) -> pb.ListTaskRunsResponse:
        """See the proto."""
        return await self._runs.list(request)

    async def watch_task_run(self, request: pb.WatchTaskRunRequest, send: Send) -> None:
        """See the proto."""
        await self._runs.watch(request, send)


def _lane_to_proto(lane: LaneView) -> pb.Lane:
    message = pb.Lane(
        name=f"tenants/{lane.tenant_id}",
        due_count=lane.due_count,
        drained_by=lane.owner,
        at_rest=lane.is_at_rest,
    )
    if lane.oldest_due_at is not None:
        set_time(message.oldest_due_time, lane.oldest_due_at)
    if lane.next_due_at is not None:
        set_time(message.next_due_time, lane.next_due_at)
    if lane.held_until_at is not None:
        set_time(message.drained_until_time, lane.held_until_at)
    return message


def _drained_to_proto(drained: LaneDrained) -> pb.DrainLaneResponse:
    message = pb.DrainLaneResponse(
        held_elsewhere=drained.is_refused, unfinished=drained.is_unfinished, more_due=drained.is_more_due
    )
    for kind in sorted({kind for kind, _ in drained.endings}):
        message.work.add(
            work=kind.value,
            done_count=drained.endings[kind, Ending.DONE],
            failed_count=drained.endings[kind, Ending.FAILED],
            put_off_count=drained.endings[kind, Ending.PUT_OFF],
        )
    if drained.held_until_at is not None:
        set_time(message.held_until_time, drained.held_until_at)
    if drained.next_due_at is not None and not drained.is_more_due:
        set_time(message.next_due_time, drained.next_due_at)
    return message
