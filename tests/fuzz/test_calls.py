"""Whatever is asked through the real server, it answers or refuses with a reason, soon, and goes on."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from structlog.testing import capture_logs

from sidecar.api.server import SERVICES
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from tests.fuzz.messages import any_message
from tests.fuzz.mutating import mutate
from tests.fuzz.target import CANARY
from tests.unit.api.rig import Rig, failing, raw, serving

_ROUNDS = 24
"""Requests of each method."""
_ROUNDS_OF = {"DiagnosticsService": 4}
"""Each of them asks a dozen questions."""
_ANSWER_S = 5.0
_QUIET_S = 0.3
_BROKEN = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with a tenant and a room."""
    async with serving(tmp_path, caller_calls_per_s=1_000_000.0) as rig:
        tenant = await rig.db.add_tenant("acme")
        await rig.db.add_room("r1", tenant_id=tenant.tenant_id)
        yield rig


async def call(rig: Rig, method: str, request: bytes, *, is_stream: bool) -> grpc.aio.AioRpcError | None:
    """Make a call; return how it was refused, None when it was answered. A stream is left at its first message."""
    rpc = raw(rig.channel, method, is_stream=is_stream)(request, timeout=_ANSWER_S)
    try:
        if not is_stream:
            await rpc
            return None
        with suppress(TimeoutError):  # open and quiet, as a watch may be
            async with asyncio.timeout(_QUIET_S):
                await rpc.read()
    except grpc.aio.AioRpcError as error:
        return error
    finally:
        rpc.cancel()
    return None


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
async def test_request_of_any_form_is_answered_or_refused_with_a_reason(rig: Rig, service: ServiceDescriptor) -> None:
    """Nothing is INTERNAL, nothing hangs, and no word of a request is in the log."""
    seed = secrets.randbits(32)
    rng = Random(seed)
    print(f"seed {seed}")
    with capture_logs() as logs:
        for method in service.methods:
            name = f"/{service.full_name}/{method.name}"
            for turn in range(_ROUNDS_OF.get(service.name, _ROUNDS)):
                request = any_message(method.input_type, rng, is_calm=turn % 3 != 0).SerializeToString()
                sent = mutate(request, rng) if turn % 4 == 3 else request
                refused = await call(rig, name, sent, is_stream=method.server_streaming)
                if refused is not None and refused.code() in _BROKEN:
                    raise AssertionError(f"{name} {sent!r}: {refused.code()} {refused.details()}")
                assert refused is None or refused.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, f"{name} {sent!r}"
    assert CANARY not in str(logs)
    gone = await failing(rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/nobody")))
    assert gone.reason == "TENANT_NOT_FOUND"


async def test_metadata_of_any_form_is_answered_or_refused(rig: Rig) -> None:
    """Of a token, of a request id, and of names that nobody knows."""
    seed = secrets.randbits(32)
    rng = Random(seed)
    print(f"seed {seed}")
    request = pb.GetTenantRequest(name="tenants/acme")
    for _ in range(40):
        text = mutate(b"Bearer exs_abc 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", rng)
        visible = "".join(chr(byte) for byte in text if 32 <= byte < 127)[:1_000]
        names = ("authorization", "x-request-id", "traceparent", "tracestate", "baggage")
        metadata = (*((name, visible) for name in names), ("traceparent-bin", text[:1_000]))
        try:
            async with asyncio.timeout(_ANSWER_S):
                await rig.tenants.GetTenant(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise AssertionError(f"{metadata!r}: {error.code()} {error.details()}") from error
