"""Meetings: how a room answers, and how changes travel between mailboxes."""

import pytest

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig, weekly

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")


async def room_answer(r: Rig, event_id: str) -> str:
    """Tell what the organizer sees of the room's answer."""
    attendees = (await r.graph.get(r.event_url(event_id, r.ada))).json()["attendees"]
    response: str = next(one["status"]["response"] for one in attendees if one["type"] == "resource")
    return response


async def test_room_copy_is_first_tentative_then_settled() -> None:
    """The original subject shows until the room has answered, then only the organizer's name."""
    async with rig() as r:
        booked = await r.book(*TEN, body="Agenda", sensitivity="private")
        (early,) = await r.view(*DAY)
        assert (early["subject"], early["showAs"], early["responseStatus"]["response"]) == (
            "Plans",
            "tentative",
            "notResponded",
        )
        assert early["iCalUId"] == booked["ical_uid"]
        await sleep(r.clock, 0.31)
        (settled,) = await r.view(*DAY)
        assert (settled["subject"], settled["showAs"], settled["responseStatus"]["response"]) == (
            "Ada Lovelace ",
            "busy",
            "accepted",
        )
        assert (settled["body"]["content"], settled["sensitivity"], settled["isReminderOn"]) == ("", "normal", False)
        assert settled["id"] == early["id"]
        assert settled["changeKey"] != early["changeKey"]
        assert await room_answer(r, booked["events"][r.ada]) == "accepted"


async def test_room_declines_what_conflicts() -> None:
    async with rig() as r:
        await r.book(*TEN)
        await r.rest()
        late = await r.book("2026-11-24T10:30:00", "2026-11-24T11:30:00", organizer=r.users[1]["address"])
        await r.rest()
        assert [item["organizer"] for item in await r.truth()] == [r.ada]
        url = r.event_url(late["events"][r.users[1]["address"]], r.users[1]["address"])
        assert (await r.graph.get(url)).json()["attendees"][0]["status"]["response"] == "declined"


async def test_first_request_wins_when_two_wait() -> None:
    async with rig() as r:
        await r.book(*TEN)
        await r.book(*TEN, organizer=r.users[1]["address"])
        assert len(await r.truth()) == 2
        await r.rest()
        assert [item["organizer"] for item in await r.truth()] == [r.ada]


@pytest.mark.parametrize(
    ("settings", "subject", "count"),
    [
        ({"DeleteSubject": False, "AddOrganizerToSubject": False}, "Plans", 1),
        ({"DeleteSubject": False}, "Ada Lovelace Plans", 1),
        ({"AddOrganizerToSubject": False}, "", 1),
        ({"AutomateProcessing": "AutoUpdate"}, "Plans", 1),
        ({"AutomateProcessing": "None"}, None, 0),
        ({"MaximumDurationInMinutes": 30}, None, 0),
        ({"BookingWindowInDays": 0}, None, 0),
        ({"processing_delay_s": 0}, "Ada Lovelace ", 1),
    ],
)
async def test_room_settings_decide(settings: dict[str, object], subject: str | None, count: int) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": settings})
        await r.book(*TEN)
        if "processing_delay_s" not in settings:
            await r.rest()
        found = await r.truth()
        assert len(found) == count
        assert [item["subject"] for item in found] == ([] if subject is None else [subject])


async def test_move_reaches_the_room_and_is_answered_again() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        move = {"meeting": booked["meeting"], "start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), move)
        (item,) = await r.truth()
        assert (item["start"], item["response"], item["id"]) == (
            "2026-11-25T10:00:00Z",
            "notResponded",
            booked["events"][r.room],
        )
        await r.rest()
        (item,) = await r.truth()
        assert (item["response"], item["subject"]) == ("accepted", "Ada Lovelace ")


async def test_move_into_a_conflict_frees_the_room() -> None:
    async with rig() as r:
        await r.book("2026-11-25T10:00:00", "2026-11-25T11:00:00", organizer=r.users[1]["address"])
        booked = await r.book(*TEN)
        await r.rest()
        move = {"meeting": booked["meeting"], "start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), move)
        await r.rest()
        assert [item["organizer"] for item in await r.truth()] == [r.users[1]["address"]]
        assert await room_answer(r, booked["events"][r.ada]) == "declined"


@pytest.mark.parametrize(
    ("kept", "settings", "count"), [(None, {}, 1), (None, {"RemoveCanceledMeetings": True}, 0), (False, {}, 0)]
)
async def test_cancelled_meeting_stays_if_the_room_keeps_it(
    kept: bool | None, settings: dict[str, object], count: int
) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": settings})
        booked = await r.book(*TEN, cancel_kept=kept)
        await r.rest()
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        found = await r.truth()
        assert [(item["is_cancelled"], item["show_as"]) for item in found] == [(True, "free")] * count
        assert await r.truth(r.ada) == []


async def test_cancelled_meeting_no_longer_blocks_the_room() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        await r.book(*TEN, organizer=r.users[1]["address"])
        await r.rest()
        assert [item["is_cancelled"] for item in await r.truth()] == [True, False]


async def test_room_that_declines_by_graph_frees_itself() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        answer = await r.graph.post(f"{r.event_url(booked['events'][r.room])}/decline", json={"Comment": "Painting"})
        assert answer.status_code == 202
        assert await r.truth() == []
        assert await room_answer(r, booked["events"][r.ada]) == "declined"


async def test_deleting_the_rooms_copy_tells_the_organizer_nothing() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        await r.told(
            "POST", r.path("/outlook/delete_from_room"), {"address": r.room, "event": booked["events"][r.room]}
        )
        assert await r.truth() == []
        assert await room_answer(r, booked["events"][r.ada]) == "accepted"


async def test_one_occurrence_can_be_moved_and_cancelled() -> None:
    async with rig() as r:
        booked = await r.book(
            "2026-11-23T09:00:00",
            "2026-11-23T10:00:00",
            time_zone="Europe/Berlin",
            recurrence=weekly("2026-11-23", days=["monday"]),
        )
        await r.rest()
        move = {"meeting": booked["meeting"], "start": "2026-12-01T09:00:00", "end": "2026-12-01T10:00:00"}
        await r.told("POST", r.path("/outlook/move"), {**move, "occurrence": "2026-11-30T08:00:00Z"})
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"], "occurrence": "2026-12-07"})
        await r.rest()
        found = [(item["start"], item["type"], item["is_cancelled"], item["response"]) for item in await r.truth()]
        assert found == [
            ("2026-11-23T08:00:00Z", "occurrence", False, "accepted"),
            ("2026-12-01T09:00:00Z", "exception", False, "accepted"),
            ("2026-12-07T08:00:00Z", "exception", True, "accepted"),
            ("2026-12-14T08:00:00Z", "occurrence", False, "accepted"),
        ]
        assert [item["ical_uid"] for item in await r.truth()][:2] == [
            item["ical_uid"] for item in await r.truth(r.ada)
        ][:2]


async def test_series_in_conflict_is_declined_whole() -> None:
    async with rig() as r:
        await r.book("2026-11-30T09:00:00", "2026-11-30T10:00:00", organizer=r.users[1]["address"])
        await r.rest()
        await r.book(
            "2026-11-23T09:30:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC")
        )
        await r.rest()
        assert len(await r.truth()) == 1


async def test_series_in_part_conflict_is_accepted_without_those_days_if_allowed() -> None:
    async with rig() as r:
        settings = {"ConflictPercentageAllowed": 50, "MaximumConflictInstances": 1}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": settings})
        await r.book("2026-11-30T09:00:00", "2026-11-30T10:00:00", organizer=r.users[1]["address"])
        await r.rest()
        await r.book(
            "2026-11-23T09:30:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC")
        )
        await r.rest()
        assert [item["start"][5:16] for item in await r.truth()] == [
            "11-23T09:30",
            "11-30T09:00",
            "12-07T09:30",
            "12-14T09:30",
        ]


async def test_posting_with_a_room_as_attendee_books_it() -> None:
    async with rig() as r:
        body = {
            "subject": "By Graph",
            "start": {"dateTime": TEN[0], "timeZone": "UTC"},
            "end": {"dateTime": TEN[1], "timeZone": "UTC"},
            "attendees": [{"type": "resource", "emailAddress": {"address": r.room}}],
        }
        made = (await r.graph.post(f"/users/{r.ada}/events", json=body)).json()
        await r.rest()
        (item,) = await r.truth()
        assert (item["response"], item["ical_uid"]) == ("accepted", made["iCalUId"])
        await r.graph.patch(r.event_url(made["id"], r.ada), json={"attendees": []})
        await r.rest()
        assert [one["is_cancelled"] for one in await r.truth()] == [True]


async def test_new_guest_does_not_disturb_the_room() -> None:
    """A change of the guest list alone is told to nobody who stays."""
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        (before,) = await r.truth()
        more = {"meeting": booked["meeting"], "attendees": [r.users[1]["address"], "guest@elsewhere.example"]}
        await r.told("POST", r.path("/outlook/edit"), more)
        await r.rest()
        assert await r.truth() == [before]
        assert [item["response"] for item in await r.truth(r.users[1]["address"])] == ["notResponded"]


async def test_answer_given_before_a_cancellation_is_read_does_not_stop_it() -> None:
    """What an organizer has withdrawn is withdrawn, also if somebody answers for the room meanwhile."""
    async with rig() as r:
        booked = await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        (copy,) = await r.truth()
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "rooms": []})
        answer = await r.graph.post(f"{r.event_url(copy['id'], r.room)}/accept", json={})
        assert answer.status_code == 202
        await r.rest()
        assert [one for one in await r.truth() if not one["is_cancelled"]] == []
