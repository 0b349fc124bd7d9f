"""Keeps a loop running whatever happens inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import structlog

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import Clock

log = structlog.get_logger(__name__)

_BASE_S = 0.2
_CAP_S = 30.0
_HEALTHY_AFTER_S = 60.0


async def keep_running(
    name: str,
    body: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    rng: Random,
    failed: Callable[[], None] = lambda: None,
) -> None:
    """Run `body` again each time it fails, waiting longer after each failure; return when it returns.

    A run that lasted a minute counts as healthy and resets the wait. This module and the RPC boundary are the only places that
    catch `Exception`: a fault in one loop must not take the others with it.

    Args:
        failed: called after each failure.
    """
    failures = 0
    while True:
        began_s = clock.monotonic()
        try:
            await body()
            return
        except Exception as error:
            _pass_cancellation(error)
            failed()
            failures = 1 if clock.monotonic() - began_s > _HEALTHY_AFTER_S else failures + 1
            wait_s = backoff_s(failures, base_s=_BASE_S, cap_s=_CAP_S, rng=rng)
            log.error("loop.failed", loop=name, failures_count=failures, retry_s=round(wait_s, 2), exc_info=error)
        await clock.sleep(wait_s)


async def contain(body: Awaitable[object]) -> Exception | None:
    """Await something and return the exception it ended with, None for none. Cancellation passes through.

    For work that is one of many: what it failed with is written down, and the others go on.
    """
    try:
        await body
    except Exception as error:
        _pass_cancellation(error)
        return error
    return None


def _pass_cancellation(error: Exception) -> None:
    """Raise `CancelledError` where this task was cancelled: before Python 3.13 a task group whose own task fails, too, tells
    only that, and who goes on then is never ended.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
