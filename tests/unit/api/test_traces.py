"""Calls and traces: whose calls are traced, what is told of them, and where the trace of a change ends."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from opentelemetry.trace import SpanKind

from sidecar.api.deliveries import Deliveries
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.model.change import Change, ChangeKind
from sidecar.model.ids import BookingKey, RoomUid
from tests.support.builders import NOW, after
from tests.support.callers import bearing, entry, make_token, write
from tests.support.stores import ManualClock
from tests.support.traces import Traces, attributes_of, span_context
from tests.unit.api.rig import raw, serving

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01"
CANARY = "CANARY-5f2b9e"


async def test_call_goes_on_with_its_callers_trace(tmp_path: Path) -> None:
    traces = Traces(ratio=0.0)
    async with serving(tmp_path, tracing=traces.tracing) as rig:
        await rig.tenants.ListTenants(tenant_pb.ListTenantsRequest(), metadata=(("traceparent", GIVEN),))
        await rig.tenants.ListTenants(tenant_pb.ListTenantsRequest())
    span = traces.one("TenantService/ListTenants")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == GIVEN[36:52]
    assert span.kind is SpanKind.SERVER
    assert attributes_of(span) == {"rpc.system": "grpc", "rpc.grpc.status_code": 0}


async def test_call_that_fails_tells_its_code_and_reason_and_nothing_that_came_with_it(tmp_path: Path) -> None:
    traces = Traces()
    async with serving(tmp_path, tracing=traces.tracing) as rig:
        with pytest.raises(grpc.aio.AioRpcError):
            await rig.rooms.GetRoom(pb.GetRoomRequest(name=f"tenants/{CANARY.lower()}/rooms/{CANARY.lower()}"))
    span = traces.one("RoomService/GetRoom")
    assert attributes_of(span)["error.type"] == "ROOM_NOT_FOUND"
    assert attributes_of(span)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert CANARY.lower() not in span.to_json().lower()


async def test_header_that_is_no_context_is_none(tmp_path: Path) -> None:
    traces = Traces(ratio=0.0)
    async with serving(tmp_path, tracing=traces.tracing) as rig:
        await rig.tenants.ListTenants(tenant_pb.ListTenantsRequest(), metadata=(("traceparent", CANARY),))
    assert traces.spans == []


def make_change(revision: int, trace: str | None) -> Change:
    """Build an entry of the log, written at NOW."""
    key = BookingKey(f"b{revision}")
    return Change(revision, RoomUid("r1"), ChangeKind.UPSERTED, 0, key, b"", NOW, trace)


def test_change_in_a_trace_is_told_when_a_watcher_has_it() -> None:
    traces, clock = Traces(ratio=0.0), ManualClock()
    clock.at = after(seconds=3)
    Deliveries(tracing=traces.tracing, clock=clock).note([make_change(7, GIVEN)])
    span = traces.one("delivered")
    assert [f"{link.context.span_id:016x}" for link in span.links] == [GIVEN[36:52]]
    assert f"{span_context(span).trace_id:032x}" == GIVEN[3:35]
    assert attributes_of(span) == {"exchange.room_uid": "r1", "exchange.revision": 7}
    assert span.start_time == int(NOW.timestamp()) * 1_000_000_000
    assert span.end_time == span.start_time + 3_000_000_000


def test_thousand_watchers_of_a_change_are_told_by_the_first_few() -> None:
    """Changes of one transaction come together, and count once for each watcher."""
    traces = Traces()
    deliveries = Deliveries(tracing=traces.tracing, clock=ManualClock())
    for _ in range(1_000):
        deliveries.note([make_change(1, GIVEN), make_change(2, GIVEN), make_change(3, None), make_change(4, OTHER)])
    told = [attributes_of(span)["exchange.revision"] for span in traces.spans]
    assert told == [2, 4] * 3


def test_what_is_remembered_of_told_changes_is_bounded() -> None:
    traces, rng = Traces(), Random(1)
    deliveries = Deliveries(tracing=traces.tracing, clock=ManualClock())
    for number in range(2_000):
        deliveries.note([make_change(number, f"00-{rng.getrandbits(128) | 1:032x}-{number + 1:016x}-01")])
    assert len(deliveries._counts) <= 256
    assert len(traces.spans) == 2_000


async def test_caller_that_is_not_let_in_has_nothing_traced(tmp_path: Path) -> None:
    """Or anybody who reaches the port could have us make and send as much as he likes."""
    traces, token = Traces(ratio=1.0), make_token()
    callers = write(tmp_path / "callers.json", [entry("app", token)])
    trusting: dict[str, Any] = {"addresses": ("127.0.0.1:0",), "callers_file": callers}
    async with (
        serving(tmp_path, tracing=traces.tracing, **trusting) as rig,
        grpc.aio.insecure_channel(rig.addresses[-1]) as channel,
    ):
        call = raw(channel, "/ioffice.exchange.v1.TenantService/ListTenants")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=(("traceparent", GIVEN), *bearing(make_token())))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert traces.spans == []
        await call(b"", metadata=bearing(token))
        assert traces.names == ["TenantService/ListTenants"]
