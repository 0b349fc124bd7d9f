"""One mailbox's items, found by id and by time.

The index is ordered by start, so that a read touches what overlaps its window and nothing else. It knows no wire format and
tells nobody of a change; that is `mailroom.py`'s business.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sidecar.emulator.exchange.event import Event, EventKind, mutable_core
from sidecar.emulator.exchange.field_types import check_content
from sidecar.emulator.exchange.series import expand, occurrence_on
from sidecar.emulator.ids import parse_item_id

_CHANGES_KEPT_MAX = 5000  # older delta links then answer 410, as Microsoft's do when its cache has moved on


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarChange:
    """One entry of a mailbox's log, which delta reads: the item (for a series its master) and the days it left."""

    version: int
    core: str
    days: tuple[date, ...] = ()
    left: str = ""
    """The core of the mutable id it had until it was filed elsewhere, or went after that."""
    gone: Event | None = None
    """The series, if it went as a whole."""


_STATE: dict[str, Any] = {  # Any: annotations
    "roots": list[Event],
    "refiled": dict[str, str],
    "transactions": dict[str, Event],
    "version": int,
    "changes": list[CalendarChange],
}


class Calendar:
    """The items of one mailbox."""

    def __init__(self) -> None:
        self._roots: dict[str, Event] = {}
        self._masters: dict[str, Event] = {}
        self._refiled: dict[str, str] = {}
        """Cores by the cores of mutable ids, where the two differ."""
        self._by_start: list[tuple[datetime, int, Event]] = []
        self._longest = timedelta()
        self._transactions: dict[str, Event] = {}
        self.version = 0
        self.changes: list[CalendarChange] = []

    def dump_state(self) -> dict[str, Any]:  # Any: values of many types
        """Give what the index is built from."""
        return {
            "roots": list(self._roots.values()),
            "refiled": self._refiled,
            "transactions": self._transactions,
            "version": self.version,
            "changes": self.changes,
        }

    def load_state(self, state: dict[str, Any]) -> None:  # Any: as above
        """Take over what `dump_state` gave.

        Raises:
            ValueError: it is not of that shape.
        """
        check_content(state, _STATE)
        if any((event.kind is EventKind.MASTER) != (event.series is not None) for event in state["roots"]):
            raise ValueError("a series without a pattern, or a pattern without a series")
        self.add_many(event for event in state["roots"] if event.kind is not EventKind.MASTER)
        self._masters = {event.core: event for event in state["roots"] if event.kind is EventKind.MASTER}
        self._roots = {event.core: event for event in state["roots"]}
        self._refiled, self._transactions = state["refiled"], state["transactions"]
        self.version, self.changes = state["version"], state["changes"]

    def add(self, event: Event) -> None:
        """Put a single item or a series master on the calendar."""
        self._roots[event.core] = event
        if event.transaction_id is not None:
            self._transactions[event.transaction_id] = event
        self._index(event)

    def add_many(self, events: Iterable[Event]) -> None:
        """Put many single items on the calendar at once."""
        for event in events:
            self._roots[event.core] = event
            self._longest = max(self._longest, event.times.end_at - event.times.start_at)
            self._by_start.append((event.times.start_at, event.order, event))
        self._by_start.sort(key=lambda entry: entry[:2])

    def remove(self, event: Event) -> None:
        """Take a single item or a series master off the calendar."""
        del self._roots[event.core]
        self._refiled.pop(event.mutable_core or "", None)
        self._unindex(event)

    def refile(self, event: Event, mutable_core: str) -> None:
        """Give a single item or a series another mutable id; the one it had finds nothing any more."""
        self._refiled.pop(event.mutable_core or "", None)
        self._refiled[mutable_core] = event.core
        event.mutable_core = mutable_core

    def holds(self, event: Event) -> bool:
        """Tell whether this very item is still on the calendar; an exception also needs its series to know it."""
        if event.master is None:
            return self._roots.get(event.core) is event
        series, day = event.master.series, event.day
        if series is None or day is None or not self.holds(event.master):
            return False
        if event.kind is EventKind.EXCEPTION:
            return series.exceptions.get(day) is event
        return day not in series.removed

    @contextmanager
    def changing(self, event: Event) -> Iterator[None]:
        """Keep the index right while the body changes an item's times or kind; exceptions are not indexed."""
        if event.master is None:
            self._unindex(event)
        yield
        if event.master is None:
            self._index(event)

    def find(self, item_id: str) -> Event | None:
        """Find an item by an id of either format: single, master, occurrence or exception."""
        key = parse_item_id(item_id)
        if key is None:
            return None
        root = self._roots.get(key.core if key.immutable else self._refiled.get(key.core, key.core))
        if root is None or (not key.immutable and mutable_core(root) != key.core):
            return None
        return root if key.day is None else occurrence_on(root, key.day)

    def find_core(self, core: str) -> Event | None:
        """Find a single item or master by the core of its id."""
        return self._roots.get(core)

    def find_transaction(self, transaction_id: str) -> Event | None:
        """Find the item a transaction id created, even if the item has gone since."""
        return self._transactions.get(transaction_id)

    def roots(self) -> list[Event]:
        """Give single items and masters, by start."""
        return sorted(self._roots.values(), key=_by_start)

    def view(self, start_at: datetime, end_at: datetime) -> list[Event]:
        """Give what overlaps the half-open window, series expanded, by start."""
        low = bisect_left(self._by_start, (start_at - self._longest, -1), key=lambda entry: entry[:2])
        high = bisect_left(self._by_start, (end_at, -1), key=lambda entry: entry[:2])
        found = [entry[2] for entry in self._by_start[low:high] if entry[2].times.overlaps(start_at, end_at)]
        if not self._masters:
            return found
        for master in self._masters.values():
            found.extend(expand(master, start_at, end_at))
        found.sort(key=_by_start)
        return found

    def log(self, event: Event, *, days: tuple[date, ...] = (), left: str = "", is_gone: bool = False) -> None:
        """Remember that an item changed or went; `days` are the single occurrences of a series that went."""
        self.version += 1
        gone = event if is_gone and event.series is not None else None
        self.changes.append(CalendarChange(version=self.version, core=event.core, days=days, left=left, gone=gone))
        if len(self.changes) > 2 * _CHANGES_KEPT_MAX:
            del self.changes[:-_CHANGES_KEPT_MAX]

    def changes_since(self, version: int) -> list[CalendarChange] | None:
        """Give the log after `version`; None if it does not reach back that far."""
        if version == self.version:
            return []
        if not self.changes or self.changes[0].version > version + 1:
            return None
        return self.changes[bisect_left(self.changes, version + 1, key=lambda change: change.version) :]

    def _index(self, event: Event) -> None:
        if event.kind is EventKind.MASTER:
            self._masters[event.core] = event
            return
        self._longest = max(self._longest, event.times.end_at - event.times.start_at)
        insort(self._by_start, (event.times.start_at, event.order, event), key=lambda entry: entry[:2])

    def _unindex(self, event: Event) -> None:
        if self._masters.pop(event.core, None) is not None:
            return
        key = (event.times.start_at, event.order)
        at = bisect_left(self._by_start, key, key=lambda entry: entry[:2])
        if at < len(self._by_start) and self._by_start[at][2] is event:
            del self._by_start[at]


def _by_start(event: Event) -> tuple[datetime, int]:
    return event.times.start_at, event.order
