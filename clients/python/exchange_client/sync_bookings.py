"""The sync client's calls about bookings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property

from exchange_client import availability, booking_requests, requests
from exchange_client.channel import ASKING_TIMEOUT_S
from exchange_client.gen.ioffice.exchange.v1 import booking_service_pb2_grpc
from exchange_client.messages import (
    Attendee,
    Booking,
    CancelBookingRequest,
    CancelBookingResponse,
    CheckInResponse,
    CreateBookingResponse,
    FindAvailabilityResponse,
    GetBookingRequest,
    ListBookingsResponse,
    ReleaseBookingRequest,
    ReleaseBookingResponse,
    SeriesScope,
    UpdateBookingResponse,
    WriteMode,
)
from exchange_client.requests import BookingList, ListingPages
from exchange_client.sync_connection import SyncConnection
from exchange_client.writing import request_id_or_new


class SyncBookingCalls(SyncConnection):
    """A part of `SyncExchangeClient`."""

    @cached_property
    def _bookings(self) -> booking_service_pb2_grpc.BookingServiceStub:
        return booking_service_pb2_grpc.BookingServiceStub(self._channel)

    def list_bookings(
        self,
        parent: str,
        start_at: datetime,
        end_at: datetime,
        *,
        show_cancelled: bool = False,
        read_after_token: str = "",
        timeout_s: float | None = None,
    ) -> BookingList:
        """List all bookings that touch a window, with a token from which a watch goes on without a gap.

        Args:
            parent: a room, or `names.all_rooms(tenant_id)`.
            start_at: aware; inside the window.
            end_at: aware; the first instant outside.
            show_cancelled: also those in the states CANCELLED and DECLINED.
            read_after_token: from the answer to a write: what it wrote is in the listing.
        """
        pages = ListingPages()
        for page in self.list_booking_pages(
            parent,
            start_at,
            end_at,
            show_cancelled=show_cancelled,
            read_after_token=read_after_token,
            timeout_s=timeout_s,
        ):
            pages.add(page)
        return pages.finish()

    def list_booking_pages(
        self,
        parent: str,
        start_at: datetime,
        end_at: datetime,
        *,
        page_size: int = requests.LIST_PAGE_SIZE,
        show_cancelled: bool = False,
        read_after_token: str = "",
        timeout_s: float | None = None,
    ) -> Iterator[ListBookingsResponse]:
        """List like `list_bookings`, but page by page, for a listing too large to hold. Keep the first page's token."""
        request = requests.list_bookings(
            parent,
            start_at,
            end_at,
            page_size=page_size,
            show_cancelled=show_cancelled,
            read_after_token=read_after_token,
        )
        while True:
            page = self._read(self._bookings.ListBookings, request, timeout_s)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def get_booking(self, name: str, *, read_after_token: str = "", timeout_s: float | None = None) -> Booking:
        """Read a booking; with a token from the answer to a write, as that write or a later one left it."""
        return (
            self._read(
                self._bookings.GetBooking, GetBookingRequest(name=name, read_after_token=read_after_token), timeout_s
            )
        ).booking

    def find_availability(
        self,
        parent: str,
        start_at: datetime,
        end_at: datetime,
        *,
        rooms: Sequence[str] = (),
        min_duration_s: float = 0.0,
        min_capacity: int = 0,
        buffer_before_s: float = 0.0,
        buffer_after_s: float = 0.0,
        bypass_cache: bool = False,
        read_after_token: str = "",
        timeout_s: float | None = None,
    ) -> list[FindAvailabilityResponse.RoomAvailability]:
        """Find out when rooms are free. A room with a `problem` is unknown, as far as it has no free spans; it is not free.

        Args:
            parent: the tenant.
            start_at: aware; inside the window.
            end_at: aware; the first instant outside, at most 60 days later.
            rooms: names of rooms, at most 500; empty: all of the tenant.
            min_duration_s: shorter spans are left out, in seconds.
            min_capacity: smaller rooms are left out.
            buffer_before_s: kept free after a booking before the next span, in seconds.
            buffer_after_s: kept free before a booking after a span, in seconds.
            bypass_cache: ask Exchange instead of the copy; slower.
            read_after_token: from the answer to a write: what it wrote counts.
        Returns:
            The rooms as asked for, or by id; spans are half-open, soonest first.
        """
        request = availability.find_availability(
            parent,
            start_at,
            end_at,
            rooms=rooms,
            min_duration_s=min_duration_s,
            min_capacity=min_capacity,
            buffer_before_s=buffer_before_s,
            buffer_after_s=buffer_after_s,
            bypass_cache=bypass_cache,
            read_after_token=read_after_token,
        )
        limit_s = ASKING_TIMEOUT_S if bypass_cache and timeout_s is None else timeout_s
        return list((self._read(self._bookings.FindAvailability, request, limit_s)).availabilities)

    def create_booking(
        self,
        room: str,
        start_at: datetime,
        end_at: datetime,
        *,
        subject: str = "",
        organizer: str = "",
        attendees: Iterable[str | Attendee] = (),
        time_zone: str = "",
        all_day: bool = False,
        is_private: bool = False,
        body_text: str = "",
        online_meeting: bool = False,
        annotations: Mapping[str, str] | None = None,
        rrule: str = "",
        mode: WriteMode.ValueType = WriteMode.WRITE_MODE_UNSPECIFIED,
        wait_s: float | None = None,
        validate_only: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> CreateBookingResponse:
        """Book a room, once: the call is sent again under one id until it is answered or the time is over.

        Args:
            room: its name.
            start_at: aware; of a series, of its first booking.
            end_at: aware; the first instant after it.
            organizer: address of the person whose meeting it is; needed where it lies in that person's calendar.
            attendees: addresses, or `Attendee` messages.
            time_zone: IANA zone in which a series repeats; empty: the room's.
            all_day: from midnight to midnight in the room's zone.
            annotations: the caller's own data, told with the booking from now on.
            rrule: rule of RFC 5545 for a series, such as FREQ=WEEKLY;COUNT=10.
            mode: in whose calendar; unspecified: as the tenant is set.
            wait_s: wait so long for the room's answer, at most 120; None: return once Exchange has taken it.
            validate_only: make nothing, say only whether it could be made.
            request_id: names this wish over restarts of the caller, too; empty: a new one.
            timeout_s: for all tries together.
        Returns:
            The booking, of a series the first one. Its state tells whether the room is yours: only CONFIRMED says so.
        Raises:
            RoomConflict: the room is taken.
            OutcomeUnknown: nobody knows yet; call again with the same `request_id`, which the error's metadata has.
            RequestIdReused: the id was used for something else.
        """
        request = booking_requests.create_booking(
            room,
            start_at,
            end_at,
            subject=subject,
            organizer=organizer,
            attendees=attendees,
            time_zone=time_zone,
            all_day=all_day,
            is_private=is_private,
            body_text=body_text,
            online_meeting=online_meeting,
            annotations=annotations,
            rrule=rrule,
            mode=mode,
            wait_s=wait_s,
            validate_only=validate_only,
            request_id=request_id,
        )
        limit_s = booking_requests.write_limit_s(timeout_s, wait_s)
        return self._settle(self._bookings.CreateBooking, request, request.request_id, limit_s)

    def update_booking(
        self,
        name: str,
        *,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        subject: str | None = None,
        attendees: Iterable[str | Attendee] | None = None,
        time_zone: str | None = None,
        all_day: bool | None = None,
        is_private: bool | None = None,
        body_text: str | None = None,
        online_meeting: bool | None = None,
        annotations: Mapping[str, str] | None = None,
        rrule: str = "",
        scope: SeriesScope.ValueType = SeriesScope.SERIES_SCOPE_UNSPECIFIED,
        etag: str = "",
        wait_s: float | None = None,
        validate_only: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> UpdateBookingResponse:
        """Change what is given of a booking, and nothing else. Sent again as `create_booking` is.

        Args:
            name: the booking's; of a series an occurrence's.
            start_at: aware; goes with `end_at`.
            attendees: all of them; so are annotations.
            rrule: a new rule for the series, with a scope of more than one.
            scope: how much of a series; unspecified: the booking that is named.
            etag: change only this version.
            others: as for `create_booking`.
        Returns:
            The booking, which may have another name, and what was lost of a series' single days.
        Raises:
            ValueError: nothing is given, or one end of the time without the other.
            Conflict: another version is current.
            RoomConflict: the new time is taken; the booking stays where it was.
            OutcomeUnknown, RequestIdReused: as `create_booking`.
        """
        request = booking_requests.update_booking(
            name,
            start_at=start_at,
            end_at=end_at,
            subject=subject,
            attendees=attendees,
            time_zone=time_zone,
            all_day=all_day,
            is_private=is_private,
            body_text=body_text,
            online_meeting=online_meeting,
            annotations=annotations,
            rrule=rrule,
            scope=scope,
            etag=etag,
            wait_s=wait_s,
            validate_only=validate_only,
            request_id=request_id,
        )
        limit_s = booking_requests.write_limit_s(timeout_s, wait_s)
        return self._settle(self._bookings.UpdateBooking, request, request.request_id, limit_s)

    def cancel_booking(
        self,
        name: str,
        *,
        scope: SeriesScope.ValueType = SeriesScope.SERIES_SCOPE_UNSPECIFIED,
        comment: str = "",
        etag: str = "",
        allow_missing: bool = False,
        validate_only: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> CancelBookingResponse:
        """Cancel a booking; for somebody else's meeting the room declines. Sent again as `create_booking` is.

        Args:
            name: the booking's; of a series an occurrence's.
            scope: how much of a series; unspecified: the booking that is named.
            comment: for those who hear of it by mail.
            etag: cancel only this version.
            allow_missing: no error when there is none.
        Raises:
            Conflict: another version is current.
            OutcomeUnknown, RequestIdReused: as `create_booking`.
        """
        request = CancelBookingRequest(
            name=name,
            scope=scope,
            comment=comment,
            etag=etag,
            allow_missing=allow_missing,
            validate_only=validate_only,
            request_id=request_id_or_new(request_id),
        )
        limit_s = booking_requests.write_limit_s(timeout_s)
        return self._settle(self._bookings.CancelBooking, request, request.request_id, limit_s)

    def check_in(
        self,
        name: str,
        *,
        by: str = "",
        at: datetime | None = None,
        undo: bool = False,
        timeout_s: float | None = None,
    ) -> CheckInResponse:
        """Note that somebody came to a booking; Exchange is told nothing. The first check-in stands.

        Args:
            name: the booking's.
            by: the caller's own id of who came; no address.
            at: aware; None: now.
            undo: take the check-in back.
        """
        request = booking_requests.check_in(name, by=by, at=at, undo=undo)
        return self._write(self._bookings.CheckIn, request, timeout_s)

    def release_booking(
        self,
        name: str,
        *,
        reason: ReleaseBookingRequest.Reason.ValueType = ReleaseBookingRequest.REASON_UNSPECIFIED,
        comment: str = "",
        etag: str = "",
        allow_missing: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> ReleaseBookingResponse:
        """Free the room from now on; somebody else's meeting goes on without it. Sent again as `create_booking` is.

        Args:
            name: the booking's; of a series this occurrence only.
            reason: why.
            comment: for the organizer whose meeting the room leaves; empty: a sentence that says the reason.
            etag: release only this version.
            allow_missing: a booking that is gone counts as released.
            request_id: names this wish; empty: a new one.
            timeout_s: for all tries together.
        Returns:
            The booking as it is now; unset when it is gone from the room.
        Raises:
            OutcomeUnknown, RequestIdReused: as `create_booking`.
        """
        request = ReleaseBookingRequest(
            name=name,
            reason=reason,
            comment=comment,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id_or_new(request_id),
        )
        limit_s = booking_requests.write_limit_s(timeout_s)
        return self._settle(self._bookings.ReleaseBooking, request, request.request_id, limit_s)
