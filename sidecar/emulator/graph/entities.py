"""Objects of the directory as Graph writes them: $select, pages and counts, whatever the objects are.

Source: Graph "Use query parameters" and "Paging Microsoft Graph data in your app" pages.
"""

from collections.abc import Mapping, Sequence

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.graph.call import Call, graph_reply, page_body, raw_reply


def entity_reply(context: str, call: Call, entity: JsonObject) -> Reply:
    """Answer with one object, as far as $select asks for it."""
    return graph_reply(200, {"@odata.context": context, **selected(call, entity)})


def page_reply(
    context: str, call: Call, entities: Sequence[JsonObject], next_link: str | None, count: int | None
) -> Reply:
    """Answer with one page of objects.

    Args:
        count: of all pages, where the caller asked for it.
    """
    items = [msgspec.json.encode(selected(call, one)) for one in entities]
    body = page_body(context, items, next_link)
    if count is not None:
        head, rest = body.split(b'"value":', 1)
        body = head + b'"@odata.count":' + str(count).encode() + b',"value":' + rest
    return raw_reply(200, body)


def count_reply(count: int) -> Reply:
    """Answer a `/$count` path with the bare number."""
    return Reply(status=200, body=str(count).encode(), headers={"content-type": "text/plain"})


def wants_count(call: Call) -> bool:
    """Read $count.

    Raises:
        GraphError: 400 for anything but true or false.
    """
    text = call.query.get("$count", "false").lower()
    if text not in ("true", "false"):
        raise GraphError(400, "BadRequest", f"Invalid value '{text}' for $count query option found.")
    return text == "true"


def selected(call: Call, entity: Mapping[str, object]) -> JsonObject:
    """Give the properties $select asks for.

    Raises:
        NotEmulated: for properties the emulator does not hold.
    """
    names = selected_names(call)
    if names is None:
        return dict(entity)
    unknown = sorted(name for name in names if name not in entity)
    if unknown:
        raise NotEmulated(f"the properties {', '.join(unknown)}")
    return {name: value for name, value in entity.items() if name in names or name[0] == "@"}


def selected_names(call: Call) -> tuple[str, ...] | None:
    """Read $select in the order it was written; None is everything."""
    text = call.query.get("$select", "")
    return tuple(name.strip() for name in text.split(",") if name.strip()) or None
