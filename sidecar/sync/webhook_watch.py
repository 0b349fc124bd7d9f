"""Has Microsoft call our address where nothing was heard for a while, so that one that goes away later is noticed.

Microsoft calls an address before it accepts a change of it, and tells what it met there. So a subscription of some room is
given our own address with another ending, which nobody reads; the next time it is another ending again. It is the same
subscription each time: of one whose authorization has changed Microsoft soon wants more, and the next call answers that.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import (
    GraphRefused,
    RoomBlocked,
    SecretUnreadable,
    StoreUnavailable,
    SubscriptionGone,
    SubscriptionProblem,
    TenantBlocked,
    Unavailable,
    WebhookUnreachable,
)
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.model.tenant import Tenant
from sidecar.settings import NOTIFICATIONS_PATH
from sidecar.store.store import Store
from sidecar.store.webhook_reach import AGAIN, QUIET, UNDECIDED, Turn
from sidecar.sync.pace import SubscriptionPace
from sidecar.sync.problems import problem_of

log = structlog.get_logger(__name__)

_SPREAD_S = 15.0
"""Tenants that wait for one moment come one after the other; whoever had the turn before comes first."""


class WebhookCaller(Protocol):
    """Having our address called; `graph.client.GraphClient` is one. Errors are those it names."""

    async def call_webhook(self, tenant: TenantRef, graph_id: str, *, notification_url: str, ending: str) -> None:
        """Have Exchange call the address that a subscription has already."""


class WebhookWatch:
    """Looks whether Microsoft reaches the address that counts; for all tenants together one look in four minutes."""

    def __init__(
        self, *, store: Store, caller: WebhookCaller, pace: SubscriptionPace, clock: Clock, rng: Random
    ) -> None:
        self._store = store
        self._caller = caller
        self._pace = pace
        self._clock = clock
        self._rng = rng
        self._from = ""

    async def look(self, tenant: Tenant) -> datetime:
        """Have the address called by a subscription of the tenant, if that is due; return when to look again.

        Raises:
            StoreUnavailable; ref_of's TenantSuspended.
        """
        turn = await self._store.webhook_reach.take_turn(tenant.uid, pivot=self._from)
        if isinstance(turn, Turn):
            return self._clock.now() + await self._call(turn, tenant)
        due_at = self._clock.now() + QUIET if turn is None else turn
        return due_at + timedelta(seconds=self._rng.random() * _SPREAD_S)

    async def _call(self, turn: Turn, tenant: Tenant) -> timedelta:
        """Have the address called, and note what that tells; return until when nothing more is to be done."""
        self._pace.note_write(tenant.uid)
        url = turn.url + NOTIFICATIONS_PATH
        try:
            await self._caller.call_webhook(
                ref_of(tenant), turn.graph_id, notification_url=url, ending=f"{self._rng.getrandbits(32):08x}"
            )
        except WebhookUnreachable as error:
            return await self._note_unreached(turn.url, error)
        except SubscriptionGone:
            await self._store.subscriptions.doubt(turn.room_uid, tenant.uid)
        except StoreUnavailable:
            raise
        except (TenantBlocked, RoomBlocked, SubscriptionProblem, GraphRefused, SecretUnreadable, Unavailable) as error:
            log.info("webhook.not_called", reason=error.reason)
        else:
            rooms_count = await self._store.webhook_reach.note_reached(turn.url)
            if rooms_count:
                log.info("webhook.reached_again", rooms_count=rooms_count)
            return QUIET
        self._from = f"{turn.graph_id}~"  # another one next time
        await self._store.webhook_reach.note_undecided(turn.url)
        return UNDECIDED

    async def _note_unreached(self, url: str, error: WebhookUnreachable) -> timedelta:
        now = self._clock.now()
        problem = problem_of(error, now=now, next_check_at=now + QUIET)
        rooms_count = await self._store.webhook_reach.note_unreached(url, problem)
        if rooms_count:
            log.error("webhook.unreachable", rooms_count=rooms_count, cause=error.details.get("cause", ""))
        return AGAIN
