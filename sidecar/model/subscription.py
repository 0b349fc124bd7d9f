"""Graph's promise to call us, and the calls."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.ids import EventId, RoomUid, TenantUid


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as we keep it.

    `key` travels inside the client state, so that a notification finds its room even before Graph's id is known here.
    Of the client state's secret only a hash is kept. `graph_id`, `expires_at` and `renew_at` are None until Graph has
    answered; `room_uid` is None once the room is unmapped and the subscription only waits to be deleted.
    """

    key: str
    room_uid: RoomUid | None
    tenant_uid: TenantUid
    directory_id: str
    secret_hash: bytes
    graph_id: str | None
    expires_at: datetime | None
    renew_at: datetime | None
    url: str
    created_at: datetime


class Lifecycle(enum.StrEnum):
    """Graph's maintenance notices, in its own spelling."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Notification:
    """A hint that an event changed, not yet believed: the client state is checked against the store.

    `event_id` is None when the notification names none; the room is then compared as a whole.
    """

    key: str
    secret_hash: bytes
    directory_id: str
    event_id: EventId | None
    lifecycle: Lifecycle | None
