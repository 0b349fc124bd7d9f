"""Says again and again under which address this process is called, so that all processes agree on one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import StoreUnavailable
from sidecar.store.webhook_urls import ALIVE

log = structlog.get_logger(__name__)

_LOOK_S = 5.0
"""Time between looks whether another address is set by now."""
_LOOKS = round(ALIVE.total_seconds() / 3 / _LOOK_S)
"""From one announcement to the next; two may fail before the address counts as dead."""


class Announcements(Protocol):
    """Where addresses are announced; `store.webhook_urls.WebhookUrls` is one."""

    async def announce(self, url: str | None, *, is_start: bool = False, is_alone: bool = False) -> str:
        """Say that a process with this address is alive; return the address that counts."""


class WebhookAddress:
    """The address of this process. What it is for, and which one counts, is told in `store.webhook_urls`."""

    def __init__(self, *, urls: Announcements, url: Callable[[], str | None], is_alone: bool, clock: Clock) -> None:
        """Announce what `url` returns at that moment.

        Args:
            is_alone: no other process can be alive, so that nobody has to hear the same again.
        """
        self._urls = urls
        self._url = url
        self._is_alone = is_alone
        self._told: str | None = None
        self._clock = clock

    async def begin(self) -> None:
        """Announce the address for the first time, before anything else is done.

        Raises:
            StoreUnavailable.
        """
        await self._tell(is_start=True)

    async def run(self) -> None:
        """Go on announcing it, and any other one that takes its place, until cancelled."""
        for number in itertools.count(1):
            await self._clock.sleep(_LOOK_S)
            is_due = number % _LOOKS == 0 and not self._is_alone
            if not is_due and self._url() == self._told:
                continue
            try:
                await self._tell(is_start=False)
            except StoreUnavailable as error:
                log.warning("webhook_address.not_announced", **error.details)

    async def _tell(self, *, is_start: bool) -> None:
        url = self._url()
        current = await self._urls.announce(url, is_start=is_start, is_alone=self._is_alone)
        self._told = url
        if current != (url or ""):
            log.info("webhook_address.another_counts")
