"""What is read out of a posted body."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from sidecar.errors import NotificationBodyInvalid
from sidecar.graph.notifications import ParsedBody, parse_notifications
from sidecar.model.subscription import Lifecycle
from tests.unit.graph.kit import CANARY

KEY = "abcdefghij0123456789"
ROOM = "0f7a1c52-7f0e-4a57-9e55-3a1f7c0c9d10"


def item(**changes: object) -> dict[str, object]:
    return {
        "subscriptionId": "a4d7c1de-6b0f-4c35-8f6d-2f4f9e1b7a01",
        "changeType": "created",
        "resource": f"Users/{ROOM}/Events/AAMkAGY1-_AAA=",
        "resourceData": {"@odata.type": "#Microsoft.Graph.Event", "id": "AAMkAGY1-_AAA="},
        "clientState": f"{KEY}.{CANARY}",
        "tenantId": "7C1F0D0E-2a55-4f0b-9a11-0d2e6f3a4b5c",
    } | changes


def parse(*items: object) -> ParsedBody:
    return parse_notifications(msgspec.json.encode({"value": items}), items_max=10)


def test_notification_names_room_and_event() -> None:
    parsed = parse(item())
    (found,) = parsed.notifications

    assert parsed.dropped_count == 0
    assert found.key == KEY
    assert found.secret_hash == hashlib.sha256(CANARY.encode()).digest()
    assert found.directory_id == "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"
    assert found.event_id == "AAMkAGY1-_AAA="
    assert found.lifecycle is None
    assert CANARY not in repr(parsed)


@pytest.mark.parametrize(
    ("changes", "event_id"),
    [
        ({"resource": f"users/{ROOM}@7c1f/events/AAk%2FLg%2B=", "resourceData": None}, "AAk/Lg+="),
        ({"resource": f"/USERS/{ROOM}/EVENTS/AAk=", "resourceData": None}, "AAk="),
        ({"resource": f"Users/{ROOM}", "resourceData": {"id": "AAk="}}, "AAk="),
        ({"resource": None, "resourceData": {"id": "AAk="}}, "AAk="),
        ({"resource": f"Users/{ROOM}/Events/..", "resourceData": {"id": ".."}}, None),
        ({"resource": f"Users/{ROOM}/Events/a%0Ab", "resourceData": {"id": "a b"}}, None),
        ({"resource": f"Users/{ROOM}/Events/{'x' * 600}", "resourceData": {"id": "x" * 600}}, None),
        ({"resource": "x" * 5000, "resourceData": 7}, None),
        ({"resource": None, "resourceData": None}, None),
        ({"resource": None, "resourceData": {"id": 7}}, None),
    ],
)
def test_event_comes_from_the_resource_or_beside_it(changes: dict[str, object], event_id: str | None) -> None:
    (found,) = parse(item(**changes)).notifications

    assert found.event_id == event_id


def test_lifecycle_notice_of_an_unknown_kind_is_kept() -> None:
    """Microsoft wants to tell us something about this subscription; the store has the room read."""
    (found,) = parse(item(lifecycleEvent="somethingNew", resourceData=None)).notifications
    assert (found.lifecycle, found.event_id) == (Lifecycle.OTHER, None)


@pytest.mark.parametrize(
    ("told", "kept"), [("A4D7C1DE-6b0f", "A4D7C1DE-6b0f"), ("x" * 65, None), ("a b", None), (None, None)]
)
def test_id_of_the_subscription_is_kept_if_it_is_one(told: str | None, kept: str | None) -> None:
    """It tells a subscription from its twin; nobody else's text gets any further."""
    (found,) = parse(item(subscriptionId=told)).notifications
    assert found.graph_id == kept


@pytest.mark.parametrize("lifecycle", list(Lifecycle))
def test_lifecycle_notice_is_told(lifecycle: Lifecycle) -> None:
    (found,) = parse(item(lifecycleEvent=lifecycle.value, resourceData=None)).notifications

    assert found.lifecycle is lifecycle
    assert found.event_id is None


@pytest.mark.parametrize(
    "broken",
    [
        item(clientState=None),
        item(clientState=7),
        item(clientState="no-dot"),
        item(clientState=f"short.{CANARY}"),
        item(clientState=f"{'k' * 27}.{CANARY}"),
        item(clientState=f"{KEY}."),
        item(clientState=f"{KEY}.{'s' * 200}"),
        item(clientState=f"{KEY}.with space"),
        item(clientState=f"{KEY}.sécret"),
        item(lifecycleEvent=7),
        item(tenantId=7),
        item(resource=7),
        {},
        [],
        "x",
        None,
        7,
    ],
)
def test_item_that_cannot_be_ours_is_dropped_alone(broken: object) -> None:
    parsed = parse(item(), broken, item())

    assert len(parsed.notifications) == 2
    assert parsed.dropped_count == 1


@pytest.mark.parametrize("tenant_id", [None, "", "x" * 100, "a b", "../x"])
def test_unreadable_directory_is_none_of_ours(tenant_id: str | None) -> None:
    (found,) = parse(item(tenantId=tenant_id)).notifications

    assert found.directory_id == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"value":7}',
        b'{"value":null}',
        b'{"value":[',
        b'{"value":"\xff"}',
        b"[" * 100_000,
        b'{"value":' + b"[" * 100_000,
    ],
)
def test_body_that_is_none_is_refused_without_quoting_it(body: bytes) -> None:
    with pytest.raises(NotificationBodyInvalid) as caught:
        parse_notifications(body, items_max=10)
    assert caught.value.__cause__ is None


def test_too_many_items_refuse_the_body() -> None:
    assert len(parse(*[item()] * 10).notifications) == 10
    with pytest.raises(NotificationBodyInvalid):
        parse(*[item()] * 11)


def test_empty_body_of_notifications_is_fine() -> None:
    assert parse() == ParsedBody((), 0)
