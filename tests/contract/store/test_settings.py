"""Tenants' settings: who may change them, what follows from a change, and that what is to go goes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sidecar.errors import EtagMismatch, StoreConflict, StoreUnavailable, TenantNotFound
from sidecar.model.change import ChangeKind
from sidecar.model.intent import IntentKind, Lease
from sidecar.model.privacy import DEFAULT_PRIVACY, Privacy, Visibility
from sidecar.model.tenant import Tenant
from sidecar.model.tenant_settings import NO_SETTINGS, TenantSettings
from sidecar.model.window import to_micros
from sidecar.store.postgres import PostgresEngine
from sidecar.store.tenants import Change
from tests.support.builders import (
    HORIZON,
    TENANT,
    after,
    always,
    complete_read,
    make_booking,
    make_registration,
    removal,
    upsert,
)
from tests.support.stores import ManualClock, OpenStore, decoded

SUBJECT = "CANARY-subject-77ab"
MASKED = Privacy(subject=Visibility.MASKED)


def to(settings: TenantSettings) -> Change:
    """Return the change to these settings, whatever they are now."""
    return lambda display_name, _: (display_name, settings)


async def update(opened: OpenStore, *, etag: str = "", **settings: Any) -> Tenant:  # any of them
    return await opened.store.tenants.update(TENANT, to(TenantSettings(**settings)), etag=etag)


async def revision(opened: OpenStore) -> int:
    """Return the number of the newest entry, also of a tenant that is deleted."""
    ((found,),) = await opened.fetch("SELECT revision FROM tenants")
    return int(found)


async def due(opened: OpenStore, kind: IntentKind) -> list[tuple[str, int]]:
    found = await opened.fetch("SELECT key, ready_at FROM intents WHERE kind = $1 ORDER BY key", kind)
    return [(str(row[0]), int(row[1])) for row in found]


async def kept(opened: OpenStore) -> bytes:
    """Return everything that is kept: the files; of a PostgreSQL the rows of all tables, as its dead ones are its own."""
    if not isinstance(opened.engine, PostgresEngine):
        return opened.bytes_at_rest()
    tables = await opened.fetch("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
    rows = [await opened.fetch(f"SELECT * FROM {table}") for (table,) in tables]
    # Bytes are shown as they are, so that a text in them is found.
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for found in rows for row in found for value in row
    )


async def test_settings_are_kept_and_the_same_again_is_no_new_version(opened: OpenStore) -> None:
    before = await opened.add_tenant()
    assert before.settings == NO_SETTINGS
    wanted = TenantSettings(past_days=0, future_days=30, check_interval_s=60, privacy=MASKED)
    changed = await opened.store.tenants.update(TENANT, to(wanted), etag=str(before.version))
    assert (changed.settings, changed.version) == (wanted, before.version + 1)
    assert await opened.store.tenants.load(TENANT) == changed
    again = await opened.store.tenants.update(TENANT, to(wanted), etag=str(before.version))
    assert again == changed


async def test_change_of_another_version_is_refused(opened: OpenStore) -> None:
    before = await opened.add_tenant()
    await update(opened, past_days=3)
    with pytest.raises(EtagMismatch):
        await update(opened, past_days=4, etag=str(before.version))
    assert (await opened.store.tenants.load(TENANT)).settings.past_days == 3


async def test_tenant_that_is_missing_or_being_deleted_is_not_changed(opened: OpenStore) -> None:
    with pytest.raises(TenantNotFound):
        await update(opened, past_days=3)
    await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="")
    with pytest.raises(TenantNotFound):
        await update(opened, past_days=3)


async def test_registration_without_settings_leaves_those_that_are(opened: OpenStore) -> None:
    wanted = TenantSettings(past_days=2)
    made = await opened.store.tenants.register(make_registration(settings=wanted))
    assert made.settings == wanted
    assert (await opened.store.tenants.register(make_registration())).settings == wanted
    other = await opened.store.tenants.register(make_registration(settings=NO_SETTINGS))
    assert (other.settings, other.version) == (NO_SETTINGS, made.version + 1)


async def test_rooms_know_their_tenants_settings(opened: OpenStore) -> None:
    """Every process loads a room before it does something for it, so a change needs no restart."""
    await opened.add_tenant()
    room = await opened.add_room()
    assert room.settings == NO_SETTINGS
    await update(opened, check_interval_s=120)
    assert (await opened.reload(room)).settings.check_interval_s == 120


@pytest.mark.parametrize("change", [{"future_days": 3}, {"privacy": MASKED}])
async def test_other_horizon_or_visibility_has_every_calendar_read_now(
    opened: OpenStore, change: dict[str, Any]
) -> None:
    tenant = await opened.add_tenant()
    rooms = [await opened.add_filled_room(name) for name in ("r1", "r2")]
    await opened.execute("DELETE FROM intents WHERE lane = $1", tenant.uid)
    await update(opened, **change)
    assert await due(opened, IntentKind.ROOM_COMPARE) == sorted((room.uid, to_micros(after())) for room in rooms)
    assert await due(opened, IntentKind.ROOM_CHECK) == []


@pytest.mark.parametrize(("interval_s", "within_s"), [(60, 60), (None, 900)])
async def test_other_pace_has_every_room_checked_within_the_new_time(
    opened: OpenStore, interval_s: int | None, within_s: int
) -> None:
    """Else a shorter time would only hold after the longer one."""
    await opened.store.tenants.register(make_registration(settings=TenantSettings(check_interval_s=21_600)))
    rooms = [await opened.add_filled_room(f"r{number}") for number in range(5)]
    tenant_uid = await opened.tenant_uid()
    await opened.execute("DELETE FROM intents WHERE lane = $1", tenant_uid)
    await update(opened, check_interval_s=interval_s)
    checks = await due(opened, IntentKind.ROOM_CHECK)
    assert [key for key, _ in checks] == sorted(room.uid for room in rooms)
    assert all(to_micros(after()) <= at <= to_micros(after(seconds=within_s)) for _, at in checks)
    assert len({at for _, at in checks}) == len(rooms)
    assert await due(opened, IntentKind.ROOM_COMPARE) == []


async def test_read_under_former_settings_writes_nothing(opened: OpenStore) -> None:
    """It may hold what is not to be kept; the full read that the change made due does its work."""
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    await update(opened, privacy=MASKED)
    plan = always(upsert(make_booking("b1", subject=SUBJECT)))
    complete = complete_read(began_at=opened.clock.now())
    assert await opened.store.calendars.apply(room, plan, lease=None, complete=complete) is None
    assert SUBJECT.encode() not in await kept(opened)
    room = await opened.reload(room)
    assert await opened.store.calendars.apply(room, plan, lease=None, complete=complete) is not None


async def test_pace_alone_leaves_a_read_that_is_under_way(opened: OpenStore) -> None:
    await opened.add_tenant()
    room = await opened.add_filled_room("r1")
    await update(opened, check_interval_s=120)
    assert await opened.store.calendars.apply(room, always(upsert(make_booking())), lease=None) is not None


async def test_stricter_visibility_erases_copy_log_and_files(opened: OpenStore) -> None:
    """Without a word from Exchange: the booking, its changes and the one that is gone already."""
    tenant = await opened.add_tenant()
    subjects = [make_booking(f"b{number}", subject=f"{SUBJECT}-{number}") for number in range(5)]
    room = await opened.add_filled_room("r1", *subjects)
    changed = make_booking("b0", subject=f"{SUBJECT}-other")
    await opened.store.calendars.apply(room, always(upsert(changed), removal("b1")), lease=None)
    assert SUBJECT.encode() in await kept(opened)
    started = await update(opened, privacy=MASKED)
    assert started.erasing_since_at == after()
    assert await due(opened, IntentKind.TENANT_ERASE) == [(tenant.uid, to_micros(after()))]
    assert await opened.store.erasure.run(tenant.uid, lease=None) == 4
    assert SUBJECT.encode() not in await kept(opened)
    assert (await opened.store.tenants.load(TENANT)).erasing_since_at is None


@pytest.mark.parametrize("way", ["removed", "unmapped", "readdressed"])
@pytest.mark.parametrize("visibility", [Visibility.MASKED, Visibility.HASHED])
async def test_booking_that_leaves_before_it_is_erased_takes_no_words_with_it(
    opened: OpenStore, way: str, visibility: Visibility
) -> None:
    """The entry of its departure is newer than the log that is erased."""
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room("r1", make_booking("b1", subject=SUBJECT))
    await update(opened, privacy=Privacy(subject=visibility))
    room = await opened.reload(room)
    match way:
        case "removed":
            assert await opened.store.calendars.apply(room, always(removal("b1")), lease=None) is not None
        case "unmapped":
            await opened.store.rooms.unmap(TENANT, room.room_id, etag="")
        case "readdressed":
            await opened.readdress(room, "other@example.com", is_same_mailbox=False)
    await opened.store.erasure.run(tenant.uid, lease=None)
    assert SUBJECT.encode() not in await kept(opened)


async def test_watchers_hear_of_what_was_erased_and_those_from_before_begin_anew(opened: OpenStore) -> None:
    """A live reader's mirror loses the words, too; a token from before finds its place gone."""
    tenant = await opened.add_tenant()
    taken, freed = make_booking("b1", subject=SUBJECT), make_booking("b2", subject=SUBJECT)
    room = await opened.add_filled_room("r1", taken)
    await opened.store.calendars.apply(room, always(upsert(freed, kind=None)), lease=None)
    before = await opened.head()
    await update(opened, privacy=MASKED)
    await opened.store.erasure.run(tenant.uid, lease=None)
    entries, head = await opened.store.changes.read(tenant.uid, after_revision=before, count_max=100)
    assert head is not None
    assert (head.floor, head.revision) == (before, before + len(entries))
    told = {entry.booking_key: decoded(entry.body) for entry in entries if entry.kind is ChangeKind.UPSERTED}
    assert {key: shown["subject"] for key, shown in told.items()} == {"b1": "", "b2": ""}
    stored = await opened.fetch("SELECT key, revision, body FROM bookings ORDER BY key")
    assert [decoded(bytes(row[2]))["revision"] for row in stored] == [row[1] for row in stored]
    assert [row[1] for row in stored] == [entry.revision for entry in entries]


@pytest.mark.parametrize("is_deleted", [False, True], ids=["suspended", "deleted"])
async def test_words_are_erased_though_nothing_else_is_done_for_a_tenant(opened: OpenStore, is_deleted: bool) -> None:
    """Its lane is held, and a deleted one's log has ended; the customer's words go all the same."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await update(opened, privacy=MASKED)
    if is_deleted:
        await opened.store.lifecycle.delete(TENANT, etag="", grace=timedelta(days=30))
    else:
        await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    head = await revision(opened)
    (lane,) = await opened.store.intents.due_lanes(count_max=9)
    lease = await opened.store.intents.take_lane(lane, owner="test:1", lease_s=10)
    (intent,) = await opened.store.intents.due(lane, count_max=9)
    assert (intent.kind, intent.key) == (IntentKind.TENANT_ERASE, tenant.uid)
    assert await opened.store.erasure.run(tenant.uid, lease=lease) == 1
    assert SUBJECT.encode() not in await kept(opened)
    assert await revision(opened) == head + (0 if is_deleted else 1)


async def test_erasure_whose_lease_is_lost_stops(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await update(opened, privacy=MASKED)
    with pytest.raises(StoreConflict):
        await opened.store.erasure.run(tenant.uid, lease=Lease(tenant.uid, 7))


async def test_settings_that_become_stricter_again_meanwhile_are_obeyed_as_well(opened: OpenStore) -> None:
    """The first change is not told as done while the second is not."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await update(opened, privacy=Privacy(attendees=Visibility.MASKED))
    scrub, runs = opened.engine.scrub, []

    async def change_first() -> None:
        runs.append(1)
        if len(runs) == 1:
            await update(opened, privacy=replace(MASKED, attendees=Visibility.MASKED))
        await scrub()

    opened.engine.scrub = change_first  # type: ignore[method-assign]
    await opened.store.erasure.run(tenant.uid, lease=None)
    assert len(runs) == 2
    assert SUBJECT.encode() not in await kept(opened)
    assert (await opened.store.tenants.load(TENANT)).erasing_since_at is None


async def test_erasing_again_finds_nothing_to_do(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await update(opened, privacy=MASKED)
    await opened.store.erasure.run(tenant.uid, lease=None)
    head = await opened.head()
    assert await opened.store.erasure.run(tenant.uid, lease=None) == 0
    assert await opened.head() == head


async def test_erasure_that_was_cut_off_is_told_until_it_is_done(opened: OpenStore) -> None:
    """What is told as erased is gone from the files."""
    tenant = await opened.add_tenant()
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await update(opened, privacy=MASKED)

    async def fail() -> None:
        raise StoreUnavailable("somebody reads")

    scrub = opened.engine.scrub
    opened.engine.scrub = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await opened.store.erasure.run(tenant.uid, lease=None)
    assert (await opened.store.tenants.load(TENANT)).erasing_since_at is not None
    opened.engine.scrub = scrub  # type: ignore[method-assign]
    assert await opened.store.erasure.run(tenant.uid, lease=None) == 0
    assert (await opened.store.tenants.load(TENANT)).erasing_since_at is None
    assert SUBJECT.encode() not in await kept(opened)


async def test_new_tenant_has_nothing_to_erase(opened: OpenStore) -> None:
    tenant = await opened.store.tenants.register(make_registration(settings=TenantSettings(privacy=MASKED)))
    assert tenant.erasing_since_at is None
    assert await due(opened, IntentKind.TENANT_ERASE) == []


async def test_looser_visibility_erases_nothing(opened: OpenStore) -> None:
    await opened.store.tenants.register(make_registration(settings=TenantSettings(privacy=MASKED)))
    await opened.add_filled_room("r1", make_booking(subject=""))
    assert (await update(opened)).erasing_since_at is None
    assert await due(opened, IntentKind.TENANT_ERASE) == []


async def test_what_a_looser_read_finds_is_told_and_is_no_drift(opened: OpenStore) -> None:
    """Nobody changed it in Exchange. Drift is proof, so it must not cry wolf."""
    await opened.store.tenants.register(make_registration(settings=TenantSettings(privacy=MASKED)))
    room = await opened.add_room()
    await opened.fill(room, make_booking(subject=""))
    await update(opened)
    room = replace(await opened.reload(room), is_subscribed=True)
    applied = await opened.fill(room, make_booking(subject=SUBJECT, updated_at=after(days=-9)))
    assert (applied.changes_count, applied.unannounced_count, applied.drift_count) == (1, 0, 0)
    room = replace(await opened.reload(room), is_subscribed=True)
    assert room.read_privacy == DEFAULT_PRIVACY
    applied = await opened.fill(room, make_booking(subject="Other", updated_at=after(days=-9)), horizon=HORIZON)
    assert (applied.changes_count, applied.unannounced_count) == (1, 1)


async def test_key_for_hashes_is_made_once_and_sealed(opened: OpenStore, clock: ManualClock) -> None:
    """Equal people stay equal for as long as the tenant is there, whatever its settings were meanwhile."""
    tenant = await opened.add_tenant()
    hashed = Privacy(organizer=Visibility.HASHED)
    await update(opened, privacy=hashed)
    key = await opened.store.tenants.load_hash_key(tenant.uid)
    assert len(key) == 32
    assert key not in await kept(opened)
    await update(opened)
    await update(opened, privacy=replace(hashed, subject=Visibility.HASHED))
    assert await opened.store.tenants.load_hash_key(tenant.uid) == key
    other = await opened.add_tenant("other")
    await opened.store.tenants.update(other.tenant_id, to(TenantSettings(privacy=hashed)), etag="")
    assert await opened.store.tenants.load_hash_key(other.uid) != key


async def test_settings_of_one_tenant_leave_others_alone(opened: OpenStore) -> None:
    await opened.add_tenant()
    other = await opened.add_tenant("other")
    await opened.add_filled_room("r1", make_booking(subject=SUBJECT))
    await opened.store.tenants.update(other.tenant_id, to(TenantSettings(privacy=MASKED)), etag="")
    await opened.store.erasure.run(other.uid, lease=None)
    assert re.search(SUBJECT.encode(), await kept(opened))
    assert (await opened.store.tenants.load(TENANT)).settings == NO_SETTINGS
