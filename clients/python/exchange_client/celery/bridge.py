"""The bridge: follows a tenant's rooms, and turns each change into a task, at least once and in the order of each room.

    watch  --message-->  changes  --tasks-->  broker  --confirms-->  cursor

The cursor follows the confirms, never the other way round: whatever ends the bridge, it begins again at a place before which
the broker has everything. When the broker is gone or its queues are long the bridge hangs up, so that the sidecar has no slow
reader, waits, and goes on from the cursor.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange_client.aio_watch import Watch
from exchange_client.celery.cursor import Cursor, Position
from exchange_client.celery.pressure import Pressure
from exchange_client.celery.publisher import BrokerLost
from exchange_client.celery.shape import ChangeMaker, ChangeTask
from exchange_client.clock import Clock
from exchange_client.errors import ResumeTokenInvalid
from exchange_client.messages import Checkpoint, WatchRoomsResponse
from exchange_client.watching import Backoff

log = logging.getLogger("exchange_client.celery")

LOOK_S = 1.0
"""Between two looks at queues that are too long."""

ALIVE_S = 300.0
"""Between two lines of the log that say how far it is."""


class Outlet(Protocol):
    """Where tasks go. The methods block, and raise BrokerLost."""

    def send(self, tasks: Sequence[ChangeTask]) -> None:
        """Send tasks in order; durable when this returns."""
        ...

    def lengths(self) -> Sequence[int]:
        """Give how many tasks wait in each queue."""
        ...

    def close(self) -> None:
        """Hang up; the next call connects anew."""
        ...


@dataclass(slots=True)
class Counts:
    """What a bridge has done since it began."""

    tasks_count: int = 0
    broker_losses_count: int = 0
    pauses_count: int = 0


class Bridge:
    """Carries one tenant's changes from a watch to queues, until it is stopped or the tenant is gone."""

    def __init__(
        self,
        *,
        tenant: str,
        rooms: Sequence[str] = (),
        queues_count: int,
        open_watch: Callable[[str], Watch[WatchRoomsResponse]],
        outlet: Outlet,
        cursor: Cursor,
        pressure: Pressure,
        clock: Clock,
        rng: random.Random,
        backoff: Backoff | None = None,
    ) -> None:
        """Take what it works with.

        Args:
            tenant, rooms: names of what is watched; no rooms: all of the tenant's.
            open_watch: opens a watch of the rooms that resumes at a token.
            cursor: loaded already.
        """
        self.counts = Counts()
        self._tenant = tenant
        self._rooms = rooms
        self._queues_count = queues_count
        self._open_watch = open_watch
        self._outlet = outlet
        self._cursor = cursor
        self._pressure = pressure
        self._clock = clock
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._losses_in_a_row = 0
        self._told_alive_s = clock.monotonic()
        self._farewell: list[ChangeTask] = []
        self._stopped = asyncio.Event()
        self._watch: Watch[WatchRoomsResponse] | None = None

    async def run(self) -> None:
        """Work until `stop`, or until the tenant is deleted or the one room unmapped; what was begun is finished and kept.

        Raises:
            ExchangeError: the sidecar refuses, and would refuse again.
            QueueMismatch: a queue exists with other arguments.
            OSError: the cursor cannot be kept.
        """
        try:
            await self._run()
        finally:
            await asyncio.to_thread(self._outlet.close)

    async def _run(self) -> None:
        is_over = False
        while not (is_over or self._stopped.is_set()):
            try:
                await self._wait_for_room()
                if self._farewell:
                    is_over = await self._say_farewell()
                elif not self._stopped.is_set():
                    is_over = await self._follow()
            except BrokerLost as error:
                delay_s = self._backoff.delay_s(self._losses_in_a_row, self._rng)
                self._losses_in_a_row += 1
                self.counts.broker_losses_count += 1
                log.warning("bridge.broker_lost cause=%s delay_s=%.2f", error, delay_s)
                await self._pause(delay_s)
            except ResumeTokenInvalid as error:
                if not self._cursor.position.token:
                    raise
                # The rooms that are watched are others, or the sidecar's store is: snapshots say all there is.
                log.warning("bridge.begins_anew reason=%s", error.reason)
                await asyncio.to_thread(self._cursor.save, Position())

    def stop(self) -> None:
        """Have `run` end after the message it is at."""
        self._stopped.set()
        if self._watch is not None:
            self._watch.stop(None)

    async def _wait_for_room(self) -> None:
        """Connect to the broker, and wait until its queues are short enough."""
        while not self._stopped.is_set():
            was_full = self._pressure.is_full
            if not await self._is_full():
                if was_full:
                    log.info("bridge.goes_on")
                return
            if not was_full:
                self._told_full()
            await self._pause(LOOK_S)

    async def _follow(self) -> bool:
        """Read one watch; tell whether what it watches is gone."""
        position = self._cursor.position
        maker = ChangeMaker(self._tenant, queues_count=self._queues_count, epoch=position.epoch, rooms=self._rooms)
        async with self._open_watch(position.token) as watch:
            self._watch = watch
            try:
                async for message in watch:
                    tasks = maker.take(message)
                    if maker.is_gone:
                        self._farewell = tasks
                        return await self._say_farewell()
                    if tasks:
                        await self._send(tasks)
                    elif isinstance(message, WatchRoomsResponse) and message.HasField("checkpoint"):
                        self._tell_alive(message.checkpoint)
                    if isinstance(message, WatchRoomsResponse) and message.resume_token:
                        kept = Position(token=message.resume_token, epoch=maker.epoch)
                        await asyncio.to_thread(self._cursor.save, kept)
                        # Only here: in the midst of a snapshot all of it would come again, and perhaps never fit.
                        if self._pressure.wants_look(is_idle=not tasks) and await self._is_full():
                            self._told_full()
                            return False
            finally:
                self._watch = None
        return False

    async def _send(self, tasks: Sequence[ChangeTask]) -> None:
        await asyncio.to_thread(self._outlet.send, tasks)
        # Not when it merely answers: a broker whose disk is full does that, and takes nothing.
        self._losses_in_a_row = 0
        self.counts.tasks_count += len(tasks)
        self._pressure.sent(len(tasks))

    async def _say_farewell(self) -> bool:
        """Tell that what is watched is gone. Nobody says it a second time, so it is kept until the broker has it."""
        await self._send(self._farewell)
        # A tenant that is undeleted is told anew; a token of before leads nowhere.
        await asyncio.to_thread(self._cursor.save, Position())
        log.warning("bridge.scope_gone tenant=%s rooms_count=%d", self._tenant, len(self._rooms))
        return True

    def _tell_alive(self, checkpoint: Checkpoint) -> None:
        """Say now and then how far it is: a bridge that stands still is otherwise as quiet as one with nothing to do."""
        now_s = self._clock.monotonic()
        if now_s - self._told_alive_s >= ALIVE_S:
            self._told_alive_s = now_s
            at = checkpoint.sync.fresh_as_of_time.ToJsonString() if checkpoint.sync.HasField("fresh_as_of_time") else ""
            log.info("bridge.alive tasks_count=%d fresh_as_of=%s", self.counts.tasks_count, at)

    async def _is_full(self) -> bool:
        lengths = await asyncio.to_thread(self._outlet.lengths)
        return self._pressure.seen(lengths)

    def _told_full(self) -> None:
        self.counts.pauses_count += 1
        log.warning("bridge.waits_for_workers high_count=%d", self._pressure.high_count)

    async def _pause(self, seconds: float) -> None:
        try:
            async with self._clock.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
