"""What kind of path a request has, for traces: the words that are Graph's own stay, whatever stands between them goes."""

from __future__ import annotations

from urllib.parse import urlsplit

_WORDS = frozenset(
    {
        "users",
        "mailboxSettings",
        "calendar",
        "calendarView",
        "delta",
        "events",
        "instances",
        "getSchedule",
        "accept",
        "decline",
        "cancel",
        "tentativelyAccept",
        "places",
        "microsoft.graph.room",
        "subscriptions",
        "reauthorize",
    }
)
"""What may be told; a mailbox or an id that is called like one of them tells nothing either."""
_VERSIONS = frozenset({"v1.0", "beta"})
_SEGMENTS_MAX = 8


def route_of(path: str) -> str:
    """Return a path, or the path of a link that Graph gave, with {} for everything that names something; no query."""
    whole = urlsplit(path).path.strip("/").split("/")
    segments = [segment for segment in whole if segment not in _VERSIONS][:_SEGMENTS_MAX]
    return "/" + "/".join(segment if segment in _WORDS else "{}" for segment in segments)
