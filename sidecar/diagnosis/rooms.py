"""Ask Exchange about one room, because somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.aio.clock import Clock
from sidecar.diagnosis.access import MAILBOX_ZONE, ROOM_READ, MailboxReader, read_room, read_zone
from sidecar.diagnosis.asking import check_in_use
from sidecar.diagnosis.deadline import Deadline
from sidecar.diagnosis.login import TOKEN_CLAIMS, acquire_token, judge_claims
from sidecar.diagnosis.reserve import ROOM_WRITE, ReserveTest, ViewReader
from sidecar.diagnosis.results import skipped
from sidecar.diagnosis.verify import Tokens
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.logins import token_claims
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.graph.wire import GraphEvent
from sidecar.model.check import CheckResult
from sidecar.model.ids import Mailbox, RoomId, TenantId
from sidecar.model.room import Room
from sidecar.model.tenant import Tenant
from sidecar.store.store import Store

_BUDGET_S = 45.0
"""A few requests, one after the other, some of them slow. Whoever allows less gets as many as fit."""


class Reader(MailboxReader, ViewReader, Protocol):
    """Reading mailboxes; `graph.client.GraphClient` is one."""

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """Read one event; None when it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAccess:
    """What was found out about a mailbox. `room` is None when it is not mapped, `object_id` when it may not be known."""

    tenant: Tenant
    mailbox: str
    room: Room | None
    object_id: str | None
    checks: Sequence[CheckResult]


class RoomAsking:
    """Asks about rooms."""

    def __init__(self, *, store: Store, tokens: Tokens, reader: Reader, reserve: ReserveTest, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._reader = reader
        self._reserve = reserve
        self._clock = clock

    async def check_room(
        self, tenant_id: TenantId, room_id: RoomId, *, include_write: bool, budget_s: float | None = None
    ) -> RoomAccess:
        """Check a mapped room.

        Raises:
            RoomNotFound: also when the tenant is unknown or deleted. TenantSuspended: nothing may be asked about it.
        """
        room = await self._store.rooms.load(tenant_id, room_id)
        tenant = await self._store.tenants.load_by_uid(room.tenant_uid)
        check_in_use(tenant)
        return await self.ask(tenant, room.mailbox, room, include_write=include_write, deadline=self.deadline(budget_s))

    async def check_mailbox(
        self, tenant_id: TenantId, mailbox: Mailbox, *, include_write: bool, budget_s: float | None = None
    ) -> RoomAccess:
        """Check an address, whether a room is mapped to it or not.

        Raises:
            TenantNotFound: there is none, or it is deleted. TenantSuspended: nothing may be asked about it.
        """
        tenant = await self._store.tenants.load(tenant_id)
        check_in_use(tenant)
        room = await self._store.rooms.load_by_mailbox(tenant.uid, mailbox)
        return await self.ask(tenant, mailbox, room, include_write=include_write, deadline=self.deadline(budget_s))

    def deadline(self, budget_s: float | None) -> Deadline:
        """Return when a question is to be answered, for a caller who waits so long."""
        return Deadline(self._clock, min(_BUDGET_S, budget_s or _BUDGET_S))

    async def ask(
        self, tenant: Tenant, mailbox: str, room: Room | None, *, include_write: bool, deadline: Deadline
    ) -> RoomAccess:
        """Run the chain of checks of one mailbox."""
        ref = ref_of(tenant)
        address = mailbox if room is None else room.address
        object_id = None if room is None else room.object_id
        with acting_with(Urgency.CHECK):  # behind announced changes, which watchers wait for
            checks = await self._read(ref, address, deadline, is_anew=tenant.problem is not None)
            obstacle = next((check for check in checks if check.is_failed), None)
            if obstacle is not None:
                checks.append(skipped(MAILBOX_ZONE, because=obstacle))
            else:
                now = self._clock.now()
                zone = await deadline.asking(MAILBOX_ZONE, read_zone(self._reader, ref, address, room, now=now))
                if isinstance(zone, CheckResult):
                    checks.append(zone)
                else:
                    checks.append(zone[0])
                    object_id = object_id or zone[1]
            checks.append(await self._write(tenant, address, obstacle, deadline, is_wanted=include_write))
        return RoomAccess(tenant=tenant, mailbox=mailbox, room=room, object_id=object_id, checks=checks)

    async def _write(
        self, tenant: Tenant, address: str, obstacle: CheckResult | None, deadline: Deadline, *, is_wanted: bool
    ) -> CheckResult:
        if not is_wanted:
            return skipped(ROOM_WRITE, message="the reserve test was not asked for")
        if obstacle is not None:
            return skipped(ROOM_WRITE, because=obstacle)
        return await deadline.telling(ROOM_WRITE, self._reserve.run(tenant, address))

    async def _read(self, ref: TenantRef, address: str, deadline: Deadline, *, is_anew: bool) -> list[CheckResult]:
        """Check login and reading; a refusal is believed only with a token that was made after the question."""
        if is_anew:
            self._tokens.forget(ref.tenant_uid)
        login, token = await acquire_token(self._tokens, ref, budget_s=deadline.left_s, now=self._clock.now())
        if login.is_failed:
            return [login, skipped(TOKEN_CLAIMS, because=login), skipped(ROOM_READ, because=login)]
        claims = token_claims(token)
        named = judge_claims(ref, claims, now=self._clock.now())
        read = await deadline.telling(ROOM_READ, read_room(self._reader, ref, address, claims, now=self._clock.now()))
        if read.is_failed and not is_anew and deadline.left_s > 0.0:
            return await self._read(ref, address, deadline, is_anew=True)
        return [login, named, read]
