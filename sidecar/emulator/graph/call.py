"""One Graph call as its handlers see it, and the answers they give."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sidecar.emulator.asgi import Reply, Request
from sidecar.emulator.exchange.access import Caller
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.wire.options import Preferences

CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A routed request: who calls, the values of the path's placeholders, and what Prefer asks for."""

    request: Request
    caller: Caller
    values: tuple[str, ...]
    preferences: Preferences

    @property
    def query(self) -> Mapping[str, str]:
        """Give the query options."""
        return self.request.query

    @property
    def metadata_url(self) -> str:
        """Give the start of every `@odata.context`."""
        return f"{self.request.base_url}/v1.0/$metadata"


def graph_reply(status: int, value: JsonObject, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Build a JSON answer of Graph."""
    return raw_reply(status, msgspec.json.encode(value), headers=headers)


def raw_reply(status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Build an answer of Graph from JSON that is already written."""
    return Reply(status=status, body=body, headers={"content-type": CONTENT_TYPE, **(headers or {})})


def page_body(
    context: str,
    items: list[bytes],
    next_link: str | None,
    delta_link: str | None = None,
    *,
    count: int | None = None,
) -> bytes:
    """Join written items into a page."""
    head = b'{"@odata.context":' + msgspec.json.encode(context)
    if count is not None:
        head += b',"@odata.count":%d' % count
    for name, link in (("@odata.nextLink", next_link), ("@odata.deltaLink", delta_link)):
        if link is not None:
            head += b',"' + name.encode() + b'":' + msgspec.json.encode(link)
    return head + b',"value":[' + b",".join(items) + b"]}"
