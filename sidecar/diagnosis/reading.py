"""Check of a tenant's rooms: how many of them can be read, asked of Exchange now."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Protocol

from sidecar.diagnosis.results import failed, passed, skipped, warned
from sidecar.errors import GraphRefused, GraphUnavailable, RoomBlocked, SidecarError, TenantBlocked, Unavailable
from sidecar.graph.clouds import TenantRef
from sidecar.model.check import CheckResult
from sidecar.model.room import Room, choose_to_try
from sidecar.sync.problems import problem_of

ROOMS_READ = "rooms.read"

_ABSENCES_MAX = 2
"""One mailbox may be in trouble by itself; a second that does not answer, either, makes it Microsoft's."""
_PROBE_S = 20.0
"""A look at one calendar, with all its tries; two of them leave room in the five minutes after which an outage is known."""
_NAMED_ROOMS_MAX = 10
"""Rooms that cannot be read are named up to this many; the count tells the rest."""


class Prober(Protocol):
    """Trying to read a mailbox; `graph.client.GraphClient` is one."""

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """Return when the mailbox can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breadth:
    """How many rooms are tried.

    Attributes:
        rooms_max: at most.
        at_once: requests under way.
        until_readable: stop at the first room that can be read; otherwise all are tried.
        is_fair: choose by chance alone; otherwise rooms in trouble come last, since one mailbox's must not pass for all's.
    """

    rooms_max: int
    at_once: int
    until_readable: bool
    is_fair: bool


NARROW = Breadth(rooms_max=5, at_once=1, until_readable=True, is_fair=False)
"""Enough to know whether the tenant as a whole is in order."""
WIDE = Breadth(rooms_max=60, at_once=4, until_readable=False, is_fair=True)
"""Enough to tell how many rooms can be read: sixty of a thousand tell a tenth from a fifth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of trying.

    Attributes:
        readable_count: rooms that could be read.
        refusal: the last refusal of a room, None when there was none.
        mended: rooms that could be read, and of which we had thought otherwise.
        was_asked_before: nothing was asked, because calendars were read a moment ago.
    """

    result: CheckResult
    readable_count: int = 0
    refusal: SidecarError | None = None
    mended: Sequence[Room] = ()
    was_asked_before: bool = False


class _Tries:
    def __init__(self) -> None:
        self.readable_count = 0
        self.mended: list[Room] = []
        self.refusals: list[tuple[Room, SidecarError]] = []
        self.absences: list[Unavailable] = []
        self.blocked: SidecarError | None = None


async def read_rooms(
    prober: Prober,
    tenant: TenantRef,
    rooms: Sequence[Room],
    *,
    breadth: Breadth,
    budget_s: float | None = None,
    rng: Random,
    now: datetime,
) -> Reading:
    """Try to read rooms, in another order each time.

    Args:
        budget_s: seconds for all of it; what was found out by then is told. None: as long as it takes.
    """
    if not rooms:
        return Reading(result=skipped(ROOMS_READ, message="no room is mapped"))
    chosen = _choose(rooms, breadth, rng)
    tries = _Tries()
    waiting = iter(chosen)

    async def work() -> None:
        for room in waiting:
            if tries.blocked is not None or len(tries.absences) >= _ABSENCES_MAX:
                return
            if breadth.until_readable and tries.readable_count:
                return
            await _try(prober, tenant, room, tries)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(budget_s), asyncio.TaskGroup() as group:
            for number in range(min(breadth.at_once, len(chosen))):
                group.create_task(work(), name=f"read rooms {number}")
    return Reading(
        result=_judge(tries, len(chosen), len(rooms), breadth, now),
        readable_count=tries.readable_count,
        refusal=tries.refusals[-1][1] if tries.refusals else None,
        mended=tries.mended,
    )


def reading_before() -> Reading:
    """Return what to say when traffic has just proven that rooms can be read."""
    result = passed(ROOMS_READ, "Calendars were read a moment ago.")
    return Reading(result=result, was_asked_before=True)


def _choose(rooms: Sequence[Room], breadth: Breadth, rng: Random) -> list[Room]:
    if breadth.is_fair:
        return rng.sample(list(rooms), min(len(rooms), breadth.rooms_max))
    return choose_to_try(rooms, count_max=breadth.rooms_max, rng=rng)


async def _try(prober: Prober, tenant: TenantRef, room: Room, tries: _Tries) -> None:
    try:
        async with asyncio.timeout(_PROBE_S):
            await prober.probe(tenant, room.address)
    except TenantBlocked as error:
        tries.blocked = error
    except (RoomBlocked, GraphRefused) as error:
        tries.refusals.append((room, error))
    except Unavailable as error:
        tries.absences.append(error)
    except TimeoutError:
        tries.absences.append(GraphUnavailable("Exchange took too long to show a calendar"))
    except SidecarError as error:  # the key ring, say: no room's business, so all others would meet it, too
        tries.blocked = error
    else:
        tries.readable_count += 1
        if room.problem is not None:
            tries.mended.append(room)


def _judge(tries: _Tries, chosen_count: int, rooms_count: int, breadth: Breadth, now: datetime) -> CheckResult:
    if tries.blocked is not None:
        return failed(ROOMS_READ, tries.blocked, now=now)
    asked_count = tries.readable_count + len(tries.refusals) + len(tries.absences)
    facts = {
        "readable_count": str(tries.readable_count),
        "asked_count": str(asked_count),
        "rooms_count": str(rooms_count),
    }
    if breadth.until_readable and tries.readable_count:
        return passed(ROOMS_READ, "A room can be read.", facts=facts)
    if not asked_count:
        error = GraphUnavailable("no room answered before the time was over")
        return failed(ROOMS_READ, error, now=now, message="No room answered before the time was over.", facts=facts)
    told = _told(tries.readable_count, asked_count, chosen_count, rooms_count)
    if tries.readable_count == asked_count:
        return passed(ROOMS_READ, told, facts=facts)
    cause = _commonest(tries)
    names = ", ".join(sorted(room.room_id for room, _ in tries.refusals)[:_NAMED_ROOMS_MAX])
    if names:
        facts["rooms"] = names
        told = f"{told.removesuffix('.')}; not: {names}."
    if not tries.readable_count:
        return failed(ROOMS_READ, cause, now=now, message=told, facts=facts)
    known = problem_of(cause, now=now, next_check_at=None)
    return warned(
        ROOMS_READ,
        told,
        reason=known.reason,
        action=known.action,
        actor=known.actor,
        now=now,
        facts=facts,
    )


def _told(readable_count: int, asked_count: int, chosen_count: int, rooms_count: int) -> str:
    """Say how many of how many, and how those were chosen when it was not all of them."""
    readable = str(readable_count) if readable_count else "None"
    told = f"{readable} of {asked_count} {'room' if asked_count == 1 else 'rooms'} can be read"
    if asked_count < chosen_count:
        return f"{told}; {rooms_count - asked_count} more were not asked."
    if chosen_count < rooms_count:
        return f"{told}; they were chosen by chance from {rooms_count}."
    return f"{told}."


def _commonest(tries: _Tries) -> SidecarError:
    """Return what most rooms met; a refusal says more than an absence."""
    met: list[SidecarError] = [error for _, error in tries.refusals] or list(tries.absences)
    reason, _ = Counter(error.reason for error in met).most_common(1)[0]
    return next(error for error in met if error.reason == reason)
