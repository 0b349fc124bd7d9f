"""Files from somebody else's machine: what PowerShell writes is read, everything else is refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.onboarding import result_file
from sidecar.onboarding.result_file import OnboardingResult, printable, read_result
from sidecar.onboarding.settings_file import ResultUnreadable, RoomSettings
from tests.unit.onboarding.results import GOOD_SETTINGS, result_entry, room_entry

PLAIN: dict[str, object] = {**GOOD_SETTINGS, "Identity": "Room 4.12", "BookInPolicy": [], "Extra": {"x": 1}}


def settings_of(content: object) -> list[RoomSettings]:
    read = read_result(json.dumps(content).encode())
    assert isinstance(read, list)
    return read


def refused(content: Any) -> str:  # bytes, or any JSON
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(ResultUnreadable) as caught:
        read_result(raw)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_result_is_read_in_each_encoding_that_powershell_writes(encoding: str) -> None:
    entry = result_entry()
    entry["exchange"]["rooms"][0]["problem"] = "Büro"
    read = read_result(json.dumps(entry, ensure_ascii=False).encode(encoding))
    assert isinstance(read, OnboardingResult)
    assert read.exchange is not None
    assert read.exchange.rooms[0].problem == "Büro"


def test_big_endian_utf_16_is_read() -> None:
    assert isinstance(read_result(b"\xfe\xff" + json.dumps(result_entry()).encode("utf-16-be")), OnboardingResult)


def test_output_of_one_room_and_of_several_is_read() -> None:
    assert [room.mailbox for room in settings_of(PLAIN)] == ["Room 4.12"]
    assert len(settings_of([PLAIN, PLAIN])) == 2


def test_list_that_windows_powershell_wrapped_is_read() -> None:
    assert len(settings_of({"value": [PLAIN, PLAIN], "Count": 2})) == 2
    (room,) = settings_of({**PLAIN, "ResourceDelegates": {"value": ["a", "b"], "Count": 2}})
    assert room.get("ResourceDelegates") == 2


@pytest.mark.parametrize("told", ["AutoUpdate", "autoupdate", 1, {"value": 1, "Value": "AutoUpdate"}])
def test_enumeration_is_read_in_each_form(told: object) -> None:
    (room,) = settings_of({**PLAIN, "AutomateProcessing": told})
    assert room.get("AutomateProcessing") == "AutoUpdate"


@pytest.mark.parametrize(
    ("identity", "name"),
    [("Room 1", "Room 1"), ({"Name": "Room 2"}, "Room 2"), (7, "room 1"), ("\x1b[31mred\n", "[31mred"), ("", "room 1")],
)
def test_room_is_called_by_a_name_that_can_be_printed(identity: object, name: str) -> None:
    assert settings_of({**PLAIN, "Identity": identity})[0].mailbox == name


def test_people_are_counted_and_not_kept() -> None:
    (room,) = settings_of({**PLAIN, "ResourceDelegates": ["/o=x/cn=chris", "/o=x/cn=michelle"]})
    assert room.get("ResourceDelegates") == 2
    assert "chris" not in repr(room)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"Identity : Room 1\r\nAutomateProcessing : AutoAccept", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"AutomateProcessing": "AutoAccept", "BookingWindowInDays": ' + b"9" * 10_000 + b"}", "not JSON"),
        ("Büro".encode("cp1252"), "neither UTF-8 nor UTF-16"),
        (b"\xff\xfe\x00\xd8", "neither UTF-8 nor UTF-16"),
        ([], "holds no room"),
        (None, "entry 1 is no output"),
        ("text", "entry 1 is no output"),
        ({}, "entry 1 is no output"),
        ([PLAIN, {"Name": "x"}], "entry 2 is no output"),
        ({**PLAIN, "AllowConflicts": "yes"}, "AllowConflicts of Room 4.12"),
        ({**PLAIN, "AllowConflicts": 1}, "AllowConflicts of Room 4.12"),
        ({**PLAIN, "BookingWindowInDays": True}, "BookingWindowInDays of Room 4.12"),
        ({**PLAIN, "BookingWindowInDays": -1}, "BookingWindowInDays of Room 4.12"),
        ({**PLAIN, "AutomateProcessing": "Sometimes"}, "AutomateProcessing of Room 4.12"),
        ({**PLAIN, "AutomateProcessing": 3}, "AutomateProcessing of Room 4.12"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_nonsense_is_refused_with_a_sentence(content: object, sentence: str) -> None:
    assert sentence in refused(content)


def test_file_of_another_version_is_told_as_such() -> None:
    assert "another version" in refused({**result_entry(), "version": 2})


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda entry: entry.update(extra=1), "extra"),
        (lambda entry: entry.update(directory_id="x"), "$.directory_id"),
        (lambda entry: entry["entra"].update(application_id="'; Remove-Item"), "$.entra.application_id"),
        (lambda entry: entry["exchange"]["rooms"].append({}), "$.exchange.rooms[1]"),
        (lambda entry: entry["exchange"]["rooms"][0].update(mailbox="a b@c"), "$.exchange.rooms[0].mailbox"),
        (lambda entry: entry["exchange"]["rooms"][0].update(access="maybe"), "$.exchange.rooms[0].access"),
        (lambda entry: entry["exchange"].update(members_not_asked_for=-1), "$.exchange.members_not_asked_for"),
        (lambda entry: entry.pop("cloud"), "cloud"),
    ],
)
def test_result_of_another_shape_is_refused_and_the_place_told(change: Any, place: str) -> None:  # a change of JSON
    entry = result_entry()
    change(entry)
    assert place in refused(entry)


def test_file_that_is_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_file, "RESULT_BYTES_MAX", 1024 * 1024)
    assert refused(b" " * (1024 * 1024 + 1)) == "the file is larger than 1 MiB"


def test_file_with_too_many_rooms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_file, "KIT_ROOMS_MAX", 2)
    assert refused([PLAIN] * 3) == "the file holds more than 2 rooms"


def test_result_with_ten_thousand_rooms_is_read() -> None:
    entry = result_entry()
    entry["exchange"]["rooms"] = [room_entry(f"room{number}@x.example") for number in range(10_000)]
    raw = json.dumps(entry, indent=18).encode()  # four levels, as deep as Windows PowerShell goes
    assert len(raw) < result_file.RESULT_BYTES_MAX
    read = read_result(raw)
    assert isinstance(read, OnboardingResult)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_but_never_fail_otherwise(raw: bytes) -> None:
    assert outcome_of(raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=10), inside, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(GOOD_SETTINGS)), _JSON)
def test_any_value_of_a_setting_is_read_or_refused_but_never_fails_otherwise(name: str, value: Any) -> None:  # any JSON
    outcome = outcome_of(json.dumps({**PLAIN, name: value}).encode())
    assert any(word in outcome for word in ("read", name, "output", "not JSON"))


def outcome_of(raw: bytes) -> str:
    try:
        read_result(raw)
    except ResultUnreadable as error:
        return str(error)
    return "read"


def test_text_for_a_terminal_is_one_line_without_control_characters() -> None:
    assert printable("a\x1b[2J\r\nb\u202e\x9b31m") == "a [2J b 31m"
    assert len(printable("x" * 1_000)) == 300
