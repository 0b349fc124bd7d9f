"""Inboxes: what an organizer's message does in the mailbox it arrives in, at once or when the mailbox gets to it.

The other end of `meetings.py`. An invitation becomes a copy, a change changes it, a cancellation strikes it out or takes it
away; a room then answers through `answers.py`. A room's copy arrives tentative with the original subject, and is settled
after the room's delay.

Source: Exchange "Set-CalendarProcessing" page; the tentative first sight of a room's copy with the subject the room will
later hide is what users have reported.
"""

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
from sidecar.emulator.exchange.event import Attendee, Content, Event
from sidecar.emulator.exchange.invitations import as_cancelled, as_invited, invites
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.pending import ActKind, PendingAct
from sidecar.emulator.exchange.series import occurrence_on
from sidecar.emulator.exchange.world import World


class Inboxes:
    """Takes organizers' messages in."""

    def __init__(self, *, world: World, mailroom: Mailroom, answers: Answers) -> None:
        self._mailroom = mailroom
        self._answers = answers
        self.agenda = Agenda(world=world, carry_out=self._carry_out)

    def invite(self, tenant: Tenant, meeting: Meeting, attendee: Attendee) -> None:
        """Take an invitation in; a mailbox that takes none hears nothing."""
        mailbox = tenant.recipient(attendee.person.address)
        if mailbox is None or mailbox is meeting.organizer or not _listens(tenant, meeting, mailbox):
            return
        drop_invitations(tenant, meeting.meeting_id, frozenset({mailbox.object_id}))
        if mailbox.is_resource and not mailbox.settings.AddNewRequestsTentatively:
            self.agenda.plan(tenant, mailbox, ActKind.INVITE, meeting.meeting_id, core="", day=None)
            return
        copy = self._build_copy(meeting, mailbox)
        self._put_copy(tenant, meeting, mailbox, copy)
        self._answer_later(tenant, meeting, mailbox, copy)

    def update(
        self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event, *, moved: bool
    ) -> None:
        """Carry an organizer's change to a copy; one that was declined or deleted is invited anew."""
        if not _listens(tenant, meeting, mailbox):
            return
        if not mailbox.calendar.holds(copy):  # declined or deleted there before: the change invites anew
            if event.master is None:
                self.invite(tenant, meeting, _attendee(event.content, mailbox))
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

    def cancel_later(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, copy: Event, event: Event) -> None:
        """Have a copy, or one occurrence of it, cancelled when its mailbox gets to it."""
        if _listens(tenant, meeting, mailbox):
            self.agenda.plan(tenant, mailbox, ActKind.CANCEL, meeting.meeting_id, core=copy.core, day=event.day)

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

    def _answer_later(self, tenant: Tenant, meeting: Meeting, mailbox: Mailbox, item: Event) -> None:
        if mailbox.is_resource:
            self.agenda.plan(tenant, mailbox, ActKind.ANSWER, meeting.meeting_id, core=item.core, day=item.day)

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
                self.agenda.hasten(tenant, other)

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
