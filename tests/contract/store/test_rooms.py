"""Mapped rooms."""

from __future__ import annotations

import pytest

from sidecar.errors import EtagMismatch, RoomExists, RoomNotFound, StoreConflict, TenantNotFound
from sidecar.model.booking import BookingState
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, Mailbox, RoomId, TenantId
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.room import Room, RoomState
from sidecar.store.room_edits import RoomEdit
from tests.support.builders import (
    CANARY,
    TENANT,
    after,
    complete_read,
    make_booking,
    make_mapping,
    make_problem,
    secret_hash,
    towards,
)
from tests.support.stores import ManualClock, OpenStore, decoded


async def test_room_mapped_twice_is_one_room(opened: OpenStore) -> None:
    """Mapping the same again changes nothing and tells nobody."""
    tenant = await opened.add_tenant()
    first = await opened.add_room()
    head = await opened.head()
    assert await opened.add_room() == first
    assert await opened.head() == head
    assert first.state is RoomState.IMPORTING
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    of_room = {intent.kind: intent.priority for intent in due if intent.key == first.uid}
    assert of_room == {IntentKind.ROOM_SUBSCRIBE: Priority.REPAIR, IntentKind.ROOM_COMPARE: Priority.IMPORT}


async def test_room_mapped_with_other_values_is_changed_and_told(opened: OpenStore) -> None:
    """The caller's values can be corrected by mapping again; watchers hear of it."""
    tenant = await opened.add_tenant()
    first = await opened.add_room()
    head = await opened.head()
    changed = await opened.map_room(make_mapping(display_name="Aquarium", mailbox=Mailbox("R1@Contoso.example")))
    assert (changed.uid, changed.display_name, changed.mailbox) == (first.uid, "Aquarium", "R1@Contoso.example")
    assert changed.version > first.version
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=10)
    assert [(entry.kind, entry.room_uid) for entry in entries] == [(ChangeKind.ROOM_CHANGED, first.uid)]


async def test_batch_gives_each_room_its_own_outcome(opened: OpenStore) -> None:
    """A conflict refuses one room of a batch; the others are mapped."""
    await opened.add_tenant()
    await opened.add_room("r1")
    outcomes = await opened.store.rooms.map_all(
        TENANT,
        [
            make_mapping("r1", mailbox=Mailbox("elsewhere@contoso.example")),
            make_mapping("r2"),
            make_mapping("r3", mailbox=Mailbox("R1@contoso.EXAMPLE")),
            make_mapping("r4"),
        ],
    )
    assert [isinstance(outcome, RoomExists) for outcome in outcomes] == [True, False, True, False]
    mapped = await opened.store.rooms.page(TENANT, after=RoomId(""), count_max=10)
    assert [room.room_id for room in mapped] == ["r1", "r2", "r4"]


async def test_room_twice_in_a_batch_is_one_room(opened: OpenStore) -> None:
    """A batch that repeats itself is no conflict."""
    await opened.add_tenant()
    first, second = await opened.store.rooms.map_all(TENANT, [make_mapping("r1"), make_mapping("r1")])
    assert first == second


async def test_mapping_for_an_unknown_tenant_is_refused(opened: OpenStore) -> None:
    """Rooms belong to a tenant that exists."""
    with pytest.raises(TenantNotFound):
        await opened.store.rooms.map_all(TenantId("nobody"), [make_mapping()])


async def test_rooms_of_two_tenants_do_not_meet(opened: OpenStore) -> None:
    """Room ids and mailboxes are unique within a tenant only."""
    for tenant_id in ("acme", "other"):
        await opened.add_tenant(tenant_id)
    here = await opened.add_room("r1")
    there = await opened.add_room("r1", tenant_id=TenantId("other"))
    assert here.uid != there.uid
    assert [room.uid for room in await opened.store.rooms.page(TENANT, after=RoomId(""), count_max=9)] == [here.uid]


async def test_unmapped_room_leaves_scope_booking_by_booking(opened: OpenStore) -> None:
    """Watchers are told of each booking that took the room, then of the room."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room(
        "r1", make_booking("b1"), make_booking("b2", state=BookingState.CANCELLED), make_booking("b3")
    )
    head = await opened.head()
    await opened.store.rooms.unmap(TENANT, room.room_id, etag=str(room.version))
    entries, _ = await opened.store.changes.read(tenant.uid, after_revision=head, count_max=10)
    assert [(entry.kind, entry.booking_key, entry.cause) for entry in entries] == [
        (ChangeKind.LEFT_SCOPE, "b1", Cause.ROOM_UNMAPPED),
        (ChangeKind.LEFT_SCOPE, "b3", Cause.ROOM_UNMAPPED),
        (ChangeKind.ROOM_UNMAPPED, None, Cause.NONE),
    ]
    assert [entry.revision for entry in entries] == [head + 1, head + 2, head + 3]
    assert [decoded(entry.body)["revision"] for entry in entries[:2]] == [head + 1, head + 2]
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.load(TENANT, room.room_id)
    assert await opened.store.calendars.load_stored(room.uid) == {}
    assert not [i for i in await opened.store.intents.due(tenant.uid, count_max=10) if i.key == room.uid]


async def test_unmapping_abandons_the_subscription(opened: OpenStore) -> None:
    """Graph's promise to call us about an unmapped room is to be removed there, and its calls leave no mark."""
    tenant = await opened.add_tenant()
    room = await opened.add_room()
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(CANARY), directory_id="d", url="https://x"
    )
    await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
    abandoned = await opened.store.subscriptions.load("s1")
    assert abandoned is not None
    assert abandoned.room_uid is None
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    assert (IntentKind.SUBSCRIPTION_REMOVE, "s1") in [(intent.kind, intent.key) for intent in due]


async def test_unmapping_with_an_old_etag_is_refused(opened: OpenStore) -> None:
    """A caller that has not seen the room's last change does not unmap it."""
    await opened.add_tenant()
    room = await opened.add_room()
    await opened.map_room(make_mapping(capacity=99))
    with pytest.raises(EtagMismatch):
        await opened.store.rooms.unmap(TENANT, room.room_id, etag=str(room.version))
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.unmap(TENANT, RoomId("nowhere"), etag="")


async def test_room_mapped_again_is_another_room(opened: OpenStore, clock: ManualClock) -> None:
    """Nothing of an unmapped room comes back with its id."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
    clock.advance(1)
    again = await opened.add_room("r1")
    assert again.uid > room.uid
    assert again.state is RoomState.IMPORTING
    assert await opened.store.calendars.load_stored(again.uid) == {}


async def test_problem_is_told_when_its_cause_changes(opened: OpenStore, clock: ManualClock) -> None:
    """A cause that comes, goes or is replaced is an entry of the log; the same one seen again is not."""
    await opened.add_tenant()
    room = await opened.add_filled_room()
    head = await opened.head()

    async def problem_is(reason: str | None) -> tuple[RoomState, int]:
        clock.advance(1)
        problem = None if reason is None else make_problem(reason, seen_at=clock.now())
        await opened.store.rooms.set_problem(room.uid, problem, lease=None)
        return (await opened.reload(room)).state, await opened.head() - head

    assert await problem_is(None) == (RoomState.UP, 0)
    assert await problem_is("MAILBOX_ACCESS_DENIED") == (RoomState.DENIED, 1)
    assert await problem_is("MAILBOX_ACCESS_DENIED") == (RoomState.DENIED, 1)
    assert await problem_is("MAILBOX_NOT_FOUND") == (RoomState.NOT_FOUND, 2)
    assert await problem_is(None) == (RoomState.UP, 3)


async def test_what_exchange_tells_of_a_mailbox_never_replaces_what_the_caller_gave(opened: OpenStore) -> None:
    """A zone given at mapping is kept; one left open is filled in."""
    await opened.add_tenant()
    given = await opened.map_room(make_mapping("r1", time_zone="Europe/Paris"))
    left_open = await opened.add_room("r2")
    for room in (given, left_open):
        await opened.store.rooms.set_mailbox(room, object_id="o1", time_zone="Europe/Berlin")
    assert [(await opened.reload(room)).time_zone for room in (given, left_open)] == ["Europe/Paris", "Europe/Berlin"]
    assert (await opened.reload(given)).object_id == "o1"


async def test_rooms_are_loaded_with_the_head_of_the_log(opened: OpenStore) -> None:
    """The number says up to where the rooms' states are told; both are of one moment."""
    tenant = await opened.add_tenant()
    rooms = [await opened.add_room("r1"), await opened.add_filled_room("r2")]
    revision, found = await opened.store.rooms.load_all(tenant.uid)
    assert revision == await opened.head()
    assert [room.uid for room in found] == sorted(room.uid for room in rooms)
    assert set(await opened.store.rooms.load_many([room.uid for room in rooms])) == {room.uid for room in rooms}


async def test_resync_makes_a_full_read_due_even_if_put_off(opened: OpenStore) -> None:
    """Somebody who asks for a resync has reason to believe that it helps."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    for intent in await opened.store.intents.due(tenant.uid, count_max=10):
        await opened.store.intents.put_off(intent, until=after(hours=1), reason="X")
    answered: Room = await opened.store.rooms.resync(TENANT, room.room_id)
    assert answered.uid == room.uid
    assert (await opened.reload(room)).resyncs == 1
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    assert {intent.kind for intent in due} == {IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE}


async def entries_after(opened: OpenStore, room: Room, head: int) -> list[tuple[ChangeKind, str | None, int]]:
    """Return kind, booking and cause of what the log says since."""
    entries, _ = await opened.store.changes.read(room.tenant_uid, after_revision=head, count_max=100)
    return [(entry.kind, entry.booking_key, entry.cause) for entry in entries]


async def test_edit_changes_what_it_names_and_nothing_else(opened: OpenStore) -> None:
    """Values that an edit leaves out stay; one that changes nothing tells nobody."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    head = await opened.head()
    changed = await opened.store.rooms.update(room, RoomEdit(capacity=3, annotations={"floor": "2"}), etag="")
    assert (changed.capacity, changed.annotations) == (3, {"floor": "2"})
    assert (changed.display_name, changed.mailbox) == (room.display_name, room.mailbox)
    assert await entries_after(opened, room, head) == [(ChangeKind.ROOM_CHANGED, None, Cause.NONE)]
    again = await opened.store.rooms.update(changed, RoomEdit(capacity=3), etag=str(changed.version))
    assert again == changed
    assert await opened.head() == head + 1


async def test_edit_of_another_version_is_refused(opened: OpenStore) -> None:
    """A caller that has not seen the room's last change does not overwrite it."""
    await opened.add_tenant()
    room = await opened.add_room()
    await opened.store.rooms.update(room, RoomEdit(capacity=3), etag=str(room.version))
    with pytest.raises(EtagMismatch):
        await opened.store.rooms.update(room, RoomEdit(capacity=4), etag=str(room.version))
    await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
    with pytest.raises(RoomNotFound):
        await opened.store.rooms.update(room, RoomEdit(capacity=4), etag="")


async def test_other_zone_has_the_room_read_anew(opened: OpenStore, clock: ManualClock) -> None:
    """Whole-day bookings lie elsewhere in another zone."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.execute("DELETE FROM intents")
    await opened.store.rooms.update(room, RoomEdit(time_zone="Asia/Tokyo"), etag="")
    due = await opened.store.intents.due(tenant.uid, count_max=10)
    assert [intent.kind for intent in due] == [IntentKind.ROOM_COMPARE]


async def test_mailbox_with_another_address_keeps_its_copy(opened: OpenStore) -> None:
    """The same calendar goes on: nothing is told of its bookings, nothing of the copy is lost, its subscription stays."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(CANARY), directory_id="d", url="https://x"
    )
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    room = await opened.reload(room)
    head = await opened.head()
    moved = await opened.readdress(room, "New@contoso.example", is_same_mailbox=True, object_id="o1")
    assert (moved.mailbox, moved.object_id, moved.uid) == ("New@contoso.example", "o1", room.uid)
    assert (moved.horizon, moved.fresh_as_of_at, moved.calendar_no) == (room.horizon, room.fresh_as_of_at, 1)
    assert moved.is_subscribed
    assert set(await opened.store.calendars.load_stored(room.uid)) == {"b1"}
    assert await entries_after(opened, room, head) == [(ChangeKind.ROOM_CHANGED, None, Cause.NONE)]


async def test_room_in_trouble_is_tried_at_once_at_its_new_address(opened: OpenStore, clock: ManualClock) -> None:
    """What was put off because of the former address does not wait."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.rooms.set_problem(room.uid, make_problem("MAILBOX_NOT_FOUND"), lease=None)
    await opened.execute("UPDATE intents SET ready_at = ready_at + 3600000000, held_until = ready_at + 3600000000")
    assert not await opened.store.intents.due(tenant.uid, count_max=10)
    await opened.readdress(await opened.reload(room), "new@contoso.example", is_same_mailbox=True)
    due = {intent.kind for intent in await opened.store.intents.due(tenant.uid, count_max=10)}
    assert due == {IntentKind.ROOM_SUBSCRIBE, IntentKind.ROOM_COMPARE}


async def test_other_mailbox_replaces_the_copy(opened: OpenStore) -> None:
    """The former bookings leave the scope one by one, and the room is read as if for the first time."""
    tenant = await opened.add_tenant()
    cancelled = make_booking("b2", state=BookingState.CANCELLED)
    room = await opened.add_filled_room("r1", make_booking("b1"), cancelled, make_booking("b3"))
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(CANARY), directory_id="d", url="https://x"
    )
    head = await opened.head()
    moved = await opened.readdress(room, "other@contoso.example", is_same_mailbox=False)
    assert (moved.uid, moved.calendar_no, moved.state) == (room.uid, 2, RoomState.IMPORTING)
    assert (moved.horizon, moved.delta, moved.problems) == (None, None, [])
    assert await entries_after(opened, room, head) == [
        (ChangeKind.LEFT_SCOPE, "b1", Cause.ROOM_READDRESSED),
        (ChangeKind.LEFT_SCOPE, "b3", Cause.ROOM_READDRESSED),
        (ChangeKind.ROOM_CHANGED, None, Cause.NONE),
    ]
    assert await opened.store.calendars.load_stored(room.uid) == {}
    due = {(i.kind, i.key) for i in await opened.store.intents.due(tenant.uid, count_max=10)}
    assert {(IntentKind.SUBSCRIPTION_REMOVE, "s1"), (IntentKind.ROOM_COMPARE, room.uid)} <= due
    await opened.fill(moved, make_booking("b1", subject="of the other mailbox"))
    (row,) = await opened.store.calendars.snapshot_page(room.uid, after=BookingKey(""), count_max=9)
    assert decoded(row[1])["revision"] > head + 1, "a reader would take it for older than its removal"


async def test_read_of_the_former_mailbox_writes_nothing(opened: OpenStore) -> None:
    """What was under way while the room was tied to another mailbox speaks of another calendar."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"))
    await opened.readdress(room, "other@contoso.example", is_same_mailbox=False)
    plan = towards({BookingKey("b9"): make_booking("b9")})
    assert await opened.store.calendars.apply(room, plan, lease=None, complete=complete_read()) is None
    await opened.store.rooms.set_mailbox(room, object_id="o-former", time_zone="Asia/Tokyo")
    await opened.store.subscriptions.prepare(
        room.uid,
        tenant.uid,
        key="s9",
        secret_hash=secret_hash(CANARY),
        directory_id="d",
        url="https://x",
        calendar_no=1,
    )
    now = await opened.reload(room)
    assert (now.object_id, now.time_zone, now.fresh_as_of_at) == (None, room.time_zone, None)
    assert await opened.store.calendars.load_stored(room.uid) == {}
    assert await opened.store.subscriptions.load("s9") is None


async def test_address_of_another_room_is_refused(opened: OpenStore) -> None:
    """One mailbox is one room's."""
    await opened.add_tenant()
    room, other = await opened.add_room("r1"), await opened.add_room("r2")
    with pytest.raises(RoomExists) as refused:
        await opened.readdress(room, "R2@contoso.example", is_same_mailbox=False)
    assert refused.value.details == {"room": other.name}
    assert await opened.reload(room) == room


async def test_what_was_found_out_about_a_former_mailbox_is_not_acted_on(opened: OpenStore) -> None:
    """Whether an address leads to the same mailbox was asked for the mailbox that the room had then."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    await opened.readdress(room, "other@contoso.example", is_same_mailbox=False)
    with pytest.raises(StoreConflict):
        await opened.readdress(room, "third@contoso.example", is_same_mailbox=True)


async def test_address_that_microsoft_tells_is_shown_and_the_given_one_still_maps(opened: OpenStore) -> None:
    """A caller that maps its rooms every night with the address it knows is not refused after a rename."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    head = await opened.head()
    new = Mailbox("New@contoso.example")
    for _ in range(2):
        await opened.store.rooms.set_mailbox(room, object_id=None, time_zone=None, address=new)
    shown = await opened.reload(room)
    assert (shown.mailbox, shown.version) == ("New@contoso.example", room.version + 1)
    assert await entries_after(opened, room, head) == [(ChangeKind.ROOM_CHANGED, None, Cause.NONE)]
    assert await opened.map_room(make_mapping("r1")) == shown
    named = await opened.store.rooms.by_mailbox(TENANT, ["R1@contoso.example", "new@contoso.example", "x@y"])
    assert {key: found.uid for key, found in named.items()} == {
        "r1@contoso.example": room.uid,
        "new@contoso.example": room.uid,
    }
    (refused,) = await opened.store.rooms.map_all(TENANT, [make_mapping("r1", mailbox=Mailbox("third@x"))])
    assert isinstance(refused, RoomExists)
    assert shown.given_key == "r1@contoso.example"


@pytest.mark.parametrize(("given", "after"), [("", ""), ("Asia/Tokyo", "Asia/Tokyo")])
async def test_zone_of_the_former_mailbox_goes_with_it_unless_it_was_given(
    opened: OpenStore, given: str, after: str
) -> None:
    """Whole-day bookings of the new mailbox lie in its own zone, which is asked for next."""
    await opened.add_tenant()
    room = await opened.map_room(make_mapping("r1", time_zone=given))
    await opened.store.rooms.set_mailbox(room, object_id="o1", time_zone="Europe/Berlin")
    await opened.readdress(await opened.reload(room), "other@contoso.example", is_same_mailbox=False)
    assert (await opened.reload(room)).time_zone == after
    await opened.store.rooms.set_mailbox(await opened.reload(room), object_id="o2", time_zone="America/New_York")
    assert (await opened.reload(room)).time_zone == (after or "America/New_York")


async def test_given_address_of_a_room_is_not_mapped_to_another_one(opened: OpenStore) -> None:
    """It leads to the same mailbox, whatever Microsoft calls it now."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking())
    await opened.store.rooms.set_mailbox(room, object_id=None, time_zone=None, address=Mailbox("new@contoso.example"))
    (refused,) = await opened.store.rooms.map_all(TENANT, [make_mapping("r2", mailbox=Mailbox("R1@contoso.example"))])
    assert isinstance(refused, RoomExists)
    assert refused.details == {"room": room.name}


async def test_address_of_another_room_is_not_taken_over(opened: OpenStore) -> None:
    """Two rooms may be one mailbox by mistake; that is for people to mend."""
    await opened.add_tenant()
    room, other = await opened.add_filled_room("r1"), await opened.add_filled_room("r2")
    await opened.store.rooms.set_mailbox(room, object_id="o1", time_zone=None, address=other.mailbox)
    assert (await opened.reload(room)).mailbox == room.mailbox


async def test_room_may_go_with_one_word_for_all_its_bookings(opened: OpenStore) -> None:
    """Whoever unmaps may have watchers told of the room alone."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1"), make_booking("b3"))
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash(CANARY), directory_id="d", url="https://x"
    )
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    head = await opened.head()
    runs_out_at = await opened.store.rooms.unmap(TENANT, room.room_id, etag="", tells_each=False)
    assert runs_out_at == after(days=6)
    assert await entries_after(opened, room, head) == [(ChangeKind.ROOM_UNMAPPED, None, Cause.NONE)]
    assert await opened.store.calendars.load_stored(room.uid) == {}


async def test_edit_that_is_repeated_with_its_etag_is_no_error(opened: OpenStore) -> None:
    """The first answer may have been lost on its way."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    edit = RoomEdit(display_name="Blue", annotations={"floor": "2"})
    changed = await opened.store.rooms.update(room, edit, etag=str(room.version))
    assert await opened.store.rooms.update(room, edit, etag=str(room.version)) == changed
