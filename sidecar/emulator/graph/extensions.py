"""Open extensions of an event, on their own paths.

Source: Graph "Create open extension", "Get open extension", "Update openTypeExtension", "Delete open extension" pages.
"""

from dataclasses import replace

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, item_not_found
from sidecar.emulator.exchange.access import READ_ROLES, WRITE_ROLES, open_mailbox
from sidecar.emulator.exchange.event import Event, JsonObject, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.graph.paging import find_event
from sidecar.emulator.wire.event_input import parse_json
from sidecar.emulator.wire.extended import change_extension, find_extension, read_extension, render_extension
from sidecar.emulator.wire.options import check_options


class ExtensionRoutes:
    """Handlers of everything below `/users/{id}/events/{id}/extensions`; an extension goes by its name or its whole id."""

    def __init__(self, *, mailroom: Mailroom) -> None:
        self._mailroom = mailroom

    def list(self, call: Call) -> Reply:
        """Answer GET .../extensions."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        event = find_event(mailbox, call.values[1])
        found = [render_extension(one) for one in event.extras.extensions]
        return graph_reply(200, {"@odata.context": _context(call, mailbox, event), "value": found})

    def create(self, call: Call) -> Reply:
        """Answer POST .../extensions."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        made = read_extension(parse_json(call.request.body))
        if find_extension(event.extras.extensions, made["extensionName"]) is not None:
            raise GraphError(409, "NameAlreadyExists", "An extension already exists with given id.")
        event = self._put(call, mailbox, event, (*event.extras.extensions, made))
        return self._reply(call, mailbox, event, made, 201)

    def get(self, call: Call) -> Reply:
        """Answer GET .../extensions/{id}."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        event = find_event(mailbox, call.values[1])
        return self._reply(call, mailbox, event, self._find(call, event), 200)

    def update(self, call: Call) -> Reply:
        """Answer PATCH .../extensions/{id}: what is named changes, null takes it away, the rest stays."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        before = self._find(call, event)
        after = change_extension(parse_json(call.request.body), before)
        event = self._put(
            call, mailbox, event, tuple(after if one is before else one for one in event.extras.extensions)
        )
        return self._reply(call, mailbox, event, after, 200)

    def delete(self, call: Call) -> Reply:
        """Answer DELETE .../extensions/{id}."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], WRITE_ROLES)
        event = find_event(mailbox, call.values[1])
        gone = self._find(call, event)
        self._put(call, mailbox, event, tuple(one for one in event.extras.extensions if one is not gone))
        return Reply(status=204)

    def _find(self, call: Call, event: Event) -> JsonObject:
        found = find_extension(event.extras.extensions, call.values[2])
        if found is None:
            raise item_not_found()
        return found

    def _put(self, call: Call, mailbox: Mailbox, event: Event, extensions: tuple[JsonObject, ...]) -> Event:
        event = self._mailroom.detach(event)
        event.extras = replace(event.extras, extensions=extensions)
        self._mailroom.changed(call.caller.tenant, mailbox, event)
        return event

    def _reply(self, call: Call, mailbox: Mailbox, event: Event, extension: JsonObject, status: int) -> Reply:
        context = f"{_context(call, mailbox, event)}/$entity"
        return graph_reply(status, {"@odata.context": context, **render_extension(extension)})


def _context(call: Call, mailbox: Mailbox, event: Event) -> str:
    item_id = event_id(event, immutable=call.preferences.immutable)
    return f"{call.metadata_url}#users('{mailbox.object_id}')/events('{item_id}')/extensions"
