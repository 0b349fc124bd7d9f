"""What an event of Graph means to us."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sidecar.graph.events import iana_zone, is_part_of_series, master_id_of, to_booking
from sidecar.model.booking import Booking, BookingState, Person, Response
from sidecar.model.ids import booking_key
from tests.unit.graph.kit import make_event, make_room


def booking(**changes: object) -> Booking:
    found = to_booking(make_event(**changes), room=make_room())
    assert found is not None
    return found


def wall(text: str, zone: str = "UTC") -> dict[str, str]:
    return {"dateTime": text, "timeZone": zone}


def test_plain_meeting_is_told_in_full() -> None:
    found = booking()

    assert found.key == booking_key(make_room().uid, "040000008200E000", None)
    assert found.event_id == "AAkALgAAAAAAHYQ="
    assert found.start_at == datetime(2026, 10, 6, 9, tzinfo=UTC)
    assert found.end_at == datetime(2026, 10, 6, 10, tzinfo=UTC)
    assert found.start_at.tzinfo is UTC
    assert found.time_zone == "Europe/Berlin"
    assert found.state is BookingState.CONFIRMED
    assert found.subject == "Design review"
    assert found.organizer == Person("ada@contoso.example", "Ada Lovelace")
    assert found.online_meeting_uri == "https://teams.example/join/1"
    assert found.created_at == datetime(2026, 10, 5, 8, 0, 1, 123045, tzinfo=UTC)
    assert found.series_id is None
    assert found.original_start_at is None


def test_rooms_are_left_out_of_the_attendees() -> None:
    (attendee,) = booking().attendees
    assert isinstance(attendee.person, Person)
    assert (attendee.person.email, attendee.is_optional, attendee.response) == (
        "grace@contoso.example",
        False,
        Response.NONE,
    )


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"responseStatus": {"response": "accepted"}}, BookingState.CONFIRMED),
        ({"responseStatus": {"response": "organizer"}}, BookingState.CONFIRMED),
        ({"responseStatus": {"response": "tentativelyAccepted"}}, BookingState.TENTATIVE),
        ({"responseStatus": {"response": "declined"}}, BookingState.DECLINED),
        ({"responseStatus": {"response": "none"}}, BookingState.PENDING),
        ({"responseStatus": {"response": "notResponded"}}, BookingState.PENDING),
        ({"responseStatus": {"response": "somethingNew"}}, BookingState.PENDING),
        ({"responseStatus": None}, BookingState.PENDING),
        ({"responseStatus": {"response": "none"}, "isOrganizer": True}, BookingState.CONFIRMED),
        ({"isCancelled": True}, BookingState.CANCELLED),
        ({"isCancelled": True, "isOrganizer": True}, BookingState.CANCELLED),
        ({"showAs": "free"}, BookingState.CONFIRMED),
    ],
)
def test_state_follows_the_rooms_answer(changes: dict[str, object], state: BookingState) -> None:
    assert booking(**changes).state is state


@pytest.mark.parametrize("cancelled", [True, False])
def test_subject_is_withheld_until_the_room_has_answered(cancelled: bool) -> None:
    found = booking(responseStatus={"response": "none"}, isCancelled=cancelled)

    assert found.subject == ""
    assert found.organizer is not None
    assert found.attendees


@pytest.mark.parametrize("sensitivity", ["private", "confidential"])
def test_private_booking_tells_time_and_organizer_only(sensitivity: str) -> None:
    found = booking(sensitivity=sensitivity)

    assert (found.is_private, found.subject, found.attendees, found.online_meeting_uri) == (True, "", (), "")
    assert found.organizer is not None
    assert not booking(sensitivity="personal").is_private


@pytest.mark.parametrize(
    ("start", "end", "begins", "ends"),
    [
        ("2026-10-06", "2026-10-07", (2026, 10, 5, 22), (2026, 10, 6, 22)),
        # Summer time ends on the 25th: the day has 25 hours.
        ("2026-10-25", "2026-10-26", (2026, 10, 24, 22), (2026, 10, 25, 23)),
        # Without a length it is one day.
        ("2026-10-06", "2026-10-06", (2026, 10, 5, 22), (2026, 10, 6, 22)),
    ],
)
def test_whole_days_run_from_midnight_to_midnight_in_the_room(
    start: str, end: str, begins: tuple[int, ...], ends: tuple[int, ...]
) -> None:
    found = booking(isAllDay=True, start=wall(f"{start}T00:00:00.0000000"), end=wall(f"{end}T00:00:00.0000000"))

    assert found.is_all_day
    assert found.start_at == datetime(*begins, tzinfo=UTC)  # type: ignore[misc, arg-type]  # four numbers each
    assert found.end_at == datetime(*ends, tzinfo=UTC)  # type: ignore[misc, arg-type]  # four numbers each
    assert found.time_zone == "Europe/Berlin"


def test_whole_days_are_utc_in_a_room_without_zone() -> None:
    event = make_event(
        isAllDay=True, start=wall("2026-10-06T00:00:00.0000000"), end=wall("2026-10-07T00:00:00.0000000")
    )
    found = to_booking(event, room=make_room(time_zone=""))

    assert found is not None
    assert found.start_at == datetime(2026, 10, 6, tzinfo=UTC)


def test_key_of_a_whole_day_in_a_series_outlives_a_corrected_zone() -> None:
    event = make_event(
        type="occurrence",
        seriesMasterId="M",
        isAllDay=True,
        start=wall("2026-10-06T00:00:00.0000000"),
        end=wall("2026-10-07T00:00:00.0000000"),
    )
    berlin, tokyo = (to_booking(event, room=make_room(time_zone=zone)) for zone in ("Europe/Berlin", "Asia/Tokyo"))

    assert berlin is not None
    assert tokyo is not None
    assert berlin.key == tokyo.key
    assert berlin.original_start_at == berlin.start_at
    assert tokyo.original_start_at == tokyo.start_at


def test_moved_occurrence_keeps_its_key() -> None:
    before = booking(type="occurrence", seriesMasterId="M")
    after = booking(
        type="exception",
        seriesMasterId="M",
        originalStart="2026-10-06T09:00:00Z",
        start=wall("2026-10-07T15:00:00.0000000"),
        end=wall("2026-10-07T16:00:00.0000000"),
    )

    assert before.key == after.key
    assert before.series_id == after.series_id
    assert before.series_id not in {None, "M"}
    assert (before.is_exception, after.is_exception) == (False, True)
    assert after.original_start_at == before.original_start_at == before.start_at
    assert after.master_id == "M"


def test_series_of_two_rooms_differ() -> None:
    event = make_event(type="occurrence", seriesMasterId="M")
    here, there = (to_booking(event, room=make_room(uid=uid)) for uid in ("r1", "r2"))

    assert here is not None
    assert there is not None
    assert here.series_id != there.series_id


def test_master_of_a_series_is_no_booking() -> None:
    assert to_booking(make_event(type="seriesMaster"), room=make_room()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"start": None},
        {"end": None},
        {"start": wall("tomorrow")},
        {"start": wall("")},
        {"start": wall("0001-01-01T00:00:00.0000000")},
        {"end": wall("9999-12-31T23:59:59.9999999")},
        {"end": wall("2026-10-06T08:59:00.0000000")},
        {"start": wall("2026-10-06T09:00:00.0000000", "tzone://Microsoft/Custom")},
        {"start": "2026-10-06T09:00:00Z"},
        {"subject": 7},
        {"attendees": [{"type": 3}]},
    ],
)
def test_item_without_usable_times_is_no_booking(changes: dict[str, object]) -> None:
    assert to_booking(make_event(**changes), room=make_room()) is None


@pytest.mark.parametrize(
    ("start", "hour"),
    [
        (wall("2026-10-06T09:00:00"), 9),
        (wall("2026-10-06T09:00:00.1234567"), 9),
        (wall("2026-10-06T09:00:00+02:00"), 7),
        (wall("2026-10-06T09:00:00.0000000", "W. Europe Standard Time"), 7),
        (wall("2026-10-06T09:00:00.0000000", "Europe/Berlin"), 7),
    ],
)
def test_other_spellings_of_a_time_are_read(start: dict[str, str], hour: int) -> None:
    found = booking(start=start)

    assert found.start_at.hour == hour
    assert found.start_at.tzinfo is UTC


def test_booking_without_length_is_kept() -> None:
    found = booking(end=wall("2026-10-06T09:00:00.0000000"))

    assert found.start_at == found.end_at


def test_event_without_calendar_uid_is_known_by_its_id() -> None:
    assert booking(iCalUId=None).key == booking_key(make_room().uid, "AAkALgAAAAAAHYQ=", None)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("Europe/Paris", "Europe/Paris"),
        ("tzone://Microsoft/Custom", ""),
        ("tzone://Microsoft/Utc", ""),
        ("Customized Time Zone", ""),
        ("../../etc/passwd", ""),
        ("Europe", ""),
        ("x" * 5_000, ""),
        ("", ""),
        (None, ""),
    ],
)
def test_zone_names_become_iana_or_nothing(name: str | None, zone: str) -> None:
    assert iana_zone(name) == zone


@pytest.mark.parametrize(
    ("changes", "is_part", "master_id"),
    [
        ({"type": "singleInstance"}, False, None),
        ({"type": "occurrence", "seriesMasterId": "M"}, True, "M"),
        ({"type": "exception", "seriesMasterId": "M"}, True, "M"),
        ({"type": "seriesMaster", "id": "M"}, True, "M"),
        ({"type": None, "seriesMasterId": "M"}, True, "M"),
    ],
)
def test_series_are_told_from_single_meetings(changes: dict[str, object], is_part: bool, master_id: str | None) -> None:
    event = make_event(**changes)

    assert is_part_of_series(event) is is_part
    assert master_id_of(event) == master_id


def test_subject_is_not_in_the_repr_of_an_event() -> None:
    assert "Design" not in repr(make_event())
    assert "ada" not in repr(make_event())
