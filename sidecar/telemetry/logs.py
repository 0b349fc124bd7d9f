"""Log set-up: where lines go, how they look, and whose lines are left out."""

from __future__ import annotations

import logging
import sys

import structlog

from sidecar.settings import LogSettings

_WORDY = ("asyncpg", "procrastinate", "psycopg")
"""Libraries whose warnings quote hosts, users and rows; whoever uses them tells their trouble in our words."""


def set_up_logging(settings: LogSettings) -> None:
    """Write structured lines to standard error: one event name and its fields, secrets never among them."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through logging: their warnings are ours, their details may hold URLs and are left out.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for name in _WORDY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
