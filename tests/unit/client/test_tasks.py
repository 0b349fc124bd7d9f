"""Calls about background work against the scripted service: what is sent, what is sent again, and runs followed over breaks."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from exchange_client import DeadlineExceeded, ExchangeClient, NotFound, SyncExchangeClient
from exchange_client.messages import (
    DrainLaneResponse,
    Lane,
    ListDueLanesResponse,
    ListTaskRunsResponse,
    RunTaskResponse,
    TaskRun,
    WatchTaskRunResponse,
)
from google.protobuf.timestamp_pb2 import Timestamp

from tests.unit.client.fake_server import FakeClock, FakeServer, FakeSyncClock, Fault

RUN = "tasks/check-rooms/runs/k1"
AWAY = Fault(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", retry_after_s=1.0)
GONE = Fault(grpc.StatusCode.NOT_FOUND, "TASK_RUN_NOT_FOUND")


def told(done_count: int, *, is_over: bool = False) -> WatchTaskRunResponse:
    run = TaskRun(name=RUN, total_count=3, done_count=done_count)
    if is_over:
        run.end_time.CopyFrom(Timestamp(seconds=1))
    return WatchTaskRunResponse(run=run)


async def test_run_is_followed_over_breaks_to_its_end(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchTaskRun"] = [[told(0), AWAY], [told(1)], [told(2), told(3, is_over=True)]]
    assert [run.done_count async for run in client.watch_task_run(RUN)] == [0, 1, 2, 3]
    assert [request.name for request in server.requests["WatchTaskRun"]] == [RUN] * 3


async def test_run_is_followed_by_the_sync_client_as_well(
    server: FakeServer, sync_client: SyncExchangeClient, sync_clock: FakeSyncClock
) -> None:
    server.streams["WatchTaskRun"] = [[told(0), AWAY], [told(3, is_over=True)]]
    found = await asyncio.to_thread(lambda: list(sync_client.watch_task_run(RUN)))
    assert [run.done_count for run in found] == [0, 3]
    assert [pause >= 1.0 for pause in sync_clock.pauses] == [True], "as long as the service asked for"


async def test_run_that_is_not_there_is_not_followed(server: FakeServer, client: ExchangeClient) -> None:
    server.streams["WatchTaskRun"] = [[GONE]]
    with pytest.raises(NotFound):
        _ = [run async for run in client.watch_task_run(RUN)]
    assert len(server.requests["WatchTaskRun"]) == 1


async def test_run_is_not_followed_longer_than_is_wished(
    server: FakeServer, client: ExchangeClient, clock: FakeClock
) -> None:
    """Each break lasts a second of the clock's at least."""
    server.streams["WatchTaskRun"] = [[told(0), AWAY]]
    with pytest.raises(DeadlineExceeded):
        _ = [run async for run in client.watch_task_run(RUN, timeout_s=5.0)]
    assert 1 < len(server.requests["WatchTaskRun"]) <= 6


async def test_wish_for_a_run_is_sent_again_under_one_id(server: FakeServer, client: ExchangeClient) -> None:
    answers: list[object] = [AWAY, RunTaskResponse(run=TaskRun(name=RUN))]
    server.answers["RunTask"] = lambda _: answers.pop(0)
    assert (await client.run_task("tasks/check-rooms", "tenants/acme")).name == RUN
    first, second = server.requests["RunTask"]
    assert first == second
    assert first.request_id


async def test_preview_asks_for_nothing_to_be_done(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["RunTask"] = lambda _: RunTaskResponse(run=TaskRun(total_count=3))
    assert (await client.preview_task("tasks/check-rooms")).total_count == 3
    assert server.requests["RunTask"][0].dry_run


async def test_lanes_are_waited_for_and_drained(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["ListDueLanes"] = lambda _: ListDueLanesResponse(lanes=[Lane(name="tenants/acme")])
    server.answers["DrainLane"] = lambda _: DrainLaneResponse(more_due=True)
    (lane,) = await client.wait_due_lanes(wait_s=20.0)
    assert (await client.drain_lane(lane.name, max_s=5.0)).more_due
    assert server.requests["ListDueLanes"][0].wait.seconds == 20
    (drain,) = server.requests["DrainLane"]
    assert (drain.lane, drain.max_duration.seconds) == ("tenants/acme", 5)


async def test_lists_are_read_page_by_page(server: FakeServer, client: ExchangeClient) -> None:
    lanes = {"": ("a", "2"), "2": ("b", "")}
    server.answers["ListDueLanes"] = lambda request: ListDueLanesResponse(
        lanes=[Lane(name=lanes[request.page_token][0])], next_page_token=lanes[request.page_token][1]
    )
    server.answers["ListTaskRuns"] = lambda request: ListTaskRunsResponse(
        runs=[TaskRun(name=RUN)], next_page_token="" if request.page_token else "2"
    )
    assert [lane.name async for lane in client.list_lanes()] == ["a", "b"]
    assert len([run async for run in client.list_task_runs(scope="tenants/acme")]) == 2
    assert {request.parent for request in server.requests["ListTaskRuns"]} == {"tasks/-"}
