"""Ask Exchange itself when rooms are busy, past the copy: many rooms side by side, each with its own outcome.

Somebody waits for the answer, so it is bounded in requests and in time. Its requests say nothing of their urgency, and so go
before all background work but writes (`graph.urgency`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from sidecar.errors import GraphUnavailable, MailboxDenied, RoomBlocked, SidecarError, TenantNotFound
from sidecar.graph.clouds import TenantRef, ref_of
from sidecar.graph.wire_schedules import SCHEDULES_MAX, Schedule, Span, busy_of
from sidecar.model.ids import RoomUid
from sidecar.model.room import Room
from sidecar.model.window import Window
from sidecar.store.tenants import Tenants
from sidecar.sync.problem_texts import EVERY_ROOM

_PATIENCE_S = 30.0
"""For all rooms together; whoever waits longer has gone."""
_DOORS_MAX = 3
"""Mailboxes that a group of rooms is asked about through, until one lets the application in."""


class ScheduleReader(Protocol):
    """Reading schedules; `graph.schedules.ScheduleCalls` is one."""

    async def fetch_schedules(
        self, tenant: TenantRef, mailbox: str, addresses: Sequence[str], window: Window
    ) -> Mapping[str, Schedule]:
        """Ask through one mailbox about addresses; return what is told of each, by case-folded address."""


class ScheduleAsking:
    """Asks about rooms."""

    def __init__(self, *, tenants: Tenants, reader: ScheduleReader) -> None:
        self._tenants = tenants
        self._reader = reader

    async def ask(
        self, rooms: Sequence[Room], window: Window, *, budget_s: float | None
    ) -> dict[RoomUid, Sequence[Span] | SidecarError]:
        """Return when each room is busy, as far as that is known when the time is over, and else why it is not.

        Args:
            rooms: of one tenant, at least one.
            budget_s: how long the caller waits; None: not told.
        Raises:
            TenantNotFound. TenantSuspended: nothing may be asked for the tenant.
        """
        tenant = await self._tenants.load_by_uid(rooms[0].tenant_uid)
        if tenant.deleted_at is not None:
            raise TenantNotFound("the tenant is being deleted")
        ref = ref_of(tenant)
        late = GraphUnavailable("the time of the call was over before Exchange answered")
        outcomes: dict[RoomUid, Sequence[Span] | SidecarError] = {room.uid: late for room in rooms}
        # Rooms in trouble are asked through last: what their mailboxes refuse concerns nobody else.
        doors = sorted(rooms, key=lambda room: room.problem is not None)
        groups = [rooms[start : start + SCHEDULES_MAX] for start in range(0, len(rooms), SCHEDULES_MAX)]
        try:
            async with asyncio.timeout(min(_PATIENCE_S, budget_s or _PATIENCE_S)), asyncio.TaskGroup() as tasks:
                for number, group in enumerate(groups):
                    chosen = [doors[(number + step * len(groups)) % len(doors)] for step in range(_DOORS_MAX)]
                    tasks.create_task(self._ask_group(ref, group, chosen, window, outcomes), name="ask for schedules")
        except TimeoutError:
            pass  # those that did not answer have the outcome they began with
        return outcomes

    async def _ask_group(
        self,
        ref: TenantRef,
        group: Sequence[Room],
        doors: Sequence[Room],
        window: Window,
        outcomes: dict[RoomUid, Sequence[Span] | SidecarError],
    ) -> None:
        """Ask about up to `SCHEDULES_MAX` rooms, and note what is found."""
        addresses = [room.mailbox for room in group]
        refused: dict[str, SidecarError] = {}
        for door in dict.fromkeys(room.address for room in doors):
            try:
                told = await self._reader.fetch_schedules(ref, door, addresses, window)
            except RoomBlocked as error:
                refused[door] = error
            except SidecarError as error:
                outcomes.update((room.uid, error) for room in group)
                return
            else:
                for room in group:
                    outcomes[room.uid] = busy_of(told.get(room.mailbox.casefold()), room.time_zone)
                return
        nobody = MailboxDenied(
            "the application may read none of the rooms that were tried", details={"cause": EVERY_ROOM}
        )
        outcomes.update((room.uid, refused.get(room.address, nobody)) for room in group)
