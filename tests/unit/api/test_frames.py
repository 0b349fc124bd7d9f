"""Hand-made bytes parse to what the generated classes build."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sidecar.api import frames
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as booking_pb
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import watch_service_pb2 as watch_pb
from sidecar.model.change import Cause, Change, ChangeKind
from sidecar.model.ids import BookingKey, RoomUid
from sidecar.model.window import Window
from tests.unit.api.rig import time_of, window_of

sizes = st.one_of(st.integers(0, 300), st.sampled_from([127, 128, 16_383, 16_384, 70_000]))
bookings = st.builds(
    lambda size, revision: booking_pb.Booking(subject="s" * size, revision=revision), sizes, st.integers(0, 2**62)
)
tokens = st.text(max_size=200)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2400, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
kinds = st.sampled_from([ChangeKind.UPSERTED, ChangeKind.REMOVED, ChangeKind.LEFT_SCOPE])


@st.composite
def changes(draw: st.DrawFn) -> tuple[Change, watch_pb.BookingChange]:
    booking, kind, cause = draw(bookings), draw(kinds), draw(st.sampled_from(Cause))
    at = draw(instants)
    body = booking.SerializeToString()
    change = Change(booking.revision, RoomUid("r"), kind, cause, BookingKey("b"), body, at)
    slow = watch_pb.BookingChange(
        kind=watch_pb.BookingChange.Kind.ValueType(kind),
        booking=booking,
        record_time=time_of(at),
        cause=watch_pb.BookingChange.Cause.ValueType(cause),
    )
    return change, slow


@given(st.lists(bookings, max_size=20), tokens, tokens, st.booleans())
def test_list_of_ready_bookings_parses_to_the_message_built_slowly(
    items: list[booking_pb.Booking], next_page_token: str, resume_token: str, has_state: bool
) -> None:
    sync = common_pb.SyncStatus(state=common_pb.SYNC_STATE_LIVE if has_state else common_pb.SYNC_STATE_UNSPECIFIED)
    page = frames.bookings_page(
        [item.SerializeToString() for item in items], next_page_token=next_page_token, resume_token=resume_token
    )
    raw = frames.list_bookings_response(page, sync=sync.SerializeToString())
    assert booking_pb.ListBookingsResponse.FromString(raw) == booking_pb.ListBookingsResponse(
        bookings=items, next_page_token=next_page_token, resume_token=resume_token, sync=sync
    )


@given(bookings)
def test_one_ready_booking_parses_to_the_message_built_slowly(item: booking_pb.Booking) -> None:
    raw = frames.get_booking_response(item.SerializeToString())
    assert booking_pb.GetBookingResponse.FromString(raw) == booking_pb.GetBookingResponse(booking=item)


@given(st.lists(changes(), max_size=8), tokens, st.booleans())
def test_changes_parse_to_the_messages_built_slowly(
    items: list[tuple[Change, watch_pb.BookingChange]], token: str, is_more: bool
) -> None:
    ready, slow = [frames.booking_change(item) for item, _ in items], [item for _, item in items]
    streamed = frames.watch_changes_response(frames.watch_changes(ready), resume_token=token)
    for kind in (watch_pb.WatchRoomResponse, watch_pb.WatchRoomsResponse):
        expected = kind(resume_token=token, changes=watch_pb.BookingChanges(changes=slow))
        assert kind.FromString(streamed) == expected
    paged = frames.read_changes_response(ready, resume_token=token, is_more=is_more)
    assert watch_pb.ReadChangesResponse.FromString(paged) == watch_pb.ReadChangesResponse(
        changes=slow, resume_token=token, more_available=is_more
    )


spans = st.tuples(instants, st.timedeltas(timedelta(microseconds=1), timedelta(days=60))).map(
    lambda drawn: Window(drawn[0], drawn[0] + drawn[1])
)


@given(
    st.lists(st.tuples(st.text(max_size=200), st.lists(spans, max_size=5), st.booleans(), st.booleans()), max_size=5)
)
def test_availability_parses_to_the_message_built_slowly(
    items: list[tuple[str, list[Window], bool, bool]],
) -> None:
    problem = common_pb.Problem(reason="ROOM_STALE")
    sync = common_pb.SyncStatus(state=common_pb.SYNC_STATE_STALE)
    raw = b"".join(
        frames.room_availability(
            room,
            [(span.start_at, span.end_at) for span in free],
            problem=problem.SerializeToString() if has_problem else None,
            sync=sync.SerializeToString() if has_sync else None,
        )
        for room, free, has_problem, has_sync in items
    )
    slow = booking_pb.FindAvailabilityResponse()
    for room, free, has_problem, has_sync in items:
        slow.availabilities.add(
            room=room,
            free=[window_of(span) for span in free],
            problem=problem if has_problem else None,
            sync=sync if has_sync else None,
        )
    assert booking_pb.FindAvailabilityResponse.FromString(raw) == slow


@given(bookings)
def test_row_of_a_snapshot_is_an_upsert_without_time(item: booking_pb.Booking) -> None:
    raw = frames.snapshot_change(item.SerializeToString())
    slow = watch_pb.BookingChange(kind=watch_pb.BookingChange.KIND_UPSERTED, booking=item)
    assert watch_pb.BookingChange.FromString(raw) == slow


@given(st.integers(-(2**63), 2**63 - 1))
def test_varint_is_the_one_of_protobuf(number: int) -> None:
    message = booking_pb.Booking(revision=number)
    assert b"\x70" + frames.varint(number) == (message.SerializeToString() or b"\x70\x00")


def test_both_watches_send_messages_of_one_layout() -> None:
    layouts = [
        [(field.number, field.name, field.type, field.message_type) for field in message.DESCRIPTOR.fields]
        for message in (watch_pb.WatchRoomResponse, watch_pb.WatchRoomsResponse)
    ]
    assert layouts[0] == layouts[1]


def test_record_time_before_1970_is_spelled_as_protobuf_does() -> None:
    at = datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC) - timedelta(days=3)
    change = Change(1, RoomUid("r"), ChangeKind.UPSERTED, 0, BookingKey("b"), b"", at)
    assert watch_pb.BookingChange.FromString(frames.booking_change(change)).record_time == time_of(at)
