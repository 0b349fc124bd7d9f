"""Places for those who wait, so many at once, of which none may have more than half: then nobody can keep all others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Full(Exception):
    """There is no place, or whoever asks has half of them."""


class Places:
    """Places, and who has how many of them."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, who: Hashable) -> Iterator[None]:
        """Have a place while inside.

        Raises:
            Full.
        """
        if self._taken.total() >= self._count_max or self._taken[who] >= max(1, self._count_max // 2):
            raise Full
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
