"""Whether Microsoft reaches an address: one turn for all, and no room that passes for announced while it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from sidecar.model.change import ChangeKind
from sidecar.model.intent import IntentKind
from sidecar.model.room import Room
from sidecar.store.webhook_reach import AGAIN, QUIET, TURN, Turn
from tests.support.builders import CANARY, DIRECTORY, after, make_notification, make_problem, secret_hash
from tests.support.stores import ManualClock, OpenStore, beside

URL, OTHER_URL = "https://hooks.example.com", "https://other.example.com"
UNREACHED = make_problem("WEBHOOK_UNREACHABLE")


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    """A room that is announced, of a tenant with another one that is not."""
    await opened.store.webhook_urls.announce(URL, is_start=True)
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.add_filled_room("r2")
    await subscribe(opened, room, URL)
    await opened.execute("DELETE FROM intents")
    return await opened.reload(room)


@pytest.fixture
async def other(opened: OpenStore, clock: ManualClock) -> AsyncIterator[OpenStore]:
    """The same database, as another process has it."""
    async with beside(opened, clock=clock) as other:
        yield other


async def subscribe(opened: OpenStore, room: Room, url: str) -> None:
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s1", secret_hash=secret_hash(f"{CANARY}-state"), directory_id=DIRECTORY, url=url
    )
    await confirm(opened)


async def confirm(opened: OpenStore) -> None:
    assert await opened.store.subscriptions.confirm(
        "s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3)
    )


async def take(opened: OpenStore, room: Room) -> Turn | datetime | None:
    return await opened.store.webhook_reach.take_turn(room.tenant_uid, pivot="")


async def fail(opened: OpenStore, *, times: int) -> int:
    told = [await opened.store.webhook_reach.note_unreached(URL, UNREACHED) for _ in range(times)]
    return told[-1]


async def due(opened: OpenStore, room: Room) -> set[str]:
    return {str(row[0]) for row in await opened.fetch("SELECT kind FROM intents WHERE key = $1", room.uid)}


async def heard(opened: OpenStore) -> None:
    outcome = await opened.store.subscriptions.mark([make_notification()], settle_s=1.5, settle_max_s=10.0)
    assert outcome.marked_count == 1


async def test_address_never_heard_of_is_due_at_once(opened: OpenStore, room: Room) -> None:
    """By the subscription of a room that is announced there."""
    assert await take(opened, room) == Turn(url=URL, room_uid=room.uid, graph_id="g1")


async def test_turn_is_one_processs(opened: OpenStore, room: Room, other: OpenStore, clock: ManualClock) -> None:
    """Whoever comes next hears until when it lasts, and has it then: the first one may have died."""
    assert isinstance(await take(opened, room), Turn)
    assert await take(other, room) == clock.now() + TURN
    clock.advance(TURN.total_seconds())
    assert isinstance(await take(other, room), Turn)


async def test_tenant_without_a_subscription_there_takes_no_turn(opened: OpenStore, room: Room) -> None:
    """It could not have anything called, and would keep others from it."""
    await opened.store.webhook_urls.announce(OTHER_URL, is_start=True, is_alone=True)
    assert await take(opened, room) is None


async def test_address_that_was_reached_is_left_alone_for_four_minutes(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """A tenth of a request for each room and hour would be much for the few rooms that most have."""
    await opened.store.webhook_reach.note_reached(URL)
    assert await take(opened, room) == clock.now() + QUIET
    clock.advance(QUIET.total_seconds())
    assert isinstance(await take(opened, room), Turn)


async def test_genuine_call_proves_the_address(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """Nothing is asked where changes are announced all the time."""
    await heard(opened)
    assert await take(opened, room) == clock.now() + QUIET
    clock.advance(180.0)
    await heard(opened)
    assert await take(opened, room) == clock.now() + QUIET


async def test_call_with_another_secret_proves_nothing(opened: OpenStore, room: Room) -> None:
    """Anybody can call a public address."""
    forged = make_notification(secret="guessed")
    assert (await opened.store.subscriptions.mark([forged], settle_s=1.5, settle_max_s=10.0)).unknown_count == 1
    assert isinstance(await take(opened, room), Turn)


async def test_first_failure_is_tried_again_and_told_to_nobody(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """It may have been Microsoft's own."""
    assert await fail(opened, times=1) == 0
    assert (await opened.reload(room)).is_announced
    assert await take(opened, room) == clock.now() + AGAIN


async def test_second_failure_in_a_row_takes_every_room_that_is_announced_there(opened: OpenStore, room: Room) -> None:
    """It is told, an entry of the log, and checked at once. A room without a subscription has its own troubles."""
    before = await opened.head()
    assert await fail(opened, times=2) == 1
    told = await opened.reload(room)
    assert told.subscription_problem is not None
    assert (told.is_announced, told.subscription_problem.reason) == (False, "WEBHOOK_UNREACHABLE")
    assert told.version == room.version + 1
    assert await due(opened, room) == {IntentKind.ROOM_CHECK}
    entries = await opened.fetch("SELECT room_uid, kind FROM changes WHERE revision > $1", before)
    assert [tuple(row) for row in entries] == [(room.uid, ChangeKind.ROOM_CHANGED)]


async def test_failures_that_are_not_in_a_row_are_told_to_nobody(opened: OpenStore, room: Room) -> None:
    """A call arrived between them."""
    await fail(opened, times=1)
    await opened.store.webhook_reach.note_reached(URL)
    assert await fail(opened, times=1) == 0
    assert (await opened.reload(room)).is_announced


async def test_room_told_already_is_no_news_again(opened: OpenStore, room: Room) -> None:
    """Its problem goes on since when it began."""
    await fail(opened, times=2)
    told = await opened.reload(room)
    assert await fail(opened, times=1) == 0
    assert await opened.reload(room) == told


async def test_renewal_does_not_make_a_room_pass_for_announced(opened: OpenStore, room: Room) -> None:
    """Microsoft prolongs what it cannot deliver."""
    await fail(opened, times=2)
    await confirm(opened)
    assert not (await opened.reload(room)).is_announced


async def test_call_that_arrives_again_has_every_room_asked_about(opened: OpenStore, room: Room) -> None:
    """Microsoft may have dropped the subscription meanwhile; once it confirms it, the room counts, and is compared."""
    await fail(opened, times=2)
    await opened.execute("DELETE FROM intents")
    assert await opened.store.webhook_reach.note_reached(URL) == 1
    assert await due(opened, room) == {IntentKind.ROOM_SUBSCRIBE}
    assert not (await opened.reload(room)).is_announced
    await confirm(opened)
    assert (await opened.reload(room)).is_announced
    assert IntentKind.ROOM_COMPARE in await due(opened, room)


async def test_genuine_call_after_failures_makes_the_next_turn_due(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """It may be the first sign that the way is open again."""
    await fail(opened, times=2)
    assert isinstance(await take(opened, room), datetime)
    await heard(opened)
    assert isinstance(await take(opened, room), Turn)


@pytest.mark.parametrize("is_subscribed", [True, False], ids=["subscribed", "never subscribed"])
async def test_problem_of_an_address_ends_when_no_address_is_set_any_more(
    opened: OpenStore, room: Room, is_subscribed: bool
) -> None:
    """Whoever gives up being called has rooms that are polled, and nothing to mend."""
    if not is_subscribed:
        await opened.execute("DELETE FROM subscriptions")
        await opened.store.rooms.set_subscription_problem(room.uid, UNREACHED, lease=None)
    await fail(opened, times=2)
    before = await opened.head()
    await opened.store.webhook_urls.announce(None, is_start=True, is_alone=True)
    told = await opened.reload(room)
    assert (told.is_announced, told.problems) == (False, [])
    entries = await opened.fetch("SELECT room_uid, kind FROM changes WHERE revision > $1", before)
    assert [tuple(row) for row in entries] == [(room.uid, ChangeKind.ROOM_CHANGED)]


async def test_turn_far_ahead_counts_as_due(opened: OpenStore, room: Room) -> None:
    """A clock was wrong when it was noted."""
    await opened.execute(
        "UPDATE webhook_urls SET call_due_at = $1", round((after() + timedelta(days=9)).timestamp() * 1_000_000)
    )
    assert isinstance(await take(opened, room), Turn)
