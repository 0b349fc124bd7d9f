"""The bridge inside a Celery worker, for applications that do not want one more process.

Only workers with the pool `threads` or `solo` can have it: gRPC does not live through the forks that `prefork` makes, and does
not know the loops of `eventlet` and `gevent`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, ClassVar

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured
from celery.worker import state

from exchange_client.celery.bridge import Bridge
from exchange_client.celery.changes import ExchangeChanges, changes_of
from exchange_client.celery.cursor import CursorTaken
from exchange_client.celery.running import BridgeOptions, run_bridge

log = logging.getLogger("exchange_client.celery")

POOLS = ("celery.concurrency.solo", "celery.concurrency.thread")
"""Modules of the pools that keep to one process."""

STANDBY_S = 2.0
"""How often a worker looks whether the bridge of another one has ended."""

STOP_S = 40.0
"""Longer than the broker may take for what is under way."""


def run_bridge_in_workers(changes: ExchangeChanges, options: BridgeOptions) -> None:
    """Have each worker of the app run the bridge, one at a time; the others stand by and take over.

    That one at a time does is seen to by the lock of the cursor's folder, which all of them share: workers on one machine, or
    one worker. A bridge that ends for good, because waiting would not help, ends its worker with 1.
    """
    step = type("BridgeInWorker", (_BridgeInWorker,), {"options": options})
    changes.app.steps["worker"].add(step)


class _BridgeInWorker(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A thread with a loop of its own, in which the bridge runs."""

    requires = ("celery.worker.components:Pool",)
    options: ClassVar[BridgeOptions]

    def __init__(self, worker: Any, **_: object) -> None:
        """Look at a worker that is about to start (Any: celery has no types).

        Raises:
            ImproperlyConfigured: its pool is none of POOLS.
        """
        super().__init__(worker)
        pool = worker.pool_cls.__module__
        if pool not in POOLS:
            raise ImproperlyConfigured(
                f"the bridge cannot run in a worker whose pool is {pool.rpartition('.')[2]}, because gRPC does not live "
                "through its forks or loops: start this worker with -P threads or -P solo, or run the bridge as a process of "
                "its own, python -m exchange_client.celery bridge"
            )
        self._changes = changes_of(worker.app)
        self._is_stopped = threading.Event()
        self._bridge: Bridge | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="exchange-bridge", daemon=True)

    def start(self, worker: Any) -> None:
        """Begin; see celery's bootsteps (Any: celery has no types)."""
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """End it, and wait until what it had begun is sent and kept (Any: celery has no types)."""
        self._is_stopped.set()
        bridge, loop = self._bridge, self._loop
        if bridge is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(bridge.stop)
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    terminate = stop

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                asyncio.run(self._work())
                return
            except CursorTaken:
                self._is_stopped.wait(STANDBY_S)
            except Exception:  # the last line of a thread: what ends here would end unheard
                log.critical("bridge.failed", exc_info=True)
                state.should_stop = 1
                return

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        await run_bridge(self._changes, self.options, begun=self._begun)

    def _begun(self, bridge: Bridge) -> None:
        log.info("bridge.started tenant=%s", self.options.tenant)
        self._bridge = bridge
        if self._is_stopped.is_set():  # while it was put together
            bridge.stop()
