"""The chores: what people are told when Microsoft refuses, and that everything heals by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from structlog.testing import capture_logs

from sidecar.diagnosis.verify import TenantVerifier
from sidecar.errors import (
    ConsentMissing,
    CredentialRejected,
    DirectoryNotFound,
    GraphRefused,
    GraphUnavailable,
    MailboxDenied,
    MailboxNotFound,
    MailboxNotInCloud,
    SecretUnreadable,
    SidecarError,
    StoreUnavailable,
    SubscriptionGone,
    SubscriptionRefused,
    Throttled,
    Unavailable,
    WebhookUnreachable,
)
from sidecar.graph.breaker import Breaker
from sidecar.graph.clouds import TenantRef
from sidecar.graph.skew import SkewWatch
from sidecar.model.audit import OK, OURSELVES, Act
from sidecar.model.ids import EventId, TenantId
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.problem import Actor
from sidecar.model.room import Room, RoomState
from sidecar.model.tenant import Tenant, TenantState
from sidecar.model.tenant_settings import TenantSettings
from sidecar.model.window import to_micros
from sidecar.model.write import Write, WriteKind, WriteState
from sidecar.settings import CredentialSettings, StoreSettings
from sidecar.store.audit import Acting
from sidecar.store.write_steps import step_to
from sidecar.store.writes import NewWrite
from sidecar.sync.brake import SECOND_READ
from sidecar.sync.pace import BURST_MAX
from sidecar.sync.webhook_watch import WebhookWatch
from sidecar.tasks.chores import Chores, Done, Later, Outcome, PutOff
from sidecar.tasks.tenant_health import TenantHealth
from sidecar.tenants.credentials import CredentialKeeper
from sidecar.tenants.remove import TenantRemover
from tests.contract.store.test_credentials import make_new
from tests.support.builders import CANARY, TENANT, after, make_problem, make_registration
from tests.support.counted import counted
from tests.support.desk import Desk
from tests.support.fake_calendar import event
from tests.support.fake_microsoft import FakeMicrosoft, make_reserve
from tests.support.fake_writing import make_writing

_PENDING = RoomState.PENDING_PROPAGATION
_NO_GRANT_S = 49 * 3600.0
"""So long after a grant nobody waits for it any more."""


class Shift:
    """The chores over a desk, run by hand."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.login = FakeMicrosoft()
        self.breaker = Breaker(clock=desk.clock, rng=Random(1))
        self.skew = SkewWatch()
        store = desk.opened.store
        self.keeper = desk.keeper()
        self.chores = Chores(
            store=store,
            room_sync=desk.sync,
            subscriptions=self.keeper,
            webhook=WebhookWatch(
                store=store, caller=desk.subscriptions, pace=self.keeper.pace, clock=desk.clock, rng=Random(1)
            ),
            audit=desk.audit(),
            verifier=TenantVerifier(store=store, tokens=self.login, prober=self.login, clock=desk.clock, rng=Random(1)),
            credentials=CredentialKeeper(
                store=store,
                tokens=self.login,
                prober=self.login,
                clock=desk.clock,
                rng=Random(1),
                settings=CredentialSettings(),
            ),
            reserve=make_reserve(store, self.login, desk.clock),
            writes=make_writing(store, clock=desk.clock).driver,
            remover=TenantRemover(store=store, unsubscriber=desk.subscriptions, tokens=self.login, clock=desk.clock),
            health=TenantHealth(store=store, breaker=self.breaker, skew=self.skew, clock=desk.clock, rng=Random(1)),
            clock=desk.clock,
            rng=Random(1),
            sync_settings=desk.settings,
            store_settings=StoreSettings(),
            telemetry=desk.telemetry,
        )

    async def run(
        self,
        kind: IntentKind,
        key: str | None = None,
        *,
        attempts: int = 0,
        priority: Priority = Priority.COMPARE,
    ) -> Outcome:
        """Run one chore."""
        now = self.desk.clock.now()
        intent = Intent(
            kind=kind,
            key=key
            or (
                self.desk.tenant.uid if kind.startswith(("tenant", "log", "subscription.audit")) else self.desk.room.uid
            ),
            lane=self.desk.tenant.uid,
            priority=priority,
            ready_at=now,
            generation=1,
            attempts=attempts,
        )
        return await self.chores.by_kind[kind](intent, self.desk.lease)

    async def begin_write(self) -> Write:
        """Begin a write that somebody works on."""
        new = NewWrite(
            tenant_uid=self.desk.tenant.uid,
            room_uid=self.desk.room.uid,
            request_id="q1",
            kind=WriteKind.CREATE,
            digest=b"d",
            payload=b"p",
        )
        return (await self.desk.opened.store.writes.begin(new, claim_s=30.0)).write

    async def room(self) -> Room:
        """Load the room."""
        return await self.desk.opened.reload(self.desk.room)

    async def tenant(self) -> Tenant:
        """Load the tenant."""
        return await self.desk.opened.store.tenants.load(TENANT)


@pytest.fixture
def shift(desk: Desk) -> Shift:
    """The chores."""
    return Shift(desk)


async def test_compare_brings_the_room_up_and_is_due_again(shift: Shift) -> None:
    """Full reads go on for ever, each room at a time of its own."""
    outcome = await shift.run(IntentKind.ROOM_COMPARE)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    interval_s = (outcome.next_at - shift.desk.clock.now()).total_seconds()
    assert 0.2 <= interval_s / shift.desk.settings.compare_interval_s <= 1.3
    assert (await shift.room()).state is RoomState.UP


async def check_due_s(shift: Shift) -> float:
    """Return in how many seconds the next check is due."""
    due = await shift.desk.due()
    return float(due[IntentKind.ROOM_CHECK] - to_micros(shift.desk.clock.now())) / 1e6


async def test_first_read_makes_the_checks_due_that_follow_it(shift: Shift) -> None:
    """From then on changes are asked for; before, there is nothing that they could be changes of."""
    assert await shift.run(IntentKind.ROOM_CHECK) == Done()
    assert shift.desk.calendar.calls == []
    await shift.desk.subscribe()
    await shift.run(IntentKind.ROOM_COMPARE)
    assert 810 <= await check_due_s(shift) <= 990


async def test_checks_of_an_announced_room_go_on_at_their_interval(shift: Shift) -> None:
    """Each proves that no announcement was lost."""
    await shift.desk.subscribe()
    await shift.run(IntentKind.ROOM_COMPARE)
    outcome = await shift.run(IntentKind.ROOM_CHECK)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    assert 810 <= (outcome.next_at - shift.desk.clock.now()).total_seconds() <= 990
    assert (await shift.room()).fresh_as_of_at == shift.desk.clock.now()


async def test_room_that_nobody_announces_is_polled_at_once_after_news(shift: Shift) -> None:
    """Something happens in it, so more is likely to."""
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.calendar.put(event("e1", after(hours=1)))
    outcome = await shift.run(IntentKind.ROOM_CHECK)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    assert 27 <= (outcome.next_at - shift.desk.clock.now()).total_seconds() <= 33


async def test_polling_gives_way_after_a_failure(shift: Shift) -> None:
    """Exchange asked for less, or was away; everybody who waits comes back at once."""
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.calendar.put(event("e1", after(hours=1)))
    outcome = await shift.run(IntentKind.ROOM_CHECK, attempts=1)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    assert (outcome.next_at - shift.desk.clock.now()).total_seconds() >= 216


async def test_room_that_loses_its_announcements_is_checked_at_once(shift: Shift) -> None:
    """It is polled from now on, and its last check may be a quarter of an hour old."""
    await shift.desk.subscribe()
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.clock.advance(600)
    await shift.desk.opened.execute("UPDATE subscriptions SET renew_at = 0")
    shift.desk.subscriptions.errors = [SubscriptionRefused("x")]
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    assert await check_due_s(shift) <= 0


async def test_room_whose_subscription_is_removed_is_checked_at_once(shift: Shift) -> None:
    """So says a lifecycle notification; a new subscription may take a while."""
    await shift.desk.subscribe()
    await shift.run(IntentKind.ROOM_COMPARE)
    subscription = await shift.desk.opened.store.subscriptions.load_for_room(shift.desk.room.uid)
    assert subscription is not None
    await shift.desk.opened.store.subscriptions.lose(subscription.key)
    assert await check_due_s(shift) <= 0


async def test_check_that_was_put_off_is_due_once_a_full_read_went_well(shift: Shift) -> None:
    """What stood in its way is gone; waiting out its time would let the room turn stale."""
    await shift.run(IntentKind.ROOM_COMPARE)
    await shift.desk.opened.execute("UPDATE intents SET ready_at = 0")
    (check,) = [
        due
        for due in await shift.desk.opened.store.intents.due(shift.desk.tenant.uid, count_max=9)
        if due.kind is IntentKind.ROOM_CHECK
    ]
    await shift.desk.opened.store.intents.put_off(check, until=after(hours=1), reason="MAILBOX_ACCESS_DENIED")
    await shift.run(IntentKind.ROOM_COMPARE)
    assert await check_due_s(shift) <= 0


async def test_held_bookings_have_a_second_full_read_planned(shift: Shift) -> None:
    """A day would be too long; a restart in between changes nothing, because the hold is a fact of the room."""
    desk = shift.desk
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(10)))
    await shift.run(IntentKind.ROOM_COMPARE)
    desk.calendar.hidden = set(desk.calendar.events)
    desk.clock.advance(600)
    outcome = await shift.run(IntentKind.ROOM_COMPARE)
    assert outcome == Done(desk.clock.now() + SECOND_READ, Priority.REPAIR)
    await desk.opened.execute("DELETE FROM intents")
    await shift.run(IntentKind.ROOM_CHECK)
    ready_at = (await desk.due())[IntentKind.ROOM_COMPARE]
    assert ready_at == to_micros(desk.clock.now() + SECOND_READ)


async def test_check_heals_a_refused_room(shift: Shift) -> None:
    """Full reads are a day apart: the check is what finds out that access was given back."""
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.calendar.error = MailboxDenied("x")
    assert isinstance(await shift.run(IntentKind.ROOM_CHECK), PutOff)
    assert (await shift.room()).state is RoomState.DENIED
    shift.desk.calendar.error = None
    await shift.run(IntentKind.ROOM_CHECK)
    assert (await shift.room()).problems == []


@pytest.mark.parametrize("granted_h", [0, 47])
async def test_refusal_soon_after_a_grant_is_waited_for(shift: Shift, granted_h: int) -> None:
    """The room says so, asks by itself once an hour only, and the tenant's looks begin."""
    shift.desk.clock.advance(granted_h * 3600)
    shift.desk.calendar.error = MailboxDenied("x", details={"cause": "ACCESS_POLICY"})
    outcome = await shift.run(IntentKind.ROOM_COMPARE)
    room = await shift.room()
    assert isinstance(outcome, PutOff)
    assert 3200 < (outcome.until - shift.desk.clock.now()).total_seconds() <= 3960
    assert (room.state, [problem.reason for problem in room.problems]) == (_PENDING, ["ACCESS_PENDING"])
    progress = (await shift.desk.opened.store.propagations.progress([room.tenant_uid]))[room.tenant_uid]
    assert (progress.rooms_count, progress.readable_count) == (1, 0)
    look_s = (progress.next_look_at - shift.desk.clock.now()).total_seconds()
    assert round(look_s) == (60 if granted_h == 0 else 3600)


@pytest.mark.parametrize(("is_same_mailbox", "state"), [(False, _PENDING), (True, RoomState.DENIED)])
async def test_refusal_soon_after_a_room_was_tied_to_another_mailbox_is_waited_for(
    shift: Shift, is_same_mailbox: bool, state: RoomState
) -> None:
    """Somebody may have added that one to the policy just now. The same mailbox, renamed, was in it all the time."""
    shift.desk.clock.advance(72 * 3600)
    await shift.run(IntentKind.ROOM_COMPARE)
    await shift.desk.opened.readdress(await shift.room(), "r2@contoso.example", is_same_mailbox=is_same_mailbox)
    shift.desk.clock.advance(3600)
    shift.desk.calendar.error = MailboxDenied("x", details={"cause": "ACCESS_POLICY"})
    await shift.run(IntentKind.ROOM_COMPARE)
    assert (await shift.room()).state is state


async def test_room_that_refuses_us_is_not_asked_to_be_announced(shift: Shift) -> None:
    """Exchange would refuse that, too; it is due as soon as the room can be read."""
    shift.desk.calendar.error = MailboxDenied("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    assert isinstance(await shift.run(IntentKind.ROOM_SUBSCRIBE), PutOff)
    assert shift.desk.subscriptions.states == []
    shift.desk.calendar.error = None
    shift.desk.clock.advance(60)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert (await shift.desk.due())[IntentKind.ROOM_SUBSCRIBE] <= shift.desk.clock.now().timestamp() * 1e6


async def test_room_that_refuses_us_is_asked_with_one_small_request(shift: Shift) -> None:
    """It may do so for days."""
    shift.desk.calendar.error = MailboxDenied("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.calendar.calls.clear()
    await shift.run(IntentKind.ROOM_COMPARE)
    assert shift.desk.calendar.calls == ["probe"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MailboxDenied("x"), RoomState.DENIED),
        (MailboxNotFound("x"), RoomState.NOT_FOUND),
        (MailboxNotInCloud("x"), RoomState.NOT_CLOUD_MAILBOX),
        (GraphRefused("x"), RoomState.IMPORTING),
    ],
)
async def test_refused_room_says_so_and_heals(shift: Shift, error: SidecarError, state: RoomState) -> None:
    """The room tells the cause and who must act; it is tried again, and comes up by itself."""
    shift.desk.clock.advance(_NO_GRANT_S)
    shift.desk.calendar.error = error
    outcome = await shift.run(IntentKind.ROOM_COMPARE)
    room = await shift.room()
    assert isinstance(outcome, PutOff)
    assert room.state is state
    assert room.problem is not None
    assert (room.problem.reason, room.problem.next_check_at) == (error.reason, outcome.until)
    assert room.problem.action
    shift.desk.calendar.error = None
    await shift.run(IntentKind.ROOM_COMPARE)
    assert (await shift.room()).state is RoomState.UP
    assert (await shift.room()).problems == []


async def test_refused_room_is_tried_slower_and_slower(shift: Shift) -> None:
    """From a minute up to an hour, never longer: people mend things out of band."""
    shift.desk.clock.advance(_NO_GRANT_S)
    shift.desk.calendar.error = MailboxDenied("x")
    waits: list[float] = []
    for attempts in (0, 1, 3, 50):
        outcome = await shift.run(IntentKind.ROOM_COMPARE, attempts=attempts)
        assert isinstance(outcome, PutOff)
        waits.append((outcome.until - shift.desk.clock.now()).total_seconds())
    assert waits == sorted(waits)
    assert 50 < waits[0] < 70
    assert 3200 < waits[-1] <= 3960


async def test_room_keeps_its_first_sighting_of_the_same_cause(shift: Shift) -> None:
    """People see since when it is so."""
    shift.desk.calendar.error = MailboxDenied("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    first = (await shift.room()).problem
    shift.desk.clock.advance(600)
    await shift.run(IntentKind.ROOM_COMPARE)
    again = (await shift.room()).problem
    assert first is not None
    assert again is not None
    assert again.first_seen_at == first.first_seen_at
    assert again.last_seen_at > first.last_seen_at


@pytest.mark.parametrize("error", [Throttled("x", retry_after_s=3), GraphUnavailable("x")])
async def test_exchange_away_for_a_moment_is_no_news(shift: Shift, error: Unavailable) -> None:
    """The first failures are coped with in silence; when they go on, the room says so."""
    shift.desk.calendar.error = error
    with pytest.raises(Unavailable):
        await shift.run(IntentKind.ROOM_COMPARE, attempts=0)
    assert (await shift.room()).problems == []
    with pytest.raises(Unavailable):
        await shift.run(IntentKind.ROOM_COMPARE, attempts=2)
    assert [problem.reason for problem in (await shift.room()).problems] == [error.reason]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CredentialRejected("x"), TenantState.CREDENTIAL_REJECTED),
        (DirectoryNotFound("x"), TenantState.CREDENTIAL_REJECTED),
        (ConsentMissing("x"), TenantState.CONSENT_MISSING),
        (SecretUnreadable("x"), TenantState.DEGRADED),
    ],
)
async def test_refused_tenant_says_so_and_heals(shift: Shift, error: SidecarError, state: TenantState) -> None:
    """The tenant tells the cause; the next verification that works takes it back."""
    shift.login.error = error
    outcome = await shift.run(IntentKind.TENANT_VERIFY)
    assert isinstance(outcome, PutOff)
    tenant = await shift.tenant()
    assert tenant.state is state
    assert tenant.problem is not None
    assert tenant.problem.actor in (Actor.CUSTOMER, Actor.OPERATOR)
    shift.login.error = None
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE


async def test_room_that_meets_a_refused_tenant_blocks_the_whole_tenant(shift: Shift) -> None:
    """One room's read has the tenant verified at once; if it is refused, every room says so and none asks again."""
    await shift.run(IntentKind.TENANT_VERIFY)
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.calendar.error = shift.login.error = CredentialRejected("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    due = await shift.desk.opened.store.intents.due(shift.desk.tenant.uid, count_max=9)
    assert due[0].kind is IntentKind.TENANT_VERIFY
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.CREDENTIAL_REJECTED
    assert (await shift.room()).state is RoomState.CREDENTIAL_EXPIRED
    shift.desk.calendar.calls.clear()
    assert isinstance(await shift.run(IntentKind.ROOM_SYNC), PutOff)
    assert shift.desk.calendar.calls == []


async def test_tenant_that_is_accepted_again_has_every_room_read(shift: Shift) -> None:
    """Nobody heard what changed while it was refused."""
    await shift.run(IntentKind.TENANT_VERIFY)
    shift.login.error = CredentialRejected("x")
    await shift.run(IntentKind.TENANT_VERIFY)
    await shift.desk.opened.execute("DELETE FROM intents WHERE key = $1", shift.desk.room.uid)
    shift.login.error = None
    await shift.run(IntentKind.TENANT_VERIFY)
    assert set(await shift.desk.due()) == {IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE}
    assert shift.login.forgotten


async def test_one_mailbox_that_answers_401_does_not_block_the_tenant(shift: Shift) -> None:
    """The tenant's verification decides; the other rooms go on."""
    await shift.run(IntentKind.TENANT_VERIFY)
    shift.desk.calendar.error = ConsentMissing("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE
    assert [problem.reason for problem in (await shift.room()).problems] == ["CONSENT_MISSING"]


async def test_credential_that_was_replaced_meanwhile_is_not_proven(shift: Shift) -> None:
    """What was tried is the old one."""
    await shift.desk.opened.store.tenants.set_proven(shift.desk.tenant.uid, identity="another")
    assert (await shift.tenant()).state is TenantState.VERIFYING


async def test_mailbox_in_trouble_does_not_keep_the_tenant_from_being_verified(shift: Shift) -> None:
    """One room that cannot be asked says nothing about the tenant, if another one answers."""
    await shift.desk.opened.add_room("r2")
    answers: list[SidecarError | None] = [GraphUnavailable("x"), None]

    async def probe(tenant: TenantRef, mailbox: str) -> None:
        error = answers.pop(0)
        if error is not None:
            raise error

    shift.login.probe = probe  # type: ignore[method-assign]  # a hook of this test
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE


async def test_token_without_permissions_and_no_readable_room_means_consent_is_missing(shift: Shift) -> None:
    """A token is issued even when nothing was granted; only a room decides, and the token that it refused."""
    shift.login.roles = ("Calendars.ReadWrite",)  # of a token that was remembered
    shift.login.probe_error = MailboxDenied("x", details={"token_roles": "Place.Read.All"})
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.CONSENT_MISSING


async def test_token_without_permissions_but_a_readable_room_is_fine(shift: Shift) -> None:
    """Exchange's own RBAC for applications leaves no trace in the token."""
    shift.login.roles = ()
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE


async def test_denial_of_every_room_is_told_at_the_tenant_and_stops_nothing(shift: Shift) -> None:
    """An access policy denies mailboxes; consent is there, and the first room that can be read ends it."""
    shift.login.probe_error = shift.desk.calendar.error = MailboxDenied("x")
    await shift.run(IntentKind.ROOM_COMPARE)
    await shift.run(IntentKind.TENANT_VERIFY)
    tenant = await shift.tenant()
    assert tenant.problem is not None
    assert (tenant.state, tenant.problem.reason) == (TenantState.DEGRADED, "MAILBOX_ACCESS_DENIED")
    assert (await shift.room()).state is RoomState.PENDING_PROPAGATION
    shift.login.probe_error = shift.desk.calendar.error = None
    await shift.run(IntentKind.ROOM_COMPARE)
    await shift.run(IntentKind.TENANT_VERIFY)
    assert (await shift.tenant()).state is TenantState.ACTIVE
    assert (await shift.room()).state is RoomState.UP


@pytest.mark.parametrize("error", [SubscriptionRefused("x"), WebhookUnreachable("x")])
async def test_refused_subscription_degrades_the_room_until_it_works(shift: Shift, error: SidecarError) -> None:
    """The room is still read; it says that its changes come late."""
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.subscriptions.errors = [error]
    assert isinstance(await shift.run(IntentKind.ROOM_SUBSCRIBE), PutOff)
    room = await shift.room()
    assert (room.state, room.problems[0].reason) == (RoomState.DEGRADED, error.reason)
    await shift.run(IntentKind.ROOM_COMPARE)
    assert (await shift.room()).state is RoomState.DEGRADED
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    assert (await shift.room()).state is RoomState.UP


@pytest.mark.parametrize("age_s", [3_600.0, 1.0])
async def test_subscription_that_vanished_without_a_word_is_made_again_after_a_change(
    shift: Shift, age_s: float
) -> None:
    """A change that a full read finds first puts the subscription in doubt: it is renewed, and so found to be gone."""
    await shift.desk.subscribe()
    await shift.run(IntentKind.ROOM_COMPARE)
    shift.desk.subscriptions.live.clear()
    shift.desk.subscriptions.errors = [SubscriptionGone("it does not exist")]
    changed_at = shift.desk.clock.now() - timedelta(seconds=age_s)
    shift.desk.calendar.put(event("e1", after(hours=1), lastModifiedDateTime=f"{changed_at:%Y-%m-%dT%H:%M:%S}Z"))
    await shift.run(IntentKind.ROOM_COMPARE)
    due = await shift.desk.due()
    assert due[IntentKind.ROOM_SUBSCRIBE] == to_micros(shift.desk.clock.now())
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    assert list(shift.desk.subscriptions.live) == ["s2"]


async def test_work_for_an_unmapped_room_is_done(shift: Shift) -> None:
    """What is left over for a room that is gone needs nobody."""
    for kind in (IntentKind.ROOM_SYNC, IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE):
        assert await shift.run(kind, "gone") == Done()


async def test_deleted_tenant_is_erased_with_its_subscriptions(shift: Shift) -> None:
    """Nothing of it stays, here or at Exchange."""
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    await shift.desk.opened.store.lifecycle.delete(TenantId(TENANT), etag="")
    await shift.run(IntentKind.TENANT_REMOVE)
    assert shift.desk.subscriptions.live == {}
    for table in ("tenants", "rooms", "bookings", "changes", "subscriptions", "intents", "credentials", "hints"):
        assert await shift.desk.opened.fetch(f"SELECT * FROM {table}") == [], table


async def test_tenant_is_erased_though_microsoft_refuses_it(shift: Shift) -> None:
    """A credential that was withdrawn cannot delete subscriptions; they run out by themselves."""
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    await shift.desk.opened.store.lifecycle.delete(TenantId(TENANT), etag="")
    shift.desk.subscriptions.errors = [CredentialRejected("x")]
    assert await shift.run(IntentKind.TENANT_REMOVE) == Done()
    assert await shift.desk.opened.fetch("SELECT * FROM tenants") == []


async def test_tenant_is_erased_at_last_though_microsoft_is_away(shift: Shift) -> None:
    """First it waits for Microsoft, but not for ever."""
    await shift.run(IntentKind.ROOM_SUBSCRIBE)
    await shift.desk.opened.store.lifecycle.delete(TenantId(TENANT), etag="")
    shift.desk.subscriptions.errors = [GraphUnavailable("x")] * 2
    with pytest.raises(GraphUnavailable):
        await shift.run(IntentKind.TENANT_REMOVE, attempts=0)
    assert await shift.run(IntentKind.TENANT_REMOVE, attempts=10) == Done()


async def test_tenant_whose_files_could_not_be_scrubbed_stays_due_until_they_are(shift: Shift) -> None:
    """A backup under way keeps the log from being cut; the secret is still in it then."""
    opened = shift.desk.opened
    await opened.store.lifecycle.delete(TenantId(TENANT), etag="")
    plain = opened.engine.scrub

    async def fail() -> None:
        raise StoreUnavailable("a backup is under way")

    opened.engine.scrub = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await shift.run(IntentKind.TENANT_REMOVE)
    assert await opened.fetch("SELECT uid FROM tenants") == []
    assert [row[0] for row in await opened.fetch("SELECT kind FROM intents")] == [IntentKind.TENANT_REMOVE]
    opened.engine.scrub = plain  # type: ignore[method-assign]
    assert await shift.run(IntentKind.TENANT_REMOVE) == Done()
    assert await opened.store.intents.count() == 0
    assert CANARY.encode() not in opened.bytes_at_rest()


async def test_words_are_erased_though_microsoft_is_away_and_the_credential_refused(shift: Shift) -> None:
    """Nothing there is needed for it, so nothing there may stand in its way."""
    opened = shift.desk.opened
    shift.desk.calendar.put(event("e1", after(hours=1), subject=f"{CANARY}-words"))
    await shift.run(IntentKind.ROOM_COMPARE)
    await opened.store.tenants.set_problem(shift.desk.tenant.uid, make_problem("CREDENTIAL_REJECTED"))
    masked = TenantSettings(privacy=Privacy(subject=Visibility.MASKED))
    await opened.store.tenants.update(TENANT, lambda name, _: (name, masked), etag="")
    assert f"{CANARY}-words".encode() in opened.bytes_at_rest()
    assert await shift.run(IntentKind.TENANT_ERASE) == Done(None, Priority.REPAIR)
    assert f"{CANARY}-words".encode() not in opened.bytes_at_rest()


async def test_former_credential_is_erased_in_its_time_while_the_tenant_rests(shift: Shift) -> None:
    credentials, tenant = shift.desk.opened.store.credentials, shift.desk.tenant
    new = make_new()
    await credentials.put_next(TENANT, new)
    assert await credentials.promote(tenant.uid, new.identity, read_room="", previous_s=86_400.0)
    await shift.desk.opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    assert await shift.run(IntentKind.TENANT_ERASE) == Done(after(days=1), Priority.REPAIR)
    shift.desk.clock.advance(86_400.0)
    assert await shift.run(IntentKind.TENANT_ERASE) == Done(None, Priority.REPAIR)
    (kept,) = (await shift.desk.opened.store.tenants.load(TENANT)).credentials
    assert kept.identity == new.identity


async def test_scrub_takes_a_replaced_secret_from_the_files(shift: Shift) -> None:
    """The row that held it was overwritten, and lives on in the log until then."""
    opened = shift.desk.opened
    (before,) = await opened.fetch("SELECT sealed FROM credentials")
    await opened.store.tenants.register(make_registration(secret="another"))
    assert bytes(before[0]) in opened.bytes_at_rest()
    assert await shift.run(IntentKind.TENANT_SCRUB) == Done()
    assert bytes(before[0]) not in opened.bytes_at_rest()


async def test_erasure_without_its_key_is_put_off_and_still_told(shift: Shift) -> None:
    opened = shift.desk.opened
    await shift.run(IntentKind.ROOM_COMPARE)
    hashed = TenantSettings(privacy=Privacy(subject=Visibility.HASHED))
    await opened.store.tenants.update(TENANT, lambda name, _: (name, hashed), etag="")
    await opened.execute("UPDATE tenants SET hash_key = $1", b"sealed by another")
    outcome = await shift.run(IntentKind.TENANT_ERASE)
    assert isinstance(outcome, PutOff)
    assert outcome.reason == "SECRET_UNREADABLE"
    assert (await opened.store.tenants.load(TENANT)).erasing_since_at is not None


async def test_old_audit_entries_are_pruned_once_an_hour_for_all_tenants(shift: Shift) -> None:
    """A thousand tenants prune their logs each hour; the audit is one."""
    store, clock = shift.desk.opened.store, shift.desk.clock
    await store.audit.note(Acting(Act(method="M", resource="", caller=OURSELVES)), outcome=OK)
    counts: list[int] = []
    for days in (0.0, 366.0, 0.02):
        clock.advance(days * 86_400)
        await shift.run(IntentKind.LOG_PRUNE)
        counts.append(len(await shift.desk.opened.fetch("SELECT id FROM audit")))
        await store.audit.note(Acting(Act(method="M", resource="", caller=OURSELVES)), outcome=OK)
        clock.advance(1)
    assert counts == [1, 0, 1]


async def test_old_changes_are_pruned(shift: Shift) -> None:
    """The log is kept for its time and not longer."""
    shift.desk.clock.advance(timedelta(days=15).total_seconds())
    outcome = await shift.run(IntentKind.LOG_PRUNE)
    assert isinstance(outcome, Done)
    entries, head = await shift.desk.opened.store.changes.read(shift.desk.tenant.uid, after_revision=0, count_max=10)
    assert entries == []
    assert head is not None
    assert head.floor == head.revision


async def test_log_that_is_too_short_for_its_time_is_told_to_the_operator(shift: Shift) -> None:
    """Readers were promised days; more changes than are kept cut them short, and somebody must choose."""
    with capture_logs() as logs:
        await shift.run(IntentKind.LOG_PRUNE)
        assert logs == []
        shift.chores._retention_count = 0
        await shift.run(IntentKind.LOG_PRUNE)
        assert logs == []  # young entries are held back, for snapshots under way
        shift.desk.clock.advance(timedelta(hours=1).total_seconds())
        await shift.run(IntentKind.LOG_PRUNE)
    assert [(line["event"], line["log_level"]) for line in logs] == [("log_prune.cut_short", "warning")]
    assert counted(shift.desk.telemetry, "log_cut_short") == {"": 1}


def test_every_problem_text_names_an_action() -> None:
    """Each reason that people can see has a message, an action, and somebody who must act."""
    from sidecar.sync.problems import problem_of
    from tests.support.builders import NOW

    for kind in (CredentialRejected, ConsentMissing, MailboxDenied, WebhookUnreachable, GraphRefused, SecretUnreadable):
        problem = problem_of(kind("x"), now=NOW, next_check_at=None)
        assert "unexpected" not in problem.message, kind
        assert replace(problem, metadata={}).action.endswith(".")


async def test_subscription_that_must_wait_its_turn_is_neither_done_nor_failed(shift: Shift) -> None:
    """It comes back when it was told to; nothing was asked of Microsoft, and nobody is told of a problem."""
    for _ in range(BURST_MAX):
        shift.keeper.pace.note_write(shift.desk.tenant.uid)
    outcome = await shift.run(IntentKind.ROOM_SUBSCRIBE)
    assert isinstance(outcome, Later)
    assert outcome.until > shift.desk.clock.now()
    assert shift.desk.subscriptions.states == []
    assert (await shift.room()).problems == []
    shift.desk.clock.at = outcome.until
    assert isinstance(await shift.run(IntentKind.ROOM_SUBSCRIBE), Done)


async def test_verified_tenant_is_audited_within_a_day_and_daily_from_then_on(shift: Shift) -> None:
    """Each hourly verification makes sure of it, and puts nothing off."""
    await shift.run(IntentKind.TENANT_VERIFY)
    sql = "SELECT ready_at FROM intents WHERE kind = 'subscription.audit'"
    ((first_at,),) = await shift.desk.opened.fetch(sql)
    assert first_at == to_micros(shift.desk.clock.now() + timedelta(days=1))
    shift.desk.clock.advance(3_600)
    await shift.run(IntentKind.TENANT_VERIFY)
    assert await shift.desk.opened.fetch(sql) == [(first_at,)]
    outcome = await shift.run(IntentKind.SUBSCRIPTION_AUDIT)
    assert isinstance(outcome, Done)
    assert outcome.next_at is not None
    assert timedelta(hours=21) < outcome.next_at - shift.desk.clock.now() <= timedelta(days=1)


async def test_audit_that_microsoft_refuses_is_put_off_and_no_room_is_told(shift: Shift) -> None:
    """Rooms have their own ways to find out."""
    shift.desk.subscriptions.errors = [SubscriptionRefused("x")]
    assert isinstance(await shift.run(IntentKind.SUBSCRIPTION_AUDIT), PutOff)
    assert (await shift.room()).problems == []


async def test_test_booking_is_removed_by_the_background_and_never_looked_for_again(shift: Shift) -> None:
    shift.login.placed[EventId("e1")] = "tx-1"
    assert await shift.run(IntentKind.TEST_BOOKING_REMOVE, "tx-1/r1@contoso.example") == Done()
    assert shift.login.placed == {}


@pytest.mark.parametrize(
    ("error", "attempts", "outcome"),
    [
        (MailboxNotFound("gone"), 0, Done),
        (MailboxDenied("not now"), 0, PutOff),
        (CredentialRejected("not now"), 199, PutOff),
        (MailboxDenied("never again"), 200, Done),
    ],
)
async def test_test_booking_is_looked_for_as_long_as_it_may_be_there(
    shift: Shift, error: SidecarError, attempts: int, outcome: type[Outcome]
) -> None:
    shift.login.errors = {"find": error}
    done = await shift.run(IntentKind.TEST_BOOKING_REMOVE, "tx-1/r1@contoso.example", attempts=attempts)
    assert isinstance(done, outcome)


async def test_write_that_somebody_works_on_is_looked_at_when_its_claim_is_over(shift: Shift) -> None:
    """It is neither done nor failed."""
    write = await shift.begin_write()
    outcome = await shift.run(IntentKind.BOOKING_WRITE, write.uid)
    assert outcome == Later(write.claimed_until_at)


async def test_write_that_is_forgotten_leaves_nothing_to_do(shift: Shift) -> None:
    """It ended, or went with its room."""
    assert await shift.run(IntentKind.BOOKING_WRITE, "w-gone") == Done()


async def test_old_writes_are_dropped_with_the_log(shift: Shift) -> None:
    """Who sends the same request again after a week has forgotten it."""
    write = await shift.begin_write()
    ended = replace(write, state=WriteState.DONE)
    await shift.desk.opened.store.writes.note(step_to(write, ended, claim_s=1.0))
    shift.desk.clock.advance(7 * 86_400 + 60)
    await shift.run(IntentKind.LOG_PRUNE)
    assert await shift.desk.opened.store.writes.load(write.uid) is None
