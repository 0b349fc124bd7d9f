"""Builds the request of `find_availability`, for both clients; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from exchange_client import times
from exchange_client.messages import FindAvailabilityRequest
from exchange_client.requests import checked_rooms


def find_availability(
    parent: str,
    start_at: datetime,
    end_at: datetime,
    *,
    rooms: Sequence[str],
    min_duration_s: float,
    min_capacity: int,
    buffer_before_s: float,
    buffer_after_s: float,
    bypass_cache: bool,
    read_after_token: str,
) -> FindAvailabilityRequest:
    """Build the request."""
    return FindAvailabilityRequest(
        parent=parent,
        rooms=checked_rooms(rooms),
        window=times.window(start_at, end_at),
        min_duration=times.to_duration(min_duration_s),
        min_capacity=min_capacity,
        buffer_before=times.to_duration(buffer_before_s),
        buffer_after=times.to_duration(buffer_after_s),
        bypass_cache=bypass_cache,
        read_after_token=read_after_token,
    )
