"""RoomService over the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.errors import (
    CredentialRejected,
    GraphUnavailable,
    MailboxDenied,
    PlacesDenied,
    PlacesMissing,
    SecretUnreadable,
    SidecarError,
)
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.graph.wire_directory import Place
from tests.support.builders import after, make_booking, make_problem
from tests.unit.api.rig import Rig, failing, time_of

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


def update(
    *paths: str, room: str = ROOM, **changes: Any
) -> pb.UpdateRoomRequest:  # fields of a room, and of the request
    own = {name: changes.pop(name) for name in ("etag", "allow_other_mailbox") if name in changes}
    mask = FieldMask(paths=paths or tuple(changes))
    return pb.UpdateRoomRequest(room=pb.Room(name=room, **changes), update_mask=mask, **own)


async def test_update_changes_what_the_mask_names(rig: Rig) -> None:
    before = (await rig.rooms.MapRoom(mapping(display_name="Blue", capacity=4))).room
    request = update("capacity", "annotations", capacity=9, display_name="ignored", annotations={"floor": "3"})
    after = (await rig.rooms.UpdateRoom(request)).room
    assert (after.capacity, dict(after.annotations), after.display_name) == (9, {"floor": "3"}, "Blue")
    assert after.etag != before.etag
    assert (await rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM))).room == after
    assert rig.directory.asked == [], "Microsoft has no part in it"


async def test_every_broken_field_of_an_update_is_named(rig: Rig) -> None:
    bad = update("capacity", "state", room="x", capacity=-1, etag="e" * 65, time_zone="Mars")
    told = await failing(rig.rooms.UpdateRoom(bad))
    assert set(told.violations) == {"room.name", "update_mask", "room.capacity", "etag"}
    paths = ("display_name", "time_zone", "annotations", "mailbox")
    bad = update(*paths, display_name="x" * 201, time_zone="Mars", annotations={"": "x"}, mailbox="x")
    told = await failing(rig.rooms.UpdateRoom(bad))
    assert set(told.violations) == {f"room.{path}" for path in paths}
    told = await failing(rig.rooms.UpdateRoom(pb.UpdateRoomRequest(room=pb.Room(name=ROOM))))
    assert set(told.violations) == {"update_mask"}


async def test_update_of_no_room_or_another_version_is_refused(rig: Rig) -> None:
    told = await failing(rig.rooms.UpdateRoom(update(capacity=9)))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "ROOM_NOT_FOUND")
    await rig.rooms.MapRoom(mapping())
    told = await failing(rig.rooms.UpdateRoom(update(capacity=9, etag="77")))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_zone_that_is_emptied_is_the_mailboxs_own(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping(time_zone="Asia/Tokyo"))
    rig.directory.zones["r1@contoso.example"] = "Europe/Berlin"
    assert (await rig.rooms.UpdateRoom(update("time_zone"))).room.time_zone == "Europe/Berlin"
    rig.directory.error = MailboxDenied("no")
    assert (await rig.rooms.UpdateRoom(update("time_zone"))).room.time_zone == ""


async def test_address_of_a_room_that_was_never_read_is_simply_changed(rig: Rig) -> None:
    await rig.rooms.MapRoom(mapping(mailbox="typo@contoso.example"))
    room = (await rig.rooms.UpdateRoom(update(mailbox="r1@contoso.example"))).room
    assert (room.mailbox, room.state) == ("r1@contoso.example", pb.Room.STATE_IMPORTING)
    assert rig.directory.asked == []


async def test_other_address_of_the_same_mailbox_keeps_the_copy(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking())
    await rig.db.store.rooms.set_mailbox(room, object_id="O-1", time_zone=None)
    rig.directory.object_ids["new@contoso.example"] = "o-1"
    shown = (await rig.rooms.UpdateRoom(update(mailbox="New@contoso.example"))).room
    assert (shown.mailbox, shown.sync.state) == ("New@contoso.example", common_pb.SYNC_STATE_POLLING)


async def test_event_of_the_copy_proves_the_mailbox_where_the_directory_may_not_be_read(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", *(make_booking(f"b{number}") for number in range(5)))
    rig.directory.events["new@contoso.example"] = {"event-b2"}
    shown = (await rig.rooms.UpdateRoom(update(mailbox="new@contoso.example"))).room
    assert (shown.mailbox, shown.state) == ("new@contoso.example", pb.Room.STATE_UP)


@pytest.mark.parametrize(
    ("object_ids", "error", "cause"),
    [
        ({"new@contoso.example": "o-2"}, None, "OTHER_MAILBOX"),
        ({}, None, "NOT_PROVED"),
        ({}, MailboxDenied("no"), "MAILBOX_ACCESS_DENIED"),
        ({}, CredentialRejected("no"), "CREDENTIAL_REJECTED"),
    ],
    ids=["other", "unknown", "denied", "rejected"],
)
async def test_address_of_another_mailbox_needs_a_word_of_the_caller(
    rig: Rig, object_ids: dict[str, str], error: SidecarError | None, cause: str
) -> None:
    room = await rig.db.add_filled_room("r1", make_booking())
    await rig.db.store.rooms.set_mailbox(room, object_id="o-1", time_zone=None)
    rig.directory.object_ids, rig.directory.error = object_ids, error
    told = await failing(rig.rooms.UpdateRoom(update(mailbox="new@contoso.example", capacity=9)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MAILBOX_DIFFERS")
    assert told.metadata == {"cause": cause, "mailbox": "r1@contoso.example"}
    assert (await rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM))).room.capacity == 8, "nothing was changed"
    forced = update(mailbox="new@contoso.example", capacity=9, allow_other_mailbox=True)
    shown = (await rig.rooms.UpdateRoom(forced)).room
    assert (shown.mailbox, shown.capacity, shown.state) == ("new@contoso.example", 9, pb.Room.STATE_IMPORTING)
    assert shown.mailbox_object_id == object_ids.get("new@contoso.example", "")


async def test_address_is_not_changed_while_microsoft_is_away(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", make_booking())
    rig.directory.error = GraphUnavailable("away", retry_after_s=3.0)
    told = await failing(rig.rooms.UpdateRoom(update(mailbox="new@contoso.example", allow_other_mailbox=True)))
    assert (told.code, told.reason, told.retry_s) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE", 3.0)
    assert (await rig.rooms.GetRoom(pb.GetRoomRequest(name=ROOM))).room.mailbox == "r1@contoso.example"


async def test_unmapping_says_when_the_subscription_runs_out(rig: Rig) -> None:
    room = await rig.db.add_filled_room("r1", make_booking())
    await rig.db.store.subscriptions.prepare(
        room.uid, room.tenant_uid, key="s1", secret_hash=b"x" * 32, directory_id="d", url="https://x"
    )
    await rig.db.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    request = pb.UnmapRoomRequest(name=ROOM, bookings=pb.UnmapRoomRequest.BOOKINGS_UNTOLD)
    answer = await rig.rooms.UnmapRoom(request)
    assert answer.subscription_expire_time == time_of(after(days=6))
    told = await failing(rig.rooms.UnmapRoom(pb.UnmapRoomRequest(name=ROOM, bookings=7)))  # type: ignore[arg-type]
    assert set(told.violations) == {"bookings"}


def place(number: int, **fields: Any) -> Place:  # fields of a place
    name = f"Room {number}"
    return Place(email_address=f"r{number}@contoso.example", display_name=name, **fields)


async def discovered(rig: Rig, **request: Any) -> tuple[list[list[str]], str]:  # fields of DiscoverRoomsRequest
    """Return the addresses of each page, and the reason of the problem."""
    pages: list[list[str]] = []
    token, reason = "", ""
    while True:
        message = pb.DiscoverRoomsRequest(parent="tenants/acme", page_token=token, **request)
        page = await rig.rooms.DiscoverRooms(message)
        pages.append([room.mailbox.partition("@")[0] for room in page.discovered_rooms])
        reason = reason or page.problem.reason
        token = page.next_page_token
        if not token:
            return pages, reason


async def test_discovered_room_says_what_is_known_of_it(rig: Rig) -> None:
    room = await rig.db.add_room("blue")
    await rig.db.store.rooms.set_mailbox(room, object_id="o-1", time_zone="Europe/Berlin")
    rig.directory.places = [
        Place(
            email_address="Blue@contoso.example",
            display_name="Blue",
            capacity=8,
            building="B1",
            floor_number=4,
            floor_label="4th",
        ),
        Place(email_address="free@contoso.example", floor_number=0),
        Place(display_name="no address"),
    ]
    answer = await rig.rooms.DiscoverRooms(pb.DiscoverRoomsRequest(parent="tenants/acme"))
    assert list(answer.discovered_rooms) == [
        pb.DiscoveredRoom(
            mailbox="Blue@contoso.example",
            mailbox_object_id="o-1",
            display_name="Blue",
            building="B1",
            floor="4th",
            capacity=8,
            mapped_room="tenants/acme/rooms/blue",
            time_zone="Europe/Berlin",
        ),
        pb.DiscoveredRoom(mailbox="free@contoso.example", floor="0"),
    ]
    assert not answer.HasField("problem")


@pytest.mark.parametrize("page_size_max", [0, 1, 3, 100])
@pytest.mark.parametrize("overfull", [False, True])
async def test_discovery_goes_through_all_rooms_once(rig: Rig, page_size_max: int, overfull: bool) -> None:
    rig.directory.places = [place(number) for number in range(7)]
    rig.directory.page_size_max, rig.directory.overfull = page_size_max, overfull
    pages, reason = await discovered(rig, page_size=2)
    assert [name for page in pages for name in page] == [f"r{number}" for number in range(7)]
    assert max(map(len, pages)) <= 2
    assert reason == ""


async def test_discovery_is_filtered_by_text_and_by_what_is_mapped(rig: Rig) -> None:
    for number in range(3):
        await rig.db.add_room(f"r{number}")
    rig.directory.places = [place(number, building="North" if number % 2 else "South") for number in range(6)]
    assert await discovered(rig, unmapped_only=True) == ([["r3", "r4", "r5"]], "")
    assert await discovered(rig, unmapped_only=True, query="nORTH") == ([["r3", "r5"]], "")
    assert await discovered(rig, query="ROOM 4") == ([["r4"]], "")


async def test_filter_that_nothing_passes_asks_microsoft_for_a_bounded_number_of_pages(rig: Rig) -> None:
    rig.directory.places = [place(number) for number in range(25)]
    rig.directory.page_size_max = 1
    request = pb.DiscoverRoomsRequest(parent="tenants/acme", query="nowhere")
    first = await rig.rooms.DiscoverRooms(request)
    assert (len(rig.directory.queries), len(first.discovered_rooms)) == (10, 0)
    assert first.next_page_token
    assert (await discovered(rig, query="nowhere"))[0] == [[], [], []]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PlacesDenied("no"), "PLACES_DENIED"),
        (PlacesMissing("no"), "PLACES_UNAVAILABLE"),
        (CredentialRejected("no"), "CREDENTIAL_REJECTED"),
        (SecretUnreadable("no"), "SECRET_UNREADABLE"),
    ],
)
async def test_list_that_may_not_be_read_leaves_what_is_mapped(rig: Rig, error: SidecarError, reason: str) -> None:
    for number in range(5):
        await rig.db.add_room(f"r{number}")
    rig.directory.error = error
    assert await discovered(rig, page_size=2) == ([["r0", "r1"], ["r2", "r3"], ["r4"]], reason)
    assert len(rig.directory.queries) <= 2, "it was asked once, and perhaps again with a new token"
    assert await discovered(rig, unmapped_only=True) == ([[]], reason)
    assert await discovered(rig, query="ROOM R3") == ([["r3"]], reason)
    answer = await rig.rooms.DiscoverRooms(pb.DiscoverRoomsRequest(parent="tenants/acme", page_size=1))
    assert answer.problem.action


async def test_permission_granted_a_moment_ago_counts_at_once(rig: Rig) -> None:
    rig.directory.places = [place(1)]
    rig.directory.error, rig.directory.granted_anew = PlacesDenied("the token is older"), True
    assert await discovered(rig) == ([["r1"]], "")
    assert rig.directory.asked == ["places", "forget", "places"]


async def test_broken_discovery_is_refused_and_an_outage_is_told(rig: Rig) -> None:
    bad = pb.DiscoverRoomsRequest(parent="x", page_size=-1, page_token="y", query="x" * 101)
    told = await failing(rig.rooms.DiscoverRooms(bad))
    assert set(told.violations) == {"parent", "page_size", "page_token", "query"}
    told = await failing(rig.rooms.DiscoverRooms(pb.DiscoverRoomsRequest(parent="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
    rig.directory.error = GraphUnavailable("away")
    told = await failing(rig.rooms.DiscoverRooms(pb.DiscoverRoomsRequest(parent="tenants/acme")))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "EXCHANGE_UNAVAILABLE")


async def test_nothing_is_asked_of_microsoft_for_a_suspended_tenant(rig: Rig) -> None:
    await rig.db.add_filled_room("r1", make_booking())
    await rig.tenants.SuspendTenant(tenant_pb.SuspendTenantRequest(name="tenants/acme"))
    for call in (
        rig.rooms.DiscoverRooms(pb.DiscoverRoomsRequest(parent="tenants/acme")),
        rig.rooms.UpdateRoom(update(mailbox="new@contoso.example", allow_other_mailbox=True)),
        rig.rooms.UpdateRoom(update("time_zone")),
    ):
        told = await failing(call)
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_SUSPENDED")
    assert rig.directory.asked == []
    assert (await rig.rooms.UpdateRoom(update(capacity=9))).room.capacity == 9
