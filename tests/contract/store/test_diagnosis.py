"""What is read for people who ask why."""

from __future__ import annotations

from datetime import timedelta

from sidecar.model.change import ChangeKind
from sidecar.model.ids import BookingKey, Mailbox
from sidecar.model.intent import IntentKind, Priority
from tests.support.builders import make_booking
from tests.support.stores import OpenStore


async def test_last_steps_of_a_room_come_the_newest_first_and_are_its_own(opened: OpenStore) -> None:
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    await opened.add_filled_room("r2")
    steps = await opened.store.changes.latest(room.uid, count_max=2)
    assert [step.kind for step in steps] == [ChangeKind.ROOM_CHANGED, ChangeKind.ROOM_SNAPSHOT]
    assert steps[0].revision > steps[1].revision
    assert {step.room_uid for step in steps} == {room.uid}


async def test_planned_work_of_a_room_tells_why_it_was_put_off(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    room = await opened.add_room("r1")
    await opened.add_room("r2")
    await opened.execute("DELETE FROM intents")
    intents = opened.store.intents
    await intents.mark(IntentKind.ROOM_SUBSCRIBE, room.uid, tenant.uid, priority=Priority.REPAIR)
    (intent,) = await intents.due(tenant.uid, count_max=9)
    until = opened.clock.now() + timedelta(hours=1)
    await intents.put_off(intent, until=until, reason="SUBSCRIPTION_REFUSED")
    await intents.mark(IntentKind.ROOM_CHECK, room.uid, tenant.uid, priority=Priority.CHECK)
    first, second = await intents.about(room.uid)
    assert (first.kind, first.attempts, first.last_error) == (IntentKind.ROOM_CHECK, 0, "")
    assert (second.ready_at, second.attempts, second.last_error) == (until, 1, "SUBSCRIPTION_REFUSED")


async def test_one_booking_is_found_by_its_key_only(opened: OpenStore) -> None:
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"), make_booking("b2"))
    found = await opened.store.calendars.load_one(room.uid, BookingKey("b2"))
    assert found is not None
    assert found.event_id == make_booking("b2").event_id
    assert await opened.store.calendars.load_one(room.uid, BookingKey("b3")) is None


async def test_room_is_found_by_its_mailbox_however_it_is_spelled(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    room = await opened.add_room("r1")
    assert await opened.store.rooms.load_by_mailbox(tenant.uid, Mailbox("R1@Contoso.example")) == room
    assert await opened.store.rooms.load_by_mailbox(tenant.uid, Mailbox("r2@contoso.example")) is None
