"""Graph's promises to call us, and the marks that its calls leave."""

from __future__ import annotations

import pytest

from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room
from sidecar.model.subscription import Lifecycle, Notification
from sidecar.store.subscriptions import MarkOutcome
from tests.support.builders import (
    CANARY,
    DIRECTORY,
    TENANT,
    after,
    make_lifecycle,
    make_notification,
    make_problem,
    secret_hash,
)
from tests.support.stores import ManualClock, OpenStore


async def prepare(opened: OpenStore, room: Room, key: str = "s1") -> None:
    await opened.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key=key, secret_hash=secret_hash(f"{CANARY}-state"), directory_id=DIRECTORY, url="u"
    )


async def confirm(opened: OpenStore, key: str = "s1", *, lasts_s: float = 3600) -> bool:
    now = opened.clock.now()
    return await opened.store.subscriptions.confirm(
        key, graph_id="g1", expires_at=after(seconds=(now - after()).total_seconds() + lasts_s), renew_at=now
    )


async def mark(opened: OpenStore, *notifications: Notification) -> MarkOutcome:
    return await opened.store.subscriptions.mark(notifications, settle_s=1.5, settle_max_s=10.0)


async def work(opened: OpenStore, room: Room) -> dict[IntentKind, tuple[Priority, bool]]:
    """Return what is known to be done about a room, and whether it is due now; everything else was cleared before."""
    found = await opened.fetch(
        "SELECT kind, priority, ready_at <= $2 FROM intents WHERE key = $1", room.uid, _micros(opened)
    )
    return {IntentKind(row[0]): (Priority(row[1]), bool(row[2])) for row in found}


def _micros(opened: OpenStore) -> int:
    return round(opened.clock.now().timestamp() * 1_000_000)


@pytest.fixture
async def room(opened: OpenStore) -> Room:
    await opened.add_tenant()
    room = await opened.add_filled_room()
    await prepare(opened, room)
    await opened.execute("DELETE FROM intents")
    return room


async def test_genuine_notification_leaves_a_hint_and_a_mark(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """Also before Graph's answer to the creation is known: its first call may be quicker."""
    assert await mark(opened, make_notification()) == MarkOutcome(1, 0)
    assert (await opened.store.calendars.load_hints(room.uid))[0] == ["event-b1"]
    assert await work(opened, room) == {IntentKind.ROOM_SYNC: (Priority.HINT, False)}
    clock.advance(1.5)
    assert await work(opened, room) == {IntentKind.ROOM_SYNC: (Priority.HINT, True)}


@pytest.mark.parametrize(
    "forged",
    [
        make_notification(secret="guessed"),
        make_notification(secret_hash=b""),
        make_notification(directory_id="another"),
        make_notification("nobody"),
        make_notification(event_id=None, secret="guessed"),
        *(make_notification(event_id=None, lifecycle=kind, secret="guessed") for kind in Lifecycle),
    ],
)
async def test_forged_notification_is_counted_and_marks_nothing(
    opened: OpenStore, room: Room, forged: Notification
) -> None:
    """The webhook is open to the world; only who knows the secret and names the directory is believed."""
    assert await mark(opened, forged) == MarkOutcome(0, 1)
    assert await work(opened, room) == {}
    assert (await opened.store.calendars.load_hints(room.uid))[0] == []


async def test_last_call_of_each_kind_is_noted_to_the_minute(opened: OpenStore, room: Room, clock: ManualClock) -> None:
    """Once a minute and no more: calls come in floods, and marking them is what counts."""

    async def heard() -> tuple[object, object]:
        found = await opened.store.subscriptions.load_for_room(room.uid)
        assert found is not None
        return found.notified_at, found.lifecycle_at

    assert await heard() == (None, None)
    first_at = clock.now()
    await mark(opened, make_notification())
    assert await heard() == (first_at, None)
    clock.advance(59)
    await mark(opened, make_notification())
    assert await heard() == (first_at, None)
    clock.advance(1)
    await mark(opened, make_notification(), make_lifecycle(Lifecycle.MISSED))
    assert await heard() == (clock.now(), clock.now())


async def test_forged_call_is_not_noted(opened: OpenStore, room: Room) -> None:
    await mark(opened, make_notification(secret="guessed"))
    found = await opened.store.subscriptions.load_for_room(room.uid)
    assert found is not None
    assert found.notified_at is None


async def test_forged_notification_does_not_take_genuine_ones_with_it(opened: OpenStore, room: Room) -> None:
    """Each notification of a body is judged by itself; the directory's letter case is Graph's to choose."""
    outcome = await mark(
        opened,
        make_notification(directory_id=DIRECTORY.upper()),
        make_notification(secret="guessed", event_id="forged"),
        make_notification("nobody"),
    )
    assert outcome == MarkOutcome(1, 2)
    assert (await opened.store.calendars.load_hints(room.uid))[0] == ["event-b1"]


async def test_notification_without_an_event_has_the_room_compared(opened: OpenStore, room: Room) -> None:
    """A hint that names nothing is about everything."""
    await mark(opened, make_notification(event_id=None))
    assert await work(opened, room) == {IntentKind.ROOM_COMPARE: (Priority.REPAIR, True)}


@pytest.mark.parametrize("kind", [Lifecycle.MISSED, Lifecycle.OTHER])
async def test_missed_notifications_have_the_room_compared(opened: OpenStore, room: Room, kind: Lifecycle) -> None:
    """Graph says that it lost some, or something that this version does not know."""
    assert await mark(opened, make_lifecycle(kind)) == MarkOutcome(1, 0)
    assert await work(opened, room) == {IntentKind.ROOM_COMPARE: (Priority.REPAIR, True)}


async def test_reauthorization_has_the_subscription_renewed_now(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """Graph asks before it stops."""
    await confirm(opened)
    clock.advance(5)
    await mark(opened, make_lifecycle(Lifecycle.REAUTHORIZATION_REQUIRED))
    subscription = await opened.store.subscriptions.load("s1")
    assert subscription is not None
    assert subscription.renew_at == clock.now()
    assert (await work(opened, room))[IntentKind.ROOM_SUBSCRIBE] == (Priority.REPAIR, True)


async def test_removed_subscription_is_made_anew_and_the_room_says_so(opened: OpenStore, room: Room) -> None:
    """Until then the room is polled, and watchers are told."""
    await confirm(opened)
    assert (await opened.reload(room)).is_subscribed
    head = await opened.head()
    await mark(opened, make_lifecycle(Lifecycle.SUBSCRIPTION_REMOVED), make_lifecycle(Lifecycle.SUBSCRIPTION_REMOVED))
    assert not (await opened.reload(room)).is_subscribed
    assert (await work(opened, room))[IntentKind.ROOM_SUBSCRIBE] == (Priority.REPAIR, True)
    assert await opened.head() == head + 1, "told once"


async def test_confirmed_subscription_has_the_room_compared(opened: OpenStore, room: Room) -> None:
    """Nobody was told what changed before it; a renewal in time has no such gap."""
    assert await confirm(opened)
    assert (await work(opened, room))[IntentKind.ROOM_COMPARE] == (Priority.COMPARE, True)
    await opened.execute("DELETE FROM intents")
    head = await opened.head()
    assert await confirm(opened, lasts_s=7200)
    assert await work(opened, room) == {}
    assert await opened.head() == head


async def test_subscription_confirmed_after_it_had_run_out_has_the_room_compared(
    opened: OpenStore, room: Room, clock: ManualClock
) -> None:
    """Between its end and the renewal nobody was told."""
    await confirm(opened, lasts_s=60)
    await opened.execute("DELETE FROM intents")
    clock.advance(61)
    assert not (await opened.reload(room)).is_subscribed
    await confirm(opened)
    assert IntentKind.ROOM_COMPARE in await work(opened, room)


async def test_confirmed_subscription_ends_its_problem(opened: OpenStore, room: Room) -> None:
    """What works is no problem any more."""
    await opened.store.rooms.set_subscription_problem(room.uid, make_problem("WEBHOOK_UNREACHABLE"), lease=None)
    assert len((await opened.reload(room)).problems) == 1
    await confirm(opened)
    assert (await opened.reload(room)).problems == []


async def test_room_has_one_subscription(opened: OpenStore, room: Room) -> None:
    """A new one takes the place of the former, whose calls are then unknown."""
    await prepare(opened, room, "s2")
    found = await opened.store.subscriptions.load_for_room(room.uid)
    assert found is not None
    assert found.key == "s2"
    assert await mark(opened, make_notification("s1"), make_notification("s2")) == MarkOutcome(1, 1)
    assert not await confirm(opened, "s1")


async def test_subscription_of_an_unmapped_room_marks_nothing_until_it_is_forgotten(
    opened: OpenStore, room: Room
) -> None:
    """Graph goes on calling until it is told to stop."""
    await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
    assert await mark(opened, make_notification()) == MarkOutcome(0, 1)
    assert not await confirm(opened), "nobody wants it any more"
    assert [item.key for item in await opened.store.subscriptions.load_for_tenant(room.tenant_uid)] == ["s1"]
    await opened.store.subscriptions.forget("s1")
    assert await opened.store.subscriptions.load("s1") is None


async def test_subscription_of_a_deleted_tenant_marks_nothing(opened: OpenStore, room: Room) -> None:
    """Only the removal of a deleted tenant is due, however long it takes and whatever Graph calls about."""
    await opened.store.lifecycle.delete(TENANT, etag="")
    head = await opened.store.changes.head(room.tenant_uid)
    calls = [make_notification(), make_notification(event_id=None), *(make_lifecycle(kind) for kind in Lifecycle)]
    assert await mark(opened, *calls) == MarkOutcome(0, 0, len(calls))
    assert await work(opened, room) == {}
    assert await opened.store.intents.count() == 1
    assert await opened.store.changes.head(room.tenant_uid) == head


async def test_subscription_for_a_room_that_is_gone_is_not_noted(opened: OpenStore) -> None:
    """A room may be unmapped while its subscription is being made."""
    await opened.store.subscriptions.prepare(
        RoomUid("gone"), TenantUid("gone"), key="s9", secret_hash=b"", directory_id="d", url="u"
    )
    assert await opened.store.subscriptions.load("s9") is None


async def test_lost_subscription_is_told_once(opened: OpenStore, room: Room) -> None:
    """A room that is no longer announced is different from before."""
    await confirm(opened)
    head = await opened.head()
    await opened.store.subscriptions.lose("s1")
    await opened.store.subscriptions.lose("s1")
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=head, count_max=9)
    assert [(entry.kind, entry.room_uid) for entry in entries] == [(ChangeKind.ROOM_CHANGED, room.uid)]
