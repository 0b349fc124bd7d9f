"""Model values become messages without loss, and several rooms become one honest status."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.api import convert
from sidecar.api.booking_codec import ProtoBookingCodec
from sidecar.api.convert import RoomConverter, cloud_from_proto, tenant_to_proto
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as tenant_pb
from sidecar.model.booking import (
    Attendee,
    Booking,
    BookingState,
    Decline,
    DeclineReason,
    Person,
    Response,
    booking_digest,
)
from sidecar.model.ids import RoomId, TenantId, TenantUid
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.room import Room, RoomState, SyncState, freshness_limits
from sidecar.model.tenant import Cloud, CredentialInfo, CredentialKind, Tenant
from sidecar.model.window import Window
from sidecar.settings import SyncSettings
from tests.support.builders import DIRECTORY, HORIZON, NOW, after, make_booking, make_problem, make_room
from tests.support.stores import ManualClock
from tests.unit.api.rig import time_of, window_of

LIMITS = freshness_limits(SyncSettings())


def converter(clock: ManualClock | None = None) -> RoomConverter:
    return RoomConverter(clock=clock or ManualClock(), limits=LIMITS)


def whole_booking() -> Booking:
    return make_booking(
        "b1",
        state=BookingState.TENTATIVE,
        is_all_day=True,
        attendees=(Attendee(Person("eve@contoso.example", "Eve"), True, Response.DECLINED),),
        series_id="series1",
        original_start_at=after(hours=-1),
        is_exception=True,
        online_meeting_uri="https://meet.example/1",
        start_at=after(microseconds=1),
    )


def encode(booking: Booking, revision: int = 7) -> bytes:
    digest = booking_digest(booking)
    return ProtoBookingCodec().encode(booking, room_name="tenants/acme/rooms/r1", revision=revision, digest=digest)


def test_booking_keeps_everything_that_callers_see() -> None:
    booking = whole_booking()
    told = booking_pb.Booking.FromString(encode(booking))
    assert told == booking_pb.Booking(
        name="tenants/acme/rooms/r1/bookings/b1",
        state=booking_pb.Booking.STATE_TENTATIVE,
        time=window_of(Window(booking.start_at, booking.end_at)),
        time_zone="Europe/Berlin",
        all_day=True,
        subject="Design review",
        subject_state=booking_pb.Booking.SUBJECT_STATE_SHOWN,
        organizer=booking_pb.Person(email="ada@contoso.example", display_name="Ada"),
        attendees=[
            booking_pb.Attendee(
                person=booking_pb.Person(email="eve@contoso.example", display_name="Eve"),
                optional_attendee=True,
                response=booking_pb.Attendee.RESPONSE_DECLINED,
            )
        ],
        origin=booking_pb.Booking.ORIGIN_EXCHANGE,
        recurrence=booking_pb.Recurrence(
            series_id="series1", original_start_time=time_of(after(hours=-1)), exception=True
        ),
        online_meeting_uri="https://meet.example/1",
        calendar_uid="uid-b1",
        revision=7,
        etag=told.etag,
        create_time=time_of(booking.created_at),
        update_time=time_of(booking.updated_at),
    )
    assert told.etag


@pytest.mark.parametrize(
    "decline",
    [
        Decline(DeclineReason.ROOM_TAKEN, Window(after(hours=1), after(hours=2)), is_assumed=False),
        Decline(DeclineReason.TOO_LONG),
    ],
)
def test_why_a_room_declined_survives_stricter_settings(decline: Decline) -> None:
    body = encode(make_booking(state=BookingState.DECLINED, decline=decline))
    stricter, _ = ProtoBookingCodec().restrict(body, privacy=Privacy(subject=Visibility.MASKED), hash_key=b"")
    told, kept = booking_pb.Booking.FromString(body), booking_pb.Booking.FromString(stricter)
    assert told.decline.reason == decline.reason.value
    assert told.decline.assumed == decline.is_assumed
    assert told.decline.HasField("competing") == (decline.competing is not None)
    assert kept.decline == told.decline


def test_bare_booking_leaves_out_what_is_not_known() -> None:
    told = booking_pb.Booking.FromString(encode(make_booking(organizer=None, created_at=None, updated_at=None)))
    unset = {"organizer", "recurrence", "create_time", "update_time"}
    assert not unset & {field.name for field, _ in told.ListFields()}


def test_etag_differs_exactly_when_something_shown_differs() -> None:
    same = booking_pb.Booking.FromString(encode(whole_booking(), revision=8)).etag
    other = booking_pb.Booking.FromString(encode(replace(whole_booking(), subject="Other"))).etag
    assert same == booking_pb.Booking.FromString(encode(whole_booking(), revision=9)).etag
    assert other != same


def test_equal_bookings_have_equal_bytes_from_any_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: encode(whole_booking()), range(200)))) == 1


def test_stamp_changes_the_revision_and_nothing_else() -> None:
    body = encode(whole_booking(), revision=7)
    stamped = booking_pb.Booking.FromString(ProtoBookingCodec().stamp(body, revision=2**53 + 1))
    expected = booking_pb.Booking.FromString(body)
    expected.revision = 2**53 + 1
    assert stamped == expected


def test_room_tells_state_sync_and_problems() -> None:
    room = make_room(problem=make_problem(), annotations={"floor": "3"}, object_id="o1", version=4)
    told = converter().room_to_proto(room)
    assert (told.name, told.uid, told.mailbox, told.etag) == ("tenants/acme/rooms/r1", "r1", room.mailbox, "4")
    assert told.state == room_pb.Room.STATE_DENIED
    assert told.sync.state == common_pb.SYNC_STATE_BLOCKED
    assert told.sync.fresh_as_of_time == time_of(NOW)
    assert told.sync.horizon == window_of(HORIZON)
    assert [problem.reason for problem in told.sync.problems] == ["MAILBOX_ACCESS_DENIED"]
    assert told.sync.problems[0].actor == common_pb.Problem.ACTOR_CUSTOMER
    assert dict(told.annotations) == {"floor": "3"}


def test_every_state_of_the_model_has_one_in_the_api() -> None:
    tables = (convert.ROOM_STATES, convert.SYNC_STATES, convert._TENANT_STATES, convert._CLOUDS, convert._ACTORS)
    for table in tables:
        assert set(table) == set(type(next(iter(table))))
    assert set(convert.ROOM_STATES) == set(RoomState)
    assert set(convert.SYNC_STATES) == set(SyncState)


def test_copy_turns_stale_by_waiting() -> None:
    clock = ManualClock()
    room = make_room()
    assert converter(clock).sync_to_proto(room).state == common_pb.SYNC_STATE_LIVE
    clock.advance(LIMITS.live_s + 1)
    assert converter(clock).sync_to_proto(room).state == common_pb.SYNC_STATE_STALE


def rooms(*changes: Mapping[str, object]) -> list[Room]:
    return [make_room(room_id=RoomId(f"r{place}"), **change) for place, change in enumerate(changes)]


def test_several_rooms_are_as_good_as_the_worst_and_as_fresh_as_the_oldest() -> None:
    narrow = Window(HORIZON.start_at, HORIZON.end_at - timedelta(days=1))
    told = converter().rooms_sync_to_proto(
        rooms({"fresh_as_of_at": after(minutes=-9)}, {"is_subscribed": False, "horizon": narrow}, {})
    )
    assert told.state == common_pb.SYNC_STATE_POLLING
    assert told.fresh_as_of_time == time_of(after(minutes=-9))
    assert told.horizon == window_of(narrow)


def test_one_unread_room_leaves_freshness_and_horizon_unset() -> None:
    told = converter().rooms_sync_to_proto(rooms({}, {"fresh_as_of_at": None, "horizon": None}))
    assert told.state == common_pb.SYNC_STATE_INITIALIZING
    assert not told.HasField("fresh_as_of_time")
    assert not told.HasField("horizon")


def test_horizons_without_a_common_part_leave_it_unset() -> None:
    far = Window(HORIZON.end_at, HORIZON.end_at + timedelta(days=1))
    assert not converter().rooms_sync_to_proto(rooms({}, {"horizon": far})).HasField("horizon")


def test_problem_of_many_rooms_is_told_once_with_their_count() -> None:
    early = make_problem(seen_at=after(days=-1))
    told = converter().rooms_sync_to_proto(
        rooms({"problem": make_problem()}, {"problem": early}, {"problem": make_problem("MAILBOX_NOT_FOUND")})
    )
    counts = {problem.reason: problem.metadata["rooms_count"] for problem in told.problems}
    assert counts == {"MAILBOX_ACCESS_DENIED": "2", "MAILBOX_NOT_FOUND": "1"}
    assert told.problems[0].first_seen_time == time_of(after(days=-1))
    assert told.problems[0].metadata["rooms"] == "r0, r1"


def test_problem_of_a_thousand_rooms_names_ten() -> None:
    told = converter().rooms_sync_to_proto(rooms(*[{"problem": make_problem()}] * 1_000))
    assert len(told.problems) == 1
    assert told.problems[0].metadata["rooms"].count(",") == 9
    assert told.ByteSize() < 1_000


def test_of_no_room_nothing_is_known() -> None:
    assert converter().rooms_sync_to_proto([]) == common_pb.SyncStatus()


def test_tenant_shows_its_credential_without_the_secret() -> None:
    info = CredentialInfo(
        application_id="app", kind=CredentialKind.CERTIFICATE, fingerprint="ab12", expires_at=NOW, proven_at=None
    )
    tenant = Tenant(
        uid=TenantUid("t1"),
        tenant_id=TenantId("acme"),
        display_name="Acme",
        directory_id=DIRECTORY,
        cloud=Cloud.CHINA,
        problem=make_problem("CONSENT_MISSING"),
        verified_at=NOW,
        deleted_at=None,
        credential=info,
        version=3,
        revision=9,
        created_at=NOW,
        updated_at=after(hours=1),
    )
    told = tenant_to_proto(tenant, now=NOW)
    assert (told.name, told.etag, told.cloud) == ("tenants/acme", "3", tenant_pb.CLOUD_CHINA)
    assert told.state == tenant_pb.Tenant.STATE_CONSENT_MISSING
    assert told.update_time == time_of(after(hours=1))
    (credential,) = told.credentials
    assert credential.kind == tenant_pb.CredentialInfo.KIND_CERTIFICATE
    assert credential.expire_time == time_of(NOW)
    assert not credential.HasField("prove_time")


def test_unspecified_cloud_means_global() -> None:
    assert cloud_from_proto(tenant_pb.CLOUD_UNSPECIFIED) is Cloud.GLOBAL
    assert cloud_from_proto(tenant_pb.CLOUD_US_GOVERNMENT_DOD) is Cloud.US_GOVERNMENT_DOD
