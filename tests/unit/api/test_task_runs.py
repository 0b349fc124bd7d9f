"""Runs of chores over the wire: asked for, tried, read and followed, by whoever may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as pb
from sidecar.model.ids import TenantUid
from sidecar.model.intent import Intent
from tests.support.callers import bearing, entry, make_token, write
from tests.support.processes import eventually
from tests.unit.api.rig import Rig, failing, serving

ALL, LIMITED, READER = make_token(), make_token(), make_token()
CHECK = "tasks/check-rooms"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with two tenants of two rooms each, of which one caller may name one."""
    callers = [
        entry("ops", ALL),
        entry("limited", LIMITED, tenants=["a"]),
        entry("reader", READER, scopes=["tasks.read"]),
    ]
    async with serving(tmp_path, callers_file=write(tmp_path / "callers.json", callers)) as rig:
        for tenant_id in ("a", "b"):
            tenant = await rig.db.add_tenant(tenant_id)
            for room_id in ("r1", "r2"):
                await rig.db.add_room(room_id, tenant_id=tenant.tenant_id)
        await rig.db.execute("DELETE FROM intents")
        yield rig


async def run(rig: Rig, scope: str = "", *, token: str = ALL, name: str = CHECK, **fields: Any) -> pb.TaskRun:
    request = pb.RunTaskRequest(name=name, scope=scope, **fields)
    answer: pb.RunTaskResponse = await rig.tasks.RunTask(request, metadata=bearing(token))
    return answer.run


async def refusal(rig: Rig, scope: str = "", *, name: str = CHECK, token: str = ALL, request_id: str = "") -> Any:
    request = pb.RunTaskRequest(name=name, scope=scope, request_id=request_id)
    return await failing(rig.tasks.RunTask(request, metadata=bearing(token)))


async def due(rig: Rig) -> list[Intent]:
    lanes = [TenantUid(row[0]) for row in await rig.db.fetch("SELECT DISTINCT lane FROM intents")]
    return [intent for lane in lanes for intent in await rig.db.store.intents.due(lane, count_max=100)]


async def test_run_tells_what_it_is_about_and_how_far_it_is(rig: Rig) -> None:
    begun = await run(rig, "tenants/a")
    assert (begun.state, begun.scope, begun.total_count) == (pb.TaskRun.STATE_RUNNING, "tenants/a", 2)
    for intent in await due(rig):
        await rig.db.store.intents.put_off(intent, until=rig.clock.at, reason="MAILBOX_ACCESS_DENIED")
    answer = await rig.tasks.GetTaskRun(pb.GetTaskRunRequest(name=begun.name), metadata=bearing(ALL))
    assert (answer.run.state, answer.run.failed_count) == (pb.TaskRun.STATE_FAILED, 2)
    (problem,) = answer.run.problems
    assert (problem.reason, problem.metadata["count"]) == ("MAILBOX_ACCESS_DENIED", "2")
    assert problem.metadata["example"] in ("tenants/a/rooms/r1", "tenants/a/rooms/r2")
    assert problem.message


@pytest.mark.parametrize(
    ("reason", "told"), [("TENANT_PAUSED", "EXCHANGE_UNAVAILABLE"), ("ZeroDivisionError", "INTERNAL")]
)
async def test_reason_that_is_not_the_apis_is_told_by_one_that_is(rig: Rig, reason: str, told: str) -> None:
    begun = await run(rig, "tenants/a/rooms/r1")
    (intent,) = await due(rig)
    await rig.db.store.intents.put_off(intent, until=rig.clock.at, reason=reason)
    answer = await rig.tasks.GetTaskRun(pb.GetTaskRunRequest(name=begun.name), metadata=bearing(ALL))
    assert [problem.reason for problem in answer.run.problems] == [told]


async def test_dry_run_tells_what_would_be_done_and_does_nothing(rig: Rig) -> None:
    tried = await run(rig, dry_run=True, request_id="x")
    assert (tried.name, tried.total_count, tried.state) == ("", 4, pb.TaskRun.STATE_SUCCEEDED)
    assert list(tried.examples) == [f"tenants/{tenant}/rooms/{room}" for tenant in "ab" for room in ("r1", "r2")]
    assert await due(rig) == []
    assert (await run(rig, "tenants/a/rooms/r1", request_id="x")).total_count == 1, "its id is free"


async def test_request_id_gives_the_same_run_and_no_other(rig: Rig) -> None:
    assert await run(rig, "tenants/a", request_id="x") == await run(rig, "tenants/a", request_id="x")
    told = await refusal(rig, "tenants/a/rooms/r1", request_id="x")
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_without_a_request_id_each_call_begins_a_run(rig: Rig) -> None:
    assert (await run(rig, "tenants/a")).name != (await run(rig, "tenants/a")).name


async def test_what_cannot_be_run_is_refused_by_name(rig: Rig) -> None:
    assert (await refusal(rig, name="tasks/make-coffee")).reason == "TASK_NOT_FOUND"
    assert set((await refusal(rig, "acme", name="coffee")).violations) == {"name", "scope"}
    assert set((await refusal(rig, "tenants/a/rooms/r1", name="tasks/verify-tenants")).violations) == {"scope"}
    assert (await refusal(rig, "tenants/c")).reason == "TENANT_NOT_FOUND"
    assert (await refusal(rig, "tenants/a/rooms/r9")).reason == "ROOM_NOT_FOUND"
    await rig.suspend("a")
    assert (await refusal(rig, "tenants/a")).reason == "TENANT_SUSPENDED"


async def test_limited_caller_runs_and_sees_what_is_its_own(rig: Rig) -> None:
    """All that it may name is one tenant, so its run about all is that tenant's, and everybody who may name it sees it."""
    mine, theirs = await run(rig, token=LIMITED), await run(rig, "tenants/b")
    assert (mine.scope, mine.total_count) == ("tenants/a", 2)
    for name, token, is_seen in ((mine.name, ALL, True), (mine.name, LIMITED, True), (theirs.name, LIMITED, False)):
        call = rig.tasks.GetTaskRun(pb.GetTaskRunRequest(name=name), metadata=bearing(token))
        if is_seen:
            assert (await call).run.name == name
        else:
            assert (await failing(call)).reason == "TASK_RUN_NOT_FOUND"
    listed = await rig.tasks.ListTaskRuns(pb.ListTaskRunsRequest(parent="tasks/-"), metadata=bearing(LIMITED))
    assert [one.name for one in listed.runs] == [mine.name]


async def test_reader_may_run_nothing(rig: Rig) -> None:
    told = await refusal(rig, token=READER)
    assert (told.code, told.metadata) == (grpc.StatusCode.PERMISSION_DENIED, {"scope": "tasks.run"})


async def test_runs_come_in_pages(rig: Rig) -> None:
    names = [(await run(rig, "tenants/a")).name for _ in range(3)]
    request = pb.ListTaskRunsRequest(parent=CHECK, scope="tenants/a", page_size=2)
    first = await rig.tasks.ListTaskRuns(request, metadata=bearing(ALL))
    request.page_token = first.next_page_token
    second = await rig.tasks.ListTaskRuns(request, metadata=bearing(ALL))
    assert sorted(one.name for one in [*first.runs, *second.runs]) == sorted(names)
    assert (len(first.runs), second.next_page_token) == (2, "")


async def test_watch_tells_the_whole_run_until_it_has_ended(rig: Rig) -> None:
    begun = await run(rig, "tenants/a/rooms/r1")
    stream = rig.tasks.WatchTaskRun(pb.WatchTaskRunRequest(name=begun.name), metadata=bearing(ALL))
    told = [await anext(aiter(stream))]
    (intent,) = await due(rig)
    await rig.db.store.intents.finish(intent, next_at=None)
    told += [message async for message in stream]
    assert [message.run.state for message in told] == [pb.TaskRun.STATE_RUNNING, pb.TaskRun.STATE_SUCCEEDED]
    assert told[-1].run.HasField("end_time")


async def test_watch_ends_with_the_server_and_says_so(rig: Rig) -> None:
    begun = await run(rig, "tenants/a")
    stream = rig.tasks.WatchTaskRun(pb.WatchTaskRunRequest(name=begun.name), metadata=bearing(ALL))
    await anext(aiter(stream))
    rig.feed.drain()
    told = await failing(stream)
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")


async def test_watch_of_no_run_is_refused(rig: Rig) -> None:
    request = pb.WatchTaskRunRequest(name=f"{CHECK}/runs/k0")
    assert (await failing(rig.tasks.WatchTaskRun(request, metadata=bearing(ALL)))).reason == "TASK_RUN_NOT_FOUND"


async def test_run_is_audited_and_a_drain_is_not(rig: Rig) -> None:
    await run(rig, "tenants/a", request_id="x")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.called.run())
        await asyncio.sleep(0)
        await rig.tasks.DrainLane(pb.DrainLaneRequest(lane="tenants/a"), metadata=bearing(ALL))
        rig.called.stop()
        await eventually(running.done, "it has stopped")
    entries = await rig.db.store.audit.page(among=None, start_at=None, end_at=None, before="", count_max=9)
    (noted,) = [one for one in entries if one.act.method.startswith("TaskService")]
    assert (noted.act.resource, noted.act.values) == ("tenants/a", {"name": CHECK, "request_id": "x"})
