"""Changing what is on a calendar: new change keys, the mailbox's log, and the notices each change causes.

Every change to an item of a live emulator goes through here, so that no reader sees a changed item with an old key and no
subscriber goes untold. The rules of meetings are in `meetings.py`.

Source: Graph "Change notifications for Outlook resources" page; what single occurrences cause is what users have reported
(deleting one names only the series master).
"""

from collections.abc import Iterable
from datetime import date
from typing import Protocol

from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import Content, Event, EventKind, Person, Series, Times, mutable_core
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.exchange.series import align_series, occurrence_on
from sidecar.emulator.exchange.world import World


class NoteChange(Protocol):
    """Tells subscribers of created, updated or deleted; `immutable` picks those who get ids of one format."""

    def __call__(
        self, tenant: Tenant, mailbox: Mailbox, change: str, event: Event, *, immutable: bool | None = None
    ) -> None: ...


class Mailroom:
    """Puts items on calendars, changes them and takes them off."""

    def __init__(self, *, world: World, note_change: NoteChange) -> None:
        self._world = world
        self._note = note_change
        self.item_count = 0
        """How many items there have been; the number of an item breaks ties."""

    def build(
        self,
        *,
        times: Times,
        content: Content,
        organizer: Person,
        recurrence: Recurrence | None = None,
        ical_uid: str | None = None,
    ) -> Event:
        """Make an item that is on no calendar yet; a series' times become those of its first occurrence."""
        now, ids = self._world.now(), self._world.ids
        if recurrence is not None:
            times, recurrence = align_series(times, recurrence)
        self.item_count += 1
        return Event(
            core=ids.item_core(),
            ical_uid=ical_uid or ids.ical_uid(),
            kind=EventKind.SINGLE if recurrence is None else EventKind.MASTER,
            times=times,
            content=content,
            organizer=organizer,
            created_at=now,
            modified_at=now,
            change_key=ids.change_key(),
            order=self.item_count,
            series=None if recurrence is None else Series(recurrence=recurrence),
        )

    def reserve_order(self, count: int) -> int:
        """Take `count` tie-breaking numbers for items made elsewhere; gives the first."""
        first = self.item_count + 1
        self.item_count += count
        return first

    def put(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Put a new single item or series on a calendar; subscribers hear `created`."""
        event.owner = mailbox.address
        mailbox.calendar.add(event)
        mailbox.calendar.log(event)
        self._note(tenant, mailbox, "created", event)

    def changed(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Give a changed item its new change key; subscribers hear `updated`, for an exception of its master too."""
        self._refresh(event)
        mailbox.calendar.log(event)
        self._note(tenant, mailbox, "updated", event)
        if event.master is not None:
            self._refresh(event.master)
            self._note(tenant, mailbox, "updated", event.master)

    def changed_quietly(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Give a changed exception its new change key; subscribers hear only that its master was updated."""
        assert event.master is not None
        self._refresh(event)
        self._refresh(event.master)
        mailbox.calendar.log(event)
        self._note(tenant, mailbox, "updated", event.master)

    def touch(self, exceptions: Iterable[Event]) -> None:
        """Give exceptions that follow a change of their series new change keys; whoever changes the series tells of it."""
        for one in exceptions:
            self._refresh(one)

    def echo(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Let subscribers hear `updated` though nothing changed, as Exchange's housekeeping does."""
        self._note(tenant, mailbox, "updated", event)

    def remove(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Take an item off a calendar; of a single occurrence subscribers hear only that its master was updated."""
        if event.master is not None and event.day is not None:
            series = event.master.series
            assert series is not None
            series.exceptions.pop(event.day, None)
            series.removed.add(event.day)
            self._refresh(event.master)
            mailbox.calendar.log(event.master, days=(event.day,))
            self._note(tenant, mailbox, "updated", event.master)
            return
        mailbox.calendar.remove(event)
        mailbox.calendar.log(event, left=event.mutable_core or "", is_gone=True)
        self._note(tenant, mailbox, "deleted", event)

    def refile(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """File an item, or the series it belongs to, to another folder and back: only its mutable id changes.

        Who gets mutable ids hears that one item went and another came; who gets immutable ones, that one was updated.
        """
        root = event.master or event
        self._note(tenant, mailbox, "deleted", root, immutable=False)
        left = mutable_core(root)
        mailbox.calendar.refile(root, self._world.ids.item_core())
        self._refresh(root)
        mailbox.calendar.log(root, left=left)
        self._note(tenant, mailbox, "created", root, immutable=False)
        self._note(tenant, mailbox, "updated", root, immutable=True)

    def detach(self, event: Event) -> Event:
        """Turn a regular occurrence into an exception that can be changed alone; anything else is given back."""
        if event.kind is not EventKind.OCCURRENCE or event.master is None or event.day is None:
            return event
        series = event.master.series
        assert series is not None
        event.kind = EventKind.EXCEPTION
        series.shown.pop(event.day, None)
        series.exceptions[event.day] = event
        return event

    def exception_on(self, master: Event, day: date) -> Event | None:
        """Give the item of a series on `day`, ready to be changed alone; None if there is none."""
        found = occurrence_on(master, day)
        return None if found is None else self.detach(found)

    def retime(self, mailbox: Mailbox, event: Event, times: Times, recurrence: Recurrence | None) -> bool:
        """Give an item new times, and a series a new pattern; a retimed series forgets its exceptions, as in Outlook.

        Returns:
            Whether anything about time changed.
        """
        if recurrence is not None and event.master is None:
            times, recurrence = align_series(times, recurrence)
        is_other_series = recurrence != (event.series.recurrence if event.series else None)
        if times == event.times and not is_other_series:
            return False
        is_moved = times.when != event.times.when or is_other_series
        with mailbox.calendar.changing(event):
            event.times = times
            if event.master is None and is_moved:
                event.kind = EventKind.SINGLE if recurrence is None else EventKind.MASTER
                event.series = None if recurrence is None else Series(recurrence=recurrence)
        return True

    def _refresh(self, event: Event) -> None:
        event.change_key = self._world.ids.change_key()
        event.modified_at = self._world.now()
        event.rendered_for = None
        if event.series is not None:
            event.series.shown.clear()
            for one in event.series.exceptions.values():
                one.rendered_for = None
