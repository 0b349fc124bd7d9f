"""Graph's promise to call us, and the calls."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.model.ids import EventId, RoomUid, TenantUid


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as we keep it.

    `key` travels inside the client state, so that a notification finds its room even before Graph's id is known here.
    Of the client state's secret only a hash is kept. `graph_id`, `expires_at` and `renew_at` are None until Graph has
    answered. `room_uid` is the room whose current subscription this is; `beside_room_uid` the one that it announces beside
    the current one, as its successor or predecessor. With neither it only waits to be deleted. `mailbox` is how the mailbox
    was spelled in the request, None for what an earlier version made. `notified_at` and `lifecycle_at` are when Graph last
    announced a change and spoke of maintenance, to the minute. `is_pending` means that it was asked for, and that
    Graph's answer is not known.
    """

    key: str
    room_uid: RoomUid | None
    beside_room_uid: RoomUid | None
    tenant_uid: TenantUid
    directory_id: str
    secret_hash: bytes
    graph_id: str | None
    expires_at: datetime | None
    renew_at: datetime | None
    url: str
    mailbox: str | None
    is_pending: bool
    created_at: datetime
    notified_at: datetime | None = None
    lifecycle_at: datetime | None = None

    @property
    def announced_room_uid(self) -> RoomUid | None:
        """The room that its notifications are about; None: nobody wants them any more."""
        return self.room_uid or self.beside_room_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A subscription that was asked for and not yet answered. `client_state` is asked for again, should the answer be lost."""

    subscription: Subscription
    client_state: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What is known about a room's subscriptions.

    `current` is the one that Graph has confirmed, or had; `pending` the one on its way, in whose place nothing need be
    there. `url` is where Graph is to call, "" for nowhere; `urls` are all addresses that are or were ours.
    """

    current: Subscription | None
    pending: Pending | None
    url: str
    urls: frozenset[str]


class Lifecycle(enum.StrEnum):
    """Graph's maintenance notices, in its own spelling."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    MISSED = "missed"
    OTHER = "other"
    """One that this version does not know."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A hint that an event changed, not yet believed: the client state is checked against the store.

    `event_id` is None when the notification names none; the room is then compared as a whole. `graph_id` is Graph's id of the
    subscription, None when it is not told.
    """

    key: str
    secret_hash: bytes
    directory_id: str
    event_id: EventId | None
    lifecycle: Lifecycle | None
    graph_id: str | None = None
