"""The command that asks whether the service serves, on the very way that calls go.

The certificate and its name are checked as for a call, and no token is needed: gRPC's health service has no secrets. So it
tells a closed port, a wrong certificate and a stopping service from a refused caller.
"""

from __future__ import annotations

import time
from typing import Annotated

import grpc
import typer
from exchange_client.channel import channel_options, checked_target
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, tls_for
from sidecar.cli.output import EXIT_UNAVAILABLE, fail, failing_clearly

_PATIENCE_S = 5.0
"""One question at least may take this long, whatever the caller's patience: a first connection makes a TLS handshake."""
_PAUSE_S = 0.5


def ping(
    target: TargetOption = DEFAULT_TARGET,
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to go on asking until it serves.")] = 0.0,
) -> None:
    """Ask whether the service serves, over TLS as calls do but without a token.

    Exit code 0: it does; 3: it cannot be reached, is not what its certificate should say, or is stopping.
    """
    with failing_clearly():
        tls = tls_for(target)
        address, options = checked_target(target), channel_options(tls, ())
    channel = (
        grpc.insecure_channel(address, options)
        if tls is None
        else grpc.secure_channel(address, tls.credentials(), options)
    )
    with channel:
        ends_s = time.monotonic() + wait
        while said := _asked(channel):
            if time.monotonic() >= ends_s:
                fail(f"{target} does not serve: {said}", EXIT_UNAVAILABLE)
            time.sleep(_PAUSE_S)  # noqa: TID251  (a command of a person or a script, and no part of the service)
    print(f"{target} serves")


def _asked(channel: grpc.Channel) -> str:
    """Ask once; return why the service does not serve, or nothing."""
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_S)
    except grpc.RpcError as error:
        return str(error.details()) or str(error.code().name)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"it is {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
