"""Tokens that tie reads to writes: whoever wrote gets one, and a read that is given it shows at least what was written.

Reads come from the database that writes have committed to, so nothing has to be waited for. A token is checked all the same:
one whose write the store does not hold, because it was put back to an earlier time, must not be answered as if it did.
"""

from __future__ import annotations

from sidecar.errors import ResumeTokenExpired
from sidecar.feed.feed import Feed, WatchScope
from sidecar.model.change import SnapshotReason
from sidecar.model.cursor import encode_cursor
from sidecar.model.ids import TenantId
from sidecar.store.store import Store


class WrittenTokens:
    """Gives tokens out, and checks them."""

    def __init__(self, *, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed

    async def give(self, tenant_id: TenantId) -> str:
        """Return a token for reads that are to show all that was written until now."""
        tenant_uid, head = await self._store.changes.tenant_head(tenant_id)
        return encode_cursor(self._feed.cursor(_scope(tenant_id), tenant_uid, head))

    async def check(self, tenant_id: TenantId, token: str) -> None:
        """Return when a read that begins now shows what a token stands for; an empty one stands for nothing.

        Raises:
            ResumeTokenMalformed, ResumeTokenForeign: it is not one of this tenant's.
            ResumeTokenExpired: the store does not hold it any more.
        """
        if not token:
            return
        cursor = self._feed.decode(_scope(tenant_id), token)
        tenant_uid, head = await self._feed.head(tenant_id, cursor)
        if self._feed.gap(cursor, tenant_uid, head) is SnapshotReason.EPOCH_CHANGED:
            raise ResumeTokenExpired("the store was put back to a time before this write")


def _scope(tenant_id: TenantId) -> WatchScope:
    return WatchScope(tenant_id=tenant_id, room_ids=None)
