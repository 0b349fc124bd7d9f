"""Says again and again under which address this process is called, so that all processes agree on one."""

from __future__ import annotations

from typing import Protocol

import structlog

from sidecar.aio.clock import Clock
from sidecar.errors import StoreUnavailable
from sidecar.store.webhook_urls import ALIVE

log = structlog.get_logger(__name__)

_INTERVAL_S = ALIVE.total_seconds() / 3
"""Two announcements may fail before the address counts as dead."""


class Announcements(Protocol):
    """Where addresses are announced; `store.webhook_urls.WebhookUrls` is one."""

    async def announce(self, url: str | None, *, is_start: bool = False, is_alone: bool = False) -> str:
        """Say that a process with this address is alive; return the address that counts."""


class WebhookAddress:
    """The address of this process. What it is for, and which one counts, is told in `store.webhook_urls`."""

    def __init__(self, *, urls: Announcements, url: str | None, is_alone: bool, clock: Clock) -> None:
        self._urls = urls
        self._url = url
        self._is_alone = is_alone
        self._clock = clock

    async def begin(self) -> None:
        """Announce the address for the first time, before anything else is done.

        Raises:
            StoreUnavailable.
        """
        await self._tell(is_start=True)

    async def run(self) -> None:
        """Go on announcing it, until cancelled."""
        while True:
            await self._clock.sleep(_INTERVAL_S)
            try:
                await self._tell(is_start=False)
            except StoreUnavailable as error:
                log.warning("webhook_address.not_announced", **error.details)

    async def _tell(self, *, is_start: bool) -> None:
        current = await self._urls.announce(self._url, is_start=is_start, is_alone=self._is_alone)
        if current != (self._url or ""):
            log.info("webhook_address.another_counts")
