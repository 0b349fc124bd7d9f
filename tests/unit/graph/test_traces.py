"""Traces of requests to Graph: each try is a part of its own, and none says whose calendar it was about."""

from __future__ import annotations

import pytest

from sidecar.errors import MailboxDenied
from tests.support.traces import Traces, attributes_of
from tests.unit.graph.kit import CANARY, MAILBOX, TENANT, WINDOW, Stage, bad, event_json, ok

REQUEST_ID = "5f1d7c1e-0d5c-4a57-9b1c-2b6f0f3a9e11"


async def test_each_try_is_told_with_its_ids_and_its_route() -> None:
    traces = Traces()
    stage = Stage(bad(503), ok(event_json(subject=CANARY)))
    stage.graph.answers[1].headers["request-id"] = REQUEST_ID  # type: ignore[union-attr]  # it is a response
    with traces.tracing.root("work"):
        await stage.client.fetch_event(TENANT, MAILBOX, f"{CANARY}=")
    first, second = (attributes_of(span) for span in traces.spans if span.name == "graph GET")
    assert (first["http.response.status_code"], first["error.type"]) == (503, "HTTP_503")
    assert [told["http.request.resend_count"] for told in (first, second)] == [0, 1]
    assert second["url.template"] == "/users/{}/events/{}"
    assert second["exchange.graph_request_id"] == REQUEST_ID
    sent = [request.headers["client-request-id"] for request in stage.graph.requests]
    assert [told["exchange.client_request_id"] for told in (first, second)] == sent
    told = "".join(span.to_json() for span in traces.spans)
    assert CANARY not in told
    assert MAILBOX not in told


async def test_words_that_an_answer_brings_are_not_told() -> None:
    """Whoever answers for Graph may put anything where an id belongs."""
    traces = Traces()
    stage = Stage(bad(403, "ErrorAccessDenied", CANARY, request_id=CANARY))
    with pytest.raises(MailboxDenied), traces.tracing.root("work"):
        await stage.client.fetch_view(TENANT, MAILBOX, WINDOW)
    assert CANARY not in "".join(span.to_json() for span in traces.spans)
    assert attributes_of(traces.one("work"))["error.type"] == "MAILBOX_ACCESS_DENIED"


async def test_request_that_is_part_of_nothing_traced_makes_no_span() -> None:
    traces = Traces(ratio=0.0)
    stage = Stage(ok(event_json()))
    with traces.tracing.root("work"):
        await stage.client.fetch_event(TENANT, MAILBOX, "AAk=")
    assert traces.spans == []
