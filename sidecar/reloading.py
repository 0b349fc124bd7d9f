"""What may be changed of the settings while the service runs: the level of the log; everything else waits for a restart.

A debug log is wanted when something is wrong, and a restart would end what is to be looked at. All other settings decide how
things are built, and a process of which a part lives by old settings and a part by new ones is one that nobody has tested.
Files of secrets are followed by those who use them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.followed import signature_of
from sidecar.aio.supervise import keep_running
from sidecar.errors import SettingsInvalid
from sidecar.setting_names import settings_of, value_of
from sidecar.settings import Settings

log = structlog.get_logger(__name__)

_LOOK_S = 5.0
"""Time between looks at the times of the settings' file, which take some microseconds."""
_AT_ONCE = frozenset({"log.level"})


class LogLevel(Protocol):
    """What decides which lines are written; `telemetry.logs.LogLevel` is one."""

    def set_level(self, level: str) -> None:
        """Write lines of this severity and above from now on."""


class Reloading:
    """The settings in force, and those that their file and the environment would give."""

    def __init__(
        self,
        settings: Settings,
        *,
        file: Path | None,
        read: Callable[[], Settings],
        log_level: LogLevel,
        clock: Clock,
        rng: Random,
    ) -> None:
        """Begin with the settings that the service was built with.

        Args:
            file: is read again whenever it changes; None: there is none.
            read: reads and checks all settings anew; raises SettingsInvalid.
        """
        self._built_with = settings
        self._file = file
        self._read = read
        self._log_level = log_level
        self._clock = clock
        self._rng = rng
        self._level = settings.log.level
        self._seen = self._look()
        self._is_asked = asyncio.Event()

    def ask(self) -> None:
        """Have everything read again now, changed or not: SIGHUP."""
        self._is_asked.set()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the file while inside."""
        async with asyncio.TaskGroup() as group:
            body = keep_running("settings", self._follow, clock=self._clock, rng=self._rng)
            task = group.create_task(body, name="settings")
            try:
                yield
            finally:
                task.cancel()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._is_asked.wait()
            seen = self._look()
            if self._is_asked.is_set() or seen != self._seen:
                self._is_asked.clear()
                self._seen = seen
                self.reload()

    def reload(self) -> None:
        """Read all settings anew, and use of them what may be changed; a mistake changes nothing but the log."""
        try:
            fresh = self._read()
        except SettingsInvalid as error:
            log.error("settings.unusable", **{name.replace(".", "_"): told for name, told in error.details.items()})
            return
        if fresh.log.level != self._level:
            self._level = fresh.log.level
            self._log_level.set_level(self._level)
        waiting = self._waiting(fresh)
        tell = log.warning if waiting else log.info
        tell("settings.reloaded", least_level=self._level, waiting_for_restart=waiting)

    def _waiting(self, fresh: Settings) -> list[str]:
        """Return the settings that are others than the service was built with, by their paths."""
        return [
            path
            for path, _ in settings_of(Settings)
            if path not in _AT_ONCE and value_of(fresh, path) != value_of(self._built_with, path)
        ]

    def _look(self) -> tuple[int, int, int] | None:
        return None if self._file is None else signature_of(self._file)
