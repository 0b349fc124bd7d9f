"""What a delta round says, set against what is stored: which events are worth a read. Pure.

Delta names changes and nothing else. It tells occurrences by their times only, tells a changed series whole, and calls
removed what only left its window; so nothing is written or deleted on its word. What it names is read like any hint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sidecar.graph.events import is_series, span_of
from sidecar.graph.wire import DeltaItem
from sidecar.model.booking import StoredBooking
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.window import Window


def events_named(items: Iterable[DeltaItem]) -> frozenset[EventId]:
    """Return every event that a round speaks of, and the series of each."""
    named: set[EventId] = set()
    for item in items:
        named.add(item.id)
        if item.series_master_id:
            named.add(item.series_master_id)
    return frozenset(named)


def plan_check(
    stored: Mapping[BookingKey, StoredBooking], items: Sequence[DeltaItem], horizon: Window
) -> frozenset[EventId]:
    """Decide which events a round makes worth reading: those that the copy does not hold in the version that is told.

    Most of what a round tells was announced and read long ago; asking for it once more would double what a change costs.
    An event whose version is the stored one, a series all of whose occurrences are, and a removal of something that is
    not stored are no news.

    Args:
        stored: all of the room's bookings.
        items: the last word of the round on each event.
    Returns:
        Single events, and masters in place of their occurrences.
    """
    by_event = {booking.event_id: booking for booking in stored.values()}
    parts: dict[EventId, dict[EventId, StoredBooking]] = defaultdict(dict)
    for booking in stored.values():
        if booking.master_id is not None:
            parts[booking.master_id][booking.event_id] = booking
    news: set[EventId] = set()
    told: dict[EventId, list[DeltaItem]] = defaultdict(list)
    for item in items:
        before = by_event.get(item.id)
        if item.is_removed:
            if before is not None:
                news.add(before.master_id or item.id)
            elif item.id in parts:
                news.add(item.id)
        elif is_series(item):
            told[item.id]  # the series is told of, even if it has no occurrence left
            if before is not None:
                news.add(item.id)  # it was a single meeting
        elif item.series_master_id:
            told[item.series_master_id].append(item)
        elif item.id in parts or not (_is_known(item, before, None) or _is_elsewhere(item, before, horizon)):
            news.add(item.id)
    news.update(
        master_id
        for master_id, occurrences in told.items()
        if not _is_series_known(master_id, occurrences, parts.get(master_id, {}), horizon)
    )
    return frozenset(news)


def _is_series_known(
    master_id: EventId, told: Sequence[DeltaItem], held: Mapping[EventId, StoredBooking], horizon: Window
) -> bool:
    """Tell whether the copy holds exactly the occurrences that are told, in their versions."""
    if held.keys() - {item.id for item in told}:
        return False
    return all(
        _is_known(item, held.get(item.id), master_id) or _is_elsewhere(item, held.get(item.id), horizon)
        for item in told
    )


def _is_known(item: DeltaItem, before: StoredBooking | None, master_id: EventId | None) -> bool:
    if before is None or before.master_id != master_id or not before.change_key:
        return False
    return item.etag == f'W/"{before.change_key}"'


def _is_elsewhere(item: DeltaItem, before: StoredBooking | None, horizon: Window) -> bool:
    """Tell whether an event is not stored because it lies outside the horizon: rounds reach a day further."""
    if before is not None:
        return False
    span = span_of(item)
    return span is not None and not horizon.overlaps(*span)
