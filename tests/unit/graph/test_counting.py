"""Requests to Graph and tokens are counted by how they ended."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest

from sidecar.errors import SidecarError
from tests.support.counted import counted
from tests.unit.graph import test_auth as auth
from tests.unit.graph.kit import MAILBOX, TENANT, Answer, Stage, bad, event_json, ok


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ok(event_json()), "2xx"),
        (bad(404, "ErrorItemNotFound"), "4xx"),
        (bad(429, retry_after="900"), "429"),
        (bad(503), "5xx"),
        (httpx.Response(302), "other"),
        (httpx.ConnectError("no way"), "unreachable"),
        (httpx.ConnectTimeout("no way"), "unreachable"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (httpx.RemoteProtocolError("broken off"), "unreachable"),
    ],
)
async def test_request_is_counted_by_how_it_ended(answer: Answer, outcome: str) -> None:
    stage = Stage(answer, attempts_max=1)
    with suppress(SidecarError):
        await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    assert counted(stage.telemetry, "graph_requests") == {f'about="event",outcome="{outcome}"': 1}
    measured = {"": 1.0} if isinstance(answer, httpx.Response) else {}
    assert counted(stage.telemetry, "graph_request_duration_seconds_count") == measured


async def test_each_try_of_a_call_is_counted() -> None:
    stage = Stage(bad(503), bad(503), ok(event_json()))
    await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    found = counted(stage.telemetry, "graph_requests")
    assert found == {'about="event",outcome="5xx"': 2, 'about="event",outcome="2xx"': 1}


async def test_call_that_exchange_asked_to_come_later_is_counted_as_put_off() -> None:
    """It is not sent, so it is no request."""
    stage = Stage(bad(429, retry_after="900"))
    for _ in range(2):
        with pytest.raises(SidecarError):
            await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    assert counted(stage.telemetry, "graph_put_off") == {'cause="named"': 1}
    assert counted(stage.telemetry, "graph_requests") == {'about="event",outcome="429"': 1}


async def test_tokens_are_counted_by_what_the_login_said() -> None:
    """A token that is remembered was not asked for; while one is still good, a login that fails takes nothing away."""
    stage = auth.Stage()
    stage.login.expires_in = 299
    await stage.fetch()
    stage.login.replies = [httpx.Response(500)] * 3
    await stage.fetch()
    stage.clock.passed_s = 280.0
    with pytest.raises(SidecarError):
        await stage.fetch()
    found = counted(stage.telemetry, "token_requests")
    assert found == {f'outcome="{name}"': 1 for name in ("granted", "kept", "unavailable")}
    stage.tokens.close()


async def test_refused_credential_is_counted_apart_from_a_login_that_fails() -> None:
    stage = auth.Stage()
    stage.login.replies = [auth.refusal(401, 7000215, error="invalid_client")]
    with pytest.raises(SidecarError):
        await stage.fetch()
    assert counted(stage.telemetry, "token_requests") == {'outcome="refused"': 1}
    stage.tokens.close()
