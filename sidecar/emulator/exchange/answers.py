"""Answers to invitations: rooms', their delegates' and people's, on the attendee's copy and on the organizer's item.

An answer to a series goes to its exceptions too, except those that have an answer of their own to come.

Source: Exchange "Set-CalendarProcessing" page; Graph "event: accept", "tentativelyAccept" and "decline" pages.
"""

from dataclasses import replace
from datetime import date, datetime

from sidecar.emulator.exchange.agenda import acts_on, drop_acts
from sidecar.emulator.exchange.attendant import Ruling, Verdict, accepted_content, cut_off, judge
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.exchange.invitations import guests_count, with_answer
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.pending import ActKind
from sidecar.emulator.exchange.world import World


class Answers:
    """Gives answers, and carries them to the organizer."""

    def __init__(self, *, world: World, mailroom: Mailroom) -> None:
        self._world = world
        self._mailroom = mailroom

    def of_room(self, tenant: Tenant, meeting: Meeting, room: Mailbox, item: Event) -> None:
        """Let a room answer what is on its calendar, by its settings."""
        if not room.calendar.holds(item) or item.is_cancelled:
            return
        ruling = self._rule(tenant, meeting, room, item)
        match ruling.verdict:
            case Verdict.LEAVE:
                return
            case Verdict.DECLINE:
                self._decline(tenant, room, item, tell=True)
            case Verdict.ASK:
                self._ask(tenant, room, item)
            case Verdict.ACCEPT:
                self._accept(tenant, meeting, room, item, ruling)

    def refuses_unseen(self, tenant: Tenant, meeting: Meeting, room: Mailbox, item: Event) -> bool:
        """Let a room decline a request that is not on its calendar yet, and so never will be.

        Returns:
            Whether it did.
        """
        refused = self._rule(tenant, meeting, room, item).verdict is Verdict.DECLINE
        if refused:
            self._tell_organizer(tenant, room, item, Verdict.DECLINE.value)
        return refused

    def of_delegate(self, tenant: Tenant, meeting: Meeting, room: Mailbox, item: Event, *, accept: bool) -> None:
        """Let a delegate decide what the room has left to its delegates."""
        if accept:
            self._accept(tenant, meeting, room, item, Ruling(verdict=Verdict.ACCEPT))
        else:
            self._decline(tenant, room, item, tell=True)

    def of_person(self, tenant: Tenant, mailbox: Mailbox, item: Event, response: str, *, tell: bool) -> None:
        """Let somebody answer for a mailbox; a declined item leaves the calendar, and a room has nothing left to answer."""
        if response == "declined":
            drop_acts(tenant, mailbox, item, with_occurrences=item.master is None)
            self._decline(tenant, mailbox, item, tell=tell)
            return
        # An organizer's cancellation that waits in the inbox is not answered by this: it still counts.
        for act in acts_on(tenant, mailbox, item, ActKind.ANSWER):
            del tenant.pending_acts[act.number]
        item, now = self._mailroom.detach(item), self._world.now()
        meeting = tenant.meetings.get((item.master or item).meeting_id or "")
        followers = _followers(tenant, mailbox, item)
        for one in (item, *followers):
            show_as = "tentative"
            if response == "accepted":
                show_as = "busy" if meeting is None else _source(meeting, one).content.show_as
            _mark(mailbox, one, response, now, show_as)
        self._mailroom.touch(followers)
        self._mailroom.changed(tenant, mailbox, item)
        if tell:
            self._tell_organizer(tenant, mailbox, item, response)

    def _rule(self, tenant: Tenant, meeting: Meeting, room: Mailbox, item: Event) -> Ruling:
        guests = guests_count(_source(meeting, item).content)
        apart = frozenset(one.day for one in _exceptions(item) if one.day and _waits(tenant, room, one))
        return judge(room, item, self._world.now(), guests_count=guests, apart=apart)

    def _accept(self, tenant: Tenant, meeting: Meeting, room: Mailbox, item: Event, ruling: Ruling) -> None:
        item = self._mailroom.detach(item)
        if ruling.last_day is not None:
            _cut(item, ruling.last_day)
        now, followers = self._world.now(), _followers(tenant, room, item)
        for one in (item, *followers):
            source = _source(meeting, one)
            if one is item or source.day is not None:
                one.content = accepted_content(room.settings, one.content, source.content, item.organizer.name)
            _mark(room, one, Verdict.ACCEPT.value, now, source.content.show_as)
        self._mailroom.touch(followers)
        self._mailroom.changed(tenant, room, item)
        for one in ruling.conflicts:
            self._mailroom.remove(tenant, room, one)
        if self._world.chance(self._world.moods_of(tenant).notify_echo_share):
            self._mailroom.echo(tenant, room, item)
        self._tell_organizer(tenant, room, item, Verdict.ACCEPT.value)
        for one in ruling.conflicts:
            self._tell_organizer(tenant, room, one, Verdict.DECLINE.value)

    def _ask(self, tenant: Tenant, room: Mailbox, item: Event) -> None:
        item, show_as = self._mailroom.detach(item), "tentative" if room.settings.TentativePendingApproval else "free"
        now, followers = self._world.now(), _followers(tenant, room, item)
        for one in (item, *followers):
            _mark(room, one, Verdict.ASK.value, now, show_as)
        self._mailroom.touch(followers)
        item.awaits_delegate = True
        self._mailroom.changed(tenant, room, item)
        self._tell_organizer(tenant, room, item, Verdict.ASK.value)

    def _decline(self, tenant: Tenant, mailbox: Mailbox, item: Event, *, tell: bool) -> None:
        self._mailroom.remove(tenant, mailbox, item)
        if tell:
            self._tell_organizer(tenant, mailbox, item, Verdict.DECLINE.value)

    def _tell_organizer(self, tenant: Tenant, mailbox: Mailbox, copy: Event, response: str) -> None:
        """Note an answer on the organizer's item; a series' exceptions hear of it unless the copy has lost their day."""
        root = copy.master or copy
        meeting = tenant.meetings.get(root.meeting_id or "")
        if meeting is None or not meeting.organizer.calendar.holds(meeting.event):
            return
        if meeting.copies.get(mailbox.object_id, (mailbox, root))[1] is not root:
            return  # an older copy, whose cancellation is still on its way
        original: Event | None = meeting.event
        if copy.day is not None:
            original = self._mailroom.exception_on(meeting.event, copy.day)
        if original is None:
            return
        now = self._world.now()
        original.content = with_answer(original.content, mailbox, response, now)
        for one in _exceptions(original):
            there = _exception_on(copy, one.day)
            gone = response == "declined"
            if gone or (_has(copy, one.day) and not (there and _waits(tenant, mailbox, there))):
                one.content = with_answer(one.content, mailbox, response, now)
                self._mailroom.touch([one])
        self._mailroom.changed(tenant, meeting.organizer, original)


def _mark(mailbox: Mailbox, item: Event, response: str, now: datetime, show_as: str) -> None:
    item.response, item.responded_at, item.awaits_delegate = response, now, False
    item.content = with_answer(replace(item.content, show_as=show_as), mailbox, response, now)


def _cut(item: Event, last_day: date) -> None:
    series = item.series
    assert series is not None
    series.cut_from = series.recurrence
    series.recurrence = cut_off(series.recurrence, last_day)
    for day in [day for day in series.exceptions if day > last_day]:
        del series.exceptions[day]


def _source(meeting: Meeting, copy: Event) -> Event:
    """Give the organizer's item a copy was made of; for a regular occurrence, its series."""
    series = meeting.event.series
    return meeting.event if copy.day is None or series is None else series.exceptions.get(copy.day, meeting.event)


def _exceptions(item: Event) -> list[Event]:
    return list(item.series.exceptions.values()) if item.series else []


def _exception_on(item: Event, day: date | None) -> Event | None:
    return item.series.exceptions.get(day) if item.series and day else None


def _has(item: Event, day: date | None) -> bool:
    return item.series is not None and day not in item.series.removed


def _waits(tenant: Tenant, mailbox: Mailbox, item: Event) -> bool:
    return bool(acts_on(tenant, mailbox, item, ActKind.ANSWER))


def _followers(tenant: Tenant, mailbox: Mailbox, item: Event) -> list[Event]:
    """Give the exceptions of a series that take its answer."""
    return [one for one in _exceptions(item) if not one.is_cancelled and not _waits(tenant, mailbox, one)]
