"""The form of requests, and of answers that are not errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from sidecar.graph import wire, wire_directory, wire_subscriptions
from tests.unit.graph.kit import CANARY, MAILBOX, NOW, WINDOW, event_json


def test_view_asks_a_day_more_on_both_sides() -> None:
    call = wire.view_call(MAILBOX, WINDOW, page_size=500)
    parts = urlsplit(call.path)
    query = parse_qs(parts.query)

    assert parts.path == f"/users/{MAILBOX}/calendarView"
    assert query["startDateTime"] == ["2026-10-05T08:00:00Z"]
    assert query["endDateTime"] == ["2026-11-06T08:00:00Z"]
    assert query["$orderby"] == ["start/dateTime"]
    assert query["$top"] == ["500"]
    assert query["$select"] == [wire.EVENT_FIELDS]


def test_every_field_read_is_selected() -> None:
    read = {field.encode_name for field in msgspec.structs.fields(wire.GraphEvent)}

    assert set(wire.EVENT_FIELDS.split(",")) - {"isOnlineMeeting"} == read - {"singleValueExtendedProperties"}
    for call in (
        wire.event_call("m", "e"),
        wire.view_call("m", WINDOW, page_size=1),
        wire.instances_call("m", "e", WINDOW, page_size=1),
    ):
        asked = parse_qs(urlsplit(call.path).query)["$expand"]
        ours = f"id eq '{wire.ANNOTATIONS_ID}' or id eq '{wire.MARK_ID}'"
        assert asked == [f"singleValueExtendedProperties($filter={ours})"]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("AAk/Lg+x=", "AAk%2FLg%2Bx%3D"),
        ("o'brien#EXT#@contoso.example", "o%27brien%23EXT%23@contoso.example"),
        ("a b?c", "a%20b%3Fc"),
        ("..", "%2E%2E"),
        ("räum@x", "r%C3%A4um@x"),
    ],
)
def test_ids_and_addresses_are_encoded(value: str, encoded: str) -> None:
    assert wire.segment(value) == encoded
    assert f"/events/{encoded}?" in wire.event_call(MAILBOX, value).path
    assert wire.probe_call(value).path.startswith(f"/users/{encoded}/")


def test_subscription_is_asked_for_with_both_urls() -> None:
    call = wire_subscriptions.create_subscription_call(
        "0f7a1c52-7f0e-4a57-9e55-3a1f7c0c9d10",
        notification_url="https://hooks.example/graph/notifications",
        lifecycle_url="https://hooks.example/graph/lifecycle",
        client_state=f"k.{CANARY}",
        expires_at=datetime(2026, 11, 28, 10, tzinfo=timezone(timedelta(hours=1))),
    )

    assert not call.is_repeatable
    assert CANARY not in repr(call)
    assert msgspec.json.decode(call.content) == {
        "changeType": "created,updated,deleted",
        "notificationUrl": "https://hooks.example/graph/notifications",
        "lifecycleNotificationUrl": "https://hooks.example/graph/lifecycle",
        "resource": "/users/0f7a1c52-7f0e-4a57-9e55-3a1f7c0c9d10/events",
        "expirationDateTime": "2026-11-28T09:00:00.0000000Z",
        "clientState": f"k.{CANARY}",
        "latestSupportedTlsVersion": "v1_2",
    }


@pytest.mark.parametrize(
    "text", ["2026-11-28T09:00:00Z", "2026-11-28T09:00:00.0000000Z", "2026-11-28T10:00:00.0000000+01:00"]
)
def test_subscription_is_read(text: str) -> None:
    body = {"id": "a4d7", "expirationDateTime": text, "resource": "/users/x/events", "clientState": CANARY}
    found = wire_subscriptions.parse_subscription(msgspec.json.encode(body))

    assert found.id == "a4d7"
    assert found.expires_at == datetime(2026, 11, 28, 9, tzinfo=UTC)
    assert found.client_state == CANARY
    assert CANARY not in repr(found)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"id":1}', b'{"id":"x"}'])
def test_answer_that_is_none_is_malformed(body: bytes) -> None:
    for parse in (wire.parse_page, wire_subscriptions.parse_subscription):
        with pytest.raises(wire.Malformed):
            parse(body)
    if body != b'{"id":"x"}':
        with pytest.raises(wire.Malformed):
            wire.parse_event(body)
    identity = wire_directory.parse_identity(body)
    assert identity is None or identity.id == "x"
    assert wire_directory.parse_zone(body) is None


def test_broken_item_keeps_its_id_and_hides_no_other() -> None:
    items = [event_json(id="good"), event_json(id="bad", start=7), event_json(id="worse", createdDateTime="never")]
    page = wire.parse_page(msgspec.json.encode({"value": items, "@odata.nextLink": "https://x/next"}))

    assert [(event.id, event.start is not None) for event in page.value] == [
        ("good", True),
        ("bad", False),
        ("worse", False),
    ]
    assert page.next_link == "https://x/next"


def test_item_without_id_makes_the_page_malformed() -> None:
    with pytest.raises(wire.Malformed):
        wire.parse_page(msgspec.json.encode({"value": [event_json(id=None)]}))


def test_instants_are_written_like_graph_does() -> None:
    assert wire.format_instant(NOW) == "2026-10-06T08:00:00.0000000Z"


@pytest.mark.parametrize(
    ("escaped", "subject"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"C:\\ud83d \udfff", "C:\\ud83d \ufffd"),
        (b"\xff", "\ufffd"),
    ],
)
def test_half_an_emoji_hides_nothing(escaped: bytes, subject: str) -> None:
    item = b'{"id":"a","subject":"' + escaped + b'"}'
    page = wire.parse_page(b'{"value":[' + item + b',{"id":"b","subject":"\\ud83d\\ude00"}]}')

    assert [event.subject for event in page.value] == [subject, "\U0001f600"]
    assert wire.parse_event(item).subject == subject


def test_identity_names_the_addresses_that_the_mailbox_goes_by() -> None:
    body = b'{"id": "o1", "mail": "Room1@contoso.example", "userPrincipalName": "r1@contoso.onmicrosoft.example"}'
    found = wire_directory.parse_identity(body)
    assert found is not None
    assert found.addresses == {"room1@contoso.example", "r1@contoso.onmicrosoft.example"}


def test_next_page_of_rooms_is_asked_for_by_its_query_alone() -> None:
    link = "https://graph.microsoft.com/v1.0/places/microsoft.graph.room?$top=2&$skip=2"
    page = wire_directory.parse_places(json.dumps({"value": [{"displayName": "A"}], "@odata.nextLink": link}).encode())
    assert [place.display_name for place in page.places] == ["A"]
    assert page.next_query == "$top=2&$skip=2"
    assert (
        wire_directory.places_call(page.next_query, page_size=9).path == "/places/microsoft.graph.room?$top=2&$skip=2"
    )
    assert wire_directory.parse_places(b'{"value": []}').next_query is None


@pytest.mark.parametrize(
    "link", ["https://graph.microsoft.com/v1.0/users?$top=2", "x", "/places/microsoft.graph.room?"]
)
def test_next_page_of_rooms_that_leads_elsewhere_is_malformed(link: str) -> None:
    with pytest.raises(wire.Malformed):
        wire_directory.parse_places(json.dumps({"value": [], "@odata.nextLink": link}).encode())
