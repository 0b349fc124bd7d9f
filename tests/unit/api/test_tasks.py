"""TaskService over the wire: chores, lanes, and lanes that are drained on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.duration_pb2 import Duration

from sidecar.api.page_tokens import PageTokens
from sidecar.api.tasks import _LanePlace
from sidecar.errors import GraphUnavailable
from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as pb
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.tasks.catalog import EXCUSED, TASKS
from sidecar.tasks.chores import Outcome, PutOff
from tests.support.builders import NOW
from tests.support.processes import eventually
from tests.unit.api.rig import Rig, failing, serving, time_of

CHECK = IntentKind.ROOM_CHECK


@asynccontextmanager
async def at_work(rig: Rig) -> AsyncIterator[None]:
    """Have lanes drained on request while inside."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.called.run())
        await asyncio.sleep(0)
        yield
        rig.called.stop()
        await task


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with three tenants, of which none has anything due."""
    async with serving(tmp_path) as rig:
        for tenant_id in ("a", "b", "c"):
            await rig.db.add_tenant(tenant_id)
        await rig.db.execute("DELETE FROM intents")
        yield rig


async def mark(rig: Rig, tenant_id: str, key: str = "k", *, in_s: float = 0.0) -> None:
    ((uid,),) = await rig.db.fetch("SELECT uid FROM tenants WHERE tenant_id = $1", tenant_id)
    await rig.db.store.intents.mark(
        CHECK, key, TenantUid(uid), priority=Priority.CHECK, ready_at=NOW + timedelta(seconds=in_s)
    )


async def lanes_of(rig: Rig, **fields: Any) -> pb.ListDueLanesResponse:
    response: pb.ListDueLanesResponse = await rig.tasks.ListDueLanes(pb.ListDueLanesRequest(**fields))
    return response


def test_every_kind_of_work_is_a_task_or_excused() -> None:
    kinds = [task.kind for task in TASKS.values()]
    assert sorted([*kinds, *EXCUSED]) == sorted(IntentKind)


async def test_tasks_are_listed_with_their_intervals(rig: Rig) -> None:
    tasks = {task.name: task for task in (await rig.tasks.ListTasks(pb.ListTasksRequest())).tasks}
    assert list(tasks) == sorted(f"tasks/{name}" for name in TASKS)
    check = tasks["tasks/check-rooms"]
    assert (check.interval.seconds, check.scope, check.work) == (900, pb.Task.SCOPE_ROOM, "room.check")
    assert check.self_scheduled
    assert not tasks["tasks/settle-writes"].HasField("interval")


async def test_tasks_come_in_pages(rig: Rig) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = await rig.tasks.ListTasks(pb.ListTasksRequest(page_size=5, page_token=token))
        names += [task.name for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(f"tasks/{name}" for name in TASKS)


async def test_due_lanes_are_listed_the_longest_waiting_first(rig: Rig) -> None:
    for number in range(3):
        await mark(rig, "a", f"k{number}", in_s=-10 - number)
    await mark(rig, "b", "k3", in_s=-60)
    await mark(rig, "b", "k4", in_s=30)
    await mark(rig, "c", "k5", in_s=90)
    found = await lanes_of(rig)
    assert [(lane.name, lane.due_count) for lane in found.lanes] == [("tenants/b", 1), ("tenants/a", 3)]
    assert found.lanes[0].oldest_due_time == time_of(NOW - timedelta(seconds=60))
    assert found.lanes[0].next_due_time == time_of(NOW + timedelta(seconds=30))
    assert not found.lanes[1].HasField("next_due_time")


async def test_due_lanes_come_in_pages(rig: Rig) -> None:
    for number, tenant_id in enumerate(("c", "a", "b")):
        await mark(rig, tenant_id, f"k{number}", in_s=-10)
    first = await lanes_of(rig, page_size=2)
    second = await lanes_of(rig, page_size=2, page_token=first.next_page_token)
    assert [lane.name for lane in [*first.lanes, *second.lanes]] == ["tenants/a", "tenants/b", "tenants/c"]
    assert second.next_page_token == ""


async def test_page_token_that_somebody_made_up_is_refused(rig: Rig) -> None:
    """Its checksum is no secret."""
    request = pb.ListDueLanesRequest(page_size=1)
    place = _LanePlace("a", datetime(2026, 1, 1))
    token = PageTokens(_LanePlace, free_fields=("page_size", "wait")).encode(request, place)
    told = await failing(rig.tasks.ListDueLanes(pb.ListDueLanesRequest(page_size=1, page_token=token)))
    assert set(told.violations) == {"page_token"}


async def test_lane_that_somebody_drains_is_not_due_and_shown_among_all(rig: Rig) -> None:
    await mark(rig, "a")
    ((uid,),) = await rig.db.fetch("SELECT uid FROM tenants WHERE tenant_id = 'a'")
    await rig.db.store.intents.take_lane(TenantUid(uid), owner="host:1:x", lease_s=10.0)
    assert list((await lanes_of(rig)).lanes) == []
    everything = (await lanes_of(rig, show_all=True)).lanes
    assert [(lane.name, lane.due_count, lane.drained_by) for lane in everything] == [
        ("tenants/a", 1, "host:1:x"),
        ("tenants/b", 0, ""),
        ("tenants/c", 0, ""),
    ]
    assert everything[0].drained_until_time == time_of(NOW + timedelta(seconds=10))


async def test_wait_ends_with_the_first_lane_that_is_due(rig: Rig) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(lanes_of(rig, wait=Duration(seconds=60)))
        await eventually(lambda: rig.counts.counters["rpc_calls"], "the call is under way")
        await mark(rig, "b")
        assert [lane.name for lane in (await waiting).lanes] == ["tenants/b"]


async def test_wait_ends_empty_before_the_deadline_of_the_call(rig: Rig) -> None:
    request = pb.ListDueLanesRequest(wait=Duration(seconds=60))
    assert list((await rig.tasks.ListDueLanes(request, timeout=0.5)).lanes) == []


async def test_wait_is_refused_with_a_page_token_and_beyond_its_limit(rig: Rig) -> None:
    told = await failing(rig.tasks.ListDueLanes(pb.ListDueLanesRequest(wait=Duration(seconds=61))))
    assert set(told.violations) == {"wait"}
    told = await failing(rig.tasks.ListDueLanes(pb.ListDueLanesRequest(wait=Duration(seconds=1), show_all=True)))
    assert set(told.violations) == {"wait"}


async def test_drain_tells_what_was_done_by_kind(rig: Rig) -> None:
    async def work(intent: Intent) -> Outcome | None:
        if intent.key == "bad":
            raise GraphUnavailable("away")
        return PutOff(NOW + timedelta(hours=1), "MAILBOX_ACCESS_DENIED") if intent.key == "refused" else None

    rig.called_work[0] = work
    for key in ("good", "better", "bad", "refused"):
        await mark(rig, "a", key)
    async with at_work(rig):
        drained = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"))
    (told,) = drained.work
    assert (told.work, told.done_count, told.failed_count, told.put_off_count) == ("room.check", 2, 1, 1)
    assert not drained.held_elsewhere
    assert not drained.unfinished
    assert not drained.more_due
    assert drained.HasField("next_due_time")


async def test_drain_of_a_lane_that_somebody_has_does_nothing(rig: Rig) -> None:
    await mark(rig, "a")
    ((uid,),) = await rig.db.fetch("SELECT uid FROM tenants WHERE tenant_id = 'a'")
    await rig.db.store.intents.take_lane(TenantUid(uid), owner="host:1:x", lease_s=10.0)
    async with at_work(rig):
        drained = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"))
    assert drained.held_elsewhere
    assert drained.held_until_time == time_of(NOW + timedelta(seconds=10))
    assert list(drained.work) == []


async def test_drain_answers_before_the_deadline_and_the_work_goes_on(rig: Rig) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def work(intent: Intent) -> None:
        await may_end.wait()
        ended.set()

    rig.called_work[0] = work
    await mark(rig, "a")
    async with at_work(rig):
        drained = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"), timeout=1.0)
        assert drained.unfinished
        again = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"))
        assert again.held_elsewhere
        may_end.set()
        await ended.wait()
    assert await rig.db.store.intents.count() == 0


async def test_call_that_is_cut_off_cuts_no_work_off(rig: Rig) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def work(intent: Intent) -> None:
        begun.set()
        await may_end.wait()

    rig.called_work[0] = work
    await mark(rig, "a")
    async with at_work(rig):
        call = rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        may_end.set()
    assert await rig.db.store.intents.count() == 0


async def test_no_more_lanes_are_drained_at_once_than_the_process_may(rig: Rig) -> None:
    may_end = asyncio.Event()
    begun = asyncio.Semaphore(0)

    async def work(intent: Intent) -> None:
        begun.release()
        await may_end.wait()

    rig.called_work[0] = work
    async with at_work(rig):
        calls = []
        for number, tenant_id in enumerate(("a", "b")):
            await mark(rig, tenant_id, f"k{number}")
            calls.append(rig.tasks.DrainLane(pb.DrainLaneRequest(lane=f"tenants/{tenant_id}")))
            await begun.acquire()
        told = await failing(rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/c")))
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "DRAIN_LIMIT")
        assert told.metadata == {"lanes_max": "2"}
        may_end.set()
        for call in calls:
            await call


async def test_drain_is_refused_while_nothing_is_begun_any_more(rig: Rig) -> None:
    told = await failing(rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a")))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")


async def test_drain_of_no_tenant_is_refused(rig: Rig) -> None:
    async with at_work(rig):
        told = await failing(rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/nobody")))
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
        told = await failing(rig.tasks.DrainLane(pb.DrainLaneRequest(lane="acme")))
        assert set(told.violations) == {"lane"}


async def test_what_is_left_of_erased_tenants_is_a_lane_of_its_own(rig: Rig) -> None:
    await rig.db.store.intents.mark(CHECK, "k", TenantUid("gone"), priority=Priority.CHECK)
    assert [lane.name for lane in (await lanes_of(rig)).lanes] == ["tenants/-"]
    async with at_work(rig):
        drained = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/-"))
    assert [work.done_count for work in drained.work] == [1]
    assert list((await lanes_of(rig)).lanes) == []


async def test_erasing_lane_of_a_tenant_is_drained_with_its_own(rig: Rig) -> None:
    """It is due though the tenant is suspended, whose own lane nobody may drain."""
    await rig.suspend("a")
    ((uid,),) = await rig.db.fetch("SELECT uid FROM tenants WHERE tenant_id = 'a'")
    await rig.db.store.intents.mark(IntentKind.TENANT_ERASE, uid, TenantUid(f"{uid}.erasing"), priority=Priority.HINT)
    (lane,) = (await lanes_of(rig)).lanes
    assert (lane.name, lane.at_rest) == ("tenants/a", True)
    async with at_work(rig):
        drained = await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"))
    assert [(work.work, work.done_count) for work in drained.work] == [("tenant.erase", 1)]
    assert drained.held_elsewhere
    assert not drained.more_due


async def test_log_of_a_call_names_the_tenant_and_never_takes_a_chore_for_one(rig: Rig) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await failing(rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/ghost")))
        await failing(rig.tasks.RunTask(pb.RunTaskRequest(name="tasks/check-rooms", scope="tenants/ghost/rooms/r")))
        await failing(rig.tasks.GetTaskRun(pb.GetTaskRunRequest(name="tasks/check-rooms/runs/k1")))
    assert [line["tenant"] for line in lines] == ["ghost", "ghost", ""]


async def test_who_would_wait_is_sent_elsewhere_while_nothing_is_begun_any_more(rig: Rig) -> None:
    """An empty answer at once would be asked for again at once, for as long as the process takes to end."""
    rig.called.stop()
    told = await failing(rig.tasks.ListDueLanes(pb.ListDueLanesRequest(wait=Duration(seconds=60))))
    assert told.reason == "SERVER_DRAINING"
    assert not (await lanes_of(rig)).lanes
