"""`POST /v1.0/$batch`: up to twenty requests in one, each answered as if it had come alone.

Items are read strictly before any is carried out. Those for one mailbox go four at a time, as Outlook's own rule is; those that
depend on another wait for it, and fail with it.

Source: Graph "Combine multiple HTTP requests using JSON batching" page; texts are not documented.
"""

import asyncio
import base64
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from sidecar.emulator.asgi import Reply, Request
from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.event import JsonObject

ITEMS_MAX = 20
_PER_MAILBOX_MAX = 4
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
_JSON = "application/json"
# Headers of the connection or of the outer answer, not of an item.
_OUTER_HEADERS = (
    "date",
    "strict-transport-security",
    "x-ms-ags-diagnostic",
    "content-length",
    "content-encoding",
    "vary",
)
_SPELLINGS = {"etag": "ETag", "odata-version": "OData-Version", "www-authenticate": "WWW-Authenticate"}
Answer = Callable[[Request], Awaitable[Reply]]


class _Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One request of a batch, as it comes."""

    id: str
    method: str
    url: str
    headers: dict[str, str] = {}
    body: Any = None  # Any: JSON, or base64 for other types
    depends_on: list[str] = []


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests: list[_Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One request of a batch, ready to be carried out."""

    item_id: str
    request: Request
    depends_on: str | None

    @property
    def lane(self) -> str:
        """Name what the item shares with others that must not all run at one time."""
        segments = self.request.segments
        return segments[2].lower() if len(segments) > 2 and segments[1].lower() == "users" else ""


def is_batch(request: Request) -> bool:
    """Tell whether a request is a batch."""
    return len(request.segments) == 2 and request.segments[1].lower() == "$batch"


def parse_batch(outer: Request) -> list[BatchItem]:
    """Read a batch and check it as a whole.

    Raises:
        GraphError: 400 for what is not a batch, too many or no items, ids that are not unique or not known, dependencies that
            are neither absent nor plain chains, addresses that are not relative, a batch within.
    """
    try:
        wanted = msgspec.json.decode(outer.body, type=_Body).requests
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"Invalid batch payload format: {error}.") from None
    if not 1 <= len(wanted) <= ITEMS_MAX:
        raise _bad(f"Number of batch request steps must be from 1 to {ITEMS_MAX}; there are {len(wanted)}.")
    ids = Counter(item.id.lower() for item in wanted)
    doubled = [item_id for item_id, count in ids.items() if count > 1 or not item_id]
    if doubled:
        raise _bad(f"Request ids must be unique and not empty: '{doubled[0]}'.")
    _check_dependencies(wanted)
    return [_ready(outer, item) for item in wanted]


async def run_batch(items: list[BatchItem], answer: Answer) -> list[tuple[BatchItem, Reply | None]]:
    """Carry items out, in parallel where they do not depend on each other.

    Args:
        answer: gives one item's answer.
    Returns:
        Every item in the order given, with None for one whose dependency failed.
    """
    replies: dict[str, Reply | None] = {}
    done = {item.item_id.lower(): asyncio.Event() for item in items}
    room: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_PER_MAILBOX_MAX))

    async def run(item: BatchItem) -> None:
        try:
            if item.depends_on is not None:
                await done[item.depends_on].wait()
                before = replies[item.depends_on]
                if before is None or not before.status < 400:
                    replies[item.item_id.lower()] = None
                    return
            async with room[item.lane]:
                replies[item.item_id.lower()] = await answer(item.request)
        finally:
            done[item.item_id.lower()].set()

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(run(item), name=f"batch item {item.item_id}")
    return [(item, replies[item.item_id.lower()]) for item in items]


def render_batch(answered: list[tuple[BatchItem, Reply | None]], shuffle: Random | None) -> bytes:
    """Write the answer, in the items' order or in any."""
    found = [_rendered(item.item_id, reply) for item, reply in answered]
    if shuffle is not None:
        shuffle.shuffle(found)
    return msgspec.json.encode({"responses": found})


def _check_dependencies(items: list[_Item]) -> None:
    known, followed = {item.id.lower() for item in items}, Counter[str]()
    before: dict[str, str] = {}
    for item in items:
        for one in item.depends_on:
            if one.lower() not in known:
                raise _bad(f"Request id '{item.id}' depends on '{one}', which is not in the batch.")
            followed[one.lower()] += 1
            before[item.id.lower()] = one.lower()
        if len(item.depends_on) > 1:
            raise _bad(f"Request id '{item.id}' depends on more than one request; only plain chains are supported.")
    split = [one for one, count in followed.items() if count > 1]
    if split:
        raise _bad(f"More than one request depends on '{split[0]}'; only plain chains are supported.")
    for start in before:
        at: str | None = before[start]
        while at is not None and at != start:
            at = before.get(at)
        if at == start:
            raise _bad(f"Request id '{start}' depends on itself.")


def _ready(outer: Request, item: _Item) -> BatchItem:
    if item.method.upper() not in _METHODS:
        raise _bad(f"Request id '{item.id}' has no valid method.")
    path, _, query_string = item.url.partition("?")
    if not path.strip("/") or "://" in path:
        raise _bad(f"Request id '{item.id}' must have a relative URL.")
    path = f"/{outer.segments[0]}/{path.strip('/')}"
    segments = tuple(unquote(part) for part in path.strip("/").split("/"))
    if segments[1].lower() == "$batch":
        raise _bad(f"Request id '{item.id}' is a batch within a batch.")
    headers = {name.lower(): value for name, value in item.headers.items()}
    if outer.header("authorization"):
        headers["authorization"] = outer.header("authorization")
    request = Request(
        method=item.method.upper(),
        path=path,
        segments=segments,
        query_string=query_string,
        query=dict(parse_qsl(query_string, keep_blank_values=True)),
        headers=headers,
        body=_item_body(item, headers),
        base_url=outer.base_url,
    )
    return BatchItem(
        item_id=item.id, request=request, depends_on=item.depends_on[0].lower() if item.depends_on else None
    )


def _item_body(item: _Item, headers: Mapping[str, str]) -> bytes:
    if item.body is None:
        return b""
    kind = headers.get("content-type", "")
    if not kind:
        raise _bad(f"Request id '{item.id}' has a body and no Content-Type header.")
    if kind.startswith(_JSON):
        return msgspec.json.encode(item.body)
    try:
        return base64.b64decode(item.body, validate=True)
    except (TypeError, ValueError):
        raise _bad(f"The body of request id '{item.id}' must be base64, because it is not JSON.") from None


def _rendered(item_id: str, reply: Reply | None) -> JsonObject:
    if reply is None:
        error = {"code": "FailedDependency", "message": "The request this one depends on has failed."}
        return {"id": item_id, "status": 424, "headers": {"Content-Type": _JSON}, "body": {"error": error}}
    headers = {_spelled(name): value for name, value in reply.headers.items() if name not in _OUTER_HEADERS}
    told: JsonObject = {"id": item_id, "status": reply.status, "headers": headers}
    if not reply.body:
        headers.pop("Content-Type", None)
    elif reply.headers.get("content-type", "").startswith(_JSON):
        told["body"] = msgspec.Raw(reply.body)
    else:
        told["body"] = base64.b64encode(reply.body).decode()
    return told


def _spelled(name: str) -> str:
    return _SPELLINGS.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def _bad(message: str) -> GraphError:
    return GraphError(400, "BadRequest", message)
