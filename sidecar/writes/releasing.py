"""What has to be done at Exchange so that a room is free from now on. Pure.

A meeting is its organizer's. Where that is somebody else, the room merely leaves it: it declines, the meeting goes on, and the
organizer is told by the room's answer. What lies in the room's own calendar ends now, or never begins.
"""

from __future__ import annotations

import enum
from datetime import datetime

from sidecar.model.attendance import release_end


class Release(enum.Enum):
    """What is done."""

    DECLINE = "decline"
    """The room leaves somebody else's meeting."""
    SHORTEN = "shorten"
    """It ends now."""
    REMOVE = "remove"
    """It has not begun, and is taken out."""
    NOTHING = "nothing"
    """It ends within this very minute."""


def choose_release(*, is_rooms_own: bool, start_at: datetime, end_at: datetime, released_at: datetime) -> Release:
    """Choose how a room is freed of a booking that takes it, and that has not ended at `released_at`.

    Args:
        is_rooms_own: the room is its organizer.
    """
    if not is_rooms_own:
        return Release.DECLINE
    free_at = release_end(released_at)
    if start_at >= free_at:
        return Release.REMOVE
    return Release.SHORTEN if free_at < end_at else Release.NOTHING
