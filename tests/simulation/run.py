"""Runs a plan: people work, things go wrong, then everything comes to rest and is checked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tests.simulation.callers import Callers, check_writes
from tests.simulation.checks import check_at_rest, check_drift, everything_is_told
from tests.simulation.drivers import Drivers
from tests.simulation.faults import Troubles
from tests.simulation.inviters import Inviters, check_invitations
from tests.simulation.logs import LogBook, check_log_clean, kept
from tests.simulation.loop import run_virtually
from tests.simulation.office import Office
from tests.simulation.patrol import Patrol
from tests.simulation.plan import Habits, Plan
from tests.simulation.rests import Rests
from tests.simulation.secrets_seeded import seeded_secrets
from tests.simulation.trace import Trace
from tests.simulation.witness import Witness
from tests.simulation.world import World, world_made
from tests.support import checkers
from tests.support.histories import Log
from tests.support.truth import expected

_LOOK_S = 600.0
_REPAIR_S = 3 * 3_600.0
"""Beyond the interval of full reads: the longest pause of a probe is an hour, that of Graph's notifications half of one."""


_HINTS_S = 4_500.0
"""Where Microsoft loses nothing, or says so, nothing waits for the next full read; the longest pause of a probe is an hour."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `failure` None: everything held."""

    plan: Plan
    digest: str
    failure: BaseException | None
    counts: Counter[str]
    last: Sequence[str]
    took_s: float
    truth: Sequence[str]
    """What the calendars hold in the end; the copies and all mirrors equal it if everything held."""


def run(plan: Plan, *, trace_file: Path | None = None) -> Outcome:
    """Run a plan to its end, and say how it went."""
    began_s = time.perf_counter()
    trace = Trace(trace_file)
    failure: BaseException | None = None
    truth: list[str] = []
    with tempfile.TemporaryDirectory(prefix="simulation") as folder, kept(trace) as book, seeded_secrets(plan):
        try:
            run_virtually(lambda: _main(plan, Path(folder), trace, book, truth))
        except Exception as error:
            failure = _first(error)
    trace.close()
    return Outcome(plan, trace.digest, failure, trace.counts, list(trace.last), time.perf_counter() - began_s, truth)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _main(plan: Plan, folder: Path, trace: Trace, book: LogBook, truth: list[str]) -> None:
    async with world_made(plan, folder, trace) as world:
        book.secrets.append(world.directory.secret)
        witness = Witness(world)
        world.calendar_changed = witness.note
        await world.begin_life()
        world.start(world.keep_alive())
        await world.register()
        drivers = Drivers(world)
        drivers.start()
        world.watch(witness.take)
        world.start(Patrol(world).walk())
        troubles = Troubles(world)
        coming = world.start(troubles.work())
        resting = world.start(Rests(world).work()) if world.plan.rests else None
        callers, inviters = Callers(world), Inviters(world)
        calling = [world.start(one.work()) for one in (callers, inviters) if one.calls_count]
        await Office(world).work()
        await coming
        for one in calling:
            await one
        if resting is not None:
            await resting
        await troubles.heal()
        await callers.finish()
        await inviters.finish()
        await drivers.finish()
        await _come_to_rest(world)
        await check_writes(world, callers)
        await check_invitations(world, inviters)
        await check_drift(world)
        _check_promises(world)
        check_log_clean(book.faults)
        truth += sorted([stay async for stay in _stays(world)])


async def _stays(world: World) -> AsyncIterator[str]:
    """Yield what is in the calendars of the rooms, without the ids that Exchange makes up."""
    span = timedelta(days=60)
    for mailbox in sorted(world.rooms.values()):
        items = await world.directory.truth(mailbox, world.plan.start_at - span, world.plan.start_at + span)
        for stay in expected(items):
            yield f"{mailbox} {stay.start_at:%F %T} {stay.end_at:%F %T} {stay.subject} {stay.organizer}"


async def _come_to_rest(world: World) -> None:
    """Wait until everything is right, as long as the promise allows.

    Raises:
        AssertionError: what is not right in the end.
    """
    for watcher in world.watchers:
        watcher.habits = Habits()
    for mailbox in sorted(world.rooms.values()):
        await world.knock(mailbox)  # so that a subscription that is gone is missed
    wait_s = (
        _HINTS_S if await everything_is_told(world) else 2.4 * world.plan.settings.sync.compare_interval_s + _REPAIR_S
    )
    deadline_s = asyncio.get_running_loop().time() + wait_s
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            await check_at_rest(world)
            return
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline_s:
                raise


def _check_promises(world: World) -> None:
    assert not world.unmarked, f"accepted, and nothing was marked: {world.unmarked[:5]}"
    log = Log.of_rows(
        world.fetch("SELECT revision, room_uid, body FROM changes WHERE booking_key IS NOT NULL ORDER BY revision")
    )
    streams = [stream for watcher in world.watchers for stream in watcher.streams]
    epochs = range(world.restores_count + 1)
    for stream in streams:
        checkers.check_ordered(stream)
        checkers.check_atomic(stream)
        checkers.check_resumable(stream)
        if stream.epoch == epochs[-1]:  # what was told before a return to a backup may be in no log any more
            checkers.check_complete(stream, log)
    for epoch in epochs:
        checkers.check_unique([stream for stream in streams if stream.epoch == epoch])
