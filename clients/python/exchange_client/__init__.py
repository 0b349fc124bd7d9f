"""Python client of the Exchange sidecar: bookings of meeting rooms over gRPC, with watches that resume.

`ExchangeClient` is async, `SyncExchangeClient` is not; their methods are the same. Messages are the generated ones, found in
`exchange_client.messages`; `names` and `times` build what goes into them. See README.md.
"""

from exchange_client import messages, names, times
from exchange_client.aio_watch import Watch
from exchange_client.channel import Tls
from exchange_client.client import ExchangeClient
from exchange_client.errors import (
    AccessDenied,
    AlreadyExists,
    ClientClosed,
    Conflict,
    DeadlineExceeded,
    ExchangeError,
    GapError,
    InternalError,
    InvalidRequest,
    LimitReached,
    NotFound,
    NotReady,
    OutcomeUnknown,
    RequestIdReused,
    ResumeTokenInvalid,
    RoomConflict,
    Unavailable,
    Unsupported,
    Violation,
    WatcherTooSlow,
)
from exchange_client.mirror import RoomMirror
from exchange_client.mirror_room import ChangeKind, MirrorChange
from exchange_client.requests import BookingList, DiscoveredRooms, MapOutcome, room_mapping
from exchange_client.sync_client import SyncExchangeClient
from exchange_client.sync_watch import SyncWatch
from exchange_client.token_file import TokenFile
from exchange_client.tokens import FileTokenStore, MemoryTokenStore, TokenStore
from exchange_client.watching import Backoff, Reconnected

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "Backoff",
    "BookingList",
    "ChangeKind",
    "ClientClosed",
    "Conflict",
    "DeadlineExceeded",
    "DiscoveredRooms",
    "ExchangeClient",
    "ExchangeError",
    "FileTokenStore",
    "GapError",
    "InternalError",
    "InvalidRequest",
    "LimitReached",
    "MapOutcome",
    "MemoryTokenStore",
    "MirrorChange",
    "NotFound",
    "NotReady",
    "OutcomeUnknown",
    "Reconnected",
    "RequestIdReused",
    "ResumeTokenInvalid",
    "RoomConflict",
    "RoomMirror",
    "SyncExchangeClient",
    "SyncWatch",
    "Tls",
    "TokenFile",
    "TokenStore",
    "Unavailable",
    "Unsupported",
    "Violation",
    "Watch",
    "WatcherTooSlow",
    "messages",
    "names",
    "room_mapping",
    "times",
]
