"""RoomService over the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as pb
from tests.support.builders import make_booking, make_problem
from tests.unit.api.rig import Rig, failing

ROOM = "tenants/acme/rooms/r1"


@pytest.fixture
async def rig(rig: Rig) -> Rig:
    """Give a server with a tenant."""
    await rig.db.add_tenant()
    return rig


def mapping(room_id: str = "r1", *, parent: str = "tenants/acme", **room: Any) -> pb.MapRoomRequest:  # fields of a room
    return pb.MapRoomRequest(
        parent=parent, room_id=room_id, room=pb.Room(**{"mailbox": f"{room_id}@contoso.example", **room})
    )


async def test_mapped_room_is_shown_as_it_was_given(rig: Rig) -> None:
    request = mapping(display_name="Blue", time_zone="America/Chicago", capacity=4, annotations={"floor": "3"})
    made = (await rig.rooms.MapRoom(request)).room
    assert (made.name, made.mailbox, made.display_name) == (ROOM, "r1@contoso.example", "Blue")
    assert (made.time_zone, made.capacity, dict(made.annotations)) == ("America/Chicago", 4, {"floor": "3"})
    assert made.state == pb.Room.STATE_IMPORTING
    assert made.sync.state == common_pb.SYNC_STATE_INITIALIZING
    assert (await rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM))).room == made
    assert (await rig.rooms.MapRoom(request)).room == made


async def test_every_broken_field_of_a_mapping_is_named(rig: Rig) -> None:
    bad = mapping("a/b", parent="x", mailbox="x", display_name="x" * 201, time_zone="Mars", capacity=-1)
    bad.room.annotations[""] = "x"
    told = await failing(rig.rooms.MapRoom(bad))
    fields = ("mailbox", "display_name", "time_zone", "capacity", "annotations")
    assert set(told.violations) == {"parent", "room_id", *(f"room.{field}" for field in fields)}


async def test_taken_mailbox_and_unknown_tenant_are_told(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping())
    told = await failing(rig.rooms.MapRoom(mapping("r2", mailbox="R1@contoso.example")))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ROOM_EXISTS")
    assert told.metadata == {"room": ROOM}
    told = await failing(rig.rooms.MapRoom(mapping(parent="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_each_request_of_a_batch_has_its_own_outcome(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping("r1"))
    batch = [mapping("r0", parent=""), mapping("r2", mailbox="r1@contoso.example"), mapping("r3")]
    answer = await rig.rooms.BatchMapRooms(pb.BatchMapRoomsRequest(parent="tenants/acme", requests=batch))
    assert [item.WhichOneof("outcome") for item in answer.items] == ["room", "problem", "room"]
    assert answer.items[0].room.name == "tenants/acme/rooms/r0"
    problem = answer.items[1].problem
    assert (problem.reason, dict(problem.metadata)) == ("ROOM_EXISTS", {"room": ROOM})
    assert problem.action


@pytest.mark.parametrize(
    ("requests", "fields"),
    [
        ([], {"requests"}),
        ([mapping(f"r{place}") for place in range(201)], {"requests"}),
        ([mapping("r1"), mapping("r1")], {"requests[1].room_id"}),
        ([mapping("r1", parent="tenants/other")], {"requests[0].parent"}),
        ([mapping("r1"), mapping("r2", mailbox="x")], {"requests[1].room.mailbox"}),
    ],
    ids=["empty", "too many", "twice", "other parent", "bad item"],
)
async def test_broken_batch_maps_nothing(rig: Rig, requests: list[pb.MapRoomRequest], fields: set[str]) -> None:
    told = await failing(rig.rooms.BatchMapRooms(pb.BatchMapRoomsRequest(parent="tenants/acme", requests=requests)))
    assert set(told.violations) == fields
    assert not (await rig.rooms.ListRooms(pb.ListRoomsRequest(parent="tenants/acme"))).rooms


async def test_batch_of_two_hundred_is_taken(rig: Rig) -> None:
    requests = [mapping(f"r{place}") for place in range(200)]
    answer = await rig.rooms.BatchMapRooms(pb.BatchMapRoomsRequest(parent="tenants/acme", requests=requests))
    assert {item.WhichOneof("outcome") for item in answer.items} == {"room"}


async def all_pages(rig: Rig, **request: Any) -> list[list[str]]:  # fields of ListRoomsRequest
    pages: list[list[str]] = []
    token = ""
    while True:
        message = pb.ListRoomsRequest(parent="tenants/acme", page_token=token, **request)
        page = await rig.rooms.ListRooms(message)
        pages.append([room.name.rpartition("/")[2] for room in page.rooms])
        token = page.next_page_token
        if not token:
            return pages


async def test_list_goes_through_all_rooms_by_name(rig: Rig) -> None:
    for place in (3, 1, 4, 0, 2):
        await rig.db.add_room(f"r{place}")
    assert await all_pages(rig, page_size=2) == [["r0", "r1"], ["r2", "r3"], ["r4"]]
    assert await all_pages(rig, page_size=5) == [["r0", "r1", "r2", "r3", "r4"]]


async def test_list_is_filtered_by_the_state_of_the_copies(rig: Rig) -> None:
    for place in range(6):
        room = await rig.db.add_room(f"r{place}")
        if place % 2:
            await rig.db.fill(room, make_booking())
        if place == 5:
            await rig.db.store.rooms.set_problem(room.uid, make_problem(), lease=None)
    assert await all_pages(rig, sync_states=[common_pb.SYNC_STATE_POLLING]) == [["r1", "r3"]]
    states = [common_pb.SYNC_STATE_BLOCKED, common_pb.SYNC_STATE_INITIALIZING]
    assert await all_pages(rig, sync_states=states, page_size=2) == [["r0", "r2"], ["r4", "r5"]]
    assert await all_pages(rig, sync_states=[common_pb.SYNC_STATE_PAUSED]) == [[]]
    told = await failing(rig.rooms.ListRooms(pb.ListRoomsRequest(parent="tenants/acme", sync_states=[0])))  # type: ignore[list-item]
    assert set(told.violations) == {"sync_states"}


async def test_large_rooms_make_shorter_pages(rig: Rig) -> None:
    notes = {f"key{place}": "é" * 500 for place in range(20)}
    names = [f"r{place:03}" for place in range(180)]
    for name in names:
        await rig.rooms.MapRoom(mapping(name, annotations=notes))
    pages = await all_pages(rig, page_size=1_000)
    assert len(pages) > 1
    assert [name for page in pages for name in page] == names


async def test_unmapped_room_is_gone_and_missing_may_be_allowed(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping())
    told = await failing(rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name=ROOM, etag="77")))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    etag = (await rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM))).room.etag
    await rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name=ROOM, etag=etag))
    for call in (
        rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM)),
        rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name=ROOM)),
        rig.rooms.ResyncRoom(pb.ResyncRoomRequest(name=ROOM)),
    ):
        told = await failing(call)
        assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ROOM_NOT_FOUND")
    await rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name=ROOM, allow_missing=True))


async def test_resync_answers_with_the_room(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping())
    assert (await rig.rooms.ResyncRoom(pb.ResyncRoomRequest(name=ROOM))).room.name == ROOM


async def test_huge_names_get_a_short_answer(rig: Rig) -> None:
    huge = "tenants/acme/rooms/" + "x" * 20_000
    for call in (
        rig.rooms.GetRoom(pb.GetRoomRequest(name=huge)),
        rig.rooms.ListRooms(pb.ListRoomsRequest(parent=huge, page_token="x" * 20_000)),
        rig.rooms.MapRoom(mapping("x" * 20_000, parent=huge)),
        rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name="tenants/acme/rooms/r1", etag="x" * 20_000)),
    ):
        told = await failing(call)
        assert told.reason == "FIELD_INVALID"
        assert b"xxxx" not in told.raw
        assert len(told.raw) < 1_000
