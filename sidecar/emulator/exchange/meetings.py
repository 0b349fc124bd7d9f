"""Meetings: an organizer's item, its copies in the attendees' mailboxes, and how changes travel between them.

The organizer's copy rules: moves, edits and cancellations go from it to the copies; answers go back to it. A room's copy
arrives tentative with the original subject, and is settled by `attendant.py` after the room's delay.

Source: Graph "event" actions; Exchange "Set-CalendarProcessing" page; the tentative first sight of a room's copy with the
subject the room will later hide is what users have reported.
"""

from collections.abc import Callable
from dataclasses import replace

from sidecar.emulator.exchange.attendant import Verdict, accepted_content, conflicting_days, judge
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Attendee, Content, Event, Times
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxState
from sidecar.emulator.exchange.mailroom import Mailroom, copy_series
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.exchange.world import World


class Meetings:
    """Carries invitations, answers, changes and cancellations from mailbox to mailbox."""

    def __init__(self, *, world: World, mailroom: Mailroom) -> None:
        self._world = world
        self._mailroom = mailroom

    def create(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Put an organizer's new item on the calendar and invite whom it names."""
        self._mailroom.put(tenant, mailbox, event)
        if event.content.attendees:
            self._open(tenant, mailbox, event, cancel_kept=None)

    def book(self, tenant: Tenant, mailbox: Mailbox, event: Event, *, cancel_kept: bool | None) -> Meeting:
        """Do as `create`, for a meeting that is to be found again, whoever it invites."""
        self._mailroom.put(tenant, mailbox, event)
        return self._open(tenant, mailbox, event, cancel_kept=cancel_kept)

    def change(
        self,
        tenant: Tenant,
        mailbox: Mailbox,
        event: Event,
        content: Content,
        times: Times,
        recurrence: Recurrence | None,
    ) -> Event:
        """Change an item; the organizer's change goes to every copy, anybody else's stays on their own calendar.

        Returns:
            The item that now carries the change: for a regular occurrence, the exception made of it.
        """
        event = self._mailroom.detach(event)
        if event.is_organizer and times != event.times:
            content = replace(content, attendees=_unanswered(content.attendees))
        only_guests = replace(content, attendees=event.content.attendees) == event.content and times == event.times
        event.content = content
        retimed = self._mailroom.retime(mailbox, event, times, recurrence)
        self._mailroom.changed(tenant, mailbox, event)
        if event.is_organizer:
            self._tell_copies(tenant, mailbox, event, only_guests=only_guests and not retimed)
        return event

    def cancel(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Take the organizer's item away and cancel every copy, or do so for one occurrence."""
        meeting = tenant.meetings.get(event.meeting_id or "")
        self._mailroom.remove(tenant, mailbox, event)
        if meeting is not None:
            for copy_mailbox, copy in list(meeting.copies.values()):
                self._cancel_copy(tenant, meeting, copy_mailbox, copy, event)

    def respond(self, tenant: Tenant, mailbox: Mailbox, event: Event, response: str, *, tell: bool) -> None:
        """Answer an invitation for a mailbox; a declined item leaves the calendar."""
        now = self._world.now()
        if response == "declined":
            self._mailroom.remove(tenant, mailbox, event)
        else:
            event = self._mailroom.detach(event)
            event.response, event.responded_at = response, now
            event.ticket += 1  # a person answered before the room could
            show_as = "busy" if response == "accepted" else "tentative"
            event.content = replace(event.content.with_response(mailbox.address, response, now), show_as=show_as)
            self._mailroom.changed(tenant, mailbox, event)
        if tell:
            self._tell_organizer(tenant, mailbox, event, response)

    def withdraw(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Take an attendee's copy off their calendar without telling anybody but subscribers."""
        event.ticket += 1
        self._mailroom.remove(tenant, mailbox, event)

    def _open(self, tenant: Tenant, mailbox: Mailbox, event: Event, *, cancel_kept: bool | None) -> Meeting:
        meeting = Meeting(meeting_id=self._world.ids.guid(), organizer=mailbox, event=event, cancel_kept=cancel_kept)
        tenant.meetings[meeting.meeting_id] = meeting
        event.meeting_id = meeting.meeting_id
        for attendee in event.content.attendees:
            self._invite(tenant, meeting, attendee)
        return meeting

    def _invite(self, tenant: Tenant, meeting: Meeting, attendee: Attendee) -> None:
        mailbox = tenant.mailbox(attendee.person.address)
        if mailbox is None or mailbox is meeting.organizer or mailbox.state is not MailboxState.CLOUD:
            return
        if mailbox.is_room and mailbox.settings.AutomateProcessing == "None":
            return
        original = meeting.event
        copy = self._mailroom.build(
            times=original.times,
            content=_as_invited(original.content),
            organizer=original.organizer,
            recurrence=original.series.recurrence if original.series else None,
            ical_uid=original.ical_uid,
        )
        copy.is_organizer, copy.response, copy.meeting_id = False, "notResponded", meeting.meeting_id
        copy_series(original, copy)
        meeting.copies[mailbox.address.lower()] = (mailbox, copy)
        self._mailroom.put(tenant, mailbox, copy)
        self._answer_later(tenant, meeting, mailbox, copy)

    def _tell_copies(self, tenant: Tenant, mailbox: Mailbox, event: Event, *, only_guests: bool) -> None:
        """Carry a change to the copies; if only the list of guests changed, those who stay hear nothing."""
        root = event.master or event
        meeting = tenant.meetings.get(root.meeting_id or "")
        if meeting is None:
            if event.master is None and event.content.attendees:
                self._open(tenant, mailbox, event, cancel_kept=None)
            return
        listed = {attendee.person.address.lower() for attendee in event.content.attendees}
        for address, (copy_mailbox, copy) in list(meeting.copies.items()):
            if address not in listed:
                self._cancel_copy(tenant, meeting, copy_mailbox, copy, event)
                if event.master is None:
                    del meeting.copies[address]
            elif not only_guests:
                self._update_copy(tenant, meeting, copy_mailbox, copy, event)
        if event.master is None:
            for attendee in event.content.attendees:
                if attendee.person.address.lower() not in meeting.copies:
                    self._invite(tenant, meeting, attendee)

    def _update_copy(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event) -> None:
        target: Event | None = copy
        if not mailbox.calendar.holds(copy):  # declined or deleted there before: the change invites anew
            attendee = next(
                one for one in event.content.attendees if one.person.address.lower() == mailbox.address.lower()
            )
            if event.master is None:
                self._invite(tenant, meeting, attendee)
            return
        if event.day is not None:
            assert copy.series is not None
            copy.series.removed.discard(event.day)
            target = self._mailroom.exception_on(copy, event.day)
        if target is None:
            return
        target.content, target.response, target.responded_at = _as_invited(event.content), "notResponded", None
        recurrence = event.series.recurrence if event.series else None
        self._mailroom.retime(mailbox, target, event.times, recurrence)
        self._mailroom.changed(tenant, mailbox, target)
        self._answer_later(tenant, meeting, mailbox, target)

    def _cancel_copy(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event) -> None:
        def cancel() -> None:
            target: Event | None = copy
            if not mailbox.calendar.holds(copy):
                return
            if event.day is not None:
                target = self._mailroom.exception_on(copy, event.day)
            if target is None or target.is_cancelled:
                return
            kept = meeting.cancel_kept
            if kept is None:
                kept = not (mailbox.is_room and mailbox.settings.RemoveCanceledMeetings)
            if not kept:
                self._mailroom.remove(tenant, mailbox, target)
                return
            target.is_cancelled = True
            target.content = _as_cancelled(target.content)
            if target.series is not None:
                for one in target.series.exceptions.values():
                    one.is_cancelled, one.content = True, _as_cancelled(one.content)
            if target.master is None:
                self._mailroom.changed(tenant, mailbox, target)
            else:
                self._mailroom.changed_quietly(tenant, mailbox, target)

        self._later(tenant, mailbox, cancel)

    def _answer_later(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event) -> None:
        if mailbox.is_room:
            copy.ticket += 1
            ticket = copy.ticket

            def answer() -> None:
                if copy.ticket == ticket:  # else something newer happened to the item, and has its own answer coming
                    self._answer(tenant, meeting, mailbox, copy)

            self._later(tenant, mailbox, answer)

    def _later(self, tenant: Tenant, mailbox: Mailbox, act: Callable[[], None]) -> None:
        """Let the mailbox act after its delay."""
        moods = self._world.moods
        delay_s = mailbox.settings.processing_delay_s
        if delay_s is None:
            delay_s = self._world.between(moods.room_delay_min_s, moods.room_delay_max_s)
        if delay_s <= 0:
            act()
            return
        at = self._world.after(delay_s)
        tenant.room_processing_count += 1

        async def wait() -> None:
            try:
                await self._world.clock.sleep_until(at)
                act()
            finally:
                tenant.room_processing_count -= 1

        self._world.background.spawn(f"room {mailbox.address}", wait)

    def _answer(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event) -> None:
        if not mailbox.calendar.holds(copy) or copy.is_cancelled:
            return
        verdict, now = judge(mailbox, copy, self._world.now()), self._world.now()
        if verdict is Verdict.LEAVE:
            return
        if verdict is Verdict.DECLINE:
            self._mailroom.remove(tenant, mailbox, copy)
        else:
            declined = (
                conflicting_days(mailbox, copy, now) if copy.series and not mailbox.settings.AllowConflicts else []
            )
            source = self._original_of(meeting, copy)
            content = replace(copy.content, show_as=source.content.show_as if source else "busy")
            content = accepted_content(mailbox.settings, content, copy.organizer.name)
            copy.content = content.with_response(mailbox.address, verdict.value, now)
            copy.response, copy.responded_at = verdict.value, now
            self._mailroom.changed(tenant, mailbox, copy)
            for one in declined:
                self._mailroom.remove(tenant, mailbox, one)
            if self._world.chance(self._world.moods.notify_echo_share):
                self._mailroom.echo(tenant, mailbox, copy)
        self._tell_organizer(tenant, mailbox, copy, verdict.value)

    def _original_of(self, meeting: Meeting, copy: Event) -> Event | None:
        if copy.day is None:
            return meeting.event
        series = meeting.event.series
        return None if series is None else series.exceptions.get(copy.day) or meeting.event

    def _tell_organizer(self, tenant: Tenant, mailbox: Mailbox, copy: Event, response: str) -> None:
        root = copy.master or copy
        meeting = tenant.meetings.get(root.meeting_id or "")
        if meeting is None or not meeting.organizer.calendar.holds(meeting.event):
            return
        original: Event | None = meeting.event
        if copy.day is not None:
            original = self._mailroom.exception_on(meeting.event, copy.day)
        if original is None:
            return
        original.content = original.content.with_response(mailbox.address, response, self._world.now())
        self._mailroom.changed(tenant, meeting.organizer, original)


def _as_invited(content: Content) -> Content:
    """Give an invitation as it first shows: tentative, and of other people's answers nothing."""
    return replace(content, show_as="tentative", attendees=_unanswered(content.attendees))


def _as_cancelled(content: Content) -> Content:
    if content.subject.startswith("Canceled: "):
        return content
    return replace(content, subject=f"Canceled: {content.subject}", show_as="free")


def _unanswered(attendees: tuple[Attendee, ...]) -> tuple[Attendee, ...]:
    return tuple(replace(one, response="none", responded_at=None, proposed=None) for one in attendees)
