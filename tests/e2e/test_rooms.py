"""Rooms that are found, imported, renamed and replaced, by processes that talk to each other as they do in life."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from exchange_client import ChangeKind, ExchangeError, Reconnected
from exchange_client.messages import BookingChange, Room, SnapshotReason, UnmapRoomRequest

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually, run_cli
from tests.support.scene import Scene, Watcher, booking_changes, prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e


async def grant(scene: Scene, *roles: str) -> None:
    """Give the customer's app these permissions beside those that it has."""
    usual = ["Calendars.ReadWrite", "MailboxSettings.Read"]
    await scene.directory.call("PATCH", "app", {"roles": [*usual, *roles], "revoke_tokens": True})


async def cli(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the service."""
    env = {"EXCHANGE_TARGET": scene.service.target}
    return await asyncio.to_thread(run_cli, *arguments, env=env)


async def is_read(scene: Scene, name: str) -> bool:
    """Tell whether a room's calendar has been read and is announced."""
    return (await scene.client.get_room(name)).state == Room.STATE_UP


def removals(watcher: Watcher, room: str) -> list[BookingChange.Kind.ValueType]:
    """Return how bookings of a room were told to go."""
    changes = booking_changes(watcher.messages)
    return [
        change.kind
        for change in changes
        if change.kind != BookingChange.KIND_UPSERTED and change.booking.name.startswith(f"{room}/")
    ]


async def test_rooms_are_discovered_imported_from_the_file_and_the_import_may_be_repeated(
    service: Service, emulator: RunningEmulator, tmp_path: Path
) -> None:
    async with scene_set(service, emulator, rooms=3) as scene:
        new = await scene.directory.add_rooms(57)
        refused = await cli(scene, "room", "discover", scene.tenant_id)
        assert refused.returncode == 1
        assert "Place.Read.All" in refused.stderr
        assert scene.mailbox(2) in refused.stdout, "what is mapped is told all the same"
        await grant(scene, "Place.Read.All")

        async def found() -> list[dict[str, str]]:
            answer = await cli(scene, "room", "discover", scene.tenant_id, "-o", "json")
            rooms: list[dict[str, str]] = json.loads(answer.stdout)
            return rooms if len(rooms) == 60 else []

        rooms = await eventually(found, "the list of rooms", service=service)
        assert {room["mailbox"] for room in rooms if "mapped_room" in room} == set(scene.rooms.values())
        listed = await cli(scene, "room", "discover", scene.tenant_id, "--unmapped", "-o", "csv")
        file = tmp_path / "rooms.csv"
        file.write_text(listed.stdout)
        arguments = ("room", "import", str(file), "--tenant", scene.tenant_id)
        dry = await cli(scene, *arguments, "--dry-run")
        assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "create 57")
        assert len([room async for room in scene.client.list_rooms(scene.tenant)]) == 3
        done = await cli(scene, *arguments)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "created 57"), done.stderr
        again = await cli(scene, *arguments)
        assert (again.returncode, again.stdout) == (0, "unchanged 57\n")
        mapped = {room.mailbox for room in [room async for room in scene.client.list_rooms(scene.tenant)]}
        assert mapped == {*new, *scene.rooms.values()}
        table = await cli(scene, "room", "list", scene.tenant_id)
        assert len(table.stdout.splitlines()) == 63, "a line for each room, the header, and the counts"
        assert table.stdout.splitlines()[-1].startswith("60 rooms: ")


async def test_file_with_a_mistake_changes_nothing_and_says_where_it_is(
    service: Service, emulator: RunningEmulator, tmp_path: Path
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        file = tmp_path / "rooms.csv"
        file.write_bytes(b"\xef\xbb\xbfroom_id;mailbox;capacity\r\nnew;new@x.example;8\r\nbad;no address;8\r\n")
        arguments = ("room", "import", str(file), "--tenant", scene.tenant_id)
        refused = await cli(scene, *arguments)
        assert refused.returncode == 2
        assert "line 3, column mailbox: must be an address" in refused.stderr
        assert len([room async for room in scene.client.list_rooms(scene.tenant)]) == 2
        room_id = scene.room(0).rpartition("/")[2]
        lines = ["room_id,mailbox,capacity", f"{room_id},{scene.mailbox(0)},77", f"other,{scene.mailbox(1)},8"]
        file.write_text("\n".join(lines))
        refused = await cli(scene, *arguments)
        assert (refused.returncode, refused.stdout.splitlines()[-1]) == (1, "refused 2")
        changed = await cli(scene, *arguments, "--update")
        assert (changed.returncode, changed.stdout.splitlines()[-1]) == (1, "changed 1, refused 1")
        assert (await scene.client.get_room(scene.room(0))).capacity == 77
        missing = await cli(scene, "room", "import", str(tmp_path / "none.csv"), "--tenant", scene.tenant_id)
        assert missing.returncode == 2


async def test_renamed_mailbox_goes_on_at_its_new_address(service: Service, emulator: RunningEmulator) -> None:
    """Without a permission for the directory: an event of the copy proves whose mailbox it is."""
    async with scene_set(service, emulator, rooms=1) as scene:
        name, former = scene.room(0), scene.mailbox(0)
        await scene.directory.book(former, tomorrow())
        async with scene.watching() as watcher, scene.watching(name) as one_room:
            await scene.converged(watcher, one_room)
            renamed = "renamed@" + former.partition("@")[2]
            await scene.directory.call("PATCH", f"mailboxes/{former}", {"address": renamed})
            scene.rooms[name] = renamed
            room = await scene.client.update_room(name, mailbox=renamed)
            assert (room.mailbox, room.sync.HasField("fresh_as_of_time")) == (renamed, True)
            await scene.directory.book(renamed, tomorrow(13))
            await scene.converged(watcher, one_room)
            assert removals(watcher, name) == removals(one_room, name) == []
            assert not any(change.kind is ChangeKind.REMOVED for change in watcher.changes)
        await prove_copy(scene)


async def test_mailbox_renamed_without_a_word_is_followed_by_its_object_id(
    own_service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(own_service, emulator, rooms=0) as scene:
        (former,) = await scene.directory.add_rooms(1, time_zone="Europe/Berlin")
        name = f"{scene.tenant}/rooms/r1"
        scene.rooms[name] = former
        await scene.client.map_room(scene.tenant, "r1", former)
        await eventually(lambda: is_read(scene, name), "the room is read", service=own_service)
        await grant(scene, "User.Read.All")  # later than the first read
        await scene.client.resync_room(name)

        async def is_known() -> bool:
            return bool((await scene.client.get_room(name)).mailbox_object_id)

        await eventually(is_known, "the object id is known", service=own_service)
        await scene.directory.book(former, tomorrow())
        async with scene.watching() as watcher:
            await scene.converged(watcher)
            renamed = "renamed@" + former.partition("@")[2]
            await scene.directory.call("PATCH", f"mailboxes/{former}", {"address": renamed})
            scene.rooms[name] = renamed
            await scene.client.resync_room(name)

            async def is_shown() -> bool:
                return (await scene.client.get_room(name)).mailbox == renamed

            await eventually(is_shown, "the new address is shown", service=own_service)
            await scene.directory.book(renamed, tomorrow(13))
            await scene.converged(watcher)
            assert removals(watcher, name) == []
        same = await scene.client.map_room(scene.tenant, "r1", former)
        assert same.mailbox == renamed, "the address that was given still maps the room"


async def test_other_mailbox_takes_the_copys_place_only_when_told_so(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=1) as scene:
        name, former = scene.room(0), scene.mailbox(0)
        (other,) = await scene.directory.add_rooms(1, time_zone="Europe/Berlin")
        await scene.directory.book(former, tomorrow())
        await scene.directory.book(other, tomorrow(13))
        await scene.directory.book(other, tomorrow(15))
        async with scene.watching() as watcher, scene.watching(name) as one_room:
            await scene.converged(watcher, one_room)
            with pytest.raises(ExchangeError) as refused:
                await scene.client.update_room(name, mailbox=other)
            assert refused.value.reason == "MAILBOX_DIFFERS"
            forced = await scene.client.update_room(name, mailbox=other, allow_other_mailbox=True)
            assert (forced.mailbox, forced.state) == (other, Room.STATE_IMPORTING)
            scene.rooms[name] = other
            await eventually(lambda: is_read(scene, name), "the other calendar is read", service=service)
            await scene.converged(watcher, one_room)
            assert removals(watcher, name) == removals(one_room, name) == [BookingChange.KIND_LEFT_SCOPE]
            assert not one_room.is_over
            told = [message for message in one_room.messages if not isinstance(message, Reconnected)]
            starts = [message.snapshot_start for message in told if message.HasField("snapshot_start")]
            assert starts[-1].reason == SnapshotReason.SNAPSHOT_REASON_ROOM_ADDED
            await scene.directory.book(other, tomorrow(17))
            await scene.converged(watcher, one_room)

            async def only_the_other() -> bool:
                return await scene.directory.subscribed() == [other]

            await eventually(only_the_other, "Microsoft calls about the other mailbox alone", service=service)
        await prove_copy(scene)


async def test_room_unmapped_without_a_word_about_its_bookings_is_forgotten(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        for mailbox in scene.rooms.values():
            await scene.directory.book(mailbox, tomorrow())
        async with scene.watching() as watcher:
            await scene.converged(watcher)
            gone = scene.room(0)
            answer = await scene.client.unmap_room(gone, bookings=UnmapRoomRequest.BOOKINGS_UNTOLD)
            assert answer.HasField("subscription_expire_time")
            del scene.rooms[gone]
            await eventually(lambda: gone not in watcher.mirror.rooms, "the room is gone", service=service)
            assert removals(watcher, gone) == []
            await scene.converged(watcher)
            await scene.client.unmap_room(gone, allow_missing=True)
