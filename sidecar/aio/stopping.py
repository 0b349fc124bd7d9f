"""What the signals that end a process mean: the first one an orderly end, the second one an end at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

_GIVE_UP_S = 2.0
"""How long a start that is given up may take to take itself apart. A migration in a thread cannot be told to end, nor can a
look-up of a name; the process ends under them then, which the database survives as it survives a loss of power."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StartGivenUp(Exception):
    """Somebody asked for the end before the start was over, and everything that was begun is taken apart."""


class Stop:
    """Hears SIGTERM and SIGINT, from its making on, in the main task of the running loop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._starting: asyncio.Task[object] | None = None
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._hear, number)

    def _hear(self, number: signal.Signals) -> None:
        if self._asked.is_set():
            log.warning("service.ended_at_once", signal=number.name)
            os._exit(128 + number)  # asked twice: whoever asks wants it now; the database survives it
        self._asked.set()
        if self._starting is not None:
            self._starting.cancel()
            asyncio.get_running_loop().call_later(_GIVE_UP_S, self._leave)

    def _leave(self) -> None:
        log.warning("service.start_left", after_s=_GIVE_UP_S)
        os._exit(0)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Give up what is done inside once the end is asked for: nobody is served yet, so nobody has to be waited for.

        Raises:
            StartGivenUp: that happened.
        """
        task = asyncio.current_task()
        assert task is not None, "runs in a task"
        self._starting = task
        try:
            yield
        except asyncio.CancelledError as error:
            if not self._asked.is_set():
                raise
            task.uncancel()
            raise StartGivenUp from error
        finally:
            self._starting = None

    async def wait(self) -> None:
        """Return when the end is asked for."""
        await self._asked.wait()
