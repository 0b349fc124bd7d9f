"""A person at work in Outlook: booking, moving, editing and cancelling meetings, for the control API.

Everything goes through the same meetings as Graph's calls do; only the caller differs.
"""

from dataclasses import replace
from datetime import UTC, date

from sidecar.emulator.control.app import ControlError
from sidecar.emulator.control.types import BookBody, CancelBody, DeleteFromRoomBody, EditBody, MeetingAnswer, MoveBody
from sidecar.emulator.exchange.directory import Meeting, Tenant
from sidecar.emulator.exchange.event import Attendee, Content, Event, JsonObject, Person, event_id, occurrence_on
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.wire.event_input import parse_event, parse_moment
from sidecar.emulator.zones import parse_instant, resolve_zone


class Outlook:
    """What people do to meetings."""

    def __init__(self, *, mailroom: Mailroom, meetings: Meetings) -> None:
        self._mailroom = mailroom
        self._meetings = meetings

    def book(self, tenant: Tenant, body: BookBody) -> MeetingAnswer:
        """Book a meeting and invite rooms and people.

        Raises:
            ControlError: an address is unknown.
            GraphError: times or recurrence are not valid.
        """
        organizer = self._mailbox(tenant, body.organizer)
        wire: JsonObject = {
            "subject": body.subject,
            "body": {"contentType": "text", "content": body.body},
            "start": {"dateTime": body.start, "timeZone": body.time_zone},
            "end": {"dateTime": body.end, "timeZone": body.time_zone},
            "isAllDay": body.all_day,
            "sensitivity": body.sensitivity,
            "showAs": body.show_as,
            "recurrence": body.recurrence,
            "locations": [self._location(tenant, address) for address in body.rooms],
        }
        asked = parse_event(wire, base=Content(), base_times=None, lookup=lambda _: None)
        assert asked.times is not None
        attendees = self._attendees(tenant, body.rooms, body.attendees)
        event = self._mailroom.build(
            times=asked.times,
            content=replace(asked.content, attendees=attendees),
            organizer=organizer.person,
            recurrence=asked.recurrence,
        )
        return self._answer(self._meetings.book(tenant, organizer, event, cancel_kept=body.cancel_kept))

    def move(self, tenant: Tenant, body: MoveBody) -> MeetingAnswer:
        """Move a meeting or one occurrence."""
        meeting, event = self._find(tenant, body.meeting, body.occurrence)
        all_day = event.times.is_all_day
        start_at, start_zone = parse_moment({"dateTime": body.start, "timeZone": body.time_zone}, is_all_day=all_day)
        end_at, end_zone = parse_moment({"dateTime": body.end, "timeZone": body.time_zone}, is_all_day=all_day)
        if end_at < start_at:
            raise ControlError("The meeting would end before it starts.")
        times = replace(event.times, start_at=start_at, end_at=end_at, start_zone=start_zone, end_zone=end_zone)
        recurrence = event.series.recurrence if event.series else None
        self._meetings.change(tenant, meeting.organizer, event, event.content, times, recurrence)
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
        if body.rooms is not None or body.attendees is not None:
            known = {one.person.address.lower(): one for one in content.attendees}
            listed = self._attendees(
                tenant,
                [one.person.address for one in content.attendees if one.kind == "resource"]
                if body.rooms is None
                else body.rooms,
                [one.person.address for one in content.attendees if one.kind != "resource"]
                if body.attendees is None
                else body.attendees,
            )
            content = replace(content, attendees=tuple(known.get(one.person.address.lower(), one) for one in listed))
        recurrence = event.series.recurrence if event.series else None
        self._meetings.change(tenant, meeting.organizer, event, content, event.times, recurrence)
        return self._answer(meeting)

    def cancel(self, tenant: Tenant, body: CancelBody) -> MeetingAnswer:
        """Cancel a meeting or one occurrence."""
        meeting, event = self._find(tenant, body.meeting, body.occurrence)
        answer = self._answer(meeting)
        self._meetings.cancel(tenant, meeting.organizer, event)
        return answer

    def delete_from_room(self, tenant: Tenant, body: DeleteFromRoomBody) -> dict[str, bool]:
        """Delete an item from a room's calendar behind everybody's back."""
        mailbox = self._mailbox(tenant, body.address)
        event = mailbox.calendar.find(body.event)
        if event is None:
            raise ControlError(f"There is no event {body.event} on the calendar of {body.address}.", status=404)
        self._meetings.withdraw(tenant, mailbox, event)
        return {"deleted": True}

    def _mailbox(self, tenant: Tenant, address: str) -> Mailbox:
        mailbox = tenant.mailbox(address)
        if mailbox is None:
            raise ControlError(f"There is no mailbox {address} in this tenant.", status=404)
        return mailbox

    def _attendees(self, tenant: Tenant, rooms: list[str], people: list[str]) -> tuple[Attendee, ...]:
        invited = []
        for address in people:  # people may be from outside; a room must be one of ours
            mailbox = tenant.mailbox(address)
            person = mailbox.person if mailbox else Person(name=address, address=address)
            invited.append(Attendee(person=person, kind="required"))
        invited += [Attendee(person=self._mailbox(tenant, address).person, kind="resource") for address in rooms]
        return tuple(invited)

    def _location(self, tenant: Tenant, address: str) -> JsonObject:
        room = self._mailbox(tenant, address)
        return {
            "displayName": room.display_name,
            "locationUri": room.address,
            "locationType": "conferenceRoom",
            "uniqueId": room.address,
            "uniqueIdType": "directory",
        }

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
