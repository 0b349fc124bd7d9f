"""What is not stored cannot leak: words and people go through the whole service, and everything it keeps is searched.

Debug logs, watchers, notifications, checks, full reads, series, exceptions, edits and cancellations are all on the way. Where
they are to be stored they are found, so each search is one that can fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from exchange_client import Reconnected
from exchange_client.messages import Booking, TenantSettings

from sidecar.emulator.fixture import RunningEmulator
from tests.e2e.conftest import QUICK, store_of
from tests.e2e.test_main_job import series
from tests.support.at_rest import everything_kept
from tests.support.collector import FakeCollector, collecting
from tests.support.processes import Service, eventually, service_started
from tests.support.scene import Scene, Watcher, directory_made, scene_set, tomorrow, wall
from tests.support.stores import ENGINES

pytestmark = pytest.mark.e2e

AS_TYPED = {"DeleteSubject": False, "AddOrganizerToSubject": False, "RemovePrivateProperty": False}
"""Settings of rooms whose calendars show what people typed."""
STORED, HASHED, MASKED = (
    TenantSettings.VISIBILITY_STORED,
    TenantSettings.VISIBILITY_HASHED,
    TenantSettings.VISIBILITY_MASKED,
)


@pytest.fixture(scope="module")
def collector() -> Iterator[FakeCollector]:
    """Give what all traces go to."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="module", params=ENGINES)
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    emulator: RunningEmulator,
    collector: FakeCollector,
) -> Iterator[Service]:
    """Give a talkative service that checks every other second and traces everything, on each database."""
    traced = {"TELEMETRY__OTLP_ENDPOINT": collector.url, "TELEMETRY__TRACE_RATIO": "1"}
    settings = {**QUICK, **traced, "LOG__LEVEL": "debug", "SYNC__CHECK_INTERVAL_S": "2"}
    with (
        store_of(request.param) as store,
        service_started(tmp_path_factory.mktemp("s"), emulator, **settings, **store) as running,
    ):
        yield running


@dataclass(frozen=True, slots=True)
class Canaries:
    """What nothing else in the service's database is called."""

    subject: str
    private: str
    organizer: str
    guest: str

    def found_in(self, kept: bytes) -> set[str]:
        """Return the names of those that are in there, however they are written."""
        kept = kept.lower()
        return {name for name in self.__slots__ if getattr(self, name).lower().encode() in kept}


@asynccontextmanager
async def worked_in(
    service: Service,
    emulator: RunningEmulator,
    settings: TenantSettings | None,
    *,
    with_edits: bool = True,
    **room: Any,
) -> AsyncIterator[tuple[Scene, Watcher, Canaries]]:
    """Give a tenant with settings in whose room people have done all kinds of things under a watcher (Any: room settings)."""
    async with scene_set(service, emulator, rooms=0) as scene:
        if settings is not None:
            await scene.client.update_tenant(scene.tenant, settings=settings)
        mark = scene.directory.id[:8]
        names = Canaries(f"CANARYsubject{mark}", f"CANARYprivate{mark}", f"CANARYada{mark}", f"CANARYeve{mark}")
        people = [
            {"address": f"{name}@{scene.directory.domain}", "display_name": name}
            for name in (names.organizer, names.guest)
        ]
        await scene.directory.call("POST", "users", {"users": people})
        await scene.directory.add_rooms(1, **room)
        await scene.map_all()
        await scene.settled_rooms()
        async with scene.watching() as watcher:
            await _work(scene, names, with_edits=with_edits)
            yield scene, watcher, names


async def _work(scene: Scene, names: Canaries, *, with_edits: bool) -> None:
    act, room = scene.directory.act, scene.mailbox()
    organizer, guest = (f"{name}@{scene.directory.domain}" for name in (names.organizer, names.guest))

    async def book(hour: int, **more: Any) -> str:  # Any: JSON
        body = {"organizer": organizer, "attendees": [guest], "subject": names.subject, "body": names.subject}
        return str((await scene.directory.book(room, tomorrow(hour), **{**body, **more}))["meeting"])

    await book(1)
    await book(2, sensitivity="private", subject=names.private)
    daily = await book(3, recurrence=series(tomorrow(3), 4))
    cancelled = await book(4, cancel_kept=True)
    edited = await book(5)
    await _settled(scene, 8)
    second = {"meeting": daily, "occurrence": tomorrow(days=2).date().isoformat()}
    if with_edits:
        await act("edit", **second, subject=f"{names.subject} exception")
        await act("edit", meeting=edited, subject=f"{names.subject} edited")
    await act("move", **second, start=wall(tomorrow(20, days=2)), end=wall(tomorrow(21, days=2)))
    await act("cancel", meeting=cancelled)
    await _settled(scene, 7)
    # Unannounced, for the checks and the full read to find.
    await scene.directory.call("POST", "deliveries/drop")
    await book(6, subject=f"{names.subject} unheard")
    await eventually(scene.directory.is_at_rest, "the room has answered")
    await scene.directory.call("POST", "deliveries/resume")
    await scene.client.resync_room(scene.room())
    await _settled(scene, 8)
    if with_edits:
        await act("edit", meeting=edited, subject=f"{names.subject} at last")
        await _settled(scene, 8)


async def _settled(scene: Scene, count: int) -> list[Booking]:
    """Wait until the room shows so many answered bookings, at the versions that Outlook has, and return them."""
    window = tomorrow(0), tomorrow(0, days=9)

    async def shown() -> list[Booking]:
        assert await scene.directory.is_at_rest()
        found = (await scene.client.list_bookings(scene.room(), *window, show_cancelled=True)).bookings
        items = await scene.directory.truth(scene.mailbox(), *window)
        wanted = sorted((item["ical_uid"], item["start"][:16], item["is_cancelled"]) for item in items)
        told = sorted(
            (
                booking.calendar_uid,
                booking.time.start_time.ToDatetime().isoformat()[:16],
                booking.state == Booking.STATE_CANCELLED,
            )
            for booking in found
        )
        assert told == wanted
        taken = [booking for booking in found if booking.state == Booking.STATE_CONFIRMED]
        assert len(taken) == count
        return taken

    return await eventually(shown, f"{count} bookings are shown", service=scene.service)


async def kept(service: Service) -> bytes:
    return await asyncio.to_thread(everything_kept, service)


async def test_what_is_stored_by_default_is_found_and_private_words_are_not(
    service: Service, emulator: RunningEmulator, collector: FakeCollector
) -> None:
    """The search finds what is there; of a private meeting its subject alone is not. Logs and traces have none of it."""
    async with worked_in(service, emulator, None, **AS_TYPED) as (scene, watcher, names):
        assert names.found_in(await kept(service)) == {"subject", "organizer", "guest"}
        assert names.found_in(str(watcher.messages).encode()) == {"subject", "organizer", "guest"}
        assert names.found_in(service.log_file.read_bytes()) == set()
        tenant = (await scene.client.get_tenant(scene.tenant)).directory_id
        await eventually(lambda: {"room.sync", "room.check", "commit"} <= set(collector.names), "traces of it all")
        sent = b"".join(request.body for request in collector.requests)
        assert names.found_in(sent) == set()
        for word in (tenant, scene.directory.domain, scene.mailbox(), scene.tenant_id, scene.directory.secret):
            assert word.lower().encode() not in sent.lower(), word
        private = [booking for booking in await _settled(scene, 8) if booking.is_private]
        assert [booking.subject_state for booking in private] == [Booking.SUBJECT_STATE_PRIVATE]


async def test_private_words_are_kept_where_a_tenant_wants_them(service: Service, emulator: RunningEmulator) -> None:
    like_others = TenantSettings(private_events=TenantSettings.PRIVATE_EVENTS_LIKE_OTHERS)
    async with worked_in(service, emulator, like_others, **AS_TYPED) as (_, __, names):
        assert names.found_in(await kept(service)) == {"subject", "private", "organizer", "guest"}


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"subject_visibility": MASKED}, {"organizer", "guest"}),
        ({"subject_visibility": HASHED, "attendee_visibility": HASHED}, {"organizer"}),
        ({"organizer_visibility": MASKED, "attendee_visibility": MASKED}, {"subject"}),
        ({"organizer_visibility": HASHED}, {"subject", "guest"}),
    ],
    ids=["subjects masked", "subjects and attendees hashed", "people masked", "organizers hashed"],
)
async def test_what_a_tenant_does_not_want_stored_is_nowhere(
    service: Service, emulator: RunningEmulator, settings: dict[str, Any], found: set[str]
) -> None:
    async with worked_in(service, emulator, TenantSettings(**settings), **AS_TYPED) as (scene, watcher, names):
        assert names.found_in(await kept(service)) == found
        assert names.found_in(str(watcher.messages).encode()) == found
        if settings.get("subject_visibility") == HASHED:
            hashes = {booking.subject_hash for booking in await _settled(scene, 8) if not booking.is_private}
            assert len(hashes) == 4  # as typed, of the exception, unheard, and at last


async def test_subject_that_the_room_hides_is_nowhere_nor_is_the_hidden_organizer_it_shows_instead(
    service: Service, emulator: RunningEmulator
) -> None:
    """Exchange shows the typed subject until the room has answered, and the organizer's name from then on.

    An edit is shown as typed as well until the room has seen to it, but as answered: that cannot be told from a settled one.
    """
    hidden = TenantSettings(organizer_visibility=MASKED)
    async with worked_in(service, emulator, hidden, with_edits=False) as (scene, watcher, names):
        assert names.found_in(await kept(service)) == {"guest"}
        assert names.found_in(str(watcher.messages).encode()) == {"guest"}
        for booking in await _settled(scene, 8):
            assert booking.subject_state == Booking.SUBJECT_STATE_MASKED


async def test_settings_made_stricter_erase_what_is_stored_and_what_watchers_have(
    service: Service, emulator: RunningEmulator
) -> None:
    """Copy, log, files, a backup from then on, the mirror of a live watcher, and what a token from before leads to."""
    async with worked_in(service, emulator, None, **AS_TYPED) as (scene, watcher, names):
        assert names.found_in(await kept(service)) == {"subject", "organizer", "guest"}
        first = next(m for m in watcher.messages if not isinstance(m, Reconnected) and m.resume_token)
        masked = TenantSettings(subject_visibility=MASKED, organizer_visibility=MASKED, attendee_visibility=MASKED)
        await scene.client.update_tenant(scene.tenant, settings=masked)

        async def erased() -> bool:
            return not (await scene.client.get_tenant(scene.tenant)).HasField("erase_start_time")

        await eventually(erased, "nothing is left to be erased", service=service)
        assert names.found_in(await kept(service)) == set()

        def mirrored() -> bool:
            return not names.found_in(str(watcher.mirror.bookings(scene.room())).encode())

        await eventually(mirrored, "the watcher's mirror has lost the words", service=service)
        async with scene.watching(resume_token=first.resume_token, complete=False) as later:
            await eventually(lambda: later.mirror.is_complete(scene.room()), "a new snapshot", service=service)
            assert names.found_in(str(later.messages).encode()) == set()
            assert len(later.mirror.bookings(scene.room())) == 8


async def test_settings_made_looser_read_the_calendars_anew(service: Service, emulator: RunningEmulator) -> None:
    masked = TenantSettings(subject_visibility=MASKED)
    async with worked_in(service, emulator, masked, **AS_TYPED) as (scene, watcher, names):
        await scene.client.update_tenant(scene.tenant, reset=["subject_visibility"])

        def shown() -> bool:
            bookings = watcher.mirror.bookings(scene.room())
            return all(names.subject in booking.subject for booking in bookings if not booking.is_private)

        await eventually(shown, "the watcher is told the subjects", service=service)
        assert await service.metric("room_drift_total") == 0


async def test_horizon_of_one_tenant_moves_under_its_watchers(service: Service, emulator: RunningEmulator) -> None:
    async with directory_made(emulator), worked_in(service, emulator, None, **AS_TYPED) as (scene, watcher, _):
        await scene.client.update_tenant(scene.tenant, settings=TenantSettings(past_days=0, future_days=2))
        await eventually(
            lambda: len(watcher.mirror.bookings(scene.room())) == 6, "two occurrences leave", service=service
        )
        await scene.client.update_tenant(scene.tenant, reset=["past_days", "future_days"])
        await eventually(lambda: len(watcher.mirror.bookings(scene.room())) == 8, "and come back", service=service)
        assert await service.metric("room_drift_total") == 0
