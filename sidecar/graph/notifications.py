"""Reads what somebody posted to the webhook. Pure, and trusts nothing: the address is public.

A notification is a hint that names a room by the key in its client state; whether the secret beside it is right is the
store's to say. Sizes and types are checked here, once, so that nobody behind has to.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from sidecar.errors import NotificationBodyInvalid
from sidecar.model.ids import EventId
from sidecar.model.subscription import Lifecycle, Notification

CLIENT_STATE_CHARS_MAX = 128
"""Graph takes no longer one."""
_CLIENT_STATE = re.compile(r"([A-Za-z0-9_-]{16,26})\.([\x21-\x7e]+)")
_EVENT_ID = re.compile(r"[A-Za-z0-9+/_=.-]{1,512}")
_DIRECTORY = re.compile(r"[0-9A-Za-z-]{1,64}")
_RESOURCE_CHARS_MAX = 2048
_LIFECYCLES = {lifecycle.value.casefold(): lifecycle for lifecycle in Lifecycle}


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """What could be read. Dropped ones are those that no subscription of ours can have caused."""

    notifications: tuple[Notification, ...]
    dropped_count: int


class _ResourceData(msgspec.Struct, frozen=True, gc=False):
    id: str | None = None


class _Item(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    client_state: str
    subscription_id: str | None = None
    tenant_id: str | None = None
    resource: str | None = None
    resource_data: msgspec.Raw = msgspec.Raw(b"null")
    lifecycle_event: str | None = None


class _Body(msgspec.Struct, frozen=True, gc=False):
    value: list[msgspec.Raw]


_BODY = msgspec.json.Decoder(_Body)
_ITEM = msgspec.json.Decoder(_Item)
_DATA = msgspec.json.Decoder(_ResourceData)
_MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)


def parse_notifications(body: bytes, *, items_max: int) -> ParsedBody:
    """Read a body of notifications, change and lifecycle alike; Graph may mix rooms and tenants in one.

    Args:
        items_max: more items than this refuse the whole body.
    Raises:
        NotificationBodyInvalid: it is no body of notifications, or too many.
    Source: Microsoft Learn "Receive change notifications through webhooks".
    """
    try:
        items = _BODY.decode(body).value
    except _MALFORMED as error:
        # Without the cause: it may quote the body.
        raise NotificationBodyInvalid("not a body of notifications", details={"cause": type(error).__name__}) from None
    if len(items) > items_max:
        raise NotificationBodyInvalid("too many notifications in one body", details={"items_count": str(len(items))})
    notifications = tuple(found for item in items if (found := _parse_item(item)) is not None)
    return ParsedBody(notifications, len(items) - len(notifications))


def secret_hash(secret: str) -> bytes:
    """Return what is kept of a client state's secret."""
    return hashlib.sha256(secret.encode()).digest()


def _parse_item(raw: msgspec.Raw) -> Notification | None:
    try:
        item = _ITEM.decode(raw)
    except _MALFORMED:
        return None
    if len(item.client_state) > CLIENT_STATE_CHARS_MAX:
        return None
    state = _CLIENT_STATE.fullmatch(item.client_state)
    if state is None:
        return None
    lifecycle = None
    if item.lifecycle_event is not None:
        lifecycle = _LIFECYCLES.get(item.lifecycle_event[:64].casefold(), Lifecycle.OTHER)
    return Notification(
        key=state[1],
        secret_hash=secret_hash(state[2]),
        directory_id=_directory_id(item.tenant_id),
        event_id=_event_id(item) if lifecycle is None else None,
        lifecycle=lifecycle,
        graph_id=_graph_id(item.subscription_id),
    )


def _directory_id(tenant_id: str | None) -> str:
    """Return the directory in lower case, "" when none is told; no subscription has that one."""
    return tenant_id.lower() if tenant_id is not None and _DIRECTORY.fullmatch(tenant_id) else ""


def _graph_id(subscription_id: str | None) -> str | None:
    """Return Graph's id of the subscription; None when it is not told, or is no id."""
    is_id = subscription_id is not None and _DIRECTORY.fullmatch(subscription_id) is not None
    return subscription_id if is_id else None


def _event_id(item: _Item) -> EventId | None:
    """Return the event named: the last part of `Users/{id}/Events/{id}`, else the id beside it."""
    resource = item.resource or ""
    if len(resource) <= _RESOURCE_CHARS_MAX:
        parts = resource.strip("/").split("/")
        if len(parts) >= 4 and parts[-2].casefold() == "events":
            found = unquote(parts[-1])
            if _is_id(found):
                return EventId(found)
    try:
        told = _DATA.decode(item.resource_data).id
    except _MALFORMED:
        return None
    return EventId(told) if told is not None and _is_id(told) else None


def _is_id(text: str) -> bool:
    return _EVENT_ID.fullmatch(text) is not None and text.strip(".") != ""
