"""Graph's promises to call us, and the marks that its calls leave."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.errors import SecretUnreadable, StoreUnavailable
from sidecar.model.change import ChangeKind
from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import IntentKind, Priority
from sidecar.model.problem import PASSING_REASONS
from sidecar.model.subscription import Notification, Pending, Subscription, Upkeep
from sidecar.model.window import to_micros
from sidecar.store import journal, locks, notices, rows
from sidecar.store.engine import Connection, Engine
from sidecar.store.rooms import check_soon, save_problem
from sidecar.store.vault import Vault
from sidecar.store.webhook_reach import WebhookReach, is_heard_noted, standing_problem
from sidecar.store.webhook_urls import lapse, load_url, load_urls

CLIENT_STATE_ROLE = "client state of "
"""What a sealed client state is bound to, followed by the subscription's key."""

_CALLS_NOTED_MAX = 2
"""Of one body, because Microsoft waits for the answer; of the others it is noted with their next calls."""


@dataclass(frozen=True, slots=True)
class MarkOutcome:
    """What became of notifications.

    Attributes:
        marked_count: those that left a mark.
        unknown_count: those that are not from a subscription of ours.
        unwanted_count: those about tenants that are suspended or deleted: whoever takes one up again reads everything.
    """

    marked_count: int
    unknown_count: int
    unwanted_count: int = 0


class Subscriptions:
    """The subscriptions."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine = engine
        self._vault = vault
        self._reach = WebhookReach(engine)

    async def mark(self, notifications: Sequence[Notification], *, settle_s: float, settle_max_s: float) -> MarkOutcome:
        """Leave durable marks for what was notified; when this returns they survive a crash.

        A notification counts only with the client state and the directory of its subscription, compared in constant time.
        """
        calls: list[tuple[str, str]] = []
        urls: set[str] = set()

        async def run(c: Connection) -> MarkOutcome:
            by_key: dict[str, list[Notification]] = defaultdict(list)
            for notification in notifications:
                by_key[notification.key].append(notification)
            marked_count = unwanted_count = 0
            calls.clear()  # a transaction may be run again
            urls.clear()
            # In one order everywhere, and tenants' rows before marks: transactions side by side then never wait in a ring.
            for key, group in sorted(by_key.items(), key=_tenants_first):
                subscription = await _load(c, "key = $1", key)
                room_uid = None if subscription is None else subscription.announced_room_uid
                if subscription is None or room_uid is None:
                    continue
                genuine = [item for item in group if notices.is_genuine(item, subscription)]
                if await notices.is_unwanted(c, subscription):
                    unwanted_count += len(genuine)
                    continue
                marked_count += len(genuine)
                urls.update([subscription.url] if genuine else [])
                maintenance = [item for item in genuine if item.lifecycle is not None]
                calls.extend((key, column) for column in notices.unnoted_calls(subscription, genuine, now=c.now))
                await notices.mark_lifecycle(c, subscription, maintenance)
                await notices.mark_events(
                    c,
                    room_uid,
                    subscription.tenant_uid,
                    [item for item in genuine if item.lifecycle is None],
                    settle_s=settle_s,
                    settle_max_s=settle_max_s,
                )
            urls.difference_update([url for url in urls if await is_heard_noted(c, url)])
            unknown_count = len(notifications) - marked_count - unwanted_count
            return MarkOutcome(marked_count, unknown_count, unwanted_count)

        outcome = await self._engine.write(run)
        await self._note_calls(calls[:_CALLS_NOTED_MAX])
        for url in sorted(urls):
            with contextlib.suppress(StoreUnavailable):
                await self._reach.note_heard(url)
        return outcome

    async def _note_calls(self, calls: Sequence[tuple[str, str]]) -> None:
        """Note when Graph last called, for people.

        Row by row, each in a transaction of its own: whoever holds one row and wants nothing else stands in nobody's ring.
        """
        for key, column in calls:
            statement = f"UPDATE subscriptions SET {column} = $2 WHERE key = $1"  # noqa: S608  (ours)

            async def run(c: Connection, key: str = key, statement: str = statement) -> None:
                await c.execute(statement, key, to_micros(c.now))

            with contextlib.suppress(StoreUnavailable):  # the marks are made, and they are what counts
                await self._engine.write(run)

    async def load_for_room(self, room_uid: RoomUid) -> Subscription | None:
        """Return the room's current subscription, alive or not."""
        return await self._engine.read(lambda c: _load(c, "room_uid = $1", room_uid))

    async def load_upkeep(self, room_uid: RoomUid) -> Upkeep:
        """Return all that is known about a room's subscriptions, as of one moment."""

        async def run(c: Connection) -> Upkeep:
            current = await _load(c, "room_uid = $1", room_uid)
            asked = await c.fetch_one(
                "SELECT key, tenant_uid, sealed_state FROM subscriptions WHERE graph_id IS NULL AND sealed_state IS NOT NULL"
                " AND (room_uid = $1 OR beside_room_uid = $1) ORDER BY created_at DESC, key LIMIT 1",
                room_uid,
            )
            pending = None
            if asked is not None:
                waiting = await _load(c, "key = $1", asked[0])
                state = self._open(bytes(asked[2]), tenant_uid=TenantUid(asked[1]), key=asked[0])
                if waiting is not None and state is not None:
                    pending = Pending(subscription=waiting, client_state=state)
            if current is not None and pending is not None and current.key == pending.subscription.key:
                current = None
            return Upkeep(current=current, pending=pending, url=await load_url(c), urls=await load_urls(c))

        return await self._engine.read(run)

    def _open(self, sealed: bytes, *, tenant_uid: TenantUid, key: str) -> str | None:
        """Return a sealed client state; None when its key is no longer in the ring, and another one is made then."""
        try:
            return self._vault.unseal(sealed, tenant_uid=tenant_uid, role=CLIENT_STATE_ROLE + key).decode()
        except SecretUnreadable:
            return None

    async def load(self, key: str) -> Subscription | None:
        """Return a subscription by its key."""
        return await self._engine.read(lambda c: _load(c, "key = $1", key))

    async def load_for_tenant(self, tenant_uid: TenantUid) -> Sequence[Subscription]:
        """Return all subscriptions of a tenant, those of unmapped rooms too."""

        async def run(c: Connection) -> list[Subscription]:
            found = await c.fetch(f"{rows.SUBSCRIPTION} WHERE tenant_uid = $1 ORDER BY key", tenant_uid)
            return [rows.subscription_from_row(row) for row in found]

        return await self._engine.read(run)

    async def load_urls(self) -> frozenset[str]:
        """Return all webhook addresses that are or were ours."""
        return await self._engine.read(load_urls)

    async def doubt(self, room_uid: RoomUid, tenant_uid: TenantUid) -> None:
        """Have Exchange asked at once whether it still has a room's subscription."""
        await self._engine.write(lambda c: notices.renew_soon(c, room_uid, tenant_uid))

    async def prepare(
        self,
        room_uid: RoomUid,
        tenant_uid: TenantUid,
        *,
        key: str,
        secret_hash: bytes,
        directory_id: str,
        url: str,
        mailbox: str | None = None,
        client_state: str | None = None,
        calendar_no: int = 1,
    ) -> None:
        """Note a subscription that is about to be asked for, so that its first notification is known whenever it comes.

        It takes the place of one that Graph no longer has, or that was asked for before; beside one that Graph still has it
        waits until it is confirmed.

        Args:
            client_state: sealed, and kept until Graph has answered; without it the request cannot be made a second time.
            calendar_no: of the room's mailbox that is meant; nothing is noted when the room has another one by now.
        """
        role = CLIENT_STATE_ROLE + key
        sealed = client_state and self._vault.seal(client_state.encode(), tenant_uid=tenant_uid, role=role)

        async def run(c: Connection) -> None:
            await locks.keep_tenant(c, tenant_uid)
            of_room = "SELECT 1 FROM rooms WHERE uid = $1 AND tenant_uid = $2 AND calendar_no = $3"
            if await c.fetch_one(of_room, room_uid, tenant_uid, calendar_no) is None:
                return
            await c.execute(
                "DELETE FROM subscriptions WHERE graph_id IS NULL AND (room_uid = $1 OR beside_room_uid = $1)", room_uid
            )
            has_current = await c.fetch_one("SELECT 1 FROM subscriptions WHERE room_uid = $1", room_uid) is not None
            place = "beside_room_uid" if has_current else "room_uid"
            await c.execute(
                f"INSERT INTO subscriptions (key, {place}, tenant_uid, directory_id, secret_hash, url, created_at,"  # noqa: S608  (ours)
                " mailbox, sealed_state)"
                " SELECT $1, uid, tenant_uid, $3, $4, $5, $6, $8, $9 FROM rooms WHERE uid = $2 AND tenant_uid = $7",
                key,
                room_uid,
                directory_id,
                secret_hash,
                url,
                to_micros(c.now),
                tenant_uid,
                mailbox,
                sealed or None,
            )

        await self._engine.write(run)

    async def confirm(self, key: str, *, graph_id: str, expires_at: datetime, renew_at: datetime) -> bool:
        """Note what Graph answered to a creation or renewal; False when nobody wants the subscription any more.

        A successor becomes the room's current one in the same transaction. A room that was not announced until now, or not
        reliably, is compared in full, because nobody told what changed. While Microsoft does not reach the address, the room
        goes on not counting as announced, however willingly Microsoft prolongs what it cannot deliver.
        """

        async def run(c: Connection) -> bool:
            await locks.keep_tenant_of_subscription(c, key)
            found = await _load(c, "key = $1", key)
            room_uid = None if found is None else found.announced_room_uid
            if found is None or room_uid is None or (found.room_uid is None and found.graph_id is not None):
                return False
            lane, former = found.tenant_uid, found
            if found.room_uid is None:
                current = await _load(c, "room_uid = $1", room_uid)
                await _hand_over(c, current, found)
                former = current or found
            else:
                await _abandon_pending(c, found)
            was_silent = _is_silent(former, c.now) or await _was_refused(c, room_uid)
            is_doubted = found.graph_id is None and found.renew_at is not None
            await c.execute(
                "UPDATE subscriptions SET graph_id = $2, expires_at = $3, renew_at = $4, sealed_state = NULL WHERE key = $1",
                key,
                graph_id,
                to_micros(expires_at),
                to_micros(c.now if is_doubted else renew_at),
            )
            standing = await standing_problem(c, found.url)
            await save_problem(c, room_uid, "subscription_problem", standing, lease=None)
            if was_silent:
                await journal.append_about_room(c, lane, room_uid, ChangeKind.ROOM_CHANGED)
                await journal.mark(c, IntentKind.ROOM_COMPARE, room_uid, lane, priority=Priority.COMPARE)
            return True

        return await self._engine.write(run)

    async def lapse(self, key: str) -> None:
        """Count a subscription as run out from now on, whatever Graph says: nobody knows that it announces everything."""

        async def run(c: Connection) -> None:
            await locks.keep_tenant_of_subscription(c, key)
            found = await _load(c, "key = $1", key)
            await lapse(c, "key = $2", key)
            if found is not None and found.room_uid is not None and not _is_silent(found, c.now):
                await journal.append_about_room(c, found.tenant_uid, found.room_uid, ChangeKind.ROOM_CHANGED)
                await check_soon(c, found.room_uid, found.tenant_uid)

        await self._engine.write(run)

    async def lose(self, key: str) -> None:
        """Note that Graph no longer has a subscription."""

        async def run(c: Connection) -> None:
            await locks.keep_tenant_of_subscription(c, key)
            found = await _load(c, "key = $1", key)
            if found is not None and found.graph_id is not None:
                await notices.lose(c, found)

        await self._engine.write(run)

    async def forget(self, key: str) -> None:
        """Drop a subscription that Graph no longer has and nobody wants."""

        async def run(c: Connection) -> None:
            await c.execute("DELETE FROM subscriptions WHERE key = $1", key)

        await self._engine.write(run)


def _tenants_first(item: tuple[str, list[Notification]]) -> tuple[bool, str]:
    """Sort notifications that write about the tenant before those that only leave a mark."""
    key, group = item
    return all(notification.lifecycle is None for notification in group), key


async def _load(c: Connection, condition: str, value: str) -> Subscription | None:
    row = await c.fetch_one(f"{rows.SUBSCRIPTION} WHERE {condition}", value)
    return None if row is None else rows.subscription_from_row(row)


async def _was_refused(c: Connection, room_uid: RoomUid) -> bool:
    """Tell whether Exchange had refused to announce a room's changes: what it held back since then is lost."""
    row = await c.fetch_one("SELECT subscription_problem FROM rooms WHERE uid = $1", room_uid)
    problem = None if row is None else rows.problem_from_text(row[0])
    return problem is not None and problem.reason not in PASSING_REASONS


async def _hand_over(c: Connection, former: Subscription | None, successor: Subscription) -> None:
    """Make a successor its room's current subscription; the former one announces until it is deleted."""
    if former is not None and former.graph_id is None:
        await c.execute("DELETE FROM subscriptions WHERE key = $1", former.key)
    elif former is not None:
        await c.execute(
            "UPDATE subscriptions SET room_uid = NULL, beside_room_uid = room_uid WHERE key = $1", former.key
        )
        kind = IntentKind.SUBSCRIPTION_REMOVE
        await journal.mark(c, kind, former.key, former.tenant_uid, priority=Priority.REPAIR)
    await c.execute(
        "UPDATE subscriptions SET room_uid = beside_room_uid, beside_room_uid = NULL WHERE key = $1", successor.key
    )


async def _abandon_pending(c: Connection, current: Subscription) -> None:
    """Drop what was asked for beside a current subscription that stays; should Exchange have made it, an audit finds it."""
    found = await c.fetch(
        "SELECT key FROM subscriptions WHERE beside_room_uid = $1 AND graph_id IS NULL ORDER BY key", current.room_uid
    )
    for row in found:
        await c.execute("UPDATE subscriptions SET beside_room_uid = NULL WHERE key = $1", row[0])
        kind = IntentKind.SUBSCRIPTION_REMOVE
        await journal.mark(c, kind, str(row[0]), current.tenant_uid, priority=Priority.REPAIR)


def _is_silent(subscription: Subscription | None, now: datetime) -> bool:
    """Tell whether a subscription has not announced everything until now."""
    if subscription is None or subscription.graph_id is None or subscription.expires_at is None:
        return True
    return subscription.expires_at <= now
