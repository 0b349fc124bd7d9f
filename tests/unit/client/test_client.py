"""Every call of both clients against the scripted service: what is sent, what comes back, what is raised."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import grpc
import pytest
from exchange_client import (
    AlreadyExists,
    ClientClosed,
    DeadlineExceeded,
    ExchangeClient,
    InvalidRequest,
    SyncExchangeClient,
    Unavailable,
    names,
    room_mapping,
)
from exchange_client.messages import (
    BatchMapRoomsRequest,
    BatchMapRoomsResponse,
    Booking,
    BookingChange,
    DeleteTenantResponse,
    DiscoveredRoom,
    DiscoverRoomsRequest,
    DiscoverRoomsResponse,
    FindAvailabilityRequest,
    FindAvailabilityResponse,
    GetBookingResponse,
    GetRoomResponse,
    GetTenantResponse,
    ListBookingsResponse,
    ListRoomsResponse,
    ListTenantsRequest,
    ListTenantsResponse,
    MapRoomRequest,
    MapRoomResponse,
    Problem,
    ReadChangesResponse,
    RegisterTenantRequest,
    RegisterTenantResponse,
    ResyncRoomResponse,
    Room,
    SyncState,
    SyncStatus,
    Tenant,
    TenantSettings,
    UnmapRoomResponse,
    UpdateRoomResponse,
    UpdateTenantResponse,
)

from tests.unit.client.fake_server import HANG, FakeServer, Fault

TENANT, ROOM = "tenants/acme", "tenants/acme/rooms/r1"
MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)


async def test_register_tenant_sends_one_proof(server: FakeServer, client: ExchangeClient) -> None:
    def register(request: RegisterTenantRequest) -> RegisterTenantResponse:
        return RegisterTenantResponse(tenant=Tenant(name=names.tenant(request.tenant_id)))

    server.answers["RegisterTenant"] = register
    register_acme = partial(client.register_tenant, "acme", directory_id="d", application_id="a")
    tenant = await register_acme(client_secret="s", expire_at=MONDAY)
    assert tenant.name == TENANT
    await register_acme(certificate_pem=b"pem")
    secret, certificate = server.requests["RegisterTenant"]
    assert secret.credential.client_secret == "s"
    assert secret.credential.expire_time.ToDatetime(UTC) == MONDAY
    assert certificate.credential.WhichOneof("proof") == "certificate_pem"
    with pytest.raises(ValueError, match="either"):
        await register_acme(client_secret="s", certificate_pem=b"pem")
    with pytest.raises(ValueError, match="either"):
        await register_acme()


async def test_lists_go_through_all_pages(server: FakeServer, client: ExchangeClient) -> None:
    def tenants(request: ListTenantsRequest) -> ListTenantsResponse:
        number = int(request.page_token or 0)
        following = "" if number == 2 else str(number + 1)
        return ListTenantsResponse(tenants=[Tenant(name=f"tenants/t{number}")], next_page_token=following)

    server.answers["ListTenants"] = tenants
    server.answers["ListRooms"] = lambda request: ListRoomsResponse(rooms=[Room(name=ROOM)])
    assert [tenant.name async for tenant in client.list_tenants()] == ["tenants/t0", "tenants/t1", "tenants/t2"]
    stale = SyncState.SYNC_STATE_STALE
    assert [room.name async for room in client.list_rooms(TENANT, sync_states=[stale])] == [ROOM]
    assert server.requests["ListRooms"][0].sync_states == [stale]


async def test_map_rooms_splits_into_batches_and_tells_each_outcome(server: FakeServer, client: ExchangeClient) -> None:
    def mapped(request: BatchMapRoomsRequest) -> BatchMapRoomsResponse:
        return BatchMapRoomsResponse(items=[outcome(item) for item in request.requests])

    def outcome(item: MapRoomRequest) -> BatchMapRoomsResponse.Item:
        if item.room_id == "r7":
            return BatchMapRoomsResponse.Item(problem=Problem(reason="ROOM_EXISTS"))
        return BatchMapRoomsResponse.Item(
            room=Room(name=f"{item.parent}/rooms/{item.room_id}", mailbox=item.room.mailbox)
        )

    server.answers["BatchMapRooms"] = mapped
    outcomes = await client.map_rooms(TENANT, {f"r{i}": f"room{i}@acme.example" for i in range(450)})
    assert [len(request.requests) for request in server.requests["BatchMapRooms"]] == [200, 200, 50]
    assert [outcome.room_id for outcome in outcomes] == [f"r{i}" for i in range(450)]
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    assert [(outcome.room_id, outcome.room) for outcome in failed] == [("r7", None)]
    assert outcomes[449].room == Room(name=f"{TENANT}/rooms/r449", mailbox="room449@acme.example")
    assert await client.map_rooms(TENANT, []) == []
    (detailed,) = await client.map_rooms(TENANT, [room_mapping("x", "x@acme.example", capacity=8)])
    assert detailed.room is not None
    assert server.requests["BatchMapRooms"][-1].requests[0].room.capacity == 8


async def test_room_calls(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["MapRoom"] = lambda request: MapRoomResponse(room=request.room)
    server.answers["GetRoom"] = lambda request: GetRoomResponse(room=Room(name=request.name))
    server.answers["ResyncRoom"] = lambda request: ResyncRoomResponse(room=Room(name=request.name))
    server.answers["UnmapRoom"] = lambda request: UnmapRoomResponse()
    room = await client.map_room(TENANT, "r1", "r1@acme.example", annotations={"floor": "2"})
    assert room == Room(mailbox="r1@acme.example", annotations={"floor": "2"})
    assert (await client.get_room(ROOM)).name == ROOM
    assert (await client.resync_room(ROOM)).name == ROOM
    await client.unmap_room(ROOM, etag="e1", allow_missing=True)
    (request,) = server.requests["UnmapRoom"]
    assert (request.name, request.etag, request.allow_missing) == (ROOM, "e1", True)


async def test_update_of_a_room_sends_what_is_given_and_names_it(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["UpdateRoom"] = lambda request: UpdateRoomResponse(room=request.room)
    await client.update_room(ROOM, capacity=0, annotations={}, etag="e1")
    await client.update_room(ROOM, mailbox="new@acme.example", allow_other_mailbox=True)
    first, second = server.requests["UpdateRoom"]
    assert (first.room, list(first.update_mask.paths), first.etag) == (
        Room(name=ROOM),
        ["capacity", "annotations"],
        "e1",
    )
    assert (second.room.mailbox, list(second.update_mask.paths)) == ("new@acme.example", ["mailbox"])
    assert second.allow_other_mailbox
    with pytest.raises(ValueError, match="nothing"):
        await client.update_room(ROOM)


async def test_discovered_rooms_come_from_all_pages(server: FakeServer, client: ExchangeClient) -> None:
    def answer(request: DiscoverRoomsRequest) -> DiscoverRoomsResponse:
        if request.page_token:
            return DiscoverRoomsResponse(discovered_rooms=[DiscoveredRoom(mailbox="b@x")])
        return DiscoverRoomsResponse(discovered_rooms=[DiscoveredRoom(mailbox="a@x")], next_page_token="2")

    server.answers["DiscoverRooms"] = answer
    found = await client.discover_rooms(TENANT, unmapped_only=True, query="hall")
    assert ([room.mailbox for room in found.rooms], found.problem) == (["a@x", "b@x"], None)
    assert {(request.unmapped_only, request.query) for request in server.requests["DiscoverRooms"]} == {(True, "hall")}


async def test_list_that_breaks_off_gives_what_is_mapped_and_the_problem(
    server: FakeServer, client: ExchangeClient
) -> None:
    def answer(request: DiscoverRoomsRequest) -> DiscoverRoomsResponse:
        if request.page_token:
            problem = Problem(reason="PLACES_DENIED")
            return DiscoverRoomsResponse(discovered_rooms=[DiscoveredRoom(mailbox="mapped@x")], problem=problem)
        return DiscoverRoomsResponse(discovered_rooms=[DiscoveredRoom(mailbox="a@x")], next_page_token="2")

    server.answers["DiscoverRooms"] = answer
    found = await client.discover_rooms(TENANT)
    assert [room.mailbox for room in found.rooms] == ["mapped@x"]
    assert found.problem is not None
    assert found.problem.reason == "PLACES_DENIED"


async def test_tenant_calls(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["GetTenant"] = lambda request: GetTenantResponse(tenant=Tenant(name=request.name))
    assert (await client.get_tenant(TENANT)).name == TENANT
    server.answers["DeleteTenant"] = lambda request: DeleteTenantResponse(tenant=Tenant(name=request.name))
    assert await client.delete_tenant(TENANT) == Tenant(name=TENANT)
    server.answers["DeleteTenant"] = lambda request: DeleteTenantResponse()
    assert await client.delete_tenant(TENANT, allow_missing=True) is None


async def test_update_names_what_is_given_and_what_goes_back(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["UpdateTenant"] = lambda request: UpdateTenantResponse(tenant=request.tenant)
    settings = TenantSettings(past_days=0, subject_visibility=TenantSettings.VISIBILITY_MASKED)
    await client.update_tenant(TENANT, settings=settings, reset=["future_days"], etag="e1")
    await client.update_tenant(TENANT, display_name="")
    first, second = server.requests["UpdateTenant"]
    assert list(first.update_mask.paths) == [
        "settings.past_days",
        "settings.subject_visibility",
        "settings.future_days",
    ]
    assert (first.tenant.name, first.tenant.settings, first.etag) == (TENANT, settings, "e1")
    assert list(second.update_mask.paths) == ["display_name"]


def pages() -> Iterator[ListBookingsResponse]:
    for number in range(3):
        yield ListBookingsResponse(
            bookings=[Booking(name=f"{ROOM}/bookings/b{number}")],
            next_page_token="" if number == 2 else "more",
            resume_token=f"t{number}",
            sync=SyncStatus(state=SyncState.SYNC_STATE_LIVE if number else SyncState.SYNC_STATE_POLLING),
        )


async def test_listing_joins_pages_and_keeps_the_first_token(server: FakeServer, client: ExchangeClient) -> None:
    following = pages()
    server.answers["ListBookings"] = lambda request: next(following)
    listing = await client.list_bookings(names.all_rooms("acme"), MONDAY, MONDAY + timedelta(days=1))
    assert [booking.name[-2:] for booking in listing.bookings] == ["b0", "b1", "b2"]
    assert listing.resume_token == "t0"
    assert listing.sync.state == SyncState.SYNC_STATE_POLLING
    first, second, _ = server.requests["ListBookings"]
    assert first.parent == "tenants/acme/rooms/-"
    assert (first.page_token, second.page_token) == ("", "more")
    assert first.window == second.window
    following = pages()
    counts = [len(page.bookings) async for page in client.list_booking_pages(ROOM, MONDAY, MONDAY + timedelta(days=1))]
    assert counts == [1, 1, 1]


async def test_listing_refuses_a_naive_time(client: ExchangeClient) -> None:
    with pytest.raises(ValueError, match="zone"):
        await client.list_bookings(ROOM, MONDAY.replace(tzinfo=None), MONDAY)


async def test_availability_is_asked_for_as_it_is_wanted(server: FakeServer, client: ExchangeClient) -> None:
    def find(request: FindAvailabilityRequest) -> FindAvailabilityResponse:
        response = FindAvailabilityResponse()
        for room in request.rooms:
            response.availabilities.add(room=room, free=[request.window])
        return response

    server.answers["FindAvailability"] = find
    found = await client.find_availability(
        TENANT,
        MONDAY,
        MONDAY + timedelta(hours=9),
        rooms=[ROOM],
        min_duration_s=1800,
        min_capacity=8,
        buffer_after_s=300,
    )
    assert [(one.room, len(one.free)) for one in found] == [(ROOM, 1)]
    (request,) = server.requests["FindAvailability"]
    assert (request.min_duration.seconds, request.min_capacity, request.buffer_after.seconds) == (1800, 8, 300)
    assert not request.bypass_cache
    with pytest.raises(ValueError, match="sequence"):
        await client.find_availability(TENANT, MONDAY, MONDAY + timedelta(hours=9), rooms=ROOM)


async def test_booking_and_changes(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["GetBooking"] = lambda request: GetBookingResponse(booking=Booking(name=request.name))
    server.answers["ReadChanges"] = lambda request: ReadChangesResponse(changes=[BookingChange()], resume_token="t2")
    assert (await client.get_booking(f"{ROOM}/bookings/b1")).name == f"{ROOM}/bookings/b1"
    page = await client.read_changes(ROOM, "t1", page_size=5, max_wait_s=2.5)
    assert (len(page.changes), page.resume_token) == (1, "t2")
    (request,) = server.requests["ReadChanges"]
    assert (request.resume_token, request.page_size, request.max_wait.ToMilliseconds()) == ("t1", 5, 2500)


async def test_error_carries_what_the_service_told(server: FakeServer, client: ExchangeClient) -> None:
    fault = Fault(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", violations={"room.mailbox": "not an address"})
    server.answers["MapRoom"] = lambda request: fault
    with pytest.raises(InvalidRequest) as caught:
        await client.map_room(TENANT, "r1", "nonsense")
    assert caught.value.reason == "FIELD_INVALID"
    assert caught.value.violations == (("room.mailbox", "not an address"),)
    assert not caught.value.retryable


async def test_call_without_an_answer_ends_at_its_deadline(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["GetRoom"] = lambda request: HANG
    with pytest.raises(DeadlineExceeded):
        await client.get_room(ROOM, timeout_s=0.02)
    client.timeout_s = 0.02
    with pytest.raises(DeadlineExceeded):
        await client.get_room(ROOM)


async def test_closing_the_client_ends_calls_under_way(server: FakeServer, client: ExchangeClient) -> None:
    asked = asyncio.Event()

    def hang(request: object) -> str:
        asked.set()
        return HANG

    async def call() -> None:
        with pytest.raises(ClientClosed):
            await client.get_room(ROOM)

    server.answers["GetRoom"] = hang
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(call())
        await asked.wait()
        await client.close()
    with pytest.raises(ClientClosed):
        await client.get_room(ROOM)


async def test_cancellation_of_the_caller_stays_a_cancellation(server: FakeServer, client: ExchangeClient) -> None:
    server.answers["GetRoom"] = lambda request: HANG
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await client.get_room(ROOM)


async def test_token_is_asked_for_with_each_call(server: FakeServer, target: str) -> None:
    tokens = iter(["one", "two"])
    server.answers["GetRoom"] = lambda request: GetRoomResponse()
    async with ExchangeClient.connect(target, token=lambda: next(tokens)) as client:
        await client.wait_ready()
        await client.get_room(ROOM)
        await client.get_room(ROOM)
    assert [header["authorization"] for header in server.headers] == ["Bearer one", "Bearer two"]


async def test_write_without_a_connection_fails_at_once(tmp_path: object) -> None:
    async with ExchangeClient.connect(f"unix://{tmp_path}/nobody.sock") as client:
        with pytest.raises(Unavailable) as caught:
            await client.map_room(TENANT, "r1", "r1@acme.example")
    assert caught.value.retryable
    assert caught.value.reason == ""


async def test_missing_service_is_told_in_time(tmp_path: object) -> None:
    async with ExchangeClient.connect(f"unix://{tmp_path}/nobody.sock") as client:
        with pytest.raises(Unavailable, match="no connection"):
            await client.wait_ready(0.05)
    client_too = SyncExchangeClient.connect(f"unix://{tmp_path}/nobody.sock")
    with client_too, pytest.raises(Unavailable, match="no connection"):
        await asyncio.to_thread(client_too.wait_ready, 0.05)


async def test_sync_client_does_the_same(server: FakeServer, sync_client: SyncExchangeClient) -> None:
    following = pages()
    server.answers["ListBookings"] = lambda request: next(following)
    server.answers["ListRooms"] = lambda request: ListRoomsResponse(rooms=[Room(name=ROOM)])
    server.answers["GetRoom"] = lambda request: GetRoomResponse(room=Room(name=request.name))
    server.answers["MapRoom"] = lambda request: Fault(grpc.StatusCode.ALREADY_EXISTS, "ROOM_EXISTS")

    def use() -> None:
        sync_client.wait_ready()
        assert sync_client.get_room(ROOM).name == ROOM
        assert [room.name for room in sync_client.list_rooms(TENANT)] == [ROOM]
        listing = sync_client.list_bookings(ROOM, MONDAY, MONDAY + timedelta(days=1))
        assert (len(listing.bookings), listing.resume_token) == (3, "t0")
        with pytest.raises(AlreadyExists):
            sync_client.map_room(TENANT, "r1", "r1@acme.example")
        sync_client.close()
        with pytest.raises(ClientClosed):
            sync_client.get_room(ROOM)

    await asyncio.to_thread(use)


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    def shape(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, callable)
        return {name: list(inspect.signature(method).parameters) for name, method in methods if name[0] != "_"}

    assert shape(ExchangeClient) == shape(SyncExchangeClient)
