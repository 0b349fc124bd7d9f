"""Suspending, resuming, deleting and undeleting tenants over the wire."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message

from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2, room_service_pb2
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from tests.support.builders import make_booking
from tests.unit.api.rig import Rig, failing, window_of
from tests.unit.api.test_tenants import registration

NAME = "tenants/acme"


async def test_suspended_tenant_answers_reads_from_its_copy_and_says_so(rig: Rig) -> None:
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1", make_booking())
    told = (await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=NAME, reason="unpaid"))).tenant
    assert told.state == pb.Tenant.STATE_SUSPENDED
    (problem,) = told.problems
    assert (problem.reason, problem.metadata["reason"]) == ("TENANT_SUSPENDED", "unpaid")
    assert problem.actor == common_pb2.Problem.ACTOR_OPERATOR
    request = booking_pb.ListBookingsRequest(parent=f"{NAME}/rooms/r1", window=window_of())
    listed = await rig.bookings.ListBookings(request)
    assert len(listed.bookings) == 1
    assert listed.sync.state == common_pb2.SYNC_STATE_PAUSED
    assert listed.sync.HasField("fresh_as_of_time")
    room = (await rig.rooms.GetRoom(room_service_pb2.GetRoomRequest(name=f"{NAME}/rooms/r1"))).room
    assert room.state == room_service_pb2.Room.STATE_PAUSED
    resumed = (await rig.tenants.ResumeTenant(pb.ResumeTenantRequest(name=NAME))).tenant
    assert resumed.state == pb.Tenant.STATE_VERIFYING
    assert not resumed.problems


async def test_deleted_tenant_is_listed_only_if_asked_and_comes_back(rig: Rig) -> None:
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1")
    gone = (await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME))).tenant
    assert gone.state == pb.Tenant.STATE_DELETED
    assert (gone.purge_time.seconds - gone.delete_time.seconds) == 30 * 86_400
    assert not (await rig.tenants.ListTenants(pb.ListTenantsRequest())).tenants
    (shown,) = (await rig.tenants.ListTenants(pb.ListTenantsRequest(show_deleted=True))).tenants
    assert shown == gone
    told = await failing(rig.tenants.RegisterTenant(registration()))
    assert told.reason == "TENANT_EXISTS"
    assert "purge_time" in told.metadata
    back = (await rig.tenants.UndeleteTenant(pb.UndeleteTenantRequest(name=NAME))).tenant
    assert (back.uid, back.HasField("delete_time"), back.HasField("purge_time")) == (gone.uid, False, False)
    assert len((await rig.rooms.ListRooms(room_service_pb2.ListRoomsRequest(parent=NAME))).rooms) == 1


async def test_purged_tenant_cannot_be_undeleted(rig: Rig) -> None:
    await rig.db.add_tenant()
    await rig.db.add_filled_room("r1")
    await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME))
    await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME, purge=True))
    told = await failing(rig.tenants.UndeleteTenant(pb.UndeleteTenantRequest(name=NAME)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_PURGED")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("SuspendTenant", pb.SuspendTenantRequest(name=NAME)),
        ("ResumeTenant", pb.ResumeTenantRequest(name=NAME)),
        ("UndeleteTenant", pb.UndeleteTenantRequest(name=NAME)),
    ],
)
async def test_tenant_that_is_missing_is_told(rig: Rig, method: str, request_: Message) -> None:
    told = await failing(getattr(rig.tenants, method)(type(request_)(name="tenants/nobody")))
    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_every_broken_field_of_a_suspension_is_named(rig: Rig) -> None:
    request = pb.SuspendTenantRequest(name="acme", reason="x" * 201)
    told = await failing(rig.tenants.SuspendTenant(request))
    assert set(told.violations) == {"name", "reason"}
    for wrong in (
        rig.tenants.ResumeTenant(pb.ResumeTenantRequest()),
        rig.tenants.UndeleteTenant(pb.UndeleteTenantRequest()),
    ):
        assert set((await failing(wrong)).violations) == {"name"}
