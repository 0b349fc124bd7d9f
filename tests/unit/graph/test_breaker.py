"""A tenant whose calls go unanswered is left alone but for one probe at a time; one bad mailbox changes nothing."""

from __future__ import annotations

import asyncio
from random import Random

import httpx
import pytest
from structlog.testing import capture_logs

from sidecar.errors import GraphUnavailable, MailboxDenied, StoreUnavailable, TenantPaused, Throttled, Unavailable
from sidecar.graph.breaker import Breaker
from sidecar.model.ids import TenantUid
from tests.unit.graph.kit import MAILBOX, TENANT, FakeClock, Stage, bad, ok

T1, T2 = TenantUid("t1"), TenantUid("t2")
AWAY = GraphUnavailable("away")


class Way:
    """A breaker, and calls that end as they are told to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.breaker = Breaker(clock=self.clock, rng=Random(1))

    def fail(
        self,
        count: int = 1,
        *,
        tenant_uid: TenantUid = T1,
        error: Unavailable = AWAY,
        mailboxes: int = 3,
        step_s: float = 1.0,
    ) -> None:
        """Let calls fail, a second apart, on one mailbox after the other."""
        for number in range(count):
            with self.breaker.passing(tenant_uid) as passage:
                passage.failed(error, mailbox=f"{number % mailboxes}@x")
            self.clock.passed_s += step_s

    def answer(self) -> None:
        """Let a call be answered."""
        with self.breaker.passing(T1) as passage:
            passage.answered()

    def is_open(self, tenant_uid: TenantUid = T1) -> bool:
        return self.breaker.outage(tenant_uid) is not None

    def open(self) -> None:
        """Let the tenant's breaker open."""
        self.fail(8)
        assert self.is_open()

    def probe_in_s(self) -> float:
        """Tell when the next probe may go."""
        outage = self.breaker.outage(T1)
        assert outage is not None
        return outage.wait_s


def test_failures_in_a_row_open_it_and_calls_are_refused() -> None:
    way = Way()
    way.open()
    way.fail()  # the first probe
    with pytest.raises(TenantPaused), way.breaker.passing(T1):
        raise AssertionError("it was let through")


def test_an_answer_between_failures_keeps_it_closed() -> None:
    way = Way()
    for _ in range(20):
        way.fail(7)
        way.answer()
    assert not way.is_open()


def test_failures_of_a_moment_do_not_open_it() -> None:
    """Sixteen rooms that meet the same blip are one blip."""
    way = Way()
    way.fail(16, step_s=0.1)
    assert not way.is_open()


def test_one_bad_mailbox_does_not_open_it() -> None:
    way = Way()
    way.fail(100, mailboxes=1)
    assert not way.is_open()


def test_one_mailbox_that_cannot_even_be_connected_to_opens_it() -> None:
    """Without a connection it cannot be the mailbox's own trouble."""
    way = Way()
    for _ in range(8):
        with way.breaker.passing(T1) as passage:
            passage.failed(AWAY, mailbox=None)
        way.clock.passed_s += 1.0
    assert way.is_open()


def test_other_tenants_go_on() -> None:
    way = Way()
    way.open()
    with way.breaker.passing(T2) as passage:
        passage.answered()
    assert way.breaker.open_count == 1


def test_trouble_of_our_own_database_does_not_open_it() -> None:
    way = Way()
    way.fail(100, error=StoreUnavailable("disk"))
    assert not way.is_open()


def test_one_probe_at_a_time() -> None:
    way = Way()
    way.open()
    with way.breaker.passing(T1) as probe:
        assert probe.is_probe
        with pytest.raises(TenantPaused), way.breaker.passing(T1):
            raise AssertionError("a second probe")
        probe.failed(AWAY, mailbox="a@x")
    assert way.is_open()


def test_late_failure_of_an_older_call_lets_no_second_probe_out() -> None:
    way = Way()
    with way.breaker.passing(T1) as older:
        way.open()
        with way.breaker.passing(T1):
            older.failed(AWAY, mailbox="a@x")
            way.clock.passed_s += 10.0
            with pytest.raises(TenantPaused), way.breaker.passing(T1):
                raise AssertionError("a second probe")


def test_probes_become_rarer_up_to_two_minutes() -> None:
    way = Way()
    way.open()
    waits_s = []
    for _ in range(12):
        way.clock.passed_s += way.probe_in_s()
        way.fail(step_s=0.0)
        waits_s.append(way.probe_in_s())
    assert waits_s[0] <= 2.0
    assert waits_s[0] < waits_s[2] < waits_s[4]
    assert 60.0 <= waits_s[-1] <= 120.0


def test_probe_waits_as_long_as_exchange_asks() -> None:
    way = Way()
    way.open()
    way.fail(error=Throttled("slow down", retry_after_s=40.0), step_s=0.0)
    assert way.probe_in_s() == pytest.approx(40.0)


def test_probe_that_is_cut_off_lets_another_try() -> None:
    way = Way()
    way.open()
    with pytest.raises(asyncio.CancelledError), way.breaker.passing(T1):
        raise asyncio.CancelledError
    way.clock.passed_s += way.probe_in_s()
    way.answer()
    assert not way.is_open()


def test_probe_that_is_answered_closes_it_and_the_count_begins_anew() -> None:
    way = Way()
    way.open()
    way.answer()
    assert not way.is_open()
    way.fail(7)
    assert not way.is_open()


def test_answer_to_a_call_that_was_under_way_closes_it() -> None:
    way = Way()
    with way.breaker.passing(T1) as slow:
        way.open()
        slow.answered()
    assert not way.is_open()


def test_call_that_stood_in_line_while_it_opened_is_not_sent() -> None:
    way = Way()
    with way.breaker.passing(T1) as waiting:
        way.open()
        with pytest.raises(TenantPaused):
            waiting.proceed()


def test_opening_is_told_once_for_each_time() -> None:
    way = Way()
    for _ in range(2):
        assert not way.breaker.take_opening(T1)
        way.open()
        assert way.breaker.take_opening(T1)
        assert not way.breaker.take_opening(T1)
        way.answer()


def test_each_transition_is_one_line_of_the_log() -> None:
    way = Way()
    with capture_logs() as lines:
        way.open()
        way.fail()
        way.clock.passed_s += 10.0
        way.answer()
        way.answer()
    assert [line["event"] for line in lines] == ["tenant.paused", "tenant.resumed"]


def test_silence_counts_from_the_last_answer() -> None:
    way = Way()
    assert way.breaker.silence_s(T1) is None
    way.answer()
    way.fail(30, mailboxes=1)
    assert way.breaker.silence_s(T1) == pytest.approx(30.0)


def test_answer_about_subscriptions_does_not_end_the_silence() -> None:
    """It comes from another service of Microsoft's than calendars do."""
    way = Way()
    way.answer()
    way.clock.passed_s += 30.0
    way.breaker.note_answer(T1, is_good=True, is_about_calendars=False)
    assert way.breaker.silence_s(T1) == pytest.approx(30.0)
    assert not way.breaker.is_proven(T1, within_s=30.0)


async def _fail_until_open(stage: Stage) -> None:
    for number in range(20):
        if stage.breaker.outage(TENANT.tenant_uid) is not None:
            return
        with pytest.raises(GraphUnavailable):
            await stage.client.probe(TENANT, f"{number}@contoso.example")
    raise AssertionError("it did not open")


async def test_client_sends_nothing_while_it_is_open() -> None:
    stage = Stage(*(bad(503) for _ in range(100)))
    await _fail_until_open(stage)
    sent_count = len(stage.graph.requests)
    with pytest.raises(GraphUnavailable):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.graph.requests) == sent_count + 1, "the probe is one request, without further tries"
    with pytest.raises(TenantPaused):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.graph.requests) == sent_count + 1


async def test_refusal_of_one_mailbox_is_an_answer() -> None:
    stage = Stage(*(bad(503) for _ in range(100)))
    await _fail_until_open(stage)
    stage.graph.answers = [bad(403, "ErrorAccessDenied"), ok({"id": "c"})]
    with pytest.raises(MailboxDenied):
        await stage.client.probe(TENANT, MAILBOX)
    await stage.client.probe(TENANT, MAILBOX)


async def test_client_without_a_connection_opens_it_with_one_mailbox() -> None:
    stage = Stage(*(httpx.ConnectError("no") for _ in range(100)))
    for _ in range(3):
        with pytest.raises(GraphUnavailable):
            await stage.client.probe(TENANT, MAILBOX)
        stage.clock.passed_s += 3.0
    assert stage.breaker.outage(TENANT.tenant_uid) is not None


async def test_failing_login_opens_it() -> None:
    stage = Stage()
    stage.tokens.error = GraphUnavailable("login down")
    for _ in range(3):
        with pytest.raises(GraphUnavailable):
            await stage.client.probe(TENANT, MAILBOX)
        stage.clock.passed_s += 3.0
    asked_count = len(stage.tokens.claims)
    assert stage.breaker.outage(TENANT.tenant_uid) is not None
    with pytest.raises(GraphUnavailable):
        await stage.client.probe(TENANT, MAILBOX)
    assert len(stage.tokens.claims) <= asked_count + 1
