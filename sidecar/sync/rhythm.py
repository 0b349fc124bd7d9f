"""When a room is looked at next. Pure.

A room whose changes are announced is checked now and then, to prove that nothing was lost. One whose changes are not lives
on checks alone: often while something happens in it, seldom while it is quiet.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from zlib import crc32

from sidecar.model.ids import RoomUid
from sidecar.model.room import Room
from sidecar.settings import SyncSettings

_QUIET_SHARE = 1 / 8
"""A polled room is asked again after this share of the time since something happened in it."""
_AT_ONCE_S = 1.0
_MISSED_SHARE = 0.25
"""A full read this close to the next planned one takes its place."""
_SPREAD_SHARE = 0.02


def next_check_s(room: Room, *, now: datetime, is_pressed: bool, settings: SyncSettings, rng: Random) -> float:
    """Return in how many seconds a room's changes are asked for again, jittered by a tenth.

    A subscription that ends before then makes it sooner: from its end on, nobody tells us.

    Args:
        is_pressed: Exchange asks us to slow down, or was away just now; polling gives way.
    """
    jitter = 0.9 + rng.random() / 5
    if room.is_announced:
        wait_s = (room.settings.check_interval_s or settings.check_interval_s) * jitter
        if room.subscribed_until_at is None:
            return wait_s
        return min(wait_s, max(_AT_ONCE_S, (room.subscribed_until_at - now).total_seconds()))
    if is_pressed or room.news_at is None:
        return settings.poll_max_s * jitter
    quiet_s = (now - room.news_at).total_seconds()
    return min(max(settings.poll_min_s, quiet_s * _QUIET_SHARE), settings.poll_max_s) * jitter


def next_compare_at(room_uid: RoomUid, *, now: datetime, interval_s: float, rng: Random) -> datetime:
    """Return when a room is read as a whole again.

    Each room has a time of its own within the interval, so that rooms that were mapped, or came back, together are not
    read together for ever.
    """
    own_s = crc32(room_uid.encode()) / 2**32 * interval_s
    wait_s = interval_s - (now.timestamp() - own_s) % interval_s
    if wait_s < _MISSED_SHARE * interval_s:
        wait_s += interval_s
    return now + timedelta(seconds=wait_s + (rng.random() * 2 - 1) * _SPREAD_SHARE * interval_s)
