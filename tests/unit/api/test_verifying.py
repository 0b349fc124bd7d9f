"""VerifyTenant and CheckRoomAccess over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from sidecar.errors import CredentialRejected, MailboxDenied
from sidecar.gen.ioffice.exchange.v1 import diagnostics_service_pb2 as diagnostics_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as rooms_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import CheckResult, Problem
from sidecar.graph.clouds import TenantRef
from sidecar.model.intent import IntentKind
from sidecar.model.tenant import Tenant
from sidecar.sync.problems import problem_of
from tests.support.builders import CANARY, NOW, TENANT
from tests.unit.api.rig import Rig, failing, serving
from tests.unit.api.test_onboarding import map_room
from tests.unit.api.test_tenants import registration

NAME = "tenants/acme"


async def verify(rig: Rig, **call: float) -> pb.VerifyTenantResponse:
    answer: pb.VerifyTenantResponse = await rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=NAME), **call)
    return answer


async def registered(rig: Rig) -> Tenant:
    """Register a tenant that the background has verified; nothing is due of it."""
    await rig.tenants.RegisterTenant(registration())
    store = rig.db.store
    tenant = await store.tenants.load(TENANT)
    await store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity)
    for intent in await store.intents.due(tenant.uid, count_max=9):
        await store.intents.finish(intent, next_at=None)
    return await store.tenants.load(TENANT)


async def due(rig: Rig, tenant: Tenant) -> list[IntentKind]:
    return [intent.kind for intent in await rig.db.store.intents.due(tenant.uid, count_max=9)]


async def is_due(rig: Rig, tenant: Tenant) -> bool:
    return IntentKind.TENANT_VERIFY in await due(rig, tenant)


async def has_taken(rig: Rig, calls_count: int) -> bool:
    return rig.counts.counters["rpc_calls"] >= calls_count


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the rig's patience ends it."""
    while True:
        if await is_so():
            return
        await asyncio.sleep(0)


async def test_verified_tenant_shows_each_check(rig: Rig) -> None:
    await registered(rig)
    await map_room(rig, "r1", "a@contoso.example")
    answer = await verify(rig)
    assert {check.check_id: CheckResult.Outcome.Name(check.outcome) for check in answer.checks} == {
        "token.acquire": "OUTCOME_PASSED",
        "token.claims": "OUTCOME_PASSED",
        "rooms.read": "OUTCOME_PASSED",
        "consent.calendars": "OUTCOME_PASSED",
    }
    assert answer.tenant.name == NAME
    assert CANARY.encode() not in answer.SerializeToString()


async def test_refusal_is_told_in_the_checks_and_not_as_an_error(rig: Rig) -> None:
    tenant = await registered(rig)
    rig.microsoft.error = CredentialRejected("no", details={"aadsts": "AADSTS7000215"})
    problem = problem_of(rig.microsoft.error, now=NOW, next_check_at=None)
    await rig.db.store.tenants.set_problem(tenant.uid, problem)
    answer = await verify(rig)
    first, *rest = answer.checks
    assert first.outcome == CheckResult.OUTCOME_FAILED
    assert first.problem.reason == "CREDENTIAL_REJECTED"
    assert first.problem.actor == Problem.ACTOR_CUSTOMER
    assert first.facts["aadsts"] == "AADSTS7000215"
    assert {check.skipped_because for check in rest} == {"token.acquire"}


async def test_healed_tenant_is_answered_as_the_background_writes_it(rig: Rig) -> None:
    """The call itself writes nothing: it makes the verification due at once, and waits for its word."""
    tenant = await registered(rig)
    store = rig.db.store
    problem = problem_of(CredentialRejected("no"), now=NOW, next_check_at=None)
    await store.tenants.set_problem(tenant.uid, problem)
    async with asyncio.TaskGroup() as group:
        call = group.create_task(verify(rig, timeout=15.0))
        await until(lambda: is_due(rig, tenant))
        assert (await store.tenants.load(TENANT)).problem is not None
        await store.tenants.set_proven(tenant.uid, identity=tenant.credential.identity)
    assert call.result().tenant.state == pb.Tenant.STATE_ACTIVE


async def test_tenant_whose_state_is_right_is_not_verified_again(rig: Rig) -> None:
    tenant = await registered(rig)
    assert (await verify(rig)).tenant.state == pb.Tenant.STATE_ACTIVE
    assert await due(rig, tenant) == []


async def test_callers_who_ask_together_share_one_examination(rig: Rig) -> None:
    await registered(rig)
    await map_room(rig, "r1", "a@contoso.example")
    entered, going = asyncio.Event(), asyncio.Event()

    async def probe(tenant: TenantRef, mailbox: str) -> None:
        rig.microsoft.probed.append(mailbox)
        entered.set()
        await going.wait()
        raise MailboxDenied("no")

    rig.microsoft.probe = probe  # type: ignore[method-assign]
    before = rig.counts.counters["rpc_calls"]
    async with asyncio.TaskGroup() as group:
        group.create_task(verify(rig, timeout=15.0))
        await entered.wait()
        for _ in range(5):
            group.create_task(verify(rig, timeout=15.0))
        await until(lambda: has_taken(rig, before + 6))
        await rig.rooms.GetRoom(rooms_pb.GetRoomRequest(name=f"{NAME}/rooms/r1"))  # the others have asked by now
        going.set()
    assert len(rig.microsoft.probed) == 2  # the first one's, and one that began after all others had asked


@pytest.mark.parametrize("call", ["verify", "check", "tenant", "room"])
async def test_calls_that_wait_for_microsoft_keep_no_others_out(tmp_path: Path, call: str) -> None:
    async with serving(tmp_path, calls_max=1) as rig:
        await registered(rig)
        await map_room(rig, "r1", "a@contoso.example")
        entered = asyncio.Event()

        async def fetch_token(tenant: TenantRef) -> str:
            entered.set()
            await asyncio.Event().wait()
            raise CredentialRejected("no")

        rig.microsoft.fetch_token = fetch_token  # type: ignore[method-assign]
        waits = {
            "verify": lambda: rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=NAME), timeout=15.0),
            "check": lambda: rig.rooms.CheckRoomAccess(
                rooms_pb.CheckRoomAccessRequest(name=f"{NAME}/rooms/r1"), timeout=15.0
            ),
            "tenant": lambda: rig.diagnostics.DiagnoseTenant(
                diagnostics_pb.DiagnoseTenantRequest(name=NAME), timeout=15.0
            ),
            "room": lambda: rig.diagnostics.DiagnoseRoom(
                diagnostics_pb.DiagnoseRoomRequest(name=f"{NAME}/rooms/r1"), timeout=15.0
            ),
        }[call]()
        await entered.wait()
        assert (await rig.tenants.GetTenant(pb.GetTenantRequest(name=NAME))).tenant.name == NAME
        waits.cancel()


@pytest.mark.parametrize("name", ["", "acme", "tenants/acme/rooms/r1", "tenants/"])
async def test_name_of_another_form_is_refused(rig: Rig, name: str) -> None:
    told = await failing(rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=name)))
    assert (told.code, set(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, {"name"})


async def test_unknown_tenant_is_not_found(rig: Rig) -> None:
    told = await failing(rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=NAME)))
    assert told.reason == "TENANT_NOT_FOUND"


async def test_tenant_being_deleted_is_not_found(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME))
    told = await failing(rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=NAME)))
    assert told.reason == "TENANT_NOT_FOUND"


async def test_suspended_tenant_is_not_asked_about(rig: Rig) -> None:
    await rig.db.add_tenant()
    await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=NAME))
    told = await failing(rig.tenants.VerifyTenant(pb.VerifyTenantRequest(name=NAME)))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TENANT_SUSPENDED")


async def test_mapped_room_is_shown_beside_what_was_found(rig: Rig) -> None:
    await registered(rig)
    await map_room(rig, "r1", "a@contoso.example")
    rig.microsoft.mailbox = ("8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80", "Europe/Berlin")
    request = rooms_pb.CheckRoomAccessRequest(parent=NAME, mailbox="A@contoso.example", include_write=True)
    answer = await rig.rooms.CheckRoomAccess(request)
    assert answer.room.name == f"{NAME}/rooms/r1"
    assert answer.mailbox_object_id == "8f2c1a5e-0b7d-4c55-9d0a-3f1e2b6c7d80"
    assert {check.check_id: check.outcome for check in answer.checks} == dict.fromkeys(
        ["token.acquire", "token.claims", "room.read", "mailbox.zone", "room.write"], CheckResult.OUTCOME_PASSED
    )


async def test_nothing_is_written_unless_it_is_asked_for(rig: Rig) -> None:
    await registered(rig)
    await map_room(rig, "r1", "a@contoso.example")
    answer = await rig.rooms.CheckRoomAccess(rooms_pb.CheckRoomAccessRequest(name=f"{NAME}/rooms/r1"))
    assert answer.checks[-1].outcome == CheckResult.OUTCOME_SKIPPED
    assert rig.microsoft.windows == []


async def test_refusal_is_believed_only_with_a_new_token(rig: Rig) -> None:
    await registered(rig)
    rig.microsoft.probe_error = MailboxDenied("no")
    request = rooms_pb.CheckRoomAccessRequest(parent=NAME, mailbox="a@contoso.example", include_write=True)
    answer = await rig.rooms.CheckRoomAccess(request)
    assert len(rig.microsoft.probed) == 2
    assert len(rig.microsoft.forgotten) == 1
    assert [check.skipped_because for check in answer.checks] == ["", "", "", "room.read", "room.read"]


@pytest.mark.parametrize(
    ("request_fields", "fields"),
    [
        ({}, {"parent", "mailbox"}),
        ({"parent": NAME}, {"mailbox"}),
        ({"parent": NAME, "mailbox": "no address"}, {"mailbox"}),
        ({"parent": "acme", "mailbox": "a@b"}, {"parent"}),
        ({"name": NAME}, {"name"}),
        ({"name": f"{NAME}/rooms/-"}, {"name"}),
        ({"name": f"{NAME}/rooms/r1", "parent": NAME, "mailbox": "a@b"}, {"parent", "mailbox"}),
    ],
)
async def test_check_of_nothing_that_can_be_named_is_refused(
    rig: Rig, request_fields: dict[str, str], fields: set[str]
) -> None:
    request = rooms_pb.CheckRoomAccessRequest(**request_fields)  # type: ignore[arg-type]  # texts only
    told = await failing(rig.rooms.CheckRoomAccess(request))
    assert set(told.violations) == fields


async def test_room_that_may_be_read_again_is_read_at_once(rig: Rig) -> None:
    tenant = await registered(rig)
    await map_room(rig, "r1", "a@contoso.example")
    await map_room(rig, "r2", "b@contoso.example")
    store = rig.db.store
    _, rooms = await store.rooms.load_all(tenant.uid)
    problem = problem_of(MailboxDenied("no"), now=NOW, next_check_at=None)
    await store.rooms.set_problem(rooms[0].uid, problem, lease=None)
    for intent in await store.intents.due(tenant.uid, count_max=99):
        await store.intents.finish(intent, next_at=None)
    await verify(rig)
    hurried = {(intent.kind, intent.key) for intent in await store.intents.due(tenant.uid, count_max=99)}
    kinds = (IntentKind.ROOM_COMPARE, IntentKind.ROOM_SUBSCRIBE)
    assert {one for one in hurried if one[0] in kinds} == {(kind, rooms[0].uid) for kind in kinds}
