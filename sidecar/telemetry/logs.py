"""Log set-up: where lines go, how they look, and whose lines are left out."""

from __future__ import annotations

import logging
import sys

import structlog

from sidecar.settings import LogSettings
from sidecar.telemetry.tracing import current_ids

_WORDY = ("asyncpg", "procrastinate", "psycopg")
"""Libraries whose warnings quote hosts, users and rows; whoever uses them tells their trouble in our words."""


class LogLevel:
    """Drops lines that are less severe than wanted, and may be told another level at any time.

    structlog's own filter is decided once for each logger; this one costs a microsecond for a line that is dropped, of which
    there is one kind.
    """

    def __init__(self, level: str) -> None:
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write lines of this severity and above from now on."""
        self._least = logging.getLevelNamesMapping()[level.upper()]

    def __call__(
        self, _: structlog.typing.WrappedLogger, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Be the first processor of each line."""
        if structlog.processors.NAME_TO_LEVEL[method] < self._least:
            raise structlog.DropEvent
        return line


def set_up_logging(settings: LogSettings) -> LogLevel:
    """Write structured lines to standard error: one event name and its fields, secrets never among them.

    Returns:
        What decides how severe a line must be.
    """
    level = LogLevel(settings.level)
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            level,
            structlog.contextvars.merge_contextvars,
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through logging: their warnings are ours, their details may hold URLs and are left out.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for name in _WORDY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return level


def add_trace(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Say what trace a line belongs to, if it belongs to one."""
    ids = current_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event
