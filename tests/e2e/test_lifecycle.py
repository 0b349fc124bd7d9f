"""Tenants and rooms that come, go, and are refused: what people are told, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest
from exchange_client import AlreadyExists, ChangeKind, ExchangeClient, NotFound, ResumeTokenInvalid
from exchange_client.messages import BookingChange, Problem, Room, StreamClosing, SyncState, Tenant

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually
from tests.support.scene import Scene, booking_changes, directory_made, prove_copy, scene_set, tomorrow

pytestmark = pytest.mark.e2e

CANARY = "CANARY-7d1f-subject"


def traces(service: Service, *texts: str) -> list[str]:
    """Return which texts stand in any file that the service keeps, in the clear."""
    files = [file.read_bytes() for file in sorted(service.folder.iterdir()) if file.is_file()]
    return [text for text in texts if any(text.encode() in content for content in files)]


async def test_unmapped_room_leaves_the_scope_and_its_subscription_is_removed(
    service: Service, emulator: RunningEmulator
) -> None:
    async with scene_set(service, emulator, rooms=2) as scene:
        for mailbox in scene.rooms.values():
            await scene.directory.book(mailbox, tomorrow())
        async with scene.watching() as all_rooms, scene.watching(scene.room(0)) as one_room:
            await scene.converged(all_rooms)
            gone, mailbox = scene.room(0), scene.mailbox(0)
            await scene.client.unmap_room(gone)
            await eventually(lambda: gone not in all_rooms.mirror.rooms, "the room is gone", service=service)
            left = [change for change in all_rooms.changes if change.cause == BookingChange.CAUSE_ROOM_UNMAPPED]
            assert [(change.kind, change.room) for change in left] == [(ChangeKind.REMOVED, gone)]
            (told,) = (c for c in booking_changes(all_rooms.messages) if c.kind == BookingChange.KIND_LEFT_SCOPE)
            assert told.booking.revision > 0
            await eventually(lambda: one_room.is_over, "the watch of the room ends", service=service)
            assert one_room.closing is not None
            assert one_room.closing.reason == StreamClosing.REASON_SCOPE_GONE
            assert not all_rooms.is_over
            del scene.rooms[gone]

            async def unsubscribed() -> bool:
                return await scene.directory.subscribed() == list(scene.rooms.values())

            await eventually(unsubscribed, "the subscription is gone at Exchange", service=service)
            with pytest.raises(NotFound):
                await scene.client.get_room(gone)
            again = await scene.client.map_room(scene.tenant, "again", mailbox)  # free for another id at once
            scene.rooms[again.name] = mailbox
            await scene.settled_rooms()
            await eventually(lambda: all_rooms.mirror.is_complete(again.name), "the room is back", service=service)
            await scene.converged(all_rooms)
        await prove_copy(scene)


async def test_deleted_tenant_leaves_nothing_behind_and_may_come_back(
    own_service: Service, emulator: RunningEmulator
) -> None:
    settings = {"DeleteSubject": False, "AddOrganizerToSubject": False}
    async with scene_set(own_service, emulator, rooms=3, **settings) as scene:
        async with scene.watching() as watcher, scene.watching(scene.room(0)) as one_room:
            for day in range(1, 20):
                await scene.directory.book(scene.mailbox(), tomorrow(days=day), subject=f"{CANARY} {day}")
            await scene.converged(watcher)
            assert CANARY in watcher.mirror.bookings(scene.room())[0].subject
            assert traces(own_service, CANARY, scene.directory.secret) == [CANARY]  # a secret is sealed at any time
            token = watcher.mirror.resume_token
            deleted = await scene.client.delete_tenant(scene.tenant, purge=True)
            assert deleted is not None
            assert deleted.state == Tenant.STATE_DELETED
            await eventually(lambda: watcher.is_over and one_room.is_over, "the watches end", service=own_service)
            for told in (watcher.closing, one_room.closing):
                assert told is not None
                assert told.reason == StreamClosing.REASON_SCOPE_GONE
            assert watcher.mirror.rooms == {}
        await eventually(scene.is_erased, "the tenant is erased", service=own_service)
        assert await scene.directory.subscribed() == []
        assert await asyncio.to_thread(own_service.stop) == 0
        assert traces(own_service, CANARY, scene.directory.secret, scene.mailbox()) == []
        await asyncio.to_thread(own_service.start)
        audited = [entry async for entry in scene.client.list_audit_entries(scene.tenant)]
        assert [entry.method for entry in audited[:2]] == ["Sidecar/EraseTenant", "TenantService/DeleteTenant"]
        assert dict(audited[0].values) == {"subscriptions_deleted": "3", "subscriptions_left": "0"}
        former, scene.rooms = dict(scene.rooms), {}
        await scene.register()
        await scene.state(Tenant.STATE_ACTIVE)
        await scene.map_all()
        await scene.settled_rooms()
        assert scene.rooms == former
        # A token of the former tenant leads to snapshots, never to a place in the new log.
        async with scene.watching(resume_token=token) as watcher:
            await scene.converged(watcher)
            assert len(watcher.mirror.bookings(scene.room())) == 19


async def test_tenant_deleted_while_its_rooms_are_being_mapped_leaves_no_subscription(
    service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=40) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await scene.register()
        await scene.state(Tenant.STATE_ACTIVE)
        await scene.map_all()
        await eventually(directory.subscribed, "the first subscription is made", service=service)
        await client.delete_tenant(scene.tenant, purge=True)
        await eventually(scene.is_erased, "the tenant is erased", service=service)

        async def unsubscribed() -> bool:
            left = await directory.subscribed()
            assert not left, f"{len(left)} subscriptions are left"
            return True

        await eventually(unsubscribed, "no subscription is left at Exchange", service=service, deadline_s=5.0)


async def test_wrong_secret_is_told_with_what_to_do_and_the_right_one_heals_everything(
    service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=2) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await scene.register(secret="CANARY-wrong~secret")
        await scene.map_all()
        tenant = await scene.state(Tenant.STATE_CREDENTIAL_REJECTED)
        (problem,) = tenant.problems
        assert problem.reason == "CREDENTIAL_REJECTED"
        assert problem.actor == Problem.ACTOR_CUSTOMER
        assert "client secret" in problem.action
        assert problem.HasField("next_check_time")

        async def rooms_say_so() -> bool:
            rooms = [room async for room in client.list_rooms(scene.tenant)]
            return {room.state for room in rooms} == {Room.STATE_CREDENTIAL_EXPIRED}

        await eventually(rooms_say_so, "the rooms are blocked too", service=service)
        listed = await client.list_bookings(scene.room(), tomorrow(0), tomorrow(1))
        assert listed.sync.state == SyncState.SYNC_STATE_BLOCKED
        async with scene.watching(complete=False) as watcher:
            await scene.register()
            assert not (await scene.state(Tenant.STATE_ACTIVE)).problems
            await scene.settled_rooms()
            await scene.directory.book(scene.mailbox(), tomorrow())
            both = lambda: all(map(watcher.mirror.is_complete, scene.rooms))  # noqa: E731
            await eventually(both, "the watcher sees both rooms", service=service)
            await scene.converged(watcher)
        assert traces(service, "CANARY-wrong", directory.secret) == []
        with pytest.raises(AlreadyExists):
            await client.register_tenant(
                scene.tenant_id,
                directory_id="00000000-0000-4000-8000-000000000000",
                application_id=directory.application_id,
                client_secret=directory.secret,
            )


async def test_room_outside_the_access_policy_waits_alone_and_heals_when_granted(
    service: Service, emulator: RunningEmulator
) -> None:
    async with directory_made(emulator, rooms=3) as directory, ExchangeClient.connect(service.target) as client:
        scene = Scene(service, client, directory, tenant_id=f"t-{directory.id[:8]}")
        await directory.call("PATCH", "app", {"access_policy": directory.rooms[:2]})
        await scene.register()
        await scene.map_all()
        wanted = [Room.STATE_UP, Room.STATE_UP, Room.STATE_PENDING_PROPAGATION]

        async def states() -> bool:
            found = [room.state async for room in client.list_rooms(scene.tenant)]
            assert found == wanted, [Room.State.Name(state) for state in found]
            return True

        await eventually(states, "two rooms are up and one waits for its grant", service=service)
        denied = await client.get_room(scene.room(2))
        assert denied.sync.problems[0].reason == "ACCESS_PENDING"
        assert denied.sync.problems[0].actor == Problem.ACTOR_NOBODY
        assert "scope" in denied.sync.problems[0].action
        assert (await client.get_tenant(scene.tenant)).state == Tenant.STATE_ACTIVE
        await directory.book(scene.mailbox(2), tomorrow())
        async with scene.watching(complete=False) as watcher:
            await eventually(lambda: watcher.mirror.is_complete(scene.room(1)), "two are told", service=service)
            assert not watcher.mirror.is_complete(scene.room(2))  # unknown is not free
            await directory.call("PATCH", "app", {"access_policy": None})
            await client.verify_tenant(scene.tenant)  # its rooms are asked at once then, not in some minutes
            await scene.settled_rooms()
            await eventually(lambda: watcher.mirror.is_complete(scene.room(2)), "the third is told", service=service)
            await scene.converged(watcher)
            assert len(watcher.mirror.bookings(scene.room(2))) == 1


async def test_token_of_another_tenant_is_refused(service: Service, emulator: RunningEmulator) -> None:
    async with scene_set(service, emulator) as mine, scene_set(service, emulator) as other:
        listing = await other.client.list_bookings(other.room(), tomorrow(0), tomorrow(1))
        with pytest.raises(ResumeTokenInvalid) as refused:
            await mine.client.read_changes(mine.room(), listing.resume_token)
        assert refused.value.reason == "RESUME_TOKEN_SCOPE_MISMATCH"
