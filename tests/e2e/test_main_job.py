"""The main job: what people do in Outlook arrives at watchers, and the copy equals the calendars."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from random import Random

import pytest
from exchange_client import ChangeKind, ExchangeClient, names, times
from exchange_client.messages import Booking, BookingChange, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.support.processes import Service, eventually, service_started
from tests.support.promises import prove_promises
from tests.support.scene import (
    Scene,
    booking_changes,
    directory_made,
    prove_copy,
    scene_set,
    tomorrow,
    wall,
)
from tests.support.stores import ENGINES
from tests.support.truth import ZONE

pytestmark = pytest.mark.e2e

DAILY = {"type": "daily", "interval": 1}


@pytest.fixture(scope="module", params=ENGINES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator
) -> Iterator[Service]:
    """Give a running service on each database; each test registers a tenant of its own at it."""
    with (
        store_of(request.param) as store,
        service_started(tmp_path_factory.mktemp("s"), emulator, **QUICK, **store) as running,
    ):
        yield running


@pytest.fixture
async def scene(service: Service, emulator: RunningEmulator) -> AsyncIterator[Scene]:
    """Give a tenant with one room; when the test ends, a full read of it must find nothing that was not announced."""
    async with scene_set(service, emulator) as ready:
        yield ready
        await prove_promises(ready)


def series(first: datetime, count: int) -> dict[str, object]:
    """Return a daily series."""
    end = {"type": "numbered", "startDate": first.date().isoformat(), "numberOfOccurrences": count}
    return {"pattern": DAILY, "range": end}


async def test_registered_tenant_becomes_active_and_its_rooms_come_up(
    service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=27) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        assert (await scene.register()).state == Tenant.STATE_VERIFYING
        tenant = await scene.state(Tenant.STATE_ACTIVE)
        assert not tenant.problems
        for number in range(2):
            room = await client.map_room(scene.tenant, f"single-{number}", directory.rooms[number])
            scene.rooms[room.name] = room.mailbox
        await scene.map_all()
        assert len(scene.rooms) == 27
        await scene.settled_rooms()
        assert await directory.subscribed() == sorted(directory.rooms)
        assert (await client.get_room(scene.room())).time_zone == ZONE  # the mailbox's own
        again = await client.map_rooms(scene.tenant, {"single-0": directory.rooms[0], "other": directory.rooms[1]})
        assert again[0].room is not None  # repeating is safe
        assert again[1].problem is not None
        assert again[1].problem.reason == "ROOM_EXISTS"


async def test_listing_then_watching_misses_nothing_while_people_work(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=4) as scene:
        office = scene.office(Random(11))
        await office.work(1.5, pause_s=0.1)
        window = tomorrow(0, days=-3), tomorrow(0, days=60)
        listing = await scene.client.list_bookings(names.all_rooms(scene.tenant_id), *window)
        await office.work(1.5, pause_s=0.1)
        rows = {booking.name: booking for booking in listing.bookings}
        gone: dict[str, int] = {}
        async with scene.watching(resume_token=listing.resume_token, complete=False) as watcher:
            await office.work(1.5, pause_s=0.1)

            async def equal() -> bool:
                rows.clear()
                gone.clear()
                rows.update((booking.name, booking) for booking in listing.bookings)
                for change in booking_changes(watcher.messages):
                    follow(rows, gone, change)
                assert await scene.directory.is_at_rest()
                for room in scene.rooms:
                    shown = [booking for name, booking in rows.items() if names.room_of(name) == room]
                    truth = await scene.directory.truth(scene.rooms[room], *window)
                    wanted = sorted(item["ical_uid"] for item in truth if not item["is_cancelled"])
                    assert sorted(booking.calendar_uid for booking in shown) == wanted
                return True

            await eventually(equal, "listing and changes together equal the calendars", service=service)
            assert not [
                m for m in watcher.messages if getattr(m, "WhichOneof", lambda _: "")("event") == "snapshot_start"
            ]
        await prove_copy(scene)


def follow(rows: dict[str, Booking], gone: dict[str, int], change: BookingChange) -> None:
    """Apply one change by the rules, to a copy that began with a listing."""
    booking = change.booking
    known = max(rows[booking.name].revision if booking.name in rows else -1, gone.get(booking.name, -1))
    if booking.revision <= known:
        return
    if change.kind == BookingChange.KIND_UPSERTED:
        rows[booking.name] = booking
    else:
        rows.pop(booking.name, None)
        gone[booking.name] = booking.revision


async def test_booking_is_pending_until_the_room_answers_and_only_then_shows_a_subject(scene: Scene) -> None:
    async with scene.watching() as watcher:
        await scene.directory.book(scene.mailbox(), tomorrow(), subject="CANARY-merger")
        await scene.converged(watcher)
        (booking,) = watcher.mirror.bookings(scene.room())
        assert booking.state == Booking.STATE_CONFIRMED
        assert booking.organizer.email == scene.directory.people[0]
        assert booking.subject.strip() == booking.organizer.display_name  # what this room shows instead
        assert "CANARY" not in str(watcher.messages)


async def test_moved_meeting_keeps_its_name(scene: Scene) -> None:
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        (before,) = watcher.mirror.bookings(scene.room())
        start, end = wall(tomorrow(15)), wall(tomorrow(16))
        await scene.directory.act("move", meeting=made["meeting"], start=start, end=end)
        await scene.converged(watcher)
        (after,) = watcher.mirror.bookings(scene.room())
        assert after.name == before.name
        assert after.revision > before.revision
        assert times.to_datetime(after.time.start_time) == tomorrow(15)


@pytest.mark.parametrize("is_kept", [True, False])
async def test_cancelled_meeting_frees_the_room_and_is_listed_only_on_request(scene: Scene, is_kept: bool) -> None:
    window = tomorrow(0), tomorrow(0, days=3)
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow(), cancel_kept=is_kept)
        await scene.converged(watcher)
        await scene.directory.act("cancel", meeting=made["meeting"])
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room()) == []
        last = watcher.changes[-1] if watcher.changes[-1].cause else watcher.changes[-2]
        assert last.kind is ChangeKind.REMOVED
        assert last.cause == (BookingChange.CAUSE_CANCELLED if is_kept else BookingChange.CAUSE_DELETED)
        assert (await scene.client.list_bookings(scene.room(), *window)).bookings == []
        shown = (await scene.client.list_bookings(scene.room(), *window, show_cancelled=True)).bookings
        assert [booking.state for booking in shown] == [Booking.STATE_CANCELLED] * is_kept


async def test_series_arrives_as_occurrences_that_share_an_id(scene: Scene) -> None:
    async with scene.watching() as watcher:
        await scene.directory.book(scene.mailbox(), tomorrow(), recurrence=series(tomorrow(), 5))
        await scene.converged(watcher)
        found = watcher.mirror.bookings(scene.room())
        assert [times.to_datetime(b.time.start_time) for b in found] == [tomorrow(days=day) for day in range(1, 6)]
        assert len({booking.recurrence.series_id for booking in found}) == 1


async def test_single_occurrence_is_moved_and_another_cancelled(scene: Scene) -> None:
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow(), recurrence=series(tomorrow(), 5))
        await scene.converged(watcher)
        names_before = {booking.name for booking in watcher.mirror.bookings(scene.room())}
        moved, cancelled = tomorrow(days=2), tomorrow(days=4)
        start, end = wall(tomorrow(17, days=2)), wall(tomorrow(18, days=2))
        which = {"meeting": made["meeting"], "occurrence": moved.date().isoformat()}
        await scene.directory.act("move", **which, start=start, end=end)
        await scene.converged(watcher)
        await scene.directory.act("cancel", meeting=made["meeting"], occurrence=cancelled.date().isoformat())
        await scene.converged(watcher)
        found = watcher.mirror.bookings(scene.room())
        assert len(found) == 4
        assert {booking.name for booking in found} < names_before
        (exception,) = (booking for booking in found if booking.recurrence.exception)
        assert times.to_datetime(exception.time.start_time) == tomorrow(17, days=2)
        assert times.to_datetime(exception.recurrence.original_start_time) == moved


async def test_cancelled_series_frees_every_occurrence(scene: Scene) -> None:
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow(), recurrence=series(tomorrow(), 5))
        await scene.converged(watcher)
        assert len(watcher.mirror.bookings(scene.room())) == 5
        await scene.directory.act("cancel", meeting=made["meeting"])
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room()) == []


async def test_second_meeting_at_one_time_is_declined_and_leaves_the_first(scene: Scene) -> None:
    async with scene.watching() as watcher:
        first = await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        await scene.directory.book(scene.mailbox(), tomorrow(), organizer=scene.directory.people[1])
        await scene.converged(watcher)
        (booking,) = watcher.mirror.bookings(scene.room())
        assert booking.calendar_uid == first["ical_uid"]


async def test_private_meeting_shows_time_and_organizer_only(service: Service, emulator: RunningEmulator) -> None:
    settings = {"RemovePrivateProperty": False, "DeleteSubject": False, "AddOrganizerToSubject": False}
    async with scene_set(service, emulator, **settings) as scene, scene.watching() as watcher:
        people = scene.directory.people
        made = await scene.directory.book(
            scene.mailbox(), tomorrow(), subject="CANARY-secret", sensitivity="private", attendees=[people[1]]
        )
        await scene.directory.book(scene.mailbox(), tomorrow(12), subject="Open to all")
        await scene.converged(watcher)
        hidden, shown = watcher.mirror.bookings(scene.room())
        assert (hidden.subject, hidden.is_private, len(hidden.attendees)) == ("", True, 0)
        assert hidden.organizer.email == people[0]
        assert shown.subject == "Open to all"
        await scene.directory.act("edit", meeting=made["meeting"], sensitivity="normal")
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room())[0].subject == "CANARY-secret"


async def test_whole_day_runs_from_midnight_to_midnight_of_the_room(scene: Scene) -> None:
    async with scene.watching() as watcher:
        day = tomorrow(0, days=2)
        await scene.directory.book(scene.mailbox(), day, hours=24, all_day=True, time_zone="America/New_York")
        await scene.converged(watcher)
        (booking,) = watcher.mirror.bookings(scene.room())
        assert booking.all_day
        offset = times.to_datetime(booking.time.start_time) - day
        assert offset in (timedelta(hours=-1), timedelta(hours=-2))  # Berlin is ahead of UTC
        assert times.to_datetime(booking.time.end_time) - times.to_datetime(booking.time.start_time) <= timedelta(
            hours=25
        )


async def test_meeting_before_the_horizon_is_not_shown_until_it_moves_inside(scene: Scene) -> None:
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow(days=-40))
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room()) == []
        start, end = wall(tomorrow()), wall(tomorrow(10))
        await scene.directory.act("move", meeting=made["meeting"], start=start, end=end)
        await scene.converged(watcher)
        assert len(watcher.mirror.bookings(scene.room())) == 1
        start, end = wall(tomorrow(days=-40)), wall(tomorrow(10, days=-40))
        await scene.directory.act("move", meeting=made["meeting"], start=start, end=end)
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room()) == []
        assert watcher.changes[-1].cause == BookingChange.CAUSE_OUTSIDE_HORIZON


async def test_item_deleted_in_the_room_disappears(scene: Scene) -> None:
    async with scene.watching() as watcher:
        made = await scene.directory.book(scene.mailbox(), tomorrow())
        await scene.converged(watcher)
        event = made["events"][scene.mailbox()]
        await scene.directory.act("delete_from_room", address=scene.mailbox(), event=event)
        await scene.converged(watcher)
        assert watcher.mirror.bookings(scene.room()) == []


async def test_watch_of_one_room_hears_of_no_other(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator, rooms=2) as scene, scene.watching(scene.room(0)) as watcher:
        for mailbox in scene.rooms.values():
            await scene.directory.book(mailbox, tomorrow())
        window = tomorrow(0), tomorrow(0, days=2)

        async def both_listed() -> bool:
            found = (await scene.client.list_bookings(names.all_rooms(scene.tenant_id), *window)).bookings
            return len(found) == 2 and all(booking.state == Booking.STATE_CONFIRMED for booking in found)

        await eventually(both_listed, "both rooms have their booking", service=service)
        await eventually(lambda: watcher.mirror.bookings(scene.room(0)), "the watcher hears", service=service)
        assert watcher.mirror.bookings(scene.room(1)) == []
        assert {change.room for change in watcher.changes if change.room} == {scene.room(0)}
