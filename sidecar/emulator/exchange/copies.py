"""What a copy of a meeting takes over from the organizer's item, and what it keeps. No clock, no calendar, nobody is told."""

from dataclasses import replace

from sidecar.emulator.exchange.event import Event, EventKind
from sidecar.emulator.exchange.invitations import as_invited, as_updated, invites
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.exchange.series import occurrence_on


def update_item(item: Event, original: Event, mailbox: Mailbox, *, moved: bool) -> None:
    """Give an item the organizer's words; a new time also takes the answer back."""
    item.is_cancelled, item.awaits_delegate = False, False
    if moved:
        item.content = replace(as_invited(original.content, mailbox), categories=item.content.categories)
        item.response, item.responded_at = "notResponded", None
    else:
        item.content = as_updated(original.content, mailbox, item)


def is_retimed_alike(item: Event, original: Event) -> bool:
    """Tell whether a copy is already when the organizer's item is; one cut off by its room counts as whole."""
    if item.times != original.times or (item.series is None) != (original.series is None):
        return False
    if item.series is None or original.series is None:
        return True
    return (item.series.cut_from or item.series.recurrence) == original.series.recurrence


def recurrence_for(item: Event, original: Event) -> Recurrence | None:
    """Give the recurrence a copy is to have; one cut off by its room stays so until the series is moved."""
    if original.series is None:
        return None
    is_cut = item.series is not None and item.series.cut_from == original.series.recurrence
    if item.series is not None and is_cut and item.times.when == original.times.when:
        return item.series.recurrence
    return original.series.recurrence


def shared_exceptions(copy: Event, original: Event) -> list[tuple[Event, Event]]:
    """Give a copy's exceptions with the organizer's for the same days."""
    if copy.series is None or original.series is None:
        return []
    theirs = original.series.exceptions
    return [(one, theirs[day]) for day, one in copy.series.exceptions.items() if day in theirs]


def copy_series(original: Event, copy: Event, mailbox: Mailbox) -> None:
    """Give a copy of a series the exceptions and gaps of the original, as far as the mailbox is invited to them."""
    if original.series is None or copy.series is None:
        return
    copy.series.removed = set(original.series.removed)
    for day, one in original.series.exceptions.items():
        if not invites(one.content, mailbox):
            copy.series.removed.add(day)
            continue
        found = occurrence_on(copy, day)
        if found is not None:
            found.kind, found.times, found.content = EventKind.EXCEPTION, one.times, as_invited(one.content, mailbox)
            copy.series.shown.pop(day, None)
            copy.series.exceptions[day] = found
