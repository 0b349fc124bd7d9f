"""Meetings: an organizer's item, its copies in the attendees' mailboxes, and what people do to either.

Moves, edits and cancellations go from the organizer's item to the copies (`inboxes.py`), answers (`answers.py`) back to it;
nothing else goes back.

Source: Graph "event" actions.
"""

from dataclasses import replace

from sidecar.emulator.errors import NotEmulated, change_key_is_old
from sidecar.emulator.exchange.agenda import drop_acts, drop_invitations
from sidecar.emulator.exchange.answers import Answers
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Content, Event, Extras, Times
from sidecar.emulator.exchange.inboxes import Inboxes
from sidecar.emulator.exchange.invitations import followed, invites, unanswered
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.pending import ActKind
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.exchange.series import align_series
from sidecar.emulator.exchange.world import World


class Meetings:
    """Carries invitations, answers, changes and cancellations from mailbox to mailbox."""

    def __init__(self, *, world: World, mailroom: Mailroom) -> None:
        self._world = world
        self._mailroom = mailroom
        self._answers = Answers(world=world, mailroom=mailroom)
        self._inboxes = Inboxes(world=world, mailroom=mailroom, answers=self._answers)

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
        *,
        extras: Extras | None = None,
        may_race: bool = True,
    ) -> Event:
        """Change an item; the organizer's change goes to every copy, anybody else's stays on their own calendar.

        Args:
            extras: what applications keep beside the item from now on; None leaves that as it is.
            may_race: whether a room that has yet to answer may do so first, and spoil the change.
        Returns:
            The item that now carries the change: for a regular occurrence, the exception made of it.
        Raises:
            GraphError: 412 when a room has answered first, 501 for somebody new at one occurrence only.
        """
        if event.is_organizer:
            self._check_guests(tenant, event, content)
        if may_race:
            self._race(tenant, mailbox, event)
        event = self._mailroom.detach(event)
        event.extras = event.extras if extras is None else extras
        if recurrence is not None and event.master is None:
            times, recurrence = align_series(times, recurrence)
        before, old_recurrence = event.content, event.series.recurrence if event.series else None
        moved = times.when != event.times.when or recurrence != old_recurrence
        if event.is_organizer and moved:
            content = replace(content, attendees=unanswered(content.attendees))
        only_guests = not moved and replace(content, attendees=before.attendees) == before and times == event.times
        self._mailroom.retime(mailbox, event, times, recurrence)
        event.content = content
        if event.is_organizer and event.series is not None:
            for one in event.series.exceptions.values():
                one.content = followed(before, content, one.content)
            self._mailroom.touch(event.series.exceptions.values())
        self._mailroom.changed(tenant, mailbox, event)
        if event.is_organizer:
            self._tell_copies(tenant, mailbox, event, before, moved=moved, only_guests=only_guests)
        return event

    def cancel(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Take the organizer's item away and cancel every copy, or do so for one occurrence."""
        meeting = tenant.meetings.get((event.master or event).meeting_id or "")
        self._mailroom.remove(tenant, mailbox, event)
        if meeting is None:
            return
        if event.master is None:
            drop_invitations(tenant, meeting.meeting_id)
        for copy_mailbox, copy in list(meeting.copies.values()):
            self._inboxes.cancel_later(tenant, meeting, copy_mailbox, copy, event)

    def respond(self, tenant: Tenant, mailbox: Mailbox, event: Event, response: str, *, tell: bool) -> None:
        """Answer an invitation for a mailbox; a declined item leaves the calendar."""
        self._answers.of_person(tenant, mailbox, event, response, tell=tell)

    def decide(self, tenant: Tenant, meeting: Meeting, room: Mailbox, event: Event, *, accept: bool) -> None:
        """Let a delegate accept or decline what the room has left to its delegates."""
        self._answers.of_delegate(tenant, meeting, room, event, accept=accept)

    def withdraw(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Take an attendee's copy off their calendar without telling anybody but subscribers."""
        drop_acts(tenant, mailbox, event, with_occurrences=event.master is None)
        self._mailroom.remove(tenant, mailbox, event)

    def resume(self) -> None:
        """Go on waiting for everything that mailboxes have still to do, after a restore of the state."""
        self._inboxes.agenda.resume()

    def _open(self, tenant: Tenant, mailbox: Mailbox, event: Event, *, cancel_kept: bool | None) -> Meeting:
        meeting = Meeting(meeting_id=self._world.ids.guid(), organizer=mailbox, event=event, cancel_kept=cancel_kept)
        tenant.meetings[meeting.meeting_id] = meeting
        event.meeting_id = meeting.meeting_id
        for attendee in event.content.attendees:
            invited = tenant.recipient(attendee.person.address)
            if invited is not None and invited.object_id not in meeting.copies:  # somebody may be named twice
                self._inboxes.invite(tenant, meeting, attendee)
        return meeting

    def _check_guests(self, tenant: Tenant, event: Event, content: Content) -> None:
        """Refuse somebody new at one occurrence only; they would get an item that belongs to no series of theirs."""
        if event.master is None:
            return
        meeting = tenant.meetings.get(event.master.meeting_id or "")
        copies = meeting.copies if meeting else {}
        for one in content.attendees:
            mailbox = tenant.recipient(one.person.address)
            if mailbox is not None and not invites(event.content, mailbox) and mailbox.object_id not in copies:
                raise NotEmulated("inviting somebody new to a single occurrence of a series")

    def _race(self, tenant: Tenant, mailbox: Mailbox, event: Event) -> None:
        """Let a room that has yet to answer be first, by chance; the change is then refused, as its change key is old.

        Raises:
            GraphError: 412.
        """
        meeting = tenant.meetings.get((event.master or event).meeting_id or "")
        if meeting is None:
            return
        copies = meeting.copies.values() if event.is_organizer else [(mailbox, event.master or event)]
        acts = [
            act
            for room, copy in copies
            if room.is_resource and room.settings.AutomateProcessing == "AutoAccept"
            for act in tenant.pending_acts.values()
            if act.kind is ActKind.ANSWER
            and (act.mailbox_id, act.core, act.day) == (room.object_id, copy.core, event.day)
        ]
        if not acts or not self._world.chance(self._world.moods_of(tenant).attendant_race_share):
            return
        for act in acts:
            self._inboxes.agenda.hasten(tenant, act)
        raise change_key_is_old()

    def _tell_copies(
        self, tenant: Tenant, mailbox: Mailbox, event: Event, before: Content, *, moved: bool, only_guests: bool
    ) -> None:
        """Carry a change to the copies; if only the list of guests changed, those who stay hear nothing."""
        meeting = tenant.meetings.get((event.master or event).meeting_id or "")
        if meeting is None:
            if event.master is None and event.content.attendees:
                self._open(tenant, mailbox, event, cancel_kept=None)
            return
        for key, (copy_mailbox, copy) in list(meeting.copies.items()):
            was_invited = invites(before, copy_mailbox)
            if not invites(event.content, copy_mailbox):
                if was_invited:
                    self._inboxes.cancel_later(tenant, meeting, copy_mailbox, copy, event)
                if event.master is None:
                    del meeting.copies[key]
            elif not only_guests or not was_invited:
                self._inboxes.update(tenant, meeting, copy_mailbox, copy, event, moved=moved)
        if event.master is None:
            self._tell_new_guests(tenant, meeting, event, before, only_guests=only_guests)

    def _tell_new_guests(
        self, tenant: Tenant, meeting: Meeting, event: Event, before: Content, *, only_guests: bool
    ) -> None:
        waiting = {
            act.mailbox_id
            for act in tenant.pending_acts.values()
            if act.kind is ActKind.INVITE and act.meeting_id == meeting.meeting_id
        }
        wanted = {one.object_id for a in event.content.attendees if (one := tenant.recipient(a.person.address))}
        drop_invitations(tenant, meeting.meeting_id, frozenset(waiting - wanted))
        for attendee in event.content.attendees:
            mailbox = tenant.recipient(attendee.person.address)
            if mailbox is None or mailbox.object_id in meeting.copies:
                continue
            if not only_guests or not invites(before, mailbox):
                self._inboxes.invite(tenant, meeting, attendee)
