"""Writing events: what is asked, what may be repeated, and whether a failure may have done something."""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
import pytest

from sidecar.errors import BookingNotFound, GraphRefused, GraphUnavailable, Throttled
from sidecar.graph.event_writer import EventWriter
from sidecar.model.event import EventContent
from sidecar.model.ids import EventId
from tests.unit.graph.kit import MAILBOX, NOW, TENANT, WINDOW, Stage, bad, event_json, ok

_CONTENT = EventContent(window=WINDOW, time_zone="UTC", subject="Design review")
_EVENT = EventId("AAMk=")


def _writer(stage: Stage) -> EventWriter:
    return EventWriter(transport=stage.transport, settings=stage.settings)


async def test_lost_answer_to_a_creation_is_asked_for_again() -> None:
    """With its transaction id it makes one event, however often it is sent."""
    stage = Stage(httpx.ReadTimeout("slow"), ok(event_json(id="e1"), 201))
    event = await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert event.id == "e1"
    assert [msgspec.json.decode(one.content)["transactionId"] for one in stage.graph.requests] == ["xs1-1"] * 2


async def test_failure_after_something_was_sent_may_have_done_it() -> None:
    """Nobody knows until it is looked for."""
    stage = Stage(*[httpx.ReadTimeout("slow")] * 9)
    with pytest.raises(GraphUnavailable) as caught:
        await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert caught.value.may_be_done


async def test_failure_to_connect_did_nothing() -> None:
    """The same request may begin anew."""
    stage = Stage(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(GraphUnavailable) as caught:
        await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert not caught.value.may_be_done


async def test_refusal_for_the_sake_of_others_did_nothing() -> None:
    """Exchange asks us to slow down, for longer than we wait."""
    stage = Stage(bad(429, "TooManyRequests", retry_after="600"))
    with pytest.raises(Throttled) as caught:
        await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert not caught.value.may_be_done


async def test_mailbox_that_is_left_alone_did_nothing() -> None:
    """The request was not even sent."""
    stage = Stage()
    stage.throttle.hold(TENANT.tenant_uid, MAILBOX, 600.0)
    with pytest.raises(Throttled) as caught:
        await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert not caught.value.may_be_done


async def test_last_try_that_could_not_connect_does_not_undo_the_one_before() -> None:
    """The first one may have got through."""
    stage = Stage(httpx.ReadTimeout("slow"), *[httpx.ConnectError("refused")] * 8)
    with pytest.raises(GraphUnavailable) as caught:
        await _writer(stage).create(TENANT, MAILBOX, _CONTENT, transaction_id="xs1-1")
    assert caught.value.may_be_done


async def test_change_of_an_event_that_is_gone_says_so() -> None:
    """Somebody removed it meanwhile."""
    stage = Stage(bad(404, "ErrorItemNotFound"))
    with pytest.raises(BookingNotFound):
        await _writer(stage).update(TENANT, MAILBOX, _EVENT, _CONTENT, parts={"subject"})


async def test_event_that_is_gone_needs_no_removal() -> None:
    """Removed is removed, by whomever."""
    stage = Stage(*[bad(404, "ErrorItemNotFound")] * 3)
    writer = _writer(stage)
    await writer.delete(TENANT, MAILBOX, _EVENT)
    await writer.cancel(TENANT, MAILBOX, _EVENT, comment="")
    await writer.decline(TENANT, MAILBOX, _EVENT, comment="")
    assert [one.method for one in stage.graph.requests] == ["DELETE", "POST", "POST"]


async def test_cancellation_by_somebody_else_than_the_organizer_is_refused() -> None:
    """Exchange says so, and so do we."""
    stage = Stage(bad(400, "ErrorInvalidRequest", "Your request can't be completed. You need to be an organizer."))
    with pytest.raises(GraphRefused):
        await _writer(stage).cancel(TENANT, MAILBOX, _EVENT, comment="")


async def test_change_sends_the_named_parts_only() -> None:
    """What a change does not name stays as it is."""
    stage = Stage(ok(event_json(id="e1")))
    later = EventContent(window=type(WINDOW)(NOW, NOW + timedelta(hours=1)), time_zone="UTC", subject="x")
    await _writer(stage).update(TENANT, MAILBOX, _EVENT, later, parts={"time"})
    (sent,) = stage.graph.requests
    assert sorted(msgspec.json.decode(sent.content)) == ["end", "isAllDay", "start"]
