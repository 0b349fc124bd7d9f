"""What is written down of calls, over the wire."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.api.audited import AUDITED, READING, WRITING, Auditor
from sidecar.api.caller import caller_of
from sidecar.api.server import SERVICES
from sidecar.gen.ioffice.exchange.v1 import audit_service_pb2 as audit_pb
from sidecar.gen.ioffice.exchange.v1 import diagnostics_service_pb2 as diagnostics_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.audit import CallerKind
from tests.support.builders import CANARY, DIRECTORY
from tests.support.stores import ManualClock
from tests.unit.api.rig import Noted, Rig, failing
from tests.unit.api.test_tenants import APP, registration

NAME = "tenants/acme"


async def entries(rig: Rig, tenant: str = "") -> list[audit_pb.AuditEntry]:
    """Return the entries, the newest first."""
    return list((await rig.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(tenant=tenant))).entries)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
def test_every_call_is_in_exactly_one_table(service: ServiceDescriptor) -> None:
    for method in service.methods:
        name = f"{service.name}/{method.name}"
        tables = [table for table in (AUDITED, WRITING, READING) if name in table]
        assert len(tables) == 1, f"{name} belongs into exactly one table of api/audited.py"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))
def test_kept_values_are_fields_of_their_requests(service: ServiceDescriptor) -> None:
    for method in service.methods:
        audited = AUDITED.get(f"{service.name}/{method.name}")
        for path in () if audited is None else audited.values:
            kind = method.input_type
            *way, last = path.split(".")
            for step in way:
                kind = kind.fields_by_name[step].message_type or kind
            assert last in kind.fields_by_name, path


async def test_call_that_changes_something_is_written_down(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    (registered,) = await entries(rig)
    await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=NAME, reason=CANARY))
    (suspended,) = (entry for entry in await entries(rig) if entry.id != registered.id)
    assert (suspended.method, suspended.resource, suspended.outcome) == ("TenantService/SuspendTenant", NAME, "OK")
    assert list(suspended.fields) == ["name", "reason"]
    assert (registered.method, registered.resource) == ("TenantService/RegisterTenant", NAME)
    assert dict(registered.values) == {"tenant.directory_id": DIRECTORY.upper(), "credential.application_id": APP}
    assert "credential.client_secret" in registered.fields
    assert registered.caller.kind in (audit_pb.AuditCaller.KIND_UNIX_SOCKET, audit_pb.AuditCaller.KIND_LOOPBACK)
    assert suspended.time.seconds > 0


async def test_change_of_settings_is_written_down_with_what_its_mask_names(rig: Rig) -> None:
    """What the mask names and nothing sets goes back to its default, which may let more be kept."""
    given = registration()
    given.tenant.settings.subject_visibility = pb.TenantSettings.VISIBILITY_MASKED
    await rig.tenants.RegisterTenant(given)
    paths = ["settings.subject_visibility", "settings.past_days", CANARY]
    change = pb.UpdateTenantRequest(tenant=pb.Tenant(name=NAME), update_mask=FieldMask(paths=paths))
    await failing(rig.tenants.UpdateTenant(change))
    change.update_mask.paths.remove(CANARY)
    change.tenant.settings.past_days = 0
    await rig.tenants.UpdateTenant(change)
    found = {(entry.method, entry.outcome): entry for entry in await entries(rig)}
    registered = found["TenantService/RegisterTenant", "OK"]
    changed, refused = (found["TenantService/UpdateTenant", outcome] for outcome in ("OK", "FIELD_INVALID"))
    assert registered.values["tenant.settings.subject_visibility"] == "VISIBILITY_MASKED"
    masked = ["update_mask.settings.subject_visibility", "update_mask.settings.past_days"]
    assert list(changed.fields) == ["tenant.name", "tenant.settings.past_days", *masked]
    assert dict(changed.values) == {"tenant.settings.past_days": "0"}
    assert list(refused.fields) == ["tenant.name", *masked]


async def test_call_that_is_refused_is_written_down_with_the_reason(rig: Rig) -> None:
    await failing(rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME, purge=True, etag="9")))
    await failing(rig.rooms.MapRoom(room_pb.MapRoomRequest(parent=NAME)))
    await failing(rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name="no name")))
    found = await entries(rig)
    assert {(entry.method, entry.resource, entry.outcome) for entry in found} == {
        ("TenantService/SuspendTenant", "", "FIELD_INVALID"),
        ("RoomService/MapRoom", "", "FIELD_INVALID"),
        ("TenantService/DeleteTenant", NAME, "TENANT_NOT_FOUND"),
    }
    (deleted,) = (entry for entry in found if entry.resource)
    assert dict(deleted.values) == {"purge": "true", "etag": "9"}


async def test_call_that_had_nothing_to_change_is_written_down(rig: Rig) -> None:
    await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME, allow_missing=True))
    (entry,) = await entries(rig)
    assert (entry.outcome, dict(entry.values)) == ("OK", {"allow_missing": "true"})


async def test_reading_is_not_written_down(rig: Rig) -> None:
    await rig.tenants.ListTenants(pb.ListTenantsRequest())
    await failing(rig.diagnostics.DiagnoseTenant(diagnostics_pb.DiagnoseTenantRequest(name=NAME)))
    await failing(rig.tenants.GetTenant(pb.GetTenantRequest(name=NAME)))
    assert await entries(rig) == []


async def test_secrets_and_words_of_people_are_never_in_the_audit(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration(client_secret=f"{CANARY}-secret"))
    await failing(rig.tenants.RegisterTenant(registration(f" {CANARY} ", client_secret=CANARY * 100)))
    await failing(rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=f"{CANARY}/x", etag=f"{CANARY} and more")))
    await rig.tenants.SuspendTenant(pb.SuspendTenantRequest(name=NAME, reason=CANARY))
    room = room_pb.Room(mailbox=f"{CANARY}@example.com", display_name=CANARY, annotations={CANARY: CANARY})
    await rig.rooms.MapRoom(room_pb.MapRoomRequest(parent=NAME, room_id="r1", room=room))
    answer = await rig.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest())
    assert len(answer.entries) == 5
    assert CANARY.encode() not in answer.SerializeToString()


async def test_batch_is_one_entry_about_its_tenant(rig: Rig) -> None:
    await rig.db.add_tenant()
    one = room_pb.MapRoomRequest(room_id="r1", room=room_pb.Room(mailbox="r1@example.com"))
    await rig.rooms.BatchMapRooms(room_pb.BatchMapRoomsRequest(parent=NAME, requests=[one]))
    (entry,) = await entries(rig, tenant=NAME)
    assert (entry.resource, list(entry.fields)) == (NAME, ["parent", "requests"])
    assert await entries(rig, tenant="tenants/other") == []


async def test_pages_go_through_all_entries_once(rig: Rig) -> None:
    for _ in range(5):
        await rig.tenants.DeleteTenant(pb.DeleteTenantRequest(name=NAME, allow_missing=True))
    seen: list[str] = []
    request = audit_pb.ListAuditEntriesRequest(page_size=2)
    while True:
        page = await rig.audit.ListAuditEntries(request)
        seen += [entry.id for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


async def test_every_broken_field_of_a_listing_is_named(rig: Rig) -> None:
    request = audit_pb.ListAuditEntriesRequest(tenant="acme", page_size=-1, page_token="x")
    request.start_time.nanos = request.end_time.nanos = -1
    told = await failing(rig.audit.ListAuditEntries(request))
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(told.violations) == {"tenant", "start_time", "end_time", "page_size", "page_token"}


async def test_flood_of_refusals_is_counted_and_not_written_one_by_one() -> None:
    clock, noted = ManualClock(), Noted()
    auditor = Auditor(audit=noted, clock=clock)

    async def refuse() -> None:
        one = auditor.begin("RoomService/ResyncRoom", room_pb.ResyncRoomRequest(), lambda: caller_of("unix:", {}))
        await auditor.end(one, outcome="ROOM_NOT_FOUND")

    for _ in range(1_000):
        await refuse()
    assert len(noted.entries) == 20
    clock.advance(1.0)
    await refuse()
    assert noted.entries[-1] == {"not_recorded": "980"}
    assert len(noted.entries) == 21


@pytest.mark.parametrize(
    ("peer", "kind", "address"),
    [
        ("unix:/run/exchange/exchange.sock", CallerKind.UNIX_SOCKET, ""),
        ("unix:", CallerKind.UNIX_SOCKET, ""),
        ("ipv4:127.0.0.1:4711", CallerKind.LOOPBACK, "127.0.0.1"),
        ("ipv6:%5B::1%5D:4711", CallerKind.LOOPBACK, "::1"),
        ("ipv6:[::1]:4711", CallerKind.LOOPBACK, "::1"),
        ("ipv4:10.1.2.3:4711", CallerKind.NETWORK, "10.1.2.3"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", CallerKind.NETWORK, "fe80::1%eth0"),
        ("nonsense", CallerKind.NETWORK, ""),
    ],
)
def test_caller_is_told_by_where_he_comes_from(peer: str, kind: CallerKind, address: str) -> None:
    caller = caller_of(peer, {})
    assert (caller.kind, caller.address, caller.identity) == (kind, address, "")


def test_name_that_tls_proved_is_the_callers() -> None:
    proved = {"x509_common_name": [b"app"], "x509_subject_alternative_name": [b"app.example", b"other"]}
    assert caller_of("ipv4:10.1.2.3:1", proved).identity == "certificate:app.example"
    del proved["x509_subject_alternative_name"]
    assert caller_of("ipv4:10.1.2.3:1", proved).identity == "certificate:app"
