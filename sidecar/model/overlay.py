"""Puts what we know of bookings ourselves onto what was read of them, so that no read takes it away. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sidecar.model.attendance import Attendance
from sidecar.model.booking import StoredBooking, booking_digest
from sidecar.model.ids import BookingKey
from sidecar.model.plan import RoomPlan, Touch, Upsert


def overlay(
    plan: RoomPlan, stored: Mapping[BookingKey, StoredBooking], known: Mapping[BookingKey, Attendance]
) -> RoomPlan:
    """Return a plan that was made from a calendar, with our own data in its bookings.

    What differs from the stored booking by our own data alone is no news.

    Args:
        stored: what the plan was made from; its digests count our own data in.
    """
    if not known:
        return plan
    upserts: list[Upsert] = []
    touches = list(plan.touches)
    for upsert in plan.upserts:
        booking = upsert.booking
        attendance = known.get(booking.key)
        shown = None if attendance is None else attendance.of(booking.end_at)
        if shown is None:
            upserts.append(upsert)
            continue
        booking = replace(booking, attendance=shown)
        digest = booking_digest(booking)
        before = stored.get(booking.key)
        if before is None or before.digest != digest:
            upserts.append(replace(upsert, booking=booking, digest=digest))
            continue
        ids = (booking.event_id, booking.master_id, booking.change_key)
        if ids != (before.event_id, before.master_id, before.change_key):
            touches.append(Touch(booking.key, *ids))
    return replace(plan, upserts=tuple(upserts), touches=tuple(touches))
