"""What the service writes to its log in a run: no secret, nothing that nobody expected."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from sidecar.errors import SidecarError, Unavailable
from tests.simulation.trace import Trace

_CANARIES = ("CANARY-", "eyJ")
"""Subjects and bodies of meetings begin with the first, access tokens with the second."""


class LogBook:
    """Keeps what is wrong with the log; secrets are added as they become known."""

    def __init__(self, trace: Trace) -> None:
        self.secrets: list[str] = []
        self.faults: list[str] = []
        self._trace = trace

    def take(self, _: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Look at a line; a structlog processor (Any: structlog's own types)."""
        error = line.get("exc_info")
        self._trace.note("log", f"{line['event']} {line.get('reason', '')}")
        text = f"{line!r} {error!r}"
        self.faults += [f"a secret in {line['event']}" for one in (*_CANARIES, *self.secrets) if one in text]
        if level == "error" and isinstance(error, BaseException) and not _is_expected(error):
            self.faults.append(f"{line['event']}: {error!r}")
        raise structlog.DropEvent


def _is_expected(error: BaseException) -> bool:
    """Tell whether an error is one that the service has a name for: the world's, and not a mistake of the program."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_expected, error.exceptions))
    return isinstance(error, Unavailable) or (type(error).__name__ == "LaneLost" and isinstance(error, SidecarError))


@contextmanager
def kept(trace: Trace) -> Iterator[LogBook]:
    """Keep the log of a run."""
    book = LogBook(trace)
    before: dict[str, Any] = structlog.get_config()  # Any: structlog's own types
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, book.take], cache_logger_on_first_use=False
    )
    try:
        yield book
    finally:
        structlog.configure(**before)


def check_log_clean(faults: Sequence[str]) -> None:
    """No secret was written, and nothing failed for a reason that nobody thought of."""
    assert not faults, f"the log: {faults[:5]}"
