"""What a call of Graph leaves behind: marks and hints, if the call is genuine.

Runs inside the transaction of `Subscriptions.mark`. A notice is about the one subscription whose key it carries: what comes
late, doubled, or for one that has been replaced since, never touches the room's current one.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.subscription import Lifecycle, Notification, Subscription
from sidecar.model.window import to_micros
from sidecar.store import journal, locks
from sidecar.store.engine import Connection
from sidecar.store.rooms import check_soon

_CALL_NOTED_EVERY = timedelta(minutes=1)


def is_genuine(notification: Notification, subscription: Subscription) -> bool:
    """Tell whether a notification has the client state and the directory of its subscription."""
    is_secret_right = hmac.compare_digest(notification.secret_hash, subscription.secret_hash)
    return is_secret_right and notification.directory_id.casefold() == subscription.directory_id.casefold()


async def is_unwanted(c: Connection, subscription: Subscription) -> bool:
    """Tell whether nothing is to be read for the tenant, however much Graph announces."""
    at_rest = "uid = $1 AND (suspended_at IS NOT NULL OR deleted_at IS NOT NULL)"
    return await c.fetch_one(f"SELECT 1 FROM tenants WHERE {at_rest}", subscription.tenant_uid) is not None  # noqa: S608


def unnoted_calls(subscription: Subscription, genuine: Sequence[Notification], *, now: datetime) -> list[str]:
    """Return the columns in which it is to be noted that Graph called: once a minute each, since calls come in floods."""
    calls = {
        "notified_at": (subscription.notified_at, any(item.lifecycle is None for item in genuine)),
        "lifecycle_at": (subscription.lifecycle_at, any(item.lifecycle is not None for item in genuine)),
    }
    return [
        column
        for column, (known_at, is_called) in calls.items()
        if is_called and (known_at is None or abs(now - known_at) >= _CALL_NOTED_EVERY)
    ]


async def mark_lifecycle(c: Connection, subscription: Subscription, notices: Sequence[Notification]) -> None:
    """Do what genuine maintenance notices demand."""
    room_uid, lane = subscription.announced_room_uid, subscription.tenant_uid
    if room_uid is None or not notices:
        return
    kinds = {item.lifecycle for item in notices if _is_about(item, subscription)}
    if not kinds or Lifecycle.MISSED in kinds or Lifecycle.OTHER in kinds:
        await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, lane, priority=Priority.REPAIR)
    if Lifecycle.SUBSCRIPTION_REMOVED in kinds:
        await lose(c, subscription)
        await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, lane, priority=Priority.REPAIR, force=True)
    if Lifecycle.REAUTHORIZATION_REQUIRED in kinds and subscription.room_uid is not None:
        await renew_soon(c, subscription.room_uid, lane)


def _is_about(notice: Notification, subscription: Subscription) -> bool:
    """Tell whether a notice is about the subscription that we know, and not about a twin from a call whose answer was lost."""
    if notice.graph_id is None or subscription.graph_id is None:
        return True
    return notice.graph_id.casefold() == subscription.graph_id.casefold()


async def mark_events(
    c: Connection,
    room_uid: RoomUid,
    lane: TenantUid,
    notifications: Sequence[Notification],
    *,
    settle_s: float,
    settle_max_s: float,
) -> None:
    """Note what events are to be read, and when."""
    if not notifications:
        return
    event_ids = {item.event_id for item in notifications if item.event_id is not None}
    if any(item.event_id is None for item in notifications):
        await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, lane, priority=Priority.REPAIR)
    if not event_ids:
        return
    generation = await journal.mark_settling(c, room_uid, lane, settle_s=settle_s, settle_max_s=settle_max_s)
    await c.execute_many(
        "INSERT INTO hints (room_uid, event_id, generation) VALUES ($1, $2, $3)"
        " ON CONFLICT (room_uid, event_id) DO UPDATE SET generation = $3",
        [(room_uid, event_id, generation) for event_id in sorted(event_ids)],
    )


async def lose(c: Connection, subscription: Subscription) -> None:
    """Note that Graph no longer has a subscription.

    Of one that Graph has not answered for, this is remembered as a doubt: it is asked about as soon as the answer is there.
    """
    await locks.keep_tenant(c, subscription.tenant_uid)
    if subscription.graph_id is None:
        await c.execute("UPDATE subscriptions SET renew_at = $2 WHERE key = $1", subscription.key, to_micros(c.now))
        return
    await c.execute(
        "UPDATE subscriptions SET graph_id = NULL, expires_at = NULL, renew_at = NULL WHERE key = $1", subscription.key
    )
    if subscription.room_uid is not None:
        lane, room_uid = subscription.tenant_uid, subscription.room_uid
        await journal.append_about_room(c, lane, room_uid, ChangeKind.ROOM_CHANGED)
        await check_soon(c, room_uid, lane)


async def renew_soon(c: Connection, room_uid: RoomUid, lane: TenantUid) -> None:
    """Have a room's subscription renewed at once: Exchange asks for it, or it may have dropped it without a word.

    Runs inside somebody else's transaction.
    """
    await c.execute("UPDATE subscriptions SET renew_at = $2 WHERE room_uid = $1", room_uid, to_micros(c.now))
    await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, lane, priority=Priority.REPAIR)
