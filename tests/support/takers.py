"""A collector without a network, for whoever sends to one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sidecar.telemetry.collector import NotTaken

AWAY = NotTaken("ConnectionRefusedError", is_passing=True)
REFUSED = NotTaken("HTTP_401", is_passing=False)


class FakeTaker:
    """Answers posts with `answers` in turn, and then takes everything. It hangs while `held` is not set."""

    def __init__(self, answers: Sequence[NotTaken] = ()) -> None:
        self._answers = list(answers)
        self.posts_count = 0
        self.taken: list[tuple[str, bytes]] = []
        self.is_closed = False
        self.held = threading.Event()
        self.held.set()

    def post(self, path: str, body: bytes) -> None:
        """See `collector.Taker`."""
        self.posts_count += 1
        self.held.wait(30.0)
        if self._answers:
            raise self._answers.pop(0)
        self.taken.append((path, body))

    def close(self) -> None:
        """See `collector.Taker`."""
        self.is_closed = True
