"""Graph's promises to call us, and the marks that its calls leave."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.subscription import Lifecycle, Notification, Subscription
from sidecar.model.window import to_micros
from sidecar.store import journal, locks, rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import check_soon, save_problem

_ABANDON = "UPDATE subscriptions SET room_uid = NULL WHERE key = $1 AND room_uid IS NOT NULL"


@dataclass(frozen=True, slots=True)
class MarkOutcome:
    """What became of notifications: how many left a mark, and how many are not from a subscription of ours."""

    marked_count: int
    unknown_count: int


class Subscriptions:
    """The subscriptions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def mark(self, notifications: Sequence[Notification], *, settle_s: float, settle_max_s: float) -> MarkOutcome:
        """Leave durable marks for what was notified; when this returns they survive a crash.

        A notification counts only with the client state and the directory of its subscription, compared in constant time.
        """

        async def run(c: Connection) -> MarkOutcome:
            by_key: dict[str, list[Notification]] = defaultdict(list)
            for notification in notifications:
                by_key[notification.key].append(notification)
            marked_count = 0
            # In one order everywhere, and tenants' rows before marks: transactions side by side then never wait in a ring.
            for key, group in sorted(by_key.items(), key=_tenants_first):
                subscription = await _load(c, "key = $1", key)
                if subscription is None or subscription.room_uid is None:
                    continue
                genuine = [item for item in group if _is_genuine(item, subscription)]
                marked_count += len(genuine)
                await _mark_lifecycle(c, subscription, {item.lifecycle for item in genuine})
                await _mark_events(
                    c,
                    subscription.room_uid,
                    subscription.tenant_uid,
                    [item for item in genuine if item.lifecycle is None],
                    settle_s=settle_s,
                    settle_max_s=settle_max_s,
                )
            return MarkOutcome(marked_count, len(notifications) - marked_count)

        return await self._engine.write(run)

    async def adopt_url(self, url: str | None) -> int:
        """Make every subscription fit the webhook address (None: there is none); return how many do not.

        Those made for another address call nobody: they are to be removed at Exchange, and rooms without one are to get
        one. Called once, at the start, because that is when the address can change.
        """

        async def run(c: Connection) -> int:
            others = await c.fetch(
                "SELECT s.key, s.room_uid, s.tenant_uid FROM subscriptions s JOIN tenants t ON t.uid = s.tenant_uid"
                " WHERE s.room_uid IS NOT NULL AND t.deleted_at IS NULL AND s.url <> $1 ORDER BY s.tenant_uid, s.key",
                url or "",
            )
            for key, room_uid, tenant_uid in others:
                lane = TenantUid(tenant_uid)
                await locks.keep_tenant(c, lane)
                if not await c.execute(_ABANDON, key):
                    continue  # another process that started at the same time was faster
                kind = IntentKind.SUBSCRIPTION_REMOVE
                await journal.mark(c, kind, str(key), lane, priority=Priority.REPAIR)
                await journal.append_about_room(c, lane, RoomUid(room_uid), ChangeKind.ROOM_CHANGED)
                await check_soon(c, RoomUid(room_uid), lane)
            if url is not None:
                bare = await c.fetch(
                    "SELECT r.uid, r.tenant_uid FROM rooms r JOIN tenants t ON t.uid = r.tenant_uid"
                    " LEFT JOIN subscriptions s ON s.room_uid = r.uid WHERE s.key IS NULL AND t.deleted_at IS NULL"
                    " ORDER BY r.tenant_uid, r.uid"
                )
                for room_uid, tenant_uid in bare:
                    kind = IntentKind.ROOM_SUBSCRIBE
                    await journal.mark(c, kind, str(room_uid), TenantUid(tenant_uid), priority=Priority.REPAIR)
            return len(others)

        return await self._engine.write(run)

    async def load_for_room(self, room_uid: RoomUid) -> Subscription | None:
        """Return the room's subscription, alive or not."""
        return await self._engine.read(lambda c: _load(c, "room_uid = $1", room_uid))

    async def load(self, key: str) -> Subscription | None:
        """Return a subscription by its key."""
        return await self._engine.read(lambda c: _load(c, "key = $1", key))

    async def load_for_tenant(self, tenant_uid: TenantUid) -> Sequence[Subscription]:
        """Return all subscriptions of a tenant, those of unmapped rooms too."""

        async def run(c: Connection) -> list[Subscription]:
            found = await c.fetch(f"{rows.SUBSCRIPTION} WHERE tenant_uid = $1 ORDER BY key", tenant_uid)
            return [rows.subscription_from_row(row) for row in found]

        return await self._engine.read(run)

    async def prepare(
        self, room_uid: RoomUid, tenant_uid: TenantUid, *, key: str, secret_hash: bytes, directory_id: str, url: str
    ) -> None:
        """Note a subscription that is about to be asked for, so that its first notification is known whenever it comes.

        It takes the place of the room's former one, which Graph no longer has.
        """

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, tenant_uid)
            await c.execute("DELETE FROM subscriptions WHERE room_uid = $1", room_uid)
            await c.execute(
                "INSERT INTO subscriptions (key, room_uid, tenant_uid, directory_id, secret_hash, url, created_at)"
                " SELECT $1, uid, tenant_uid, $3, $4, $5, $6 FROM rooms WHERE uid = $2 AND tenant_uid = $7",
                key,
                room_uid,
                directory_id,
                secret_hash,
                url,
                to_micros(c.now),
                tenant_uid,
            )

        await self._engine.write(run)

    async def confirm(self, key: str, *, graph_id: str, expires_at: datetime, renew_at: datetime) -> bool:
        """Note what Graph answered to a creation or renewal; False when nobody wants the subscription any more.

        A room that was not announced before is compared in full, because nobody was told what changed until now.
        """

        async def run(c: Connection) -> bool:
            await locks.keep_tenant_of_subscription(c, key)
            before = await _load(c, "key = $1", key)
            if before is None or before.room_uid is None:
                return False
            await c.execute(
                "UPDATE subscriptions SET graph_id = $2, expires_at = $3, renew_at = $4 WHERE key = $1",
                key,
                graph_id,
                to_micros(expires_at),
                to_micros(renew_at),
            )
            await save_problem(c, before.room_uid, "subscription_problem", None, lease=None)
            if before.graph_id is None or (before.expires_at is not None and before.expires_at <= c.now):
                room_uid, lane = before.room_uid, before.tenant_uid
                await journal.append_about_room(c, lane, room_uid, ChangeKind.ROOM_CHANGED)
                await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, lane, priority=Priority.COMPARE)
            return True

        return await self._engine.write(run)

    async def lose(self, key: str) -> None:
        """Note that Graph no longer has a subscription."""
        await self._engine.write(lambda c: _lose(c, key))

    async def forget(self, key: str) -> None:
        """Drop a subscription that Graph no longer has and nobody wants."""

        async def run(c: Connection) -> None:
            await c.execute("DELETE FROM subscriptions WHERE key = $1", key)

        await self._engine.write(run)


def _tenants_first(item: tuple[str, list[Notification]]) -> tuple[bool, str]:
    """Sort notifications that write about the tenant before those that only leave a mark."""
    key, group = item
    return all(notification.lifecycle is None for notification in group), key


async def renew_soon(c: Connection, room_uid: RoomUid, lane: TenantUid) -> None:
    """Have a room's subscription renewed at once: Exchange asks for it, or it may have dropped it without a word.

    Runs inside somebody else's transaction.
    """
    await c.execute("UPDATE subscriptions SET renew_at = $2 WHERE room_uid = $1", room_uid, to_micros(c.now))
    await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, lane, priority=Priority.REPAIR)


def _is_genuine(notification: Notification, subscription: Subscription) -> bool:
    is_secret_right = hmac.compare_digest(notification.secret_hash, subscription.secret_hash)
    return is_secret_right and notification.directory_id.casefold() == subscription.directory_id.casefold()


async def _load(c: Connection, condition: str, value: str) -> Subscription | None:
    row = await c.fetch_one(f"{rows.SUBSCRIPTION} WHERE {condition}", value)
    return None if row is None else rows.subscription_from_row(row)


async def _lose(c: Connection, key: str) -> None:
    await locks.keep_tenant_of_subscription(c, key)
    before = await _load(c, "key = $1", key)
    if before is None or before.graph_id is None:
        return
    await c.execute("UPDATE subscriptions SET graph_id = NULL, expires_at = NULL, renew_at = NULL WHERE key = $1", key)
    if before.room_uid is not None:
        await journal.append_about_room(c, before.tenant_uid, before.room_uid, ChangeKind.ROOM_CHANGED)
        await check_soon(c, before.room_uid, before.tenant_uid)


async def _mark_lifecycle(c: Connection, subscription: Subscription, kinds: set[Lifecycle | None]) -> None:
    room_uid, lane = subscription.room_uid, subscription.tenant_uid
    if room_uid is None:
        return
    if Lifecycle.MISSED in kinds:
        await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, lane, priority=Priority.REPAIR)
    if Lifecycle.SUBSCRIPTION_REMOVED in kinds:
        await _lose(c, subscription.key)
        await journal.mark(c, IntentKind.ROOM_SUBSCRIBE, room_uid, lane, priority=Priority.REPAIR, force=True)
    if Lifecycle.REAUTHORIZATION_REQUIRED in kinds:
        await renew_soon(c, room_uid, lane)


async def _mark_events(
    c: Connection,
    room_uid: RoomUid,
    lane: TenantUid,
    notifications: Sequence[Notification],
    *,
    settle_s: float,
    settle_max_s: float,
) -> None:
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
