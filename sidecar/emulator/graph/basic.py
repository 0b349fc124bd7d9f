"""What a caller with nothing but Calendars.ReadBasic.All is shown: events without body, attachments and extensions.

The answer is cut after it was written, whoever wrote it, so that no handler can show too much.

Source: Graph "permissions reference" page ("except for properties such as body, attachments, and extensions").
"""

import re
from typing import Any

import msgspec

from sidecar.emulator.asgi import Reply, Request
from sidecar.emulator.exchange.access import denied

_HIDDEN = frozenset(
    {
        "body",
        "bodyPreview",
        "attachments",
        "extensions",
        "singleValueExtendedProperties",
        "multiValueExtendedProperties",
    }
)
_SHUT = frozenset(name.lower() for name in _HIDDEN)
_TELLING = ("$filter", "$orderby", "$expand", "$search")
_LITERAL = re.compile(r"'[^']*'")
_WORD = re.compile(r"[A-Za-z]+")


def check_basic(request: Request) -> None:
    """Refuse the paths of what is hidden, and queries whose answer would tell of it.

    Raises:
        GraphError: 403.
    """
    named = {segment.lower() for segment in request.segments[3:]}  # what follows the mailbox
    for option in _TELLING:
        named.update(word.lower() for word in _WORD.findall(_LITERAL.sub("", request.query.get(option, ""))))
    if named & _SHUT:
        raise denied()


def reduce_to_basic(reply: Reply) -> Reply:
    """Take out of an answer what is hidden."""
    if reply.body and reply.headers.get("content-type", "").startswith("application/json"):
        reply.body = msgspec.json.encode(_without(msgspec.json.decode(reply.body)))
    return reply


def _without(value: Any) -> Any:  # Any: JSON
    if isinstance(value, list):
        return [_without(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _without(one) for name, one in value.items() if name.split("@")[0] not in _HIDDEN}
