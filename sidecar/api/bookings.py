"""BookingService: bookings from the copy. No read asks Exchange, and no booking is parsed on its way out.

Calls that write are answered by `booking_writes`, those about people in rooms by `attendance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from sidecar.api import frames
from sidecar.api.attendance import AttendanceCalls
from sidecar.api.availability import AvailabilityCalls
from sidecar.api.booking_changes import BookingChanger
from sidecar.api.booking_writes import BookingWriter
from sidecar.api.convert import RoomConverter
from sidecar.api.listings import RoomAnswer, RoomAnswers
from sidecar.api.page_tokens import PageTokens
from sidecar.api.validate import Check
from sidecar.api.written_tokens import WrittenTokens
from sidecar.errors import BookingNotFound, FieldViolation, InvalidArgument
from sidecar.feed.feed import Feed, WatchScope
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.model.cursor import encode_cursor
from sidecar.model.ids import BookingKey, RoomId, RoomUid, TenantId, TenantUid
from sidecar.model.window import Window, from_micros, to_micros
from sidecar.store.calendars import BookingPage, PagePlace
from sidecar.store.changes import LogHead
from sidecar.store.store import Store

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
_RESPONSE_BYTES_MAX = 3 * 1024 * 1024
"""gRPC clients take 4 MiB unless told otherwise."""


class _Place(msgspec.Struct, array_like=True, frozen=True):
    """The last booking of the page before, and the resume token that every page repeats."""

    start_micros: int
    room_uid: str
    key: str
    resume_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """A request, checked. `room_id` None: all rooms."""

    tenant_id: TenantId
    room_id: RoomId | None
    window: Window
    count_max: int
    place: _Place | None

    @property
    def after(self) -> PagePlace | None:
        """Where the page begins, in the store's words."""
        if self.place is None:
            return None
        try:
            start_at = from_micros(self.place.start_micros)
        except OverflowError:
            raise InvalidArgument([FieldViolation("page_token", "was changed")]) from None
        return start_at, RoomUid(self.place.room_uid), BookingKey(self.place.key)


class BookingServicer:
    """Lists and reads bookings."""

    def __init__(
        self,
        *,
        store: Store,
        answers: RoomAnswers,
        feed: Feed,
        converter: RoomConverter,
        tokens: WrittenTokens,
        writer: BookingWriter,
        availability: AvailabilityCalls,
        attendance: AttendanceCalls,
        changer: BookingChanger,
    ) -> None:
        self._tokens = tokens
        self._writer = writer
        self._attendance = attendance
        self._changer = changer
        self._store = store
        self._answers = answers
        self._feed = feed
        self._converter = converter
        self._availability = availability
        self._page_tokens = PageTokens(_Place)

    async def list_bookings(self, request: pb.ListBookingsRequest) -> bytes:
        """See the proto. The log's position is read before, or in one transaction with, the first page."""
        asked = request.SerializeToString()
        version, answer = self._answers.find(asked)
        if answer is None:
            query = self._read_query(request)
            await self._tokens.check(query.tenant_id, request.read_after_token)
            if query.room_id is None:
                return await self._list_all(request, query)
            answer = await self._list_room(request, query, query.room_id)
            self._answers.keep(asked, answer, version=version)
        return answer.told_now(self._converter)

    def _read_query(self, request: pb.ListBookingsRequest) -> _Query:
        check = Check()
        tenant_id, room_id = check.room_or_all("parent", request.parent)
        window = check.window("window", request.window)
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        place = self._page_tokens.decode(check, request, request.page_token)
        check.finish()
        return _Query(tenant_id=tenant_id, room_id=room_id, window=window, count_max=count_max, place=place)

    async def _list_room(self, request: pb.ListBookingsRequest, query: _Query, room_id: RoomId) -> RoomAnswer:
        listing = await self._store.calendars.list_room(
            query.tenant_id,
            room_id,
            query.window,
            after=query.after,
            count_max=query.count_max,
            bytes_max=_RESPONSE_BYTES_MAX,
            show_all=request.show_cancelled,
        )
        return RoomAnswer(
            room=listing.room,
            page=self._page(request, query, listing.page, listing.room.tenant_uid, listing.head),
            state=self._converter.sync_state(listing.room),
            sync=self._converter.sync_to_proto(listing.room).SerializeToString(),
        )

    async def _list_all(self, request: pb.ListBookingsRequest, query: _Query) -> bytes:
        """List all rooms of a tenant.

        The order of reads is what makes the answer true: the bookings are read after the log's position and after the
        state of the rooms, so they hold at least what these two vouch for.
        """
        tenant_uid, head = await self._store.changes.tenant_head(query.tenant_id)
        view = await self._feed.view(tenant_uid, at_least=0)
        page = await self._store.calendars.page(
            query.tenant_id,
            None,
            query.window,
            after=query.after,
            count_max=query.count_max,
            bytes_max=_RESPONSE_BYTES_MAX,
            show_all=request.show_cancelled,
        )
        sync = self._converter.rooms_sync_to_proto(view.rooms).SerializeToString()
        return frames.list_bookings_response(self._page(request, query, page, tenant_uid, head), sync=sync)

    def _page(
        self, request: pb.ListBookingsRequest, query: _Query, page: BookingPage, tenant_uid: TenantUid, head: LogHead
    ) -> bytes:
        """Put a page together; each repeats the resume token of the first, which was taken before all of them."""
        if query.place is None:
            room_ids = None if query.room_id is None else (query.room_id,)
            scope = WatchScope(tenant_id=query.tenant_id, room_ids=room_ids)
            resume_token = encode_cursor(self._feed.cursor(scope, tenant_uid, head))
        else:
            resume_token = query.place.resume_token
        next_page_token = ""
        if page.last is not None:
            start_at, room_uid, key = page.last
            place = _Place(to_micros(start_at), room_uid, key, resume_token)
            next_page_token = self._page_tokens.encode(request, place)
        return frames.bookings_page(page.bodies, next_page_token=next_page_token, resume_token=resume_token)

    async def update_booking(self, request: pb.UpdateBookingRequest) -> pb.UpdateBookingResponse:
        """See the proto."""
        return await self._changer.update_booking(request)

    async def cancel_booking(self, request: pb.CancelBookingRequest) -> pb.CancelBookingResponse:
        """See the proto."""
        return await self._changer.cancel_booking(request)

    async def create_booking(self, request: pb.CreateBookingRequest) -> pb.CreateBookingResponse:
        """See the proto."""
        return await self._writer.create_booking(request)

    async def get_booking(self, request: pb.GetBookingRequest) -> bytes:
        """See the proto."""
        check = Check()
        tenant_id, room_id, key = check.booking("name", request.name)
        check.finish()
        await self._tokens.check(tenant_id, request.read_after_token)
        body = await self._store.calendars.load_body(tenant_id, room_id, key)
        if body is None:
            await self._store.rooms.load(tenant_id, room_id)  # raises when it is the room that does not exist
            raise BookingNotFound("there is no such booking")
        return frames.get_booking_response(body)

    async def find_availability(self, request: pb.FindAvailabilityRequest) -> bytes:
        """See the proto."""
        return await self._availability.find_availability(request)

    async def check_in(self, request: pb.CheckInRequest) -> pb.CheckInResponse:
        """See the proto."""
        return await self._attendance.check_in(request)

    async def release_booking(self, request: pb.ReleaseBookingRequest) -> pb.ReleaseBookingResponse:
        """See the proto."""
        return await self._attendance.release_booking(request)
