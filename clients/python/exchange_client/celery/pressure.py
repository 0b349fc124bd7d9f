"""When the bridge stops reading because the queues are long, and when it goes on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HIGH_COUNT = 10_000
"""Messages in one queue above which nothing more is read: some 30 MB of a broker's memory or disk."""

LOW_SHARE = 0.5
"""Of `high_count`, what each queue must have come down to: far enough below that reading does not stop again at once."""

CHECK_EACH_COUNT = 500
"""Tasks sent between two looks at the queues; so many more than `high_count` may be in one, and a room's snapshot."""


@dataclass(slots=True)
class Pressure:
    """Decides from lengths of queues.

    Attributes:
        high_count: above this in any queue reading stops.
        low_count: once all queues are at this or below it goes on.
        is_full: reading is stopped.
    """

    high_count: int = HIGH_COUNT
    low_count: int = -1
    is_full: bool = False
    _sent_count: int = 0

    def __post_init__(self) -> None:
        if self.high_count < 1:
            raise ValueError(f"the high-water mark is 1 or more, not {self.high_count}")
        if self.low_count < 0:
            self.low_count = int(self.high_count * LOW_SHARE)
        if self.low_count >= self.high_count:
            raise ValueError("the low-water mark lies below the high one")

    def sent(self, count: int) -> None:
        """Note that tasks were sent."""
        self._sent_count += count

    def wants_look(self, *, is_idle: bool) -> bool:
        """Tell whether the lengths should be asked for: after many tasks, and whenever there is nothing else to do."""
        return is_idle or self._sent_count >= min(CHECK_EACH_COUNT, self.high_count)

    def seen(self, lengths: Sequence[int]) -> bool:
        """Take in the lengths of all queues; tell whether reading has to stop, or to stay stopped."""
        self._sent_count = 0
        longest = max(lengths, default=0)
        self.is_full = longest > (self.low_count if self.is_full else self.high_count)
        return self.is_full
