"""translateExchangeIds: from one format of an item's id to another.

Source: Graph "user: translateExchangeIds", "convertIdResult resource type" pages. A REST id is the EWS one with two letters of
its alphabet exchanged; the two binary formats are shown in a form of the emulator's own, which is opaque to clients.
"""

from collections.abc import Callable
from typing import Any

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import invalid_request
from sidecar.emulator.exchange.access import READ_ROLES, open_mailbox
from sidecar.emulator.exchange.event import JsonObject, mutable_core
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.ids import format_item_id, parse_item_id
from sidecar.emulator.wire.event_input import parse_json
from sidecar.emulator.wire.members import read_choice, read_list
from sidecar.emulator.wire.options import check_options

_IDS_MAX = 1000
_TO_EWS, _TO_REST = str.maketrans("-_", "/+"), str.maketrans("/+", "-_")
_BINARY = "AAAAA"  # before the binary formats, so that they are not taken for REST ids
_FORMATS: dict[str, tuple[bool, Callable[[str], str], Callable[[str], str]]] = {
    # Name: whether it is immutable, how it is made of a REST id, and how it is made one.
    "entryId": (False, lambda text: _BINARY + text.translate(_TO_EWS), lambda text: _from_binary(text)),
    "ewsId": (False, lambda text: text.translate(_TO_EWS), lambda text: text.translate(_TO_REST)),
    "immutableEntryId": (True, lambda text: _BINARY + text.translate(_TO_EWS), lambda text: _from_binary(text)),
    "restId": (False, lambda text: text, lambda text: text),
    "restImmutableEntryId": (True, lambda text: text, lambda text: text),
}


def translate_ids(call: Call) -> Reply:
    """Answer POST /users/{id}/translateExchangeIds; an id that cannot be translated is told in its own entry."""
    check_options(call.query, ())
    mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
    given = {name.lower(): value for name, value in parse_json(call.request.body).items()}
    wire = {name: given.get(name.lower()) for name in ("inputIds", "sourceIdType", "targetIdType")}
    ids = read_list(wire, "inputIds")
    source, target = (read_choice(wire, name, tuple(_FORMATS)) for name in ("sourceIdType", "targetIdType"))
    if not ids or source is None or target is None:
        raise invalid_request("inputIds, sourceIdType and targetIdType are required.")
    if len(ids) > _IDS_MAX:
        raise invalid_request(f"At most {_IDS_MAX} ids can be translated in one request.")
    context = f"{call.metadata_url}#Collection(microsoft.graph.convertIdResult)"
    return graph_reply(
        200, {"@odata.context": context, "value": [_result(mailbox, one, source, target) for one in ids]}
    )


def _result(mailbox: Mailbox, text: Any, source: str, target: str) -> JsonObject:  # Any: JSON from the wire
    translated = _translate(mailbox, text, source, target) if isinstance(text, str) else None
    if translated is not None:
        return {"sourceId": text, "targetId": translated}
    details = {"code": "ErrorInvalidIdMalformed", "message": "Id is malformed."}
    return {"sourceId": text, "targetId": None, "errorDetails": details}


def _translate(mailbox: Mailbox, text: str, source: str, target: str) -> str | None:
    was_immutable, _, to_rest = _FORMATS[source]
    immutable, from_rest, _ = _FORMATS[target]
    key = parse_item_id(to_rest(text))
    if key is None or key.immutable != was_immutable:
        return None
    core = key.core
    if immutable != was_immutable:  # an item filed elsewhere has two cores; of one that is gone nothing is known
        found = mailbox.calendar.find(to_rest(text))
        if found is None:
            return None
        core = found.core if immutable else mutable_core(found)
    return from_rest(format_item_id(core, immutable=immutable, day=key.day))


def _from_binary(text: str) -> str:
    return text[len(_BINARY) :].translate(_TO_REST) if text.startswith(_BINARY) else ""
