"""Meetings: an organizer's item, its copies in the attendees' mailboxes, and how changes travel from it to them.

Moves, edits and cancellations go from the organizer's item to the copies, answers (`answers.py`) back to it; nothing else
goes back. A room's copy arrives tentative with the original subject, and is settled after the room's delay.

Source: Graph "event" actions; Exchange "Set-CalendarProcessing" page; the tentative first sight of a room's copy with the
subject the room will later hide is what users have reported.
"""

from dataclasses import replace

from sidecar.emulator.errors import NotEmulated, change_key_is_old
from sidecar.emulator.exchange.agenda import Agenda, drop_acts, drop_invitations
from sidecar.emulator.exchange.answers import Answers
from sidecar.emulator.exchange.copies import (
    copy_series,
    is_retimed_alike,
    recurrence_for,
    shared_exceptions,
    update_item,
)
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Attendee, Content, Event, Extras, Times
from sidecar.emulator.exchange.invitations import (
    as_cancelled,
    as_invited,
    followed,
    invites,
    unanswered,
)
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.pending import ActKind, PendingAct
from sidecar.emulator.exchange.recurrence import Recurrence
from sidecar.emulator.exchange.series import align_series, occurrence_on
from sidecar.emulator.exchange.world import World


class Meetings:
    """Carries invitations, answers, changes and cancellations from mailbox to mailbox."""

    def __init__(self, *, world: World, mailroom: Mailroom) -> None:
        self._world = world
        self._mailroom = mailroom
        self._answers = Answers(world=world, mailroom=mailroom)
        self._agenda = Agenda(world=world, carry_out=self._carry_out)

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
            self._cancel_later(tenant, meeting, copy_mailbox, copy, event)

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
        self._agenda.resume()

    def _open(self, tenant: Tenant, mailbox: Mailbox, event: Event, *, cancel_kept: bool | None) -> Meeting:
        meeting = Meeting(meeting_id=self._world.ids.guid(), organizer=mailbox, event=event, cancel_kept=cancel_kept)
        tenant.meetings[meeting.meeting_id] = meeting
        event.meeting_id = meeting.meeting_id
        for attendee in event.content.attendees:
            invited = tenant.recipient(attendee.person.address)
            if invited is not None and invited.object_id not in meeting.copies:  # somebody may be named twice
                self._invite(tenant, meeting, attendee)
        return meeting

    def _invite(self, tenant: Tenant, meeting: Meeting, attendee: Attendee) -> None:
        mailbox = tenant.recipient(attendee.person.address)
        if mailbox is None or mailbox is meeting.organizer or not _listens(tenant, meeting, mailbox):
            return
        drop_invitations(tenant, meeting.meeting_id, frozenset({mailbox.object_id}))
        if mailbox.is_resource and not mailbox.settings.AddNewRequestsTentatively:
            self._agenda.plan(tenant, mailbox, ActKind.INVITE, meeting.meeting_id, core="", day=None)
            return
        copy = self._build_copy(meeting, mailbox)
        self._put_copy(tenant, meeting, mailbox, copy)
        self._answer_later(tenant, meeting, mailbox, copy)

    def _build_copy(self, meeting: Meeting, mailbox: Mailbox) -> Event:
        original = meeting.event
        copy = self._mailroom.build(
            times=original.times,
            content=as_invited(original.content, mailbox),
            organizer=original.organizer,
            recurrence=original.series.recurrence if original.series else None,
            ical_uid=original.ical_uid,
        )
        copy.is_organizer, copy.response, copy.meeting_id = False, "notResponded", meeting.meeting_id
        copy_series(original, copy, mailbox)
        return copy

    def _put_copy(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event) -> None:
        meeting.copies[mailbox.object_id] = (mailbox, copy)
        self._mailroom.put(tenant, mailbox, copy)

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
            self._agenda.hasten(tenant, act)
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
                    self._cancel_later(tenant, meeting, copy_mailbox, copy, event)
                if event.master is None:
                    del meeting.copies[key]
            elif not only_guests or not was_invited:
                self._update_copy(tenant, meeting, copy_mailbox, copy, event, moved=moved)
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
                self._invite(tenant, meeting, attendee)

    def _update_copy(
        self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event, *, moved: bool
    ) -> None:
        if not _listens(tenant, meeting, mailbox):
            return
        if not mailbox.calendar.holds(copy):  # declined or deleted there before: the change invites anew
            if event.master is None:
                self._invite(tenant, meeting, _attendee(event.content, mailbox))
            return
        target: Event | None = copy
        is_new = False
        if event.day is not None:
            if copy.series is None:  # somebody has made a single item of their copy
                return
            is_new = event.day in copy.series.removed
            copy.series.removed.discard(event.day)
            target = self._mailroom.exception_on(copy, event.day)
        if target is None:
            return
        drop_acts(tenant, mailbox, target, with_occurrences=moved and target.master is None)
        update_item(target, event, mailbox, moved=moved or is_new or target.is_cancelled)
        if not is_retimed_alike(target, event):
            self._mailroom.retime(mailbox, target, event.times, recurrence_for(target, event))
        for one, theirs in shared_exceptions(target, event):
            if invites(theirs.content, mailbox) and not one.is_cancelled:
                update_item(one, theirs, mailbox, moved=False)
                self._mailroom.touch([one])
        self._mailroom.changed(tenant, mailbox, target)
        self._answer_later(tenant, meeting, mailbox, target)

    def _cancel_later(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event) -> None:
        if _listens(tenant, meeting, mailbox):
            self._agenda.plan(tenant, mailbox, ActKind.CANCEL, meeting.meeting_id, core=copy.core, day=event.day)

    def _answer_later(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, item: Event) -> None:
        if mailbox.is_resource:
            self._agenda.plan(tenant, mailbox, ActKind.ANSWER, meeting.meeting_id, core=item.core, day=item.day)

    def _carry_out(self, tenant: Tenant, act: PendingAct) -> None:
        meeting, mailbox = tenant.meetings.get(act.meeting_id), tenant.mailboxes.get(act.mailbox_id)
        if meeting is None or mailbox is None or not _listens(tenant, meeting, mailbox):
            return
        if act.kind is not ActKind.CANCEL:
            self._cancel_older(tenant, act)
        if act.kind is ActKind.INVITE:
            self._invite_now(tenant, meeting, mailbox)
            return
        copy = mailbox.calendar.find_core(act.core)
        if copy is None or copy.is_cancelled:
            return
        if act.kind is ActKind.CANCEL:
            self._cancel_copy(tenant, meeting, mailbox, copy, act)
            return
        item = copy if act.day is None else occurrence_on(copy, act.day)
        if item is not None:
            self._answers.of_room(tenant, meeting, mailbox, item)

    def _cancel_older(self, tenant: Tenant, act: PendingAct) -> None:
        """Carry out what still has to cancel an older copy of the meeting; mail is read in the order it came."""
        for other in list(tenant.pending_acts.values()):
            same = other.meeting_id == act.meeting_id and other.mailbox_id == act.mailbox_id
            if same and other.kind is ActKind.CANCEL and other.core != act.core:
                self._agenda.hasten(tenant, other)

    def _invite_now(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox) -> None:
        """Put a request that nobody has seen on the calendar, if the room accepts it."""
        if mailbox.settings.AutomateProcessing != "AutoAccept":
            return
        copy = self._build_copy(meeting, mailbox)
        if not self._answers.refuses_unseen(tenant, meeting, mailbox, copy):
            self._put_copy(tenant, meeting, mailbox, copy)
            self._answers.of_room(tenant, meeting, mailbox, copy)

    def _cancel_copy(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, act: PendingAct) -> None:
        target = copy if act.day is None else self._mailroom.exception_on(copy, act.day)
        if target is None or target.is_cancelled:
            return
        drop_acts(tenant, mailbox, target, with_occurrences=target.master is None)
        kept = meeting.cancel_kept
        if kept is None:
            kept = not (mailbox.is_resource and mailbox.settings.RemoveCanceledMeetings)
        if not kept:
            self._mailroom.remove(tenant, mailbox, target)
            return
        exceptions = list(target.series.exceptions.values()) if target.series else []
        for one in (target, *exceptions):
            one.is_cancelled, one.content = True, as_cancelled(one.content)
        self._mailroom.touch(exceptions)
        if target.master is None:
            self._mailroom.changed(tenant, mailbox, target)
        else:
            self._mailroom.changed_quietly(tenant, mailbox, target)


def _listens(tenant: Tenant, meeting: Meeting, mailbox: Mailbox) -> bool:
    """Tell whether a mailbox takes an organizer's messages at all."""
    if not mailbox.receives_mail:
        return False
    if not mailbox.is_resource:
        return True
    settings, is_outside = mailbox.settings, meeting.organizer.object_id not in tenant.mailboxes
    return settings.AutomateProcessing != "None" and (settings.ProcessExternalMeetingMessages or not is_outside)


def _attendee(content: Content, mailbox: Mailbox) -> Attendee:
    return next(one for one in content.attendees if mailbox.has_address(one.person.address))
