"""A person at work in Outlook: booking, moving, editing and cancelling meetings, for the control API.

Everything goes through the same meetings as Graph's calls do; only the caller differs.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date

from sidecar.emulator.control.app import ControlError
from sidecar.emulator.control.finding import find_item, find_mailbox
from sidecar.emulator.control.outlook_types import (
    BookBody,
    CancelBody,
    DecideBody,
    DeleteCopyBody,
    DeleteFromRoomBody,
    EditBody,
    ForwardBody,
    MeetingAnswer,
    MoveBody,
    RespondBody,
)
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Attendee, Content, Event, JsonObject, Person, Times, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.exchange.series import crosses_neighbour, occurrence_on
from sidecar.emulator.exchange.world import World
from sidecar.emulator.wire.event_input import check_length, parse_event, parse_moment
from sidecar.emulator.zones import parse_instant, resolve_zone

_ANSWERS = {"accept": "accepted", "tentative": "tentativelyAccepted", "decline": "declined"}


class Outlook:
    """What people do to meetings."""

    def __init__(self, *, world: World, mailroom: Mailroom, meetings: Meetings) -> None:
        self._world = world
        self._mailroom = mailroom
        self._meetings = meetings

    def book(self, tenant: Tenant, body: BookBody) -> MeetingAnswer:
        """Book a meeting and invite rooms and people.

        Raises:
            ControlError: an address is unknown.
            GraphError: times or recurrence are not valid.
        """
        organizer = self._outsider(tenant, body) if body.outside else find_mailbox(tenant, body.organizer)
        wire: JsonObject = {
            "subject": body.subject,
            "body": {"contentType": "text", "content": body.body},
            "start": {"dateTime": body.start, "timeZone": body.time_zone},
            "end": {"dateTime": body.end, "timeZone": body.time_zone},
            "isAllDay": body.all_day,
            "sensitivity": body.sensitivity,
            "showAs": body.show_as,
            "hideAttendees": body.hide_attendees,
            "recurrence": body.recurrence,
            "locations": [find_mailbox(tenant, address).location for address in body.rooms],
        }
        asked = parse_event(wire, base=Content(), base_times=None, lookup=lambda _: None)
        assert asked.times is not None
        attendees = self._attendees(tenant, body.rooms, body.attendees, body.optional_attendees)
        event = self._mailroom.build(
            times=asked.times,
            content=replace(asked.content, attendees=attendees),
            organizer=organizer.person,
            recurrence=asked.recurrence,
        )
        return self._answer(self._meetings.book(tenant, organizer, event, cancel_kept=body.cancel_kept))

    def move(self, tenant: Tenant, body: MoveBody) -> MeetingAnswer:
        """Move a meeting or one occurrence.

        Raises:
            ControlError: it cannot be found, or cannot be then.
            GraphError: times are not valid.
        """
        meeting, event = self._find(tenant, body.meeting, body.occurrence)
        all_day = event.times.is_all_day
        start_at, start_zone = parse_moment({"dateTime": body.start, "timeZone": body.time_zone}, is_all_day=all_day)
        end_at, end_zone = parse_moment({"dateTime": body.end, "timeZone": body.time_zone}, is_all_day=all_day)
        if end_at < start_at:
            raise ControlError("The meeting would end before it starts.")
        check_length(start_at, end_at)
        times = replace(event.times, start_at=start_at, end_at=end_at, start_zone=start_zone, end_zone=end_zone)
        if crosses_neighbour(event, times):
            raise ControlError("The occurrence would cross or overlap its neighbour.")
        self._change(tenant, meeting, event, event.content, times)
        return self._answer(meeting)

    def edit(self, tenant: Tenant, body: EditBody) -> MeetingAnswer:
        """Change what a meeting says, or whom it invites."""
        meeting, event = self._find(tenant, body.meeting, body.occurrence)
        content = event.content
        if body.subject is not None:
            content = replace(content, subject=body.subject)
        if body.body is not None:
            content = replace(content, body=body.body, body_type="text")
        if body.sensitivity is not None:
            content = replace(content, sensitivity=body.sensitivity)
        if body.hide_attendees is not None:
            content = replace(content, hide_attendees=body.hide_attendees)
        if body.rooms is not None or body.attendees is not None:
            content = replace(content, attendees=self._new_list(tenant, content, body))
        self._change(tenant, meeting, event, content, event.times)
        return self._answer(meeting)

    def cancel(self, tenant: Tenant, body: CancelBody) -> MeetingAnswer:
        """Cancel a meeting or one occurrence."""
        meeting, event = self._find(tenant, body.meeting, body.occurrence)
        answer = self._answer(meeting)
        self._meetings.cancel(tenant, meeting.organizer, event)
        return answer

    def respond(self, tenant: Tenant, body: RespondBody) -> MeetingAnswer:
        """Answer an invitation for somebody invited."""
        meeting, mailbox, item = self._find_copy(tenant, body.meeting, body.address, body.occurrence)
        if item.is_cancelled:
            raise ControlError("The meeting has been cancelled; there is nothing to answer.", status=409)
        answer = self._answer(meeting)
        self._meetings.respond(tenant, mailbox, item, _ANSWERS[body.answer], tell=body.send_response)
        return answer

    def decide(self, tenant: Tenant, body: DecideBody) -> MeetingAnswer:
        """Accept or decline, as a room's delegate, what the room has left to its delegates."""
        meeting, room, item = self._find_copy(tenant, body.meeting, body.room, body.occurrence)
        if body.delegate.lower() not in [one.lower() for one in room.settings.ResourceDelegates]:
            raise ControlError(f"{body.delegate} is not a delegate of {room.address}.", status=403)
        if not room.settings.ForwardRequestsToDelegates:
            raise ControlError(f"{room.address} does not forward requests to its delegates.", status=409)
        if not item.awaits_delegate or item.is_cancelled:
            raise ControlError("The room does not wait for a delegate here.", status=409)
        answer = self._answer(meeting)
        self._meetings.decide(tenant, meeting, room, item, accept=body.answer == "accept")
        return answer

    def delete_copy(self, tenant: Tenant, body: DeleteCopyBody) -> MeetingAnswer:
        """Delete somebody's own copy."""
        meeting, mailbox, item = self._find_copy(tenant, body.meeting, body.address, body.occurrence)
        answer = self._answer(meeting)
        self._meetings.withdraw(tenant, mailbox, item)
        return answer

    def forward(self, tenant: Tenant, body: ForwardBody) -> MeetingAnswer:
        """Invite more people, and rooms, at the word of somebody who is part of the meeting."""
        meeting, event = self._find(tenant, body.meeting, None)
        listed = {one.person.address.lower() for one in event.content.attendees}
        if body.address.lower() not in listed | {meeting.organizer.address.lower()}:
            raise ControlError(f"{body.address} is not part of the meeting.", status=404)
        new = [one for one in body.to if one.lower() not in listed]
        rooms = [one for one in new if (mailbox := tenant.recipient(one)) and mailbox.is_resource]
        added = self._attendees(tenant, rooms, [one for one in new if one not in rooms])
        content = replace(event.content, attendees=(*event.content.attendees, *added))
        self._change(tenant, meeting, event, content, event.times)
        return self._answer(meeting)

    def delete_from_room(self, tenant: Tenant, body: DeleteFromRoomBody) -> dict[str, bool]:
        """Delete an item from a room's calendar behind everybody's back."""
        mailbox = find_mailbox(tenant, body.address)
        self._meetings.withdraw(tenant, mailbox, find_item(mailbox, body.event))
        return {"deleted": True}

    def _change(self, tenant: Tenant, meeting: Meeting, event: Event, content: Content, times: Times) -> None:
        recurrence = event.series.recurrence if event.series else None
        self._meetings.change(tenant, meeting.organizer, event, content, times, recurrence, may_race=False)

    def _outsider(self, tenant: Tenant, body: BookBody) -> Mailbox:
        """Give an organizer from outside a calendar nobody can look at."""
        address = body.organizer
        if "@" not in address or tenant.recipient(address) is not None:
            raise ControlError(f"{address!r} is not the address of somebody outside this tenant.")
        found = tenant.outsiders.get(address.lower())
        if found is None:
            name = body.organizer_name or address
            found = Mailbox(
                object_id=self._world.ids.guid(), address=address, display_name=name, time_zone=body.time_zone
            )
            tenant.outsiders[address.lower()] = found
        return found

    def _attendees(
        self, tenant: Tenant, rooms: list[str], people: list[str], optional: Sequence[str] = ()
    ) -> tuple[Attendee, ...]:
        invited = []
        for address in (*people, *optional):  # people may be from outside; a room must be one of ours
            mailbox = tenant.mailbox(address)
            person = mailbox.person if mailbox else Person(name=address, address=address)
            invited.append(Attendee(person=person, kind="optional" if address in optional else "required"))
        invited += [Attendee(person=find_mailbox(tenant, address).person, kind="resource") for address in rooms]
        return tuple(invited)

    def _new_list(self, tenant: Tenant, content: Content, body: EditBody) -> tuple[Attendee, ...]:
        """Give the attendees an edit asks for; those who stay keep their answer."""
        known = {one.person.address.lower(): one for one in content.attendees}
        stay = [one.person.address for one in content.attendees if one.kind == "resource"]
        people = [one.person.address for one in content.attendees if one.kind != "resource"]
        wanted_people = people if body.attendees is None else body.attendees
        wanted_rooms = stay if body.rooms is None else body.rooms
        found = [known.get(one.lower()) or self._attendees(tenant, [], [one])[0] for one in wanted_people]
        found += [known.get(one.lower()) or self._attendees(tenant, [one], [])[0] for one in wanted_rooms]
        return tuple(found)

    def _find(self, tenant: Tenant, meeting_id: str, occurrence: str | None) -> tuple[Meeting, Event]:
        meeting = tenant.meetings.get(meeting_id)
        if meeting is None:
            raise ControlError(f"There is no meeting {meeting_id} in this tenant.", status=404)
        if not meeting.organizer.calendar.holds(meeting.event):
            raise ControlError(f"The meeting {meeting_id} has been cancelled.", status=404)
        if occurrence is None:
            return meeting, meeting.event
        found = occurrence_on(meeting.event, self._day(meeting.event, occurrence))
        if found is None:
            raise ControlError(f"The meeting {meeting_id} has no occurrence {occurrence}.", status=404)
        return meeting, found

    def _find_copy(
        self, tenant: Tenant, meeting_id: str, address: str, occurrence: str | None
    ) -> tuple[Meeting, Mailbox, Event]:
        """Find an attendee's copy, whether or not the organizer still has the meeting."""
        meeting, mailbox = tenant.meetings.get(meeting_id), find_mailbox(tenant, address)
        if meeting is None:
            raise ControlError(f"There is no meeting {meeting_id} in this tenant.", status=404)
        copy = meeting.copies.get(mailbox.object_id, (mailbox, None))[1]
        if copy is None or not mailbox.calendar.holds(copy):
            raise ControlError(f"{address} has no copy of the meeting {meeting_id}.", status=404)
        found = copy if occurrence is None else occurrence_on(copy, self._day(copy, occurrence))
        if found is None:
            raise ControlError(f"The meeting {meeting_id} has no occurrence {occurrence} there.", status=404)
        return meeting, mailbox, found

    def _day(self, event: Event, occurrence: str) -> date:
        if event.series is None:
            raise ControlError("The meeting is not a series; leave `occurrence` out.")
        zone = UTC if event.times.is_all_day else resolve_zone(event.series.recurrence.zone)
        try:
            return date.fromisoformat(occurrence)
        except ValueError:
            pass
        try:
            return parse_instant(occurrence).astimezone(zone).date()
        except ValueError:
            raise ControlError(f"`occurrence` must be an original start or a date, not {occurrence!r}.") from None

    def _answer(self, meeting: Meeting) -> MeetingAnswer:
        events = {meeting.organizer.address: event_id(meeting.event, immutable=True)}
        for mailbox, copy in meeting.copies.values():
            events[mailbox.address] = event_id(copy, immutable=True)
        return MeetingAnswer(meeting=meeting.meeting_id, ical_uid=meeting.event.ical_uid, events=events)
