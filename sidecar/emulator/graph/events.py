"""Graph's event paths: reading, writing and answering the items of a mailbox's default calendar.

Source: Graph "user: list events", "Create event", "Get event", "Update event", "Delete event", "event: cancel", "accept",
"tentativelyAccept", "decline" and "List instances" pages; error texts are what users have reported.
"""

import hashlib
from collections.abc import Callable

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated, change_key_is_old, invalid_request
from sidecar.emulator.exchange.access import READ_ROLES, WRITE_ROLES, open_mailbox
from sidecar.emulator.exchange.event import Content, Event, EventKind, JsonObject, Person, TimeSlot, etag, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.exchange.series import crosses_neighbour, expand
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, raw_reply
from sidecar.emulator.graph.paging import LIST_OPTIONS, Pager, event_shape, find_event, parse_window
from sidecar.emulator.graph.teams import with_online_meeting
from sidecar.emulator.wire.event_input import EventInput, parse_event, parse_json, parse_slot
from sidecar.emulator.wire.members import read_flag, read_text
from sidecar.emulator.wire.options import check_options
from sidecar.emulator.wire.rendering import render_event

_PARAMETERS = {
    "cancel": frozenset({"comment"}),
    "accept": frozenset({"comment", "sendresponse"}),
    "tentativelyaccept": frozenset({"comment", "sendresponse", "proposednewtime"}),
    "decline": frozenset({"comment", "sendresponse", "proposednewtime"}),
    "permanentdelete": frozenset[str](),
}
_OTHER_ACTIONS = frozenset({"forward", "snoozereminder", "dismissreminder"})
_CANCELLED_CODES = {
    "accept": "ErrorCalendarIsCancelledForAccept",
    "tentativelyaccept": "ErrorCalendarIsCancelledForTentative",
    "decline": "ErrorCalendarIsCancelledForDecline",
}
_ANSWERS = {"accept": "accepted", "tentativelyaccept": "tentativelyAccepted", "decline": "declined"}


class EventRoutes:
    """Handlers of everything below `/users/{id}` that reads or writes events."""

    def __init__(self, *, world: World, mailroom: Mailroom, meetings: Meetings, pager: Pager) -> None:
        self._world = world
        self._mailroom = mailroom
        self._meetings = meetings
        self._pager = pager

    def list_events(self, call: Call) -> Reply:
        """Answer GET /users/{id}/events: single items and series masters, never occurrences."""
        check_options(call.query, LIST_OPTIONS)
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        return self._pager.page(call, mailbox, mailbox.calendar.roots(), "events")

    def view(self, call: Call) -> Reply:
        """Answer GET /users/{id}/calendarView: what overlaps the window, series expanded."""
        check_options(call.query, ("startDateTime", "endDateTime", *LIST_OPTIONS))
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        start_at, end_at = parse_window(call.query)
        return self._pager.page(call, mailbox, mailbox.calendar.view(start_at, end_at), "calendarView")

    def instances(self, call: Call) -> Reply:
        """Answer GET /users/{id}/events/{master}/instances."""
        check_options(call.query, ("startDateTime", "endDateTime", *LIST_OPTIONS))
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        master = find_event(mailbox, call.values[1])
        if master.kind is not EventKind.MASTER:
            raise invalid_request("Only a recurring master has instances.")
        start_at, end_at = parse_window(call.query)
        found = sorted(expand(master, start_at, end_at), key=lambda one: one.times.start_at)
        path = f"events('{event_id(master, immutable=call.preferences.immutable)}')/instances"
        return self._pager.page(call, mailbox, found, path)

    def get(self, call: Call) -> Reply:
        """Answer GET /users/{id}/events/{id}, for occurrences too."""
        check_options(call.query, ("$select", "$expand"))
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        return self._event_reply(call, mailbox, find_event(mailbox, call.values[1]), 200)

    def create(self, call: Call) -> Reply:
        """Answer POST /users/{id}/events; attendees are invited at once, a room's own calendar asks nobody."""
        check_options(call.query, ("$select", "$expand"))
        event_shape(call, of_one_event=True)  # refuses an odd option before anything is written
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        wire = parse_json(call.request.body)
        asked = parse_event(wire, base=Content(), base_times=None, lookup=_lookup(call))
        digest = hashlib.sha256(msgspec.json.encode(wire, order="deterministic")).digest()
        if asked.transaction_id is not None:
            earlier = mailbox.calendar.find_transaction(asked.transaction_id)
            if earlier is not None:
                if earlier.transaction_hash != digest:
                    raise _duplicate_transaction(earlier, immutable=call.preferences.immutable)
                return self._event_reply(call, mailbox, earlier, 201)
        assert asked.times is not None
        content = self._with_online_meeting(mailbox, asked) if asked.wants_online_meeting else asked.content
        event = self._mailroom.build(
            times=asked.times, content=content, organizer=mailbox.person, recurrence=asked.recurrence
        )
        event.transaction_id, event.transaction_hash, event.extras = asked.transaction_id, digest, asked.extras
        self._meetings.create(call.caller.tenant, mailbox, event)
        return self._event_reply(call, mailbox, event, 201)

    def update(self, call: Call) -> Reply:
        """Answer PATCH /users/{id}/events/{id}."""
        check_options(call.query, ("$select", "$expand"))
        event_shape(call, of_one_event=True)  # refuses an odd option before anything is written
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        self._check_match(call, event)
        asked = parse_event(
            parse_json(call.request.body),
            base=event.content,
            base_times=event.times,
            lookup=_lookup(call),
            base_extras=event.extras,
        )
        if asked.transaction_id is not None and asked.transaction_id != event.transaction_id:
            raise GraphError(400, "ErrorInvalidPropertySet", "transactionId can only be set when an event is created.")
        recurrence = event.series.recurrence if event.series else None
        if "recurrence" in asked.given:
            if event.master is not None and asked.recurrence is not None:
                raise invalid_request("A single occurrence cannot have a recurrence.")
            recurrence = asked.recurrence
        assert asked.times is not None
        if crosses_neighbour(event, asked.times):
            message = "Modified occurrence is crossing or overlapping adjacent occurrence."
            raise GraphError(400, "ErrorOccurrenceCrossingBoundary", message)
        content = asked.content
        if asked.wants_online_meeting and event.is_organizer:
            content = self._with_online_meeting(mailbox, asked)
        tenant = call.caller.tenant
        event = self._meetings.change(tenant, mailbox, event, content, asked.times, recurrence, extras=asked.extras)
        return self._event_reply(call, mailbox, event, 200)

    def delete(self, call: Call) -> Reply:
        """Answer DELETE /users/{id}/events/{id}: the organizer cancels, an attendee only loses their copy."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        self._check_match(call, event)
        self._take_away(call, mailbox, event)
        return Reply(status=204)

    def act(self, call: Call) -> Reply:
        """Answer POST /users/{id}/events/{id}/cancel, /accept, /tentativelyAccept, /decline and /permanentDelete."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        action = call.values[2].lower()
        if action in _OTHER_ACTIONS:
            raise NotEmulated(f"the event action {call.values[2]!r}")
        wire = _parameters(call, action)
        if action == "permanentdelete":
            self._take_away(call, mailbox, event)
            return Reply(status=204)
        if action == "cancel":
            read_text(wire, "comment")
            if not event.is_organizer:
                raise invalid_request(
                    "Your request can't be completed. You need to be an organizer to cancel a meeting."
                )
            self._meetings.cancel(call.caller.tenant, mailbox, event)
            return Reply(status=202)
        if event.is_organizer:
            raise invalid_request(
                "Your request can't be completed. You can't respond to this meeting because you're the organizer."
            )
        if event.is_cancelled:
            code = _CANCELLED_CODES[action]
            raise GraphError(400, code, "The meeting has been cancelled; it cannot be answered any more.")
        read_text(wire, "comment")
        tell, slot = wire.get("sendresponse") is None or read_flag(wire, "sendresponse"), None
        if wire.get("proposednewtime") is not None:
            if not tell or not event.content.allow_new_time_proposals:
                raise GraphError(400, "ErrorInvalidParameter", "A new time cannot be proposed here.")
            slot = parse_slot(wire["proposednewtime"])
        if tell:
            self._propose(call, mailbox, event, slot)
        self._meetings.respond(call.caller.tenant, mailbox, event, _ANSWERS[action], tell=tell)
        return Reply(status=202)

    def _take_away(self, call: Call, mailbox: Mailbox, event: Event) -> None:
        if event.is_organizer:
            self._meetings.cancel(call.caller.tenant, mailbox, event)
        else:
            self._meetings.withdraw(call.caller.tenant, mailbox, event)

    def _propose(self, call: Call, mailbox: Mailbox, event: Event, slot: TimeSlot | None) -> None:
        """Note on the organizer's item what time an attendee proposes; the answer that follows tells them of it."""
        meeting = call.caller.tenant.meetings.get((event.master or event).meeting_id or "")
        if meeting is None or not meeting.organizer.calendar.holds(meeting.event):
            return
        original: Event | None = meeting.event
        if event.day is not None:
            original = self._mailroom.exception_on(meeting.event, event.day)
        if original is not None:
            original.content = original.content.with_proposal(mailbox.address, slot)

    def _with_online_meeting(self, mailbox: Mailbox, asked: EventInput) -> Content:
        """Open an online meeting, once, on a calendar that may have one; on a room's the wish is passed over in silence."""
        if mailbox.is_room or asked.content.join_url:
            return asked.content
        return with_online_meeting(asked.content, self._world.ids.guid())

    def _check_match(self, call: Call, event: Event) -> None:
        asked = call.request.header("if-match")
        if asked and asked != "*" and asked != etag(event):
            raise change_key_is_old()

    def _event_reply(self, call: Call, mailbox: Mailbox, event: Event, status: int) -> Reply:
        shape = event_shape(call, of_one_event=True)
        context = f"{call.metadata_url}#users('{mailbox.object_id}')/events/$entity"
        written = self._pager.dress(call, render_event(event, shape))
        body = b'{"@odata.context":' + msgspec.json.encode(context) + b"," + written[1:]
        headers = {"etag": etag(event)}
        if status == 201:
            item_id = event_id(event, immutable=shape.immutable)
            headers["location"] = f"{call.request.base_url}/v1.0/users/{mailbox.object_id}/events/{item_id}"
        return raw_reply(status, body, headers=headers)


def _lookup(call: Call) -> Callable[[str], Person | None]:
    def lookup(address: str) -> Person | None:
        mailbox = call.caller.tenant.recipient(address)
        return mailbox.person if mailbox else None

    return lookup


def _parameters(call: Call, action: str) -> JsonObject:
    """Read an action's parameters, names in lower case.

    Raises:
        GraphError: 400 for an action or a parameter that does not exist.
    """
    if action not in _PARAMETERS:
        raise GraphError(400, "BadRequest", f"Resource not found for the segment '{call.values[2]}'.")
    wire = parse_json(call.request.body)
    for name in wire:
        if name.lower() not in _PARAMETERS[action]:
            raise GraphError(
                400,
                "BadRequest",
                f"The parameter '{name}' in the request payload is not a valid parameter for the operation "
                f"'{call.values[2]}'.",
            )
    return {name.lower(): value for name, value in wire.items()}


def _duplicate_transaction(earlier: Event, *, immutable: bool) -> GraphError:
    return GraphError(
        400,
        "ErrorDuplicateTransactionId",
        "Your request can't be completed. The TransactionId specified in the request has already been used to create a "
        "different event.",
        extra={"@event.existingEventId": event_id(earlier, immutable=immutable)},
    )
