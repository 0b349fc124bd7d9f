"""Reading a room: what is asked of Exchange, what becomes of the answers, and what is kept when it fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.errors import GraphUnavailable, StoreConflict
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_directory import Identity
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.intent import IntentKind, Lease
from sidecar.model.room import RoomState, SyncState, freshness_limits, sync_state
from sidecar.settings import SyncSettings
from sidecar.sync.brake import SECOND_READ
from tests.support.builders import NOW, after, make_problem
from tests.support.desk import Desk
from tests.support.fake_calendar import event, master, occurrence


async def test_first_read_fills_the_copy_without_an_entry_for_each_booking(desk: Desk) -> None:
    """The log says "read it all" once; the room is up and knows its zone."""
    desk.calendar.put(event("e1", after(hours=1)), event("e2", after(hours=3)))
    applied = await desk.compare()
    assert applied.is_first
    assert await desk.told() == []
    assert len(await desk.opened.store.calendars.load_stored(desk.room.uid)) == 2
    assert desk.room.state is RoomState.UP
    assert (desk.room.time_zone, desk.room.object_id) == ("America/Chicago", "object-1")


async def test_compare_finds_what_nothing_named_and_counts_it_as_drift(desk: Desk) -> None:
    """Drift is the number of differences that a full read found, and that neither a notification nor delta had named."""
    await desk.subscribe()
    await desk.compare()
    desk.calendar.untold = {"e1"}
    desk.calendar.put(event("e1", after(hours=1), lastModifiedDateTime="2026-01-01T00:00:00Z"))
    applied = await desk.compare()
    assert (applied.changes_count, applied.unannounced_count, applied.drift_count) == (1, 1, 1)
    assert desk.room.drift_count == 1


async def test_what_is_too_young_or_was_never_to_be_announced_is_no_drift(desk: Desk) -> None:
    """Drift is proof, so it must not cry wolf: without a subscription, or minutes after the change, nothing was lost."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1), lastModifiedDateTime="2026-01-01T00:00:00Z"))
    assert (await desk.compare()).drift_count == 0
    await desk.subscribe()
    desk.calendar.put(event("e2", after(hours=2), lastModifiedDateTime=f"{after(minutes=-1):%Y-%m-%dT%H:%M:%S}Z"))
    applied = await desk.compare()
    assert (applied.changes_count, applied.drift_count) == (1, 0)


async def test_horizon_that_moves_on_is_no_drift(desk: Desk) -> None:
    """At midnight each room loses a day and gains one."""
    await desk.subscribe()
    old = "2026-01-01T00:00:00Z"
    desk.calendar.put(event("e1", NOW, lastModifiedDateTime=old))
    await desk.compare()
    desk.calendar.put(event("e2", after(days=370), lastModifiedDateTime=old))
    desk.clock.advance(timedelta(days=9).total_seconds())
    applied = await desk.compare()
    assert (applied.changes_count, applied.drift_count) == (2, 0)


async def test_compare_while_a_hint_waits_is_no_drift(desk: Desk) -> None:
    """What was announced and is merely not read yet was not lost."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1")
    applied = await desk.compare()
    assert (applied.changes_count, applied.drift_count) == (1, 0)
    assert await desk.hints() == []


async def test_compare_asks_again_before_it_takes_a_booking_away(desk: Desk) -> None:
    """Pages shift while people book: a booking that one read did not show and another finds is kept."""
    desk.calendar.put(event("e1", after(hours=1)), event("e2", after(hours=2)))
    await desk.compare()
    desk.calendar.hidden = {"e1"}
    desk.calendar.drop("e2")
    await desk.compare()
    (change,) = await desk.told()
    assert (change.kind, change.cause) == (ChangeKind.REMOVED, Cause.DELETED)
    assert [item.event_id for item in (await desk.opened.store.calendars.load_stored(desk.room.uid)).values()] == ["e1"]


async def test_series_moved_to_another_hour_leaves_nothing_at_the_old_one(desk: Desk) -> None:
    """Exchange gives an occurrence the id of its day: the id still exists, and what it named before does not."""
    desk.calendar.put(master("m", after(hours=1)), occurrence("m", 1, after(hours=1)))
    await desk.compare()
    desk.calendar.put(occurrence("m", 1, after(hours=5), iCalUId="uid-m-1"))
    await desk.compare()
    (stored,) = (await desk.opened.store.calendars.load_stored(desk.room.uid)).values()
    assert stored.start_at == after(hours=5)


async def test_compare_that_misses_many_needs_a_second_read_of_everything(desk: Desk) -> None:
    """More than are asked for one by one, and fewer than the brake holds: a second look at everything decides."""
    desk.settings = SyncSettings(confirm_max=2)
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(1, 7)))
    await desk.compare()
    desk.calendar.hidden = {f"e{n}" for n in range(1, 6)}

    def show_again() -> None:
        if desk.calendar.calls.count("view") == 3:
            desk.calendar.hidden = set()

    desk.calendar.on_read = show_again
    await desk.compare()
    assert await desk.told() == []
    assert desk.calendar.calls.count("view") == 3


async def test_two_windows_that_lack_what_can_be_read_by_id_take_nothing_away(desk: Desk) -> None:
    """A window that lies may lie twice, and about events that somebody named, too."""
    desk.settings = SyncSettings(confirm_max=2)
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(1, 11)))
    await desk.compare()
    desk.calendar.hidden = {f"e{n}" for n in range(1, 9)}
    await desk.hint(*sorted(desk.calendar.hidden))
    await desk.compare()
    assert await desk.told() == []
    assert [(problem.reason, problem.metadata) for problem in desk.room.problems] == [
        ("DELETION_HELD", {"bookings_count": "3"})
    ]


async def test_two_windows_that_lack_what_cannot_be_read_by_id_either_are_believed(desk: Desk) -> None:
    """Somebody emptied the calendar, and said so: nothing is held."""
    desk.settings = SyncSettings(confirm_max=2)
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(1, 9)))
    await desk.compare()
    desk.calendar.drop(*(f"e{n}" for n in range(1, 8)))
    await desk.hint(*(f"e{n}" for n in range(1, 8)))
    await desk.compare()
    assert len(await desk.told()) == 7
    assert desk.room.problems == []
    assert sum(call.startswith("event ") for call in desk.calendar.calls) == 5


async def test_hinted_read_asks_for_the_named_event_only(desk: Desk) -> None:
    """A notification costs one small request."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)), event("e2", after(hours=2)))
    desk.calendar.calls.clear()
    await desk.hint("e1")
    assert await desk.read_hinted()
    assert desk.calendar.calls == ["event e1"]
    assert [change.kind for change in await desk.told()] == [ChangeKind.UPSERTED]
    assert await desk.hints() == []


async def test_hint_about_one_occurrence_reads_its_series_as_a_set(desk: Desk) -> None:
    """An occurrence is deleted by being absent from its series."""
    desk.calendar.put(master("m", after(days=1)), *(occurrence("m", n, after(days=n)) for n in (1, 2, 3)))
    await desk.compare()
    desk.calendar.drop("m-2")
    desk.calendar.calls.clear()
    await desk.hint("m", "m-1")
    assert await desk.read_hinted()
    assert desk.calendar.calls == ["event m", "event m-1", "instances m"]
    assert [(change.kind, change.cause) for change in await desk.told()] == [(ChangeKind.REMOVED, Cause.DELETED)]


async def test_hint_about_a_vanished_series_takes_all_its_occurrences_away(desk: Desk) -> None:
    """The master is gone, and nothing names its occurrences."""
    desk.calendar.put(master("m", after(days=1)), *(occurrence("m", n, after(days=n)) for n in (1, 2)))
    await desk.compare()
    desk.calendar.drop("m", "m-1", "m-2")
    await desk.hint("m")
    await desk.read_hinted()
    assert [change.kind for change in await desk.told()] == [ChangeKind.REMOVED, ChangeKind.REMOVED]


async def test_too_many_hints_are_left_to_a_full_read(desk: Desk) -> None:
    """More events than are worth asking for one by one: the caller reads everything, and the hints stay until then."""
    await desk.compare()
    names = [f"e{n}" for n in range(desk.settings.hints_max + 1)]
    await desk.hint(*names)
    assert not await desk.read_hinted()
    assert len(await desk.hints()) == len(names)


async def test_hint_that_arrives_during_the_read_is_kept(desk: Desk) -> None:
    """The read answers the hints it began with, not the ones that came while it was under way."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1")
    before = await desk.opened.store.calendars.load_hints(desk.room.uid)
    assert before[1] == 1
    reads = 0

    async def hinted_again() -> None:
        await desk.hint("e1")

    original = desk.calendar.fetch_event

    async def fetch(*args: object, **kwargs: object) -> object:
        nonlocal reads
        reads += 1
        await hinted_again()
        return await original(*args, **kwargs)  # type: ignore[arg-type]  # passed through

    desk.calendar.fetch_event = fetch  # type: ignore[assignment,method-assign]  # a hook of this test
    await desk.read_hinted()
    assert reads == 1
    assert await desk.hints() == ["e1"]


async def test_hint_before_the_first_read_waits_for_it(desk: Desk) -> None:
    """A room without a copy is not filled from the side: the first full read holds what was hinted."""
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1")
    assert await desk.read_hinted()
    assert desk.calendar.calls == []
    assert await desk.opened.store.calendars.load_stored(desk.room.uid) == {}


async def test_failed_read_changes_nothing_and_keeps_the_hints(desk: Desk) -> None:
    """What Exchange did not answer is asked again."""
    await desk.compare()
    await desk.hint("e1")
    desk.calendar.error = GraphUnavailable("away")
    with pytest.raises(GraphUnavailable):
        await desk.read_hinted()
    assert await desk.hints() == ["e1"]


async def test_read_with_a_lost_lease_writes_nothing(desk: Desk) -> None:
    """Somebody else works on the tenant now; an old worker must not overwrite what it wrote."""
    desk.calendar.put(event("e1", after(hours=1)))
    desk.lease = Lease(desk.lease.lane, desk.lease.fence - 1)
    with pytest.raises(StoreConflict):
        await desk.compare()
    assert await desk.opened.store.calendars.load_stored(desk.room.uid) == {}


async def test_horizon_that_moves_on_lets_old_bookings_leave(desk: Desk) -> None:
    """The copy keeps a week of the past; what is older leaves the scope and is not called deleted."""
    desk.calendar.put(event("e1", NOW))
    await desk.compare()
    desk.clock.advance(timedelta(days=9).total_seconds())
    desk.calendar.drop("e1")
    await desk.compare()
    assert [(item.kind, item.cause) for item in await desk.told()] == [(ChangeKind.LEFT_SCOPE, Cause.OUTSIDE_HORIZON)]


async def test_broken_event_is_counted_and_does_not_take_its_booking_away(desk: Desk) -> None:
    """An item without a usable start says nothing, least of all that it is gone."""
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.compare()
    desk.calendar.put(replace_times(event("e1", after(hours=1))))
    await desk.compare()
    assert len(await desk.opened.store.calendars.load_stored(desk.room.uid)) == 1
    assert b"exchange_events_broken_total" in desk.telemetry.render()


async def test_many_broken_events_take_nothing_away(desk: Desk) -> None:
    """However many items cannot be understood, and however often they are read: they exist."""
    desk.settings = SyncSettings(confirm_max=2)
    good = [event(f"e{n}", after(hours=n)) for n in range(1, 7)]
    desk.calendar.put(*good)
    await desk.compare()
    desk.calendar.put(*map(replace_times, good))
    await desk.compare()
    assert await desk.told() == []
    assert len(await desk.opened.store.calendars.load_stored(desk.room.uid)) == 6


async def test_broken_occurrence_is_not_deleted(desk: Desk) -> None:
    """An occurrence that is there but cannot be understood keeps its booking."""
    desk.calendar.put(master("m", after(days=1)), *(occurrence("m", n, after(days=n)) for n in (1, 2)))
    await desk.compare()
    desk.calendar.put(occurrence("m", 2, after(days=2), start={"dateTime": "soon", "timeZone": "UTC"}))
    await desk.hint("m")
    await desk.read_hinted()
    assert await desk.told() == []


async def test_late_hint_about_a_cancelled_copy_does_not_free_the_room(desk: Desk) -> None:
    """A meeting cancelled and sent again has two entries; the dead one says nothing about the live one."""
    dead = event("a", after(hours=1), iCalUId="uid", isCancelled=True)
    desk.calendar.put(dead, event("b", after(hours=1), iCalUId="uid"))
    await desk.compare()
    await desk.hint("a")
    await desk.read_hinted()
    assert await desk.told() == []


async def test_series_that_became_a_single_meeting_leaves_one_booking(desk: Desk) -> None:
    """The event keeps the master's id; the occurrences are gone."""
    desk.calendar.put(master("m", after(days=1)), *(occurrence("m", n, after(days=n)) for n in (1, 2, 3)))
    await desk.compare()
    desk.calendar.drop("m-1", "m-2", "m-3")
    desk.calendar.put(event("m", after(days=1)))
    await desk.hint("m")
    await desk.read_hinted()
    stored = await desk.opened.store.calendars.load_stored(desk.room.uid)
    assert [row.event_id for row in stored.values()] == ["m"]


async def test_room_that_recovers_reads_its_hints_at_once(desk: Desk) -> None:
    """What was put off while the room was refused does not wait out its time once a full read went well."""
    await desk.compare()
    await desk.hint("e1")
    for due in await desk.opened.store.intents.due(desk.tenant.uid, count_max=9):
        await desk.opened.store.intents.put_off(due, until=after(hours=1), reason="MAILBOX_ACCESS_DENIED")
    await desk.compare()
    due_kinds = {due.kind for due in await desk.opened.store.intents.due(desk.tenant.uid, count_max=9)}
    assert IntentKind.ROOM_SYNC in due_kinds


async def test_hinted_read_does_not_clear_what_refuses_the_room(desk: Desk) -> None:
    """One event that can be read does not prove that the calendar can."""
    await desk.compare()
    denied = make_problem("MAILBOX_ACCESS_DENIED")
    await desk.opened.store.rooms.set_problem(desk.room.uid, denied, lease=None)
    await desk.hint("e1")
    await desk.read_hinted()
    assert (await desk.opened.reload(desk.room)).state is RoomState.DENIED


def replace_times(item: GraphEvent) -> GraphEvent:
    """Return an event whose start cannot be read."""
    return event(item.id, after(hours=1), start={"dateTime": "soon", "timeZone": "UTC"})


async def test_room_turns_stale_by_itself_when_reads_stop(desk: Desk) -> None:
    """The state follows from the last complete read and the clock; nobody has to notice."""
    await desk.compare()
    room, limits = replace(desk.room, is_subscribed=True), freshness_limits(desk.settings)
    assert sync_state(room, now=after(seconds=limits.live_s), limits=limits) is SyncState.LIVE
    assert sync_state(room, now=after(seconds=limits.live_s + 1), limits=limits) is SyncState.STALE


async def lack_most(desk: Desk, *, there: int = 10, lost: int = 8) -> None:
    """Have a room read whose next full read will lack many bookings, though they exist and nobody says otherwise."""
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(there)))
    await desk.compare()
    desk.calendar.hidden = {f"e{n}" for n in range(lost)}
    desk.clock.advance(600)


async def shown(desk: Desk) -> int:
    """Return how many bookings the copy holds."""
    return len(await desk.opened.store.calendars.load_stored(desk.room.uid))


async def test_full_read_that_lacks_many_frees_no_room(desk: Desk) -> None:
    """They are shown on; the room says why, its freshness stands still, and nothing is asked one by one."""
    await lack_most(desk)
    fresh_at = desk.room.fresh_as_of_at
    desk.calendar.calls.clear()
    applied = await desk.compare()
    assert applied.held_count == 8
    assert await shown(desk) == 10
    assert await desk.told() == []
    assert [problem.reason for problem in desk.room.problems] == ["DELETION_HELD"]
    assert desk.room.problems[0].metadata == {"bookings_count": "8"}
    assert desk.room.state is RoomState.DEGRADED
    assert desk.room.fresh_as_of_at == fresh_at
    assert desk.calendar.calls == ["delta", "view"]


async def test_check_while_bookings_are_held_does_not_make_the_room_fresh(desk: Desk) -> None:
    """A round says what changed since; what the full read contradicted is still open."""
    await lack_most(desk)
    fresh_at = desk.room.fresh_as_of_at
    await desk.compare()
    desk.clock.advance(60)
    await desk.check()
    assert desk.room.fresh_as_of_at == fresh_at
    assert [problem.reason for problem in desk.room.problems] == ["DELETION_HELD"]


async def test_held_bookings_go_when_a_later_read_agrees(desk: Desk) -> None:
    """Two reads, minutes apart: that is how the calendar is now."""
    await lack_most(desk)
    await desk.compare()
    desk.clock.advance(SECOND_READ.total_seconds())
    await desk.compare()
    assert await shown(desk) == 2
    assert {(item.kind, item.cause) for item in await desk.told()} == {(ChangeKind.REMOVED, Cause.DELETED)}
    assert desk.room.problems == []
    assert desk.room.fresh_as_of_at == desk.clock.now()
    assert await desk.opened.fetch("SELECT * FROM held_bookings") == []


async def test_held_bookings_stay_when_a_later_read_shows_them(desk: Desk) -> None:
    """The mailbox was being moved; nobody outside has noticed."""
    await lack_most(desk)
    await desk.compare()
    desk.calendar.hidden = set()
    desk.clock.advance(SECOND_READ.total_seconds())
    await desk.compare()
    assert await shown(desk) == 10
    assert await desk.told() == []
    assert desk.room.problems == []


async def test_read_that_follows_at_once_is_no_second_opinion(desk: Desk) -> None:
    """Whoever asked for it: it sees the same failure, and the first sighting stays what it was."""
    await lack_most(desk)
    await desk.compare()
    held = await desk.opened.store.calendars.load_held(desk.room.uid)
    desk.clock.advance(30)
    await desk.compare()
    assert await shown(desk) == 10
    assert await desk.opened.store.calendars.load_held(desk.room.uid) == held


async def test_read_that_lacks_others_than_the_first_frees_none_of_them(desk: Desk) -> None:
    """Two halves of an answer do not make a whole one."""
    await lack_most(desk, there=20, lost=8)
    await desk.compare()
    desk.calendar.hidden = {f"e{n}" for n in range(8, 16)}
    desk.clock.advance(SECOND_READ.total_seconds())
    applied = await desk.compare()
    assert applied.held_count == 8
    assert await shown(desk) == 20


async def test_many_deletions_that_delta_names_are_not_held(desk: Desk) -> None:
    """People do empty calendars: delta says so, the view says so, and a direct read of each decides."""
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(10)))
    await desk.compare()
    desk.calendar.drop(*(f"e{n}" for n in range(9)))
    await desk.check()
    assert await shown(desk) == 1
    assert desk.room.problems == []


async def test_first_link_is_kept_though_bookings_are_held(desk: Desk) -> None:
    """The next check goes on from there, and what it names is heard of at once."""
    await lack_most(desk)
    await desk.compare()
    desk.calendar.put(event("new", after(hours=30)))
    await desk.check()
    assert len(await desk.told()) == 1


async def test_mailbox_renamed_at_microsoft_is_shown_at_its_new_address(desk: Desk) -> None:
    """It goes on being read by its object id; the address follows, and its bookings are no news."""
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.compare()
    desk.calendar.identity = Identity(id="object-1", mail="New@contoso.example")
    applied = await desk.compare()
    assert desk.room.mailbox == "New@contoso.example"
    assert applied.changes_count == 0
    assert len(await desk.opened.store.calendars.load_stored(desk.room.uid)) == 1


async def test_address_that_the_mailbox_goes_by_is_kept(desk: Desk) -> None:
    """The caller may name a mailbox by its user's name, which need not be where its mail goes."""
    await desk.compare()
    name = desk.room.mailbox.upper()
    desk.calendar.identity = Identity(id="object-1", mail="main@contoso.example", user_principal_name=name)
    before = desk.room.mailbox
    await desk.compare()
    assert desk.room.mailbox == before


@pytest.mark.parametrize("mail", [None, "", "x" * 250 + "@contoso.example"])
async def test_address_that_is_none_is_not_taken_over(desk: Desk, mail: str | None) -> None:
    """The directory may say nothing of use."""
    await desk.compare()
    desk.calendar.identity = Identity(id="object-1", mail=mail)
    before = desk.room.mailbox
    await desk.compare()
    assert desk.room.mailbox == before


async def test_read_that_was_under_way_when_the_mailbox_was_replaced_is_dropped(desk: Desk) -> None:
    """What the former mailbox held is not shown as the new one's."""
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.compare()
    stale = desk.room
    await desk.opened.readdress(stale, "other@contoso.example", is_same_mailbox=False)
    assert await desk.sync.compare(stale, desk.tenant, lease=desk.lease) is None
    assert await desk.sync.check(stale, desk.tenant, lease=desk.lease) is None
    assert await desk.opened.store.calendars.load_stored(stale.uid) == {}
    applied = await desk.compare()
    assert applied.is_first


async def test_object_id_is_learned_once_it_may_be_known(desk: Desk) -> None:
    """The permission for the directory may be granted after the first read."""
    await desk.compare()
    await desk.opened.execute("UPDATE rooms SET object_id = NULL")
    known: list[str | None] = []
    for object_id in (None, "object-2", "object-3"):
        desk.calendar.identity = None if object_id is None else Identity(id=object_id, mail=desk.room.mailbox)
        await desk.compare()
        known.append(desk.room.object_id)
    assert known == [None, "object-2", "object-2"], "what is known is not replaced"
