"""UpdateTenant over the wire, and settings given at registration."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.gen.ioffice.exchange.v1 import audit_service_pb2 as audit_pb
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.booking import HashedPerson, SubjectState
from tests.support.builders import make_booking
from tests.unit.api.rig import Rig, failing, window_of
from tests.unit.api.test_tenants import registration

SETTINGS = pb.TenantSettings
DEFAULTS = SETTINGS(
    subject_visibility=SETTINGS.VISIBILITY_STORED,
    organizer_visibility=SETTINGS.VISIBILITY_STORED,
    attendee_visibility=SETTINGS.VISIBILITY_STORED,
    private_events=SETTINGS.PRIVATE_EVENTS_MASKED,
    pending_subjects=SETTINGS.PENDING_SUBJECTS_WITHHELD,
    write_mode=common_pb.WRITE_MODE_ROOM,
)


def request(*paths: str, etag: str = "", display_name: str = "", **settings: Any) -> pb.UpdateTenantRequest:
    """Build a request (Any: each setting has a type of its own)."""
    tenant = pb.Tenant(name="tenants/acme", display_name=display_name, settings=SETTINGS(**settings))
    return pb.UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=paths), etag=etag)


async def test_tenant_without_settings_tells_the_defaults(rig: Rig) -> None:
    assert (await rig.tenants.RegisterTenant(registration())).tenant.settings == DEFAULTS


async def test_only_what_the_mask_names_changes(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    first = request("settings.past_days", "settings.check_interval", past_days=0, future_days=9)
    first.tenant.settings.check_interval.seconds = 120
    told = (await rig.tenants.UpdateTenant(first)).tenant
    assert told.settings.past_days == 0
    assert told.settings.HasField("past_days")
    assert told.settings.check_interval.seconds == 120
    assert not told.settings.HasField("future_days")
    assert told.display_name == "Acme"
    second = request("display_name", "settings.subject_visibility", display_name="ACME", subject_visibility=3)
    told = (await rig.tenants.UpdateTenant(second)).tenant
    assert (told.display_name, told.settings.past_days) == ("ACME", 0)
    assert told.settings.subject_visibility == SETTINGS.VISIBILITY_MASKED
    assert (await rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/acme"))).tenant == told


async def test_unset_field_that_the_mask_names_goes_back_to_its_default(rig: Rig) -> None:
    given = registration()
    given.tenant.settings.CopyFrom(SETTINGS(past_days=3, organizer_visibility=SETTINGS.VISIBILITY_HASHED))
    made = (await rig.tenants.RegisterTenant(given)).tenant
    assert made.settings.organizer_visibility == SETTINGS.VISIBILITY_HASHED
    assert (await rig.tenants.RegisterTenant(registration())).tenant.settings == made.settings
    assert (await rig.tenants.UpdateTenant(request("settings"))).tenant.settings == DEFAULTS


async def test_tenant_that_writes_to_organizers_does_so_until_it_is_set_back(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    organizer = request("settings.write_mode", write_mode=common_pb.WRITE_MODE_ORGANIZER)
    assert (await rig.tenants.UpdateTenant(organizer)).tenant.settings.write_mode == common_pb.WRITE_MODE_ORGANIZER
    other = request("settings.past_days", past_days=1)
    assert (await rig.tenants.UpdateTenant(other)).tenant.settings.write_mode == common_pb.WRITE_MODE_ORGANIZER
    told = (await rig.tenants.UpdateTenant(request("settings.write_mode"))).tenant
    assert told.settings.write_mode == common_pb.WRITE_MODE_ROOM


async def test_repeated_call_is_answered_alike_and_an_old_version_is_refused(rig: Rig) -> None:
    made = (await rig.tenants.RegisterTenant(registration())).tenant
    change = request("settings.past_days", past_days=3, etag=made.etag)
    told = (await rig.tenants.UpdateTenant(change)).tenant
    assert told.etag != made.etag
    assert (await rig.tenants.UpdateTenant(change)).tenant == told
    refused = await failing(rig.tenants.UpdateTenant(request("settings.past_days", past_days=4, etag=made.etag)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    missing = request("display_name")
    missing.tenant.name = "tenants/nobody"
    assert (await failing(rig.tenants.UpdateTenant(missing))).reason == "TENANT_NOT_FOUND"


@pytest.mark.parametrize("paths", [(), ("directory_id",), ("*",), ("settings.", "display_name"), ("settings.writes",)])
async def test_mask_names_only_what_can_be_changed(rig: Rig, paths: tuple[str, ...]) -> None:
    await rig.tenants.RegisterTenant(registration())
    told = await failing(rig.tenants.UpdateTenant(request(*paths)))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(told.violations) == {"update_mask"}


async def test_every_broken_field_is_named_and_what_the_mask_leaves_out_is_not_looked_at(rig: Rig) -> None:
    wrong: dict[str, Any] = {
        "past_days": 366,
        "future_days": 0,
        "subject_visibility": 9,
        "organizer_visibility": 9,
        "attendee_visibility": 9,
        "private_events": 9,
        "pending_subjects": 9,
        "write_mode": 9,
    }
    broken = request("settings", "display_name", display_name="x" * 201, etag="x" * 65, **wrong)
    broken.tenant.settings.check_interval.nanos = 1
    broken.tenant.name = "acme"
    told = await failing(rig.tenants.UpdateTenant(broken))
    fields = {f"tenant.settings.{name}" for name in (*wrong, "check_interval")}
    assert set(told.violations) == {*fields, "tenant.name", "tenant.display_name", "etag"}
    await rig.tenants.RegisterTenant(registration())
    ignored = request("settings.past_days", **{**wrong, "past_days": 365})
    assert (await rig.tenants.UpdateTenant(ignored)).tenant.settings.past_days == 365
    given = registration("other")
    given.tenant.settings.CopyFrom(SETTINGS(future_days=1_401))
    assert set((await failing(rig.tenants.RegisterTenant(given))).violations) == {"tenant.settings.future_days"}


@pytest.mark.parametrize("interval_s", [59, 21_601, -1])
async def test_pace_has_bounds(rig: Rig, interval_s: int) -> None:
    await rig.tenants.RegisterTenant(registration())
    change = request("settings.check_interval")
    change.tenant.settings.check_interval.seconds = interval_s
    assert set((await failing(rig.tenants.UpdateTenant(change))).violations) == {"tenant.settings.check_interval"}


async def test_erasure_is_told_until_it_is_done(rig: Rig) -> None:
    await rig.tenants.RegisterTenant(registration())
    await rig.db.add_filled_room("r1", make_booking(subject="CANARY-words"))
    change = request("settings.subject_visibility", subject_visibility=SETTINGS.VISIBILITY_MASKED)
    told = (await rig.tenants.UpdateTenant(change)).tenant
    assert told.HasField("erase_start_time")
    await rig.db.store.erasure.run(await rig.db.tenant_uid(), lease=None)
    told = (await rig.tenants.GetTenant(pb.GetTenantRequest(name="tenants/acme"))).tenant
    assert not told.HasField("erase_start_time")
    listed = await rig.bookings.ListBookings(
        booking_pb.ListBookingsRequest(parent="tenants/acme/rooms/r1", window=window_of())
    )
    (booking,) = listed.bookings
    assert (booking.subject, booking.subject_state) == ("", booking_pb.Booking.SUBJECT_STATE_MASKED)


async def test_log_names_the_tenant_of_a_call_that_fails(rig: Rig) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    rig.db.store.tenants.update = fail  # type: ignore[method-assign, assignment]
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await failing(rig.tenants.UpdateTenant(request("display_name")))
    (line,) = [line for line in lines if line["event"] == "rpc.failed"]
    assert line["tenant"] == "acme"


async def test_hashes_are_told_apart_from_what_they_stand_for(rig: Rig) -> None:
    """A hash is never to be taken for a subject or an address."""
    await rig.tenants.RegisterTenant(registration())
    booking = make_booking(subject="abc", subject_state=SubjectState.HASHED, organizer=HashedPerson("xyz"))
    await rig.db.add_filled_room("r1", booking)
    listed = await rig.bookings.ListBookings(
        booking_pb.ListBookingsRequest(parent="tenants/acme/rooms/r1", window=window_of())
    )
    (told,) = listed.bookings
    assert (told.subject, told.subject_hash) == ("", "abc")
    assert told.organizer == booking_pb.Person(hash="xyz")


async def test_audit_tells_what_was_let_be_kept(rig: Rig) -> None:
    """Who loosened a customer's settings, and how far."""
    await rig.tenants.RegisterTenant(registration())
    change = request("settings.subject_visibility", "display_name", display_name="CANARY", subject_visibility=2)
    await rig.tenants.UpdateTenant(change)
    found = (await rig.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest())).entries
    (entry,) = (one for one in found if one.method == "TenantService/UpdateTenant")
    assert dict(entry.values) == {"tenant.settings.subject_visibility": "VISIBILITY_HASHED"}
    assert "CANARY" not in str(entry)
