"""What a consumer of calendarView/delta keeps, by the rules such a consumer must follow.

Source: Graph "event: delta" page; that a changed series is told again whole, for its consumer to replace, is what users have
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]  # Any: JSON from the wire
_PARTS = ("occurrence", "exception")


class DeltaCopy:
    """A calendar's copy: the last word on each item; a series told again replaces what was known of it."""

    def __init__(self, items: dict[str, Json] | None = None) -> None:
        self.items: dict[str, Json] = dict(items or {})

    def take(self, told: Sequence[Json]) -> None:
        """Apply one round."""
        roots = {one["id"] for one in told if one.get("type") not in _PARTS}
        self.items = {key: one for key, one in self.items.items() if one.get("seriesMasterId") not in roots}
        for one in told:
            if "@removed" in one:
                self.items.pop(one["id"], None)
            else:
                self.items[one["id"]] = one

    def shown(self) -> set[tuple[str, str, str]]:
        """Give what a view would show: id, start and end."""
        return {
            (key, one["start"]["dateTime"], one["end"]["dateTime"])
            for key, one in self.items.items()
            if one["type"] != "seriesMaster"
        }
