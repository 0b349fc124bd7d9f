"""The sync client's calls about bookings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property

from exchange_client import availability, requests
from exchange_client.channel import ASKING_TIMEOUT_S
from exchange_client.gen.ioffice.exchange.v1 import booking_service_pb2_grpc
from exchange_client.messages import Booking, FindAvailabilityResponse, GetBookingRequest, ListBookingsResponse
from exchange_client.requests import BookingList, ListingPages
from exchange_client.sync_connection import SyncConnection


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
        timeout_s: float | None = None,
    ) -> BookingList:
        """List all bookings that touch a window, with a token from which a watch goes on without a gap.

        Args:
            parent: a room, or `names.all_rooms(tenant_id)`.
            start_at: aware; inside the window.
            end_at: aware; the first instant outside.
            show_cancelled: also those in the states CANCELLED and DECLINED.
        """
        pages = ListingPages()
        for page in self.list_booking_pages(
            parent, start_at, end_at, show_cancelled=show_cancelled, timeout_s=timeout_s
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
        timeout_s: float | None = None,
    ) -> Iterator[ListBookingsResponse]:
        """List like `list_bookings`, but page by page, for a listing too large to hold. Keep the first page's token."""
        request = requests.list_bookings(parent, start_at, end_at, page_size=page_size, show_cancelled=show_cancelled)
        while True:
            page = self._read(self._bookings.ListBookings, request, timeout_s)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def get_booking(self, name: str, *, timeout_s: float | None = None) -> Booking:
        """Read a booking."""
        return (self._read(self._bookings.GetBooking, GetBookingRequest(name=name), timeout_s)).booking

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
        )
        limit_s = ASKING_TIMEOUT_S if bypass_cache and timeout_s is None else timeout_s
        return list((self._read(self._bookings.FindAvailability, request, limit_s)).availabilities)
