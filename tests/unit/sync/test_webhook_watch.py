"""Having Microsoft call our address: what its answer tells, and what tells nothing."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from sidecar.errors import (
    ConsentMissing,
    GraphUnavailable,
    MailboxDenied,
    SidecarError,
    SubscriptionGone,
    Throttled,
    WebhookUnreachable,
)
from sidecar.model.intent import IntentKind
from sidecar.store.webhook_reach import AGAIN, QUIET, UNDECIDED
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.webhook_watch import WebhookWatch
from tests.support.desk import Desk

_UNREACHED = WebhookUnreachable("nobody answers", details={"cause": "TIMED_OUT"})
_SPREAD_S = 15.0


@pytest.fixture
async def watch(desk: Desk) -> WebhookWatch:
    """A watch over a desk whose room is announced; what was heard when that began is long ago."""
    await desk.subscribe()
    desk.clock.advance(QUIET.total_seconds())
    pace = SubscriptionPace(clock=desk.clock)
    return WebhookWatch(store=desk.opened.store, caller=desk.subscriptions, pace=pace, clock=desk.clock, rng=Random(1))


async def look(watch: WebhookWatch, desk: Desk, error: SidecarError | None = None) -> float:
    """Look, with Microsoft answering like this; return in how many seconds the next look is due."""
    if error is not None:
        desk.subscriptions.errors.append(error)
    return (await watch.look(desk.tenant) - desk.clock.now()).total_seconds()


async def told(desk: Desk) -> str | None:
    problem = (await desk.opened.reload(desk.room)).subscription_problem
    return None if problem is None else problem.reason


async def test_subscription_that_was_just_made_needs_no_call(desk: Desk) -> None:
    """Microsoft has shaken hands for it."""
    await desk.subscribe()
    pace = SubscriptionPace(clock=desk.clock)
    watch = WebhookWatch(store=desk.opened.store, caller=desk.subscriptions, pace=pace, clock=desk.clock, rng=Random(1))
    assert await look(watch, desk) >= QUIET.total_seconds()
    assert "call" not in desk.subscriptions.calls


async def test_call_that_arrives_changes_nothing(desk: Desk, watch: WebhookWatch) -> None:
    """And the next one is four minutes away."""
    assert await look(watch, desk) == QUIET.total_seconds()
    assert await told(desk) is None
    assert QUIET.total_seconds() <= await look(watch, desk) <= QUIET.total_seconds() + _SPREAD_S
    assert desk.subscriptions.calls.count("call") == 1


async def test_second_failure_is_told_with_its_cause(desk: Desk, watch: WebhookWatch) -> None:
    """Five seconds after the first one."""
    assert await look(watch, desk, _UNREACHED) == AGAIN.total_seconds()
    assert await told(desk) is None
    desk.clock.advance(AGAIN.total_seconds())
    await look(watch, desk, _UNREACHED)
    assert await told(desk) == "WEBHOOK_UNREACHABLE"
    problem = (await desk.opened.reload(desk.room)).subscription_problem
    assert problem is not None
    assert problem.metadata["cause"] == "TIMED_OUT"


@pytest.mark.parametrize(
    "error",
    [
        GraphUnavailable("away"),
        Throttled("later", retry_after_s=9.0),
        MailboxDenied("no"),
        ConsentMissing("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_call_that_microsoft_does_not_make_tells_nothing(
    desk: Desk, watch: WebhookWatch, error: SidecarError
) -> None:
    """It says nothing about the address, however often."""
    for _ in range(3):
        assert await look(watch, desk, error) == UNDECIDED.total_seconds()
        desk.clock.advance(UNDECIDED.total_seconds())
    assert await told(desk) is None


async def test_subscription_that_is_gone_is_asked_about(desk: Desk, watch: WebhookWatch) -> None:
    """A loss that nobody announced is found by the way."""
    assert await look(watch, desk, SubscriptionGone("gone")) == UNDECIDED.total_seconds()
    due = await desk.opened.store.intents.due(desk.tenant.uid, count_max=99)
    assert IntentKind.ROOM_SUBSCRIBE in {intent.kind for intent in due}
    upkeep = await desk.opened.store.subscriptions.load_upkeep(desk.room.uid)
    assert upkeep.current is not None
    assert upkeep.current.renew_at is not None
    assert upkeep.current.renew_at <= desk.clock.now() + timedelta(seconds=1)
