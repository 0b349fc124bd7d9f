"""Each rule about what callers send, once; no complaint quotes what it complains about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.page_tokens import PageTokens
from sidecar.api.rooms import _Place
from sidecar.api.validate import Check
from sidecar.errors import InvalidArgument
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as room_pb
from sidecar.gen.ioffice.exchange.v1.common_pb2 import TimeWindow
from sidecar.model.window import Window
from tests.support.builders import CANARY
from tests.unit.api.rig import window_of

HUGE = CANARY + "x" * 20_000


def complaints(*rules: Callable[[Check], object]) -> list[str]:
    check = Check()
    for rule in rules:
        rule(check)
    try:
        check.finish()
    except InvalidArgument as error:
        return [f"{item.field}: {item.description}" for item in error.violations]
    return []


@pytest.mark.parametrize(
    "name", ["", "tenants/", "tenants/a/b", "tenants/ä", "tenants/a ", "tenant/a", HUGE, "tenants/" + "a" * 64]
)
def test_other_names_than_of_tenants_are_refused_without_quoting_them(name: str) -> None:
    (complaint,) = complaints(lambda check: check.tenant("name", name))
    assert complaint.startswith("name: must be tenants/{tenant}")
    assert len(complaint) < 120


@pytest.mark.parametrize(
    "name", ["tenants/a", "tenants/a/rooms/", "tenants/a/rooms/-", "tenants/a/rooms/b/c", HUGE, "tenants/a\n/rooms/b"]
)
def test_other_names_than_of_rooms_are_refused(name: str) -> None:
    assert len(complaints(lambda check: check.room("name", name))) == 1


def test_names_give_their_ids() -> None:
    check = Check()
    longest = "aZ0._~-" * 9
    assert check.tenant("n", f"tenants/{longest}") == longest
    assert check.room("n", "tenants/a/rooms/b") == ("a", "b")
    assert check.room_or_all("n", "tenants/a/rooms/-") == ("a", None)
    assert check.tenant_or_room("n", "tenants/a") == ("a", None)
    assert check.tenant_or_room("n", "tenants/a/rooms/b") == ("a", "b")
    assert check.booking("n", "tenants/a/rooms/b/bookings/c") == ("a", "b", "c")
    check.finish()


@pytest.mark.parametrize("value", ["", "a/b", "ü", "a" * 64, "-", "a\n", HUGE])
def test_other_ids_are_refused(value: str) -> None:
    assert len(complaints(lambda check: check.new_id("room_id", value))) == 1


@pytest.mark.parametrize(
    "value", ["", "x", "{7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c}", "7c1f0d0e2a554f0b9a110d2e6f3a4b5c", HUGE]
)
def test_other_texts_than_guids_are_refused(value: str) -> None:
    assert len(complaints(lambda check: check.guid("directory_id", value))) == 1


def test_spellings_of_a_guid_are_one_value() -> None:
    assert Check().guid("f", "7C1F0D0E-2A55-4F0B-9A11-0D2E6F3A4B5C") == "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"


@pytest.mark.parametrize("value", ["", "a", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a" * 250 + "@b.de", HUGE + "@b"])
def test_other_texts_than_addresses_are_refused(value: str) -> None:
    assert len(complaints(lambda check: check.mailbox("mailbox", value))) == 1


def test_address_of_the_longest_length_is_taken() -> None:
    assert complaints(lambda check: check.mailbox("m", "a" * 248 + "@b.com")) == []


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "../etc/passwd", "America", "posix/Europe/Berlin", "localtime", "Europe/Berlin ", HUGE]
)
def test_zones_that_nobody_knows_are_refused(zone: str) -> None:
    assert len(complaints(lambda check: check.time_zone("time_zone", zone))) == 1


def test_known_zone_and_none_are_taken() -> None:
    assert (
        complaints(lambda check: check.time_zone("z", "America/Chicago"), lambda check: check.time_zone("z", "")) == []
    )


@pytest.mark.parametrize(
    "notes",
    [{f"k{place}": "" for place in range(21)}, {"": "x"}, {"k" * 64: "x"}, {"k": "x" * 501}],
    ids=["many", "empty key", "long key", "long value"],
)
def test_annotations_beyond_their_limits_are_refused(notes: dict[str, str]) -> None:
    assert len(complaints(lambda check: check.annotations("annotations", notes))) == 1


def test_annotations_at_their_limits_are_taken() -> None:
    notes = {f"k{place}".ljust(63, "k"): "x" * 500 for place in range(20)}
    assert complaints(lambda check: check.annotations("annotations", notes)) == []


def test_long_texts_and_negative_capacity_are_refused() -> None:
    told = complaints(
        lambda check: check.display_name("display_name", HUGE),
        lambda check: check.etag("etag", HUGE),
        lambda check: check.capacity("capacity", -1),
        lambda check: check.choice("cloud", 77, [0, 1]),
    )
    assert [item.split(":")[0] for item in told] == ["display_name", "etag", "capacity", "cloud"]
    assert CANARY not in "".join(told)


def stamp(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


@pytest.mark.parametrize(
    "window",
    [
        TimeWindow(),
        TimeWindow(start_time=stamp(1)),
        TimeWindow(start_time=stamp(2), end_time=stamp(2)),
        TimeWindow(start_time=stamp(3), end_time=stamp(2)),
        TimeWindow(start_time=stamp(-(2**62)), end_time=stamp(2)),
        TimeWindow(start_time=stamp(1), end_time=stamp(2**62)),
        TimeWindow(start_time=stamp(1, -1), end_time=stamp(2)),
        TimeWindow(start_time=stamp(1), end_time=stamp(2, 1_000_000_000)),
        TimeWindow(start_time=stamp(0), end_time=stamp(1_828 * 86_400)),
    ],
    ids=["unset", "no end", "empty", "backwards", "too early", "too late", "nanos below", "nanos above", "too long"],
)
def test_windows_that_are_none_are_refused(window: TimeWindow) -> None:
    assert len(complaints(lambda check: check.window("window", window))) == 1


def test_window_of_five_years_is_taken() -> None:
    window = Window(datetime(2024, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
    check = Check()
    assert check.window("window", window_of(window)) == window
    check.finish()


def test_window_of_a_nanosecond_widens_to_what_can_be_kept() -> None:
    check = Check()
    window = check.window("w", TimeWindow(start_time=stamp(5, 1_001), end_time=stamp(5, 1_002)))
    check.finish()
    assert window.end_at - window.start_at == timedelta(microseconds=1)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))
def test_no_timestamp_breaks_the_check(start: int, nanos: int, end: int) -> None:
    window = TimeWindow(start_time=stamp(start, nanos), end_time=stamp(end, nanos))
    complaints(lambda check: check.window("window", window), lambda check: check.instant("at", stamp(start, nanos)))


def test_page_size_is_refused_below_zero_and_clamped_above_the_most() -> None:
    check = Check()
    assert [check.page_size("page_size", size, default=100, most=1_000) for size in (0, 1, 1_000, 2**31 - 1)] == [
        100,
        1,
        1_000,
        1_000,
    ]
    check.finish()
    assert len(complaints(lambda check: check.page_size("page_size", -1, default=100, most=1_000))) == 1


@pytest.mark.parametrize("seconds", [4, 61, -5, 2**62])
def test_durations_outside_their_span_are_refused(seconds: int) -> None:
    duration = Duration(seconds=seconds)
    assert len(complaints(lambda check: check.duration_s("heartbeat", duration, least_s=5.0, most_s=60.0))) == 1


def test_all_broken_rules_are_told_together() -> None:
    told = complaints(lambda check: check.tenant("a", ""), lambda check: check.mailbox("b", ""))
    assert [item.split(":")[0] for item in told] == ["a", "b"]


TOKENS = PageTokens(_Place, free_fields=("page_size",))
REQUEST = room_pb.ListRoomsRequest(parent="tenants/a", page_size=5)


def test_page_token_returns_its_place_whatever_the_page_size() -> None:
    token = TOKENS.encode(REQUEST, _Place("r7"))
    later = room_pb.ListRoomsRequest(parent="tenants/a", page_size=9, page_token=token)
    assert TOKENS.decode(Check(), later, token) == _Place("r7")


@pytest.mark.parametrize("token", ["x", "€", "AAAA", HUGE, "A" * 1_025])
def test_garbage_is_no_page_token(token: str) -> None:
    (complaint,) = complaints(lambda check: TOKENS.decode(check, REQUEST, token))
    assert complaint.startswith("page_token: ")
    assert len(complaint) < 120


def test_page_token_of_another_request_is_refused() -> None:
    token = TOKENS.encode(REQUEST, _Place("r7"))
    other = room_pb.ListRoomsRequest(parent="tenants/b")
    assert len(complaints(lambda check: TOKENS.decode(check, other, token))) == 1
    assert complaints(lambda check: TOKENS.decode(check, REQUEST, token)) == []


@given(st.data())
def test_changed_page_token_is_refused(data: st.DataObject) -> None:
    token = TOKENS.encode(REQUEST, _Place("r7"))
    place = data.draw(st.integers(0, len(token) - 2))  # the last character has bits of no meaning
    other = data.draw(st.sampled_from("ABCxyz019-_"))
    changed = token[:place] + other + token[place + 1 :]
    told = complaints(lambda check: TOKENS.decode(check, REQUEST, changed))
    assert len(told) == (0 if changed == token else 1)
