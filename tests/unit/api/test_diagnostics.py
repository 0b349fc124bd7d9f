"""DiagnosticsService over the wire."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.errors import CredentialRejected, MailboxDenied, TenantNotFound
from sidecar.gen.ioffice.exchange.v1 import diagnostics_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenants_pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import CheckResult
from sidecar.graph.webhook_call import Handshake, Shaken
from sidecar.graph.wire import GraphEvent, GraphResponse, GraphTime
from sidecar.model.ids import RoomId
from sidecar.sync.problems import problem_of
from tests.support.builders import CANARY, NOW, TENANT, make_booking
from tests.unit.api.rig import Rig, failing
from tests.unit.api.test_verifying import NAME, registered

ROOM = f"{NAME}/rooms/r1"


def outcomes(answer: pb.DiagnoseTenantResponse | pb.DiagnoseRoomResponse) -> dict[str, str]:
    return {
        check.check_id: CheckResult.Outcome.Name(check.outcome).removeprefix("OUTCOME_").lower()
        for check in answer.checks
    }


async def diagnose_tenant(rig: Rig) -> pb.DiagnoseTenantResponse:
    answer: pb.DiagnoseTenantResponse = await rig.diagnostics.DiagnoseTenant(pb.DiagnoseTenantRequest(name=NAME))
    return answer


async def diagnose_room(rig: Rig, booking: str = "") -> pb.DiagnoseRoomResponse:
    request = pb.DiagnoseRoomRequest(name=ROOM, booking=booking)
    answer: pb.DiagnoseRoomResponse = await rig.diagnostics.DiagnoseRoom(request)
    return answer


async def test_tenant_is_told_from_the_login_to_the_drift(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1")
    await rig.db.store.webhook_urls.announce("https://hooks.example.com", is_start=True, is_alone=True)
    rig.microsoft.time = NOW
    answer = await diagnose_tenant(rig)
    assert outcomes(answer) == {
        "token.acquire": "passed",
        "token.claims": "passed",
        "rooms.read": "passed",
        "consent.calendars": "passed",
        "clock": "passed",
        "webhook.handshake": "passed",
        "subscription": "warning",
        "webhook.heard": "skipped",
        "room.freshness": "passed",
        "room.drift": "passed",
    }
    assert rig.microsoft.shaken[0] == "https://hooks.example.com/graph/notifications"


async def test_awaited_access_is_told_with_the_tenant_in_every_answer(rig: Rig) -> None:
    """A tenant is the same whichever call shows it."""
    await registered(rig)
    await rig.db.add_filled_room("r1")
    tenant, look_at = await rig.db.store.tenants.load(TENANT), NOW + timedelta(minutes=1)
    await rig.db.store.propagations.begin(tenant.uid, NOW, look_at=look_at)
    answers = [
        await rig.tenants.GetTenant(tenants_pb.GetTenantRequest(name=NAME)),
        await rig.tenants.SetCredentialExpiry(
            tenants_pb.SetCredentialExpiryRequest(name=NAME, expire_time=Timestamp(seconds=2_000_000_000))
        ),
        await rig.tenants.VerifyTenant(tenants_pb.VerifyTenantRequest(name=NAME)),
        await diagnose_tenant(rig),
    ]
    assert [answer.tenant.propagation.rooms_count for answer in answers] == [1] * 4


async def test_looking_at_a_denied_room_is_no_sign_of_a_grant(rig: Rig) -> None:
    """A doctor that looks every day would have it say for ever that it is to be waited for; a verification is one."""
    await registered(rig)
    await rig.db.add_filled_room("r1")
    rig.microsoft.probe_error = MailboxDenied("no")
    tenant = await rig.db.store.tenants.load(TENANT)
    rig.clock.at += timedelta(hours=1)
    granted_at = await rig.db.store.propagations.granted_at(tenant.uid)
    await diagnose_tenant(rig)
    assert await rig.db.store.propagations.granted_at(tenant.uid) == granted_at
    await rig.tenants.VerifyTenant(tenants_pb.VerifyTenantRequest(name=NAME))
    assert await rig.db.store.propagations.granted_at(tenant.uid) == rig.db.clock.now()


async def test_only_the_configured_address_is_called(rig: Rig) -> None:
    await registered(rig)
    answer = await diagnose_tenant(rig)
    assert outcomes(answer)["webhook.handshake"] == "skipped"
    assert rig.microsoft.shaken == []


async def test_refused_tenant_still_shows_what_is_known(rig: Rig) -> None:
    tenant = await registered(rig)
    await rig.db.add_filled_room("r1")
    rig.microsoft.error = CredentialRejected("no")
    problem = problem_of(rig.microsoft.error, now=NOW, next_check_at=None)
    await rig.db.store.tenants.set_problem(tenant.uid, problem)
    told = outcomes(await diagnose_tenant(rig))
    assert told["token.acquire"] == "failed"
    assert told["consent.calendars"] == "skipped"
    assert told["room.freshness"] == "failed"
    assert told["room.drift"] == "passed"


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [(timedelta(seconds=5), "passed"), (timedelta(seconds=90), "warning"), (-timedelta(seconds=600), "failed")],
)
async def test_clock_is_compared_with_microsofts(rig: Rig, behind: timedelta, outcome: str) -> None:
    await registered(rig)
    rig.microsoft.time = NOW + behind
    assert outcomes(await diagnose_tenant(rig))["clock"] == outcome


async def test_unreachable_webhook_says_who_must_act(rig: Rig) -> None:
    await registered(rig)
    await rig.db.store.webhook_urls.announce("https://hooks.example.com", is_start=True, is_alone=True)
    rig.microsoft.handshake = Handshake(outcome=Shaken.STATUS, status=403)
    answer = await diagnose_tenant(rig)
    (told,) = (check for check in answer.checks if check.check_id == "webhook.handshake")
    assert (told.problem.reason, told.facts["status"]) == ("WEBHOOK_UNREACHABLE", "403")


async def test_suspended_tenant_is_shown_and_microsoft_not_asked(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1")
    await rig.tenants.SuspendTenant(tenants_pb.SuspendTenantRequest(name=NAME))
    rig.microsoft.time = NOW
    told = outcomes(await diagnose_tenant(rig))
    assert (told["token.acquire"], told["clock"], told["room.drift"]) == ("skipped", "skipped", "passed")
    assert outcomes(await diagnose_room(rig))["room.processing"] == "skipped"
    assert (rig.microsoft.probed, rig.microsoft.forgotten) == ([], [])
    refused = await failing(rig.tenants.VerifyTenant(tenants_pb.VerifyTenantRequest(name=NAME)))
    assert refused.reason == "TENANT_SUSPENDED"


async def test_room_shows_its_checks_its_past_its_future_and_its_ids(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1", make_booking(subject=CANARY))
    answer = await diagnose_room(rig)
    assert outcomes(answer)["room.read"] == "passed"
    kinds = [pb.RoomStep.Kind.Name(step.kind) for step in answer.steps]
    assert kinds == ["KIND_ROOM_CHANGED", "KIND_ROOM_SNAPSHOT", "KIND_ROOM_CHANGED"]
    assert [step.revision for step in answer.steps] == sorted((step.revision for step in answer.steps), reverse=True)
    assert {work.work for work in answer.planned_work} >= {"room.compare", "room.subscribe"}
    assert answer.exchange_ids["mailbox"] == "r1@contoso.example"
    assert CANARY.encode() not in answer.SerializeToString()


async def test_denied_room_skips_what_it_would_have_to_read(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1")
    rig.microsoft.probe_error = MailboxDenied("no", details={"request_id": "r-1"})
    answer = await diagnose_room(rig)
    told = {check.check_id: check for check in answer.checks}
    assert told["room.read"].facts["request_id"] == "r-1"
    assert told["room.processing"].skipped_because == "room.read"


async def test_booking_is_explained_beside_what_exchange_holds(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1", make_booking(subject=CANARY))
    start, end = GraphTime("2026-03-02T08:00:00.0000000", "UTC"), GraphTime("2026-03-02T09:00:00.0000000", "UTC")
    event = GraphEvent(
        id=make_booking().event_id,
        change_key="ck2",
        start=start,
        end=end,
        subject=CANARY,
        is_organizer=False,
        response_status=GraphResponse("notResponded"),
    )
    rig.microsoft.view = [event]
    answer = await diagnose_room(rig, f"{ROOM}/bookings/b1")
    told = {check.check_id: check for check in answer.checks}
    assert told["booking.copy"].problem.reason == "BOOKING_BEHIND"
    assert "has not answered" in told["booking.state"].message
    assert "withheld until the room has answered" in told["booking.subject"].message
    assert CANARY.encode() not in answer.SerializeToString()
    rig.microsoft.view = []
    gone = {check.check_id: check for check in (await diagnose_room(rig, f"{ROOM}/bookings/b1")).checks}
    assert "does not hold this booking any more" in gone["booking.copy"].message


@pytest.mark.parametrize(
    ("booking", "fields"),
    [("b1", {"booking"}), (f"{NAME}/rooms/r2/bookings/b1", {"booking"}), (f"{ROOM}/bookings/", {"booking"})],
)
async def test_booking_that_is_none_of_the_rooms_is_refused(rig: Rig, booking: str, fields: set[str]) -> None:
    told = await failing(rig.diagnostics.DiagnoseRoom(pb.DiagnoseRoomRequest(name=ROOM, booking=booking)))
    assert (told.code, set(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, fields)


async def test_what_is_unknown_is_not_found(rig: Rig) -> None:
    assert (await failing(rig.diagnostics.DiagnoseTenant(pb.DiagnoseTenantRequest(name=NAME)))).reason == (
        "TENANT_NOT_FOUND"
    )
    assert (await failing(rig.diagnostics.DiagnoseRoom(pb.DiagnoseRoomRequest(name=ROOM)))).reason == "ROOM_NOT_FOUND"
    await registered(rig)
    await rig.db.add_filled_room("r1")
    room = await rig.db.store.rooms.load(TENANT, RoomId("r1"))
    request = pb.DiagnoseRoomRequest(name=room.name, booking=f"{room.name}/bookings/none")
    assert (await failing(rig.diagnostics.DiagnoseRoom(request))).reason == "BOOKING_NOT_FOUND"


async def test_tenant_that_goes_meanwhile_is_not_found(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await registered(rig)

    async def verify(tenant_id: object, **_: object) -> object:
        raise TenantNotFound("the tenant is deleted")

    monkeypatch.setattr(rig.diagnosis.tenants, "verify", verify)
    told = await failing(rig.diagnostics.DiagnoseTenant(pb.DiagnoseTenantRequest(name=NAME)))
    assert told.reason == "TENANT_NOT_FOUND"


async def test_room_that_is_refused_halfway_is_told_by_its_checks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1")

    async def refuse(*_: object) -> list[GraphEvent]:
        raise MailboxDenied("no")

    monkeypatch.setattr(rig.microsoft, "fetch_view", refuse)
    answer = await diagnose_room(rig)
    assert outcomes(answer)["room.processing"] == "failed"


async def test_impatient_caller_behind_another_one_is_told_to_come_again(rig: Rig) -> None:
    await registered(rig)
    await rig.db.add_filled_room("r1")
    entered, going = asyncio.Event(), asyncio.Event()

    async def probe(*_: object) -> None:
        entered.set()
        await going.wait()

    rig.microsoft.probe = probe  # type: ignore[method-assign, assignment]
    request = tenants_pb.VerifyTenantRequest(name=NAME)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(collect(rig.tenants.VerifyTenant(request, timeout=15.0)))
        await entered.wait()
        told = await failing(rig.tenants.VerifyTenant(request, timeout=0.3))
        going.set()
    assert told.reason == "EXCHANGE_THROTTLED"
    assert first.result().tenant.name == NAME


async def collect(call: Any) -> Any:  # a unary call of any type
    return await call
