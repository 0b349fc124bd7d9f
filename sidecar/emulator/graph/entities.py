"""Objects of the directory and of mailboxes as Graph writes them: $select, $filter, pages and counts, whatever they are.

Source: Graph "Use query parameters", "Use the $filter query parameter" and "Paging Microsoft Graph data in your app" pages.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import NotEmulated
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.graph.call import Call, graph_reply, page_body, raw_reply
from sidecar.emulator.wire.filter_rules import build_question
from sidecar.emulator.wire.filter_vocabulary import Field, FieldKind, Vocabulary


def entity_reply(context: str, call: Call, entity: JsonObject) -> Reply:
    """Answer with one object, as far as $select asks for it."""
    return graph_reply(200, {"@odata.context": context, **selected(call, entity)})


def page_reply(
    context: str,
    call: Call,
    entities: Sequence[JsonObject],
    *,
    next_link: str | None = None,
    count: int | None = None,
) -> Reply:
    """Answer with one page of objects.

    Args:
        count: of all pages, where the caller asked for it.
    """
    items = [msgspec.json.encode(selected(call, one)) for one in entities]
    return raw_reply(200, page_body(context, items, next_link, count=count))


def count_reply(count: int) -> Reply:
    """Answer a `/$count` path with the bare number."""
    return Reply(status=200, body=str(count).encode(), headers={"content-type": "text/plain"})


def entity_fields(kind: FieldKind, names: str, *, members: Sequence[str] = ()) -> dict[str, Field]:
    """Give what a filter may name among the properties of objects; `names` are parted by blanks."""
    return {name.lower(): Field(kind=kind, read=itemgetter(name), members=members) for name in names.split()}


def filtered(call: Call, entities: Sequence[JsonObject], vocabulary: Vocabulary) -> list[JsonObject]:
    """Give the objects that $filter lets pass.

    Raises:
        GraphError: 400 for a filter Graph would refuse, 501 for one that is not played.
    """
    text = call.query.get("$filter")
    return list(entities) if text is None else list(filter(build_question(text, vocabulary), entities))


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
