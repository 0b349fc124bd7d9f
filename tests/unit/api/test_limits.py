"""One caller's limits: what they refuse, and that they are nobody else's."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from sidecar.api.limits import CallerLimits
from sidecar.errors import CallerLimit
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from sidecar.settings import GrpcSettings
from tests.support.callers import bearing, entry, make_token, write
from tests.support.stores import ManualClock
from tests.unit.api.rig import Rig, failing, serving
from tests.unit.api.test_server import Gate

GREEDY, OTHER = make_token(), make_token()
GET = pb.GetTenantRequest(name="tenants/acme")
LIST = pb.ListTenantsRequest()
WATCH = watch_pb.WatchRoomsRequest(parent="tenants/acme")


def make_limits(**settings: Any) -> tuple[CallerLimits, ManualClock]:  # fields of the settings
    clock = ManualClock()
    return CallerLimits(GrpcSettings(**settings), clock=clock), clock


def call(limits: CallerLimits, caller: str, *, is_waiting: bool = False) -> None:
    """Begin a call and end it."""
    with limits.counted(caller, is_waiting=is_waiting):
        pass


def refusal(limits: CallerLimits, caller: str, *, is_waiting: bool = False) -> CallerLimit:
    """Return how a call is refused."""
    with pytest.raises(CallerLimit) as caught:
        call(limits, caller, is_waiting=is_waiting)
    return caught.value


def test_calls_faster_than_the_rate_are_refused_until_its_time_has_come() -> None:
    limits, clock = make_limits(caller_calls_per_s=2.0)
    call(limits, "a")
    call(limits, "a")
    told = refusal(limits, "a")
    assert (told.retry_after_s, told.details) == (0.5, {"limit": "caller_calls_per_s", "caller_calls_per_s": "2"})
    clock.advance(0.5)
    call(limits, "a")
    refusal(limits, "a")


def test_pause_saves_up_for_one_second_and_no_more() -> None:
    limits, clock = make_limits(caller_calls_per_s=3.0)
    clock.advance(3_600.0)
    for _ in range(3):
        call(limits, "a")
    refusal(limits, "a")


def test_refused_call_costs_nothing() -> None:
    limits, clock = make_limits(caller_calls_per_s=1.0, caller_calls_max=1)
    with limits.counted("a", is_waiting=False):
        clock.advance(1.0)
        for _ in range(5):
            assert refusal(limits, "a").details["limit"] == "caller_calls_max"
    call(limits, "a")


@pytest.mark.parametrize("is_waiting", [False, True])
def test_places_of_one_caller_are_its_own_and_given_back(is_waiting: bool) -> None:
    limits, _ = make_limits(caller_calls_max=2, caller_watches_max=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(limits.counted("a", is_waiting=is_waiting))
        assert refusal(limits, "a", is_waiting=is_waiting).retry_after_s == 1.0
        call(limits, "a", is_waiting=not is_waiting)
        call(limits, "b", is_waiting=is_waiting)
    call(limits, "a", is_waiting=is_waiting)


def test_caller_without_a_name_has_only_the_limits_of_the_server() -> None:
    limits, _ = make_limits(caller_calls_per_s=1.0, caller_calls_max=1)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(limits.counted("", is_waiting=False))


def known(tmp_path: Path) -> Path:
    """Write a callers file with two callers."""
    return write(tmp_path / "callers.json", [entry("greedy", GREEDY), entry("other", OTHER)])


async def test_caller_that_takes_all_its_places_leaves_the_others_theirs(tmp_path: Path) -> None:
    async with serving(tmp_path, callers_file=known(tmp_path), calls_max=2, caller_calls_max=1) as rig:
        await rig.db.add_tenant()
        gate = Gate(rig)
        first = rig.tenants.GetTenant(GET, metadata=bearing(GREEDY))
        await gate.entered.wait()
        told = await failing(rig.tenants.ListTenants(LIST, metadata=bearing(GREEDY)))
        assert (told.code, told.reason, told.retry_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_LIMIT", 1.0)
        await rig.tenants.ListTenants(LIST, metadata=bearing(OTHER))
        gate.open.set()
        await first
        assert rig.counts.counters["rpc_limited"] == 1


async def test_caller_with_all_its_watches_leaves_the_others_theirs(tmp_path: Path) -> None:
    async with serving(tmp_path, callers_file=known(tmp_path), watches_max=2, caller_watches_max=1) as rig:
        await rig.db.add_tenant()
        held = rig.watch.WatchRooms(WATCH, metadata=bearing(GREEDY))
        await held.read()
        told = await failing(rig.watch.WatchRooms(WATCH, metadata=bearing(GREEDY)))
        assert (told.reason, told.metadata["limit"]) == ("CALLER_LIMIT", "caller_watches_max")
        theirs = rig.watch.WatchRooms(WATCH, metadata=bearing(OTHER))
        await theirs.read()
        held.cancel()
        theirs.cancel()


async def test_unknown_callers_take_no_places_and_fill_no_log(tmp_path: Path) -> None:
    async with serving(tmp_path, callers_file=known(tmp_path), calls_max=1) as rig:
        with structlog.testing.capture_logs() as lines:
            answers = [_count(rig) for _ in range(100)]
            assert set(await asyncio.gather(*answers)) == {"CALLER_REJECTED"}
        assert rig.counts.counters["rpc_rejected"] == 100
        assert 20 <= sum(line["event"] == "rpc.failed" for line in lines) <= 60  # and one a second


async def _count(rig: Rig) -> str:
    return (await failing(rig.tenants.ListTenants(LIST, metadata=bearing("nobody")))).reason
