"""A tenant that Exchange does not answer: what people are told, what is put off, and how it all comes back."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from sidecar.errors import CredentialRejected, GraphUnavailable, StoreUnavailable, TenantPaused, Throttled, Unavailable
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import RoomState
from sidecar.model.tenant import TenantState
from sidecar.tasks.chores import Done, PutOff
from sidecar.tasks.tenant_health import PAUSED
from tests.support.desk import Desk
from tests.unit.tasks.test_chores import Shift

AWAY = GraphUnavailable("away")
_KNOWN_S_MAX = 300.0
"""After this long at most people know of an outage."""


@pytest.fixture
def shift(desk: Desk) -> Shift:
    """The chores."""
    return Shift(desk)


def open_breaker(shift: Shift, error: Unavailable = AWAY) -> None:
    """Let the tenant's calls fail for a while."""
    for number in range(8):
        with shift.breaker.passing(shift.desk.tenant.uid) as passage:
            passage.failed(error, mailbox=f"{number}@x")
        shift.desk.clock.advance(1.0)
    assert shift.breaker.outage(shift.desk.tenant.uid) is not None


def answer(shift: Shift) -> None:
    """Let a call be answered."""
    shift.breaker.note_answer(shift.desk.tenant.uid, is_good=True)


async def due_at_once(shift: Shift) -> list[IntentKind]:
    """Return what is due now, the most urgent first."""
    return [intent.kind for intent in await shift.desk.opened.store.intents.due(shift.desk.tenant.uid, count_max=99)]


async def settle(shift: Shift) -> None:
    """Let everything that is due at first be done."""
    intents = shift.desk.opened.store.intents
    for intent in await intents.due(shift.desk.tenant.uid, count_max=99):
        await intents.finish(intent, next_at=None)


@pytest.mark.parametrize("kind", [IntentKind.ROOM_COMPARE, IntentKind.ROOM_SYNC, IntentKind.ROOM_SUBSCRIBE])
async def test_open_breaker_puts_work_off_without_a_request(shift: Shift, kind: IntentKind) -> None:
    """Nobody asks what is known not to be answered, and the room is not blamed."""
    open_breaker(shift)
    outcome = await shift.run(kind, attempts=9)
    assert isinstance(outcome, PutOff)
    assert outcome.reason == PAUSED
    assert shift.desk.calendar.calls == []
    assert shift.desk.subscriptions.states == []
    assert (await shift.room()).problem is None


async def test_opening_makes_the_verification_due_once(shift: Shift) -> None:
    """It asks another room, which tells one mailbox's trouble from everybody's."""
    await settle(shift)
    open_breaker(shift)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert await due_at_once(shift) == [IntentKind.TENANT_VERIFY]
    await settle(shift)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert await due_at_once(shift) == []


async def test_verification_that_fails_tells_the_outage_and_since_when(shift: Shift) -> None:
    """The problem began with the first call that failed, not when it was noticed."""
    began_at = shift.desk.clock.now()
    open_breaker(shift)
    shift.login.error = TenantPaused("not sent")
    outcome = await shift.run(IntentKind.TENANT_VERIFY)
    tenant = await shift.tenant()
    assert isinstance(outcome, PutOff)
    assert tenant.state is TenantState.DEGRADED
    assert tenant.problem is not None
    assert tenant.problem.reason == "EXCHANGE_UNAVAILABLE"
    assert abs((tenant.problem.first_seen_at - began_at).total_seconds()) < 1.0
    assert tenant.problem.next_check_at == outcome.until


async def test_outage_by_throttling_is_told_as_such(shift: Shift) -> None:
    """What people may do about it differs."""
    open_breaker(shift, Throttled("slow down"))
    shift.login.error = TenantPaused("not sent")
    await shift.run(IntentKind.TENANT_VERIFY)
    tenant = await shift.tenant()
    assert tenant.problem is not None
    assert tenant.problem.reason == "EXCHANGE_THROTTLED"


async def test_outage_that_lasts_is_asked_about_every_two_minutes(shift: Shift) -> None:
    """However long it lasts."""
    open_breaker(shift)
    shift.login.error = AWAY
    outcome = await shift.run(IntentKind.TENANT_VERIFY, attempts=1_000)
    assert isinstance(outcome, PutOff)
    assert 60.0 <= (outcome.until - shift.desk.clock.now()).total_seconds() <= 121.0


async def test_one_failed_verification_is_no_news(shift: Shift) -> None:
    """Exchange being away for a moment concerns nobody."""
    shift.login.error = AWAY
    answer(shift)
    with pytest.raises(GraphUnavailable):
        await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).problem is None


async def test_trouble_of_our_own_database_is_not_told_as_an_outage_of_exchange(shift: Shift) -> None:
    """Whoever reads it would look in the wrong place."""
    shift.login.error = StoreUnavailable("disk")
    with pytest.raises(StoreUnavailable):
        await shift.run(IntentKind.TENANT_VERIFY, attempts=9)
    assert (await shift.tenant()).problem is None


async def test_success_clears_the_problem_and_brings_work_back(shift: Shift) -> None:
    """What was put off becomes due again at once, and what else was put off stays so."""
    intents = shift.desk.opened.store.intents
    await settle(shift)
    open_breaker(shift)
    shift.login.error = TenantPaused("not sent")
    await shift.run(IntentKind.TENANT_VERIFY)
    uid = shift.desk.tenant.uid
    for key in ("paused", "refused"):
        await intents.mark(IntentKind.ROOM_COMPARE, key, uid, priority=Priority.COMPARE)
    for intent in await intents.due(uid, count_max=9):
        if intent.kind is IntentKind.ROOM_COMPARE:
            reason = PAUSED if intent.key == "paused" else "MAILBOX_ACCESS_DENIED"
            await intents.put_off(intent, until=shift.desk.clock.now() + timedelta(hours=1), reason=reason)

    shift.login.error = None
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE
    assert shift.breaker.outage(uid) is None
    due = [intent.key for intent in await intents.due(uid, count_max=9) if intent.kind is IntentKind.ROOM_COMPARE]
    assert due == ["paused"]


async def test_work_done_during_a_told_outage_has_it_looked_into(shift: Shift) -> None:
    """The first sign that it is over is enough."""
    open_breaker(shift)
    shift.login.error = TenantPaused("not sent")
    await shift.run(IntentKind.TENANT_VERIFY)
    await settle(shift)
    answer(shift)
    assert isinstance(await shift.run(IntentKind.ROOM_COMPARE), Done)
    assert IntentKind.TENANT_VERIFY in await due_at_once(shift)
    assert (await shift.room()).state is RoomState.DEGRADED
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.room()).state is RoomState.DEGRADED
    shift.login.error = None
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.room()).state is RoomState.UP


async def test_pulse_of_a_tenant_with_traffic_asks_nothing(shift: Shift) -> None:
    """An answer proves the way, whoever asked."""
    await settle(shift)
    answer(shift)
    shift.desk.clock.advance(30.0)
    outcome = await shift.run(IntentKind.TENANT_PULSE)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    assert 0.0 < (outcome.next_at - shift.desk.clock.now()).total_seconds() < _KNOWN_S_MAX - 30.0
    assert await due_at_once(shift) == []


@pytest.mark.parametrize(("checks_count", "hurried_count"), [(4, 0), (5, 1), (20, 1)])
async def test_pulse_of_a_quiet_tenant_makes_the_next_planned_check_at_once(
    shift: Shift, checks_count: int, hurried_count: int
) -> None:
    """It proves the way with a request that would have been made anyhow, if there are enough of them."""
    uid, now = shift.desk.tenant.uid, shift.desk.clock.now()
    await settle(shift)
    for number in range(checks_count):
        ready_at = now + timedelta(seconds=600 + number)
        await shift.desk.opened.store.intents.mark(
            IntentKind.ROOM_CHECK, f"r{number}", uid, priority=Priority.CHECK, ready_at=ready_at
        )
    answer(shift)
    shift.desk.clock.advance(235.0)
    await shift.run(IntentKind.TENANT_PULSE)
    due = await shift.desk.opened.store.intents.due(uid, count_max=99)
    assert [intent.key for intent in due] == ["r0"][:hurried_count]


async def test_pulse_of_a_silent_tenant_has_it_verified(shift: Shift) -> None:
    """One request proves the way, or tells that there is none."""
    await settle(shift)
    answer(shift)
    shift.desk.clock.advance(250.0)
    await shift.run(IntentKind.TENANT_PULSE)
    assert await due_at_once(shift) == [IntentKind.TENANT_VERIFY]


async def test_outage_of_a_silent_tenant_is_told_at_the_first_failure(shift: Shift) -> None:
    """Nobody waits for a second one: minutes have passed already."""
    answer(shift)
    shift.desk.clock.advance(250.0)
    shift.login.error = AWAY
    await shift.run(IntentKind.TENANT_VERIFY)
    tenant = await shift.tenant()
    assert tenant.problem is not None
    assert tenant.problem.reason == "EXCHANGE_UNAVAILABLE"


async def test_pulse_does_not_hurry_a_verification_that_was_put_off(shift: Shift) -> None:
    """A refused credential is not tried every few minutes."""
    intents = shift.desk.opened.store.intents
    await settle(shift)
    await intents.mark(IntentKind.TENANT_VERIFY, shift.desk.tenant.uid, shift.desk.tenant.uid, priority=Priority.HINT)
    for intent in await intents.due(shift.desk.tenant.uid, count_max=9):
        await intents.put_off(intent, until=shift.desk.clock.now() + timedelta(hours=1), reason="CREDENTIAL_REJECTED")
    await shift.run(IntentKind.TENANT_PULSE)
    assert await due_at_once(shift) == []


async def test_planned_verification_tries_no_room_while_calendars_are_read(shift: Shift) -> None:
    """Traffic has just proven what it would ask; a refusal proves nothing of the kind."""
    shift.login.probe_error = AWAY
    shift.breaker.note_answer(shift.desk.tenant.uid, is_good=False)
    with pytest.raises(GraphUnavailable):
        await shift.run(IntentKind.TENANT_VERIFY)
    answer(shift)
    assert isinstance(await shift.run(IntentKind.TENANT_VERIFY), Done)


async def test_verification_that_was_asked_for_tries_a_room_whatever_was_read(shift: Shift) -> None:
    """Somebody had reason to doubt."""
    shift.login.probe_error = AWAY
    answer(shift)
    with pytest.raises(GraphUnavailable):
        await shift.run(IntentKind.TENANT_VERIFY, priority=Priority.HINT)


async def test_verification_begins_the_pulse(shift: Shift) -> None:
    """A tenant that was ever in order is listened to from then on."""
    await shift.run(IntentKind.TENANT_VERIFY)
    shift.desk.clock.advance(_KNOWN_S_MAX)
    assert IntentKind.TENANT_PULSE in await due_at_once(shift)


def note_skew(shift: Shift, ahead_s: float, *, count: int = 2) -> None:
    """Let answers be dated by a clock that ours is ahead of."""
    now = shift.desk.clock.now()
    for _ in range(count):
        shift.skew.note(format_datetime(now - timedelta(seconds=ahead_s)), asked_at=now, answered_at=now)


async def test_wrong_clock_is_told_beside_a_tenant_that_works_and_goes_with_the_first_right_answer(
    shift: Shift,
) -> None:
    """Copies are right all the while; the times that are told are not."""
    await shift.run(IntentKind.TENANT_VERIFY)
    note_skew(shift, 700.0)
    await settle(shift)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert IntentKind.TENANT_VERIFY in await due_at_once(shift)
    await shift.run(IntentKind.TENANT_VERIFY)
    tenant = await shift.tenant()
    assert tenant.problem is not None
    assert (tenant.state, tenant.problem.reason) == (TenantState.DEGRADED, "CLOCK_SKEWED")
    assert tenant.problem.metadata == {"ahead_s": "700"}
    version = tenant.version
    await settle(shift)
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).version == version, "what is told already is no news"
    note_skew(shift, 0.0, count=1)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert IntentKind.TENANT_VERIFY in await due_at_once(shift)
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE


async def test_refusal_is_told_before_a_wrong_clock_and_its_end_has_all_rooms_read(shift: Shift) -> None:
    """What blocks counts more; when it is over the clock is what remains."""
    note_skew(shift, -700.0)
    shift.login.error = CredentialRejected("x")
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.CREDENTIAL_REJECTED
    await settle(shift)
    shift.login.error = None
    await shift.run(IntentKind.TENANT_VERIFY)
    problem = (await shift.tenant()).problem
    assert problem is not None
    assert (problem.reason, problem.metadata) == ("CLOCK_SKEWED", {"behind_s": "700"})
    assert IntentKind.ROOM_COMPARE in await due_at_once(shift)


async def test_outage_is_told_before_a_wrong_clock(shift: Shift) -> None:
    """Nobody would hear of it otherwise, and copies would be trusted for longer than was promised."""
    note_skew(shift, 700.0)
    await shift.run(IntentKind.TENANT_VERIFY)
    open_breaker(shift)
    shift.login.error = TenantPaused("not sent")
    await shift.run(IntentKind.TENANT_VERIFY)
    problem = (await shift.tenant()).problem
    assert problem is not None
    assert problem.reason == "EXCHANGE_UNAVAILABLE"
