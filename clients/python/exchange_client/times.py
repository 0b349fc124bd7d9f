"""Times: aware datetimes on the caller's side, protobuf timestamps on the wire.

A datetime without a zone is refused everywhere: it would silently mean the zone of whatever machine runs the code.
"""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from exchange_client.messages import TimeWindow


def window(start_at: datetime, end_at: datetime) -> TimeWindow:
    """Build a half-open window: `start_at` is inside, `end_at` is not.

    Args:
        start_at: aware, in any zone.
        end_at: aware, after `start_at`.
    Raises:
        ValueError: a datetime is naive, or the window is empty or backwards.
    """
    start, end = to_timestamp(start_at), to_timestamp(end_at)
    if key(start) >= key(end):
        raise ValueError(f"the window must end after it starts: {start_at.isoformat()} to {end_at.isoformat()}")
    return TimeWindow(start_time=start, end_time=end)


def to_timestamp(at: datetime) -> Timestamp:
    """Convert an aware datetime; ValueError if it is naive."""
    if at.utcoffset() is None:
        raise ValueError(f"a datetime needs a zone, got the naive {at.isoformat()}")
    made = Timestamp()
    made.FromDatetime(at)
    return made


def to_datetime(timestamp: Timestamp) -> datetime:
    """Convert to an aware datetime in UTC; what is finer than a microsecond is cut off.

    A field that was never set reads as 1970: ask `message.HasField("...")` first where the API says "unset".
    """
    return timestamp.ToDatetime(tzinfo=UTC)


def to_duration(seconds: float) -> Duration:
    """Convert seconds."""
    made = Duration()
    made.FromNanoseconds(round(seconds * 1_000_000_000))
    return made


def to_seconds(duration: Duration) -> float:
    """Convert to seconds."""
    return duration.ToNanoseconds() / 1_000_000_000


def key(timestamp: Timestamp) -> tuple[int, int]:
    """Give a value that orders timestamps exactly, nanoseconds included."""
    return timestamp.seconds, timestamp.nanos


def touches(time: TimeWindow, span: TimeWindow) -> bool:
    """Say whether a stay takes any of a half-open span; a stay of no length counts as the instant it starts at.

    An end of `span` that is not set does not limit it.
    """
    start, end = key(time.start_time), key(time.end_time)
    if span.HasField("end_time") and start >= key(span.end_time):
        return False
    if not span.HasField("start_time"):
        return True
    return end > key(span.start_time) or start >= key(span.start_time)
