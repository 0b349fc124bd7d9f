"""Whatever is sent to us, the parsers answer or raise the one error they name; and keys are stable."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import NotificationBodyInvalid, SidecarError
from sidecar.graph import wire, wire_directory, wire_subscriptions
from sidecar.graph.events import iana_zone, is_part_of_series, to_booking
from sidecar.graph.notifications import parse_notifications
from sidecar.graph.refusals import parse_claims_challenge, parse_retry_after, to_error
from sidecar.model.booking import BookingState
from tests.unit.graph.kit import NOW, event_json, make_event, make_room

ROOM = make_room()
ZONES = ("UTC", "W. Europe Standard Time", "Europe/Berlin", "tzone://Microsoft/Custom", "Nowhere", "", "../x")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
bodies = st.binary(max_size=200) | json_values.map(msgspec.json.encode)
instants = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda wall: wall.replace(tzinfo=UTC))
times = st.fixed_dictionaries(
    {
        "dateTime": st.text(max_size=40) | st.datetimes().map(lambda wall: wall.isoformat()),
        "timeZone": st.sampled_from(ZONES),
    }
)


def items_of(fields: dict[str, object]) -> st.SearchStrategy[dict[str, Any]]:  # anything may stand in a field
    """Objects that have the right fields, some of them with anything in it, some missing."""
    return st.fixed_dictionaries({}, optional={name: st.just(value) | json_values for name, value in fields.items()})


NOTIFICATION: dict[str, object] = {
    "clientState": "abcdefghij0123456789.secret",
    "tenantId": "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c",
    "resource": "Users/x/Events/AAk=",
    "resourceData": {"id": "AAk="},
    "lifecycleEvent": "missed",
}


@given(bodies | st.lists(items_of(NOTIFICATION), max_size=5).map(lambda items: msgspec.json.encode({"value": items})))
def test_posted_body_is_read_or_refused(body: bytes) -> None:
    try:
        parsed = parse_notifications(body, items_max=3)
    except NotificationBodyInvalid:
        return
    assert len(parsed.notifications) + parsed.dropped_count <= 3
    for found in parsed.notifications:
        assert 16 <= len(found.key) <= 26
        assert len(found.secret_hash) == 32
        assert len(found.directory_id) <= 64
        assert found.event_id is None or (found.event_id.isascii() and found.event_id not in {".", ".."})


@given(bodies)
def test_answer_is_read_or_malformed(body: bytes) -> None:
    for parse in (wire.parse_page, wire.parse_event, wire_subscriptions.parse_subscription):
        with contextlib.suppress(wire.Malformed):
            parse(body)
    wire_directory.parse_identity(body)
    wire_directory.parse_zone(body)


@given(st.lists(items_of(event_json()).map(lambda event: event | {"id": "x"}), max_size=4))
def test_no_field_of_an_event_can_break_a_page(events: list[dict[str, Any]]) -> None:
    page = wire.parse_page(msgspec.json.encode({"value": events}))

    assert len(page.value) == len(events)
    for event in page.value:
        is_part_of_series(event)
        found = to_booking(event, room=ROOM)
        if found is not None:
            assert found.start_at <= found.end_at
            assert found.start_at.tzinfo is UTC
            assert found.end_at.tzinfo is UTC
            if found.is_private:
                assert (found.subject, found.attendees) == ("", ())
            if found.state is BookingState.PENDING:
                assert found.subject == ""


@given(
    times, times, st.booleans(), st.sampled_from(["", "Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo", "No/Where"])
)
def test_times_are_read_or_the_item_is_none(start: object, end: object, is_all_day: bool, zone: str) -> None:
    found = to_booking(make_event(start=start, end=end, isAllDay=is_all_day), room=make_room(time_zone=zone))

    if found is not None:
        assert found.start_at <= found.end_at
        assert not is_all_day or found.end_at - found.start_at >= timedelta(hours=22)


@given(instants, st.timedeltas(timedelta(0), timedelta(days=3)), st.integers(0, 9))
def test_times_survive_the_wire_but_for_the_seventh_digit(start_at: datetime, length: timedelta, digit: int) -> None:
    def wall(instant: datetime) -> dict[str, str]:
        return {"dateTime": instant.strftime("%Y-%m-%dT%H:%M:%S.%f") + str(digit), "timeZone": "UTC"}

    found = to_booking(make_event(start=wall(start_at), end=wall(start_at + length)), room=ROOM)

    assert found is not None
    assert (found.start_at, found.end_at) == (start_at, start_at + length)


@given(instants, instants, st.text(min_size=1, max_size=40), st.sampled_from(["occurrence", "exception"]))
def test_key_is_that_of_the_original_start_wherever_the_occurrence_moves(
    original_at: datetime, moved_to: datetime, subject: str, kind: str
) -> None:
    original_at = original_at.replace(microsecond=0)

    def occurrence(at: datetime, **changes: object) -> Any:  # a booking or None
        time = {"dateTime": at.strftime("%Y-%m-%dT%H:%M:%S.0000000"), "timeZone": "UTC"}
        event = make_event(start=time, end=time, type=kind, seriesMasterId="M", **changes)
        return to_booking(event, room=ROOM)

    there = occurrence(moved_to, originalStart=wire.format_instant(original_at), subject=subject, id="other")

    assert there.key == occurrence(original_at).key
    assert there.key != occurrence(original_at + timedelta(hours=1)).key
    assert there.series_id == occurrence(original_at).series_id


@given(st.integers(100, 999), bodies, st.dictionaries(st.sampled_from(["retry-after", "request-id"]), st.text()))
def test_every_error_answer_has_a_name(status: int, body: bytes, headers: dict[str, str]) -> None:
    for about in wire.Subject:
        error = to_error(status, body, headers, about=about, now=NOW)
        assert isinstance(error, SidecarError)
        assert all(len(value) <= 100 for value in error.details.values())


@given(st.text())
def test_headers_are_read_or_ignored(text: str) -> None:
    wait_s = parse_retry_after({"retry-after": text}, now=NOW)
    assert wait_s is None or 0.0 <= wait_s <= 3_600.0
    claims = parse_claims_challenge({"www-authenticate": f'claims="{text}"'})
    assert claims is None or isinstance(msgspec.json.decode(claims), dict)


@given(st.text(max_size=80))
def test_zone_names_are_usable_or_empty(name: str) -> None:
    found = iana_zone(name)
    assert found == "" or iana_zone(found) == found


@given(st.text(min_size=1))
def test_segment_cannot_leave_its_place_in_the_path(value: str) -> None:
    encoded = wire.segment(value)
    assert not set(encoded) & set("/?#%&'+ ") - {"%"}
    assert encoded not in {".", ".."}


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting_is_refused_and_not_followed(depth: int) -> None:
    for body in (b"[" * depth, b'{"value":' * depth, b'{"value":[' + b"[" * depth + b"]" * depth + b"]}"):
        with pytest.raises(wire.Malformed):
            wire.parse_page(body)
        with contextlib.suppress(NotificationBodyInvalid):
            parse_notifications(body, items_max=3)
