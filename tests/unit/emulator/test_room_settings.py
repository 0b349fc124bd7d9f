"""How a room's settings decide over requests: rules, who may book, delegates, outside organizers, and the text it keeps."""

from typing import Any

import pytest

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig, weekly

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")  # a Tuesday
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")


async def settle(r: Rig, **settings: Any) -> None:
    await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": settings})


async def organizer_sees(r: Rig, booked: dict[str, Any], room: str | None = None) -> str:
    """Tell what the organizer sees of the room's answer."""
    attendees = (await r.graph.get(r.event_url(booked["events"][r.ada], r.ada))).json()["attendees"]
    address = room or r.room
    response: str = next(o["status"]["response"] for o in attendees if o["emailAddress"]["address"] == address)
    return response


async def answer_to(r: Rig, start: str = TEN[0], end: str = TEN[1], **more: Any) -> str:
    booked = await r.book(start, end, **more)
    await r.rest()
    return await organizer_sees(r, booked)


@pytest.mark.parametrize(
    ("settings", "start", "end", "answer"),
    [
        ({"BookingType": "Reserved"}, *TEN, "declined"),
        ({"MaximumDurationInMinutes": 59}, *TEN, "declined"),
        ({"MaximumDurationInMinutes": 60}, *TEN, "accepted"),
        ({"MaximumDurationInMinutes": 0}, TEN[0], "2026-11-27T11:00:00", "accepted"),
        ({"MinimumDurationInMinutes": 61}, *TEN, "declined"),
        ({"MinimumDurationInMinutes": 60}, *TEN, "accepted"),
        ({"BookingWindowInDays": 0}, "2026-11-23T23:00:00", "2026-11-23T23:30:00", "accepted"),
        ({"BookingWindowInDays": 0}, "2026-11-24T00:00:00", "2026-11-24T00:30:00", "declined"),
        ({"BookingWindowInDays": 1}, *TEN, "accepted"),
        ({"ScheduleOnlyDuringWorkHours": True}, *TEN, "accepted"),
        ({"ScheduleOnlyDuringWorkHours": True}, "2026-11-24T16:30:00", "2026-11-24T17:30:00", "declined"),
        ({"ScheduleOnlyDuringWorkHours": True}, "2026-11-28T10:00:00", "2026-11-28T11:00:00", "declined"),
    ],
)
async def test_rule_of_the_room_decides(settings: dict[str, Any], start: str, end: str, answer: str) -> None:
    async with rig() as r:
        await settle(r, **settings)
        assert await answer_to(r, start, end) == answer
        assert len(await r.truth()) == (answer == "accepted")


async def test_booking_window_ends_with_the_rooms_own_day() -> None:
    """In Honolulu it is the evening of the 22nd; thirteen days later the day ends at ten in the morning UTC."""
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"time_zone": "Pacific/Honolulu"})
        await settle(r, BookingWindowInDays=13)
        assert await answer_to(r, "2026-12-06T09:30:00", "2026-12-06T10:00:00") == "accepted"
        assert await answer_to(r, "2026-12-06T10:00:00", "2026-12-06T10:30:00") == "declined"


@pytest.mark.parametrize(("capacity", "answer"), [(1, "declined"), (2, "accepted"), (None, "accepted")])
async def test_capacity_counts_the_people_invited(capacity: int | None, answer: str) -> None:
    async with rig() as r:
        await settle(r, EnforceCapacity=True)
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"place": {"capacity": capacity}})
        people = [r.users[1]["address"], "guest@elsewhere.example"]
        assert await answer_to(r, attendees=people) == answer


async def test_working_hours_of_the_room_are_its_own() -> None:
    async with rig() as r:
        hours = {"days": ["saturday"], "start": "20:00", "end": "22:00", "time_zone": "Europe/Berlin"}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"working_hours": hours})
        await settle(r, ScheduleOnlyDuringWorkHours=True)
        assert await answer_to(r, "2026-11-28T19:00:00", "2026-11-28T21:00:00") == "accepted"
        assert await answer_to(r) == "declined"


async def test_series_is_declined_where_series_are_not_allowed() -> None:
    async with rig() as r:
        await settle(r, AllowRecurringMeetings=False)
        assert await answer_to(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC")) == "declined"
        assert await answer_to(r) == "accepted"


async def test_series_beyond_the_window_is_declined() -> None:
    async with rig() as r:
        await settle(r, BookingWindowInDays=10)
        assert await answer_to(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC")) == "declined"


async def test_series_is_cut_off_at_a_window_that_is_not_enforced() -> None:
    async with rig() as r:
        await settle(r, BookingWindowInDays=10, EnforceSchedulingHorizon=False)
        booked = await r.book(*TEN, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC", type="noEnd"))
        await r.rest()
        assert [item["start"][:10] for item in await r.truth()] == ["2026-11-24", "2026-12-01"]
        shown = (await r.graph.get(r.event_url(booked["events"][r.room]))).json()["recurrence"]["range"]
        assert (shown["type"], shown["endDate"]) == ("endDate", "2026-12-03")
        own = (await r.graph.get(r.event_url(booked["events"][r.ada], r.ada))).json()["recurrence"]["range"]
        assert own["type"] == "noEnd"


async def test_series_that_was_cut_off_keeps_its_exceptions_when_its_text_changes() -> None:
    async with rig() as r:
        await settle(r, BookingWindowInDays=10, EnforceSchedulingHorizon=False, AddOrganizerToSubject=False)
        await settle(r, DeleteSubject=False)
        booked = await r.book(*TEN, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC", type="noEnd"))
        await r.rest()
        times = {"start": "2026-12-02T10:00:00", "end": "2026-12-02T11:00:00", "occurrence": "2026-12-01"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        await r.rest()
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        await r.rest()
        found = [(item["start"][:10], item["subject"], item["response"]) for item in await r.truth()]
        assert found == [("2026-11-24", "New", "accepted"), ("2026-12-02", "New", "accepted")]


async def test_series_that_was_cut_off_stays_so_when_it_is_only_named_in_another_zone() -> None:
    async with rig() as r:
        await settle(r, EnforceSchedulingHorizon=False, BookingWindowInDays=20)
        recurrence = weekly("2026-11-24", days=["tuesday"], type="noEnd")
        times = {"time_zone": "Europe/Berlin", "recurrence": recurrence}
        booked = await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00", **times)
        await r.rest()
        move = {"meeting": booked["meeting"], "occurrence": "2026-12-01", "time_zone": "Europe/Berlin"}
        await r.told(
            "POST", r.path("/outlook/move"), {**move, "start": "2026-12-02T10:00:00", "end": "2026-12-02T11:00:00"}
        )
        await r.rest()
        before = [(one["start"], one["type"]) for one in await r.truth()]
        same = {"start": "2026-11-24T09:00:00", "end": "2026-11-24T10:00:00", "time_zone": "UTC"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **same})
        await r.rest()
        assert [(one["start"], one["type"]) for one in await r.truth()] == before
        assert len(before) == 3


async def test_organizer_sees_which_occurrences_the_room_declined() -> None:
    async with rig() as r:
        await settle(r, ConflictPercentageAllowed=50, MaximumConflictInstances=1)
        await r.book("2026-12-01T10:00:00", "2026-12-01T11:00:00", organizer=r.users[1]["address"])
        await r.rest()
        await r.book(*TEN, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        await r.rest()
        seen = await r.view("2026-11-24T00:00:00Z", "2026-12-31T00:00:00Z", mailbox=r.ada)
        answers = [(one["start"]["dateTime"][:10], one["attendees"][0]["status"]["response"]) for one in seen]
        assert answers == [
            ("2026-11-24", "accepted"),
            ("2026-12-01", "declined"),
            ("2026-12-08", "accepted"),
            ("2026-12-15", "accepted"),
        ]


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"ConflictPercentageAllowed": 24, "MaximumConflictInstances": 9}, "declined"),
        ({"ConflictPercentageAllowed": 25, "MaximumConflictInstances": 0}, "declined"),
        ({"ConflictPercentageAllowed": 25, "MaximumConflictInstances": 1}, "accepted"),
        ({"AllowConflicts": True}, "accepted"),
    ],
)
async def test_share_and_number_of_conflicts_must_both_fit(settings: dict[str, Any], answer: str) -> None:
    async with rig() as r:
        await settle(r, **settings)
        await r.book("2026-12-01T10:00:00", "2026-12-01T11:00:00", organizer=r.users[1]["address"])
        await r.rest()
        assert await answer_to(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC")) == answer


@pytest.mark.parametrize(
    ("settings", "lawful", "unlawful"),
    [
        ({}, "accepted", "declined"),
        ({"AllBookInPolicy": False}, "declined", "declined"),
        ({"AllBookInPolicy": False, "BookInPolicy": ["{ada}"]}, "accepted", "declined"),
        ({"AllBookInPolicy": False, "BookInPolicy": ["{grace}"]}, "declined", "declined"),
        ({"AllBookInPolicy": False, "AllRequestInPolicy": True}, "tentativelyAccepted", "declined"),
        ({"AllBookInPolicy": False, "RequestInPolicy": ["{ada}"]}, "tentativelyAccepted", "declined"),
        ({"AllRequestOutOfPolicy": True}, "accepted", "tentativelyAccepted"),
        ({"RequestOutOfPolicy": ["{ada}"]}, "accepted", "tentativelyAccepted"),
        ({"RequestOutOfPolicy": ["{grace}"]}, "accepted", "declined"),
        ({"AllBookInPolicy": False, "AllRequestOutOfPolicy": True}, "tentativelyAccepted", "tentativelyAccepted"),
    ],
)
async def test_policy_decides_who_books_and_who_must_ask(settings: dict[str, Any], lawful: str, unlawful: str) -> None:
    async with rig() as r:
        names = {"{ada}": r.ada.upper(), "{grace}": r.users[1]["address"]}
        filled = {key: [names[one] for one in v] if isinstance(v, list) else v for key, v in settings.items()}
        await settle(r, **filled, MaximumDurationInMinutes=60)
        assert await answer_to(r) == lawful
        assert await answer_to(r, "2026-11-25T10:00:00", "2026-11-25T12:00:00") == unlawful


async def asked(r: Rig, **settings: Any) -> dict[str, Any]:
    """Book a room that leaves the answer to its delegate, the second user."""
    delegate = [r.users[1]["address"]]
    await settle(r, AllBookInPolicy=False, AllRequestInPolicy=True, ResourceDelegates=delegate, **settings)
    booked = await r.book(*TEN, body="Agenda")
    await r.rest()
    return booked


def decision(r: Rig, booked: dict[str, Any], answer: str, **more: Any) -> dict[str, Any]:
    delegate = r.users[1]["address"]
    return {"meeting": booked["meeting"], "room": r.room, "delegate": delegate, "answer": answer, **more}


@pytest.mark.parametrize(("tentative", "shown"), [(True, "tentative"), (False, "free")])
async def test_request_waits_for_a_delegate(tentative: bool, shown: str) -> None:
    async with rig() as r:
        booked = await asked(r, TentativePendingApproval=tentative)
        (item,) = await r.truth()
        assert (item["response"], item["show_as"], item["subject"]) == ("tentativelyAccepted", shown, "Plans")
        assert await organizer_sees(r, booked) == "tentativelyAccepted"


async def test_delegate_accepts_and_the_room_keeps_its_kind_of_text() -> None:
    async with rig() as r:
        booked = await asked(r)
        await r.told("POST", r.path("/outlook/decide"), decision(r, booked, "accept"))
        (item,) = await r.truth()
        assert (item["response"], item["show_as"], item["subject"]) == ("accepted", "busy", "Ada Lovelace ")
        assert await organizer_sees(r, booked) == "accepted"


async def test_delegate_declines_and_the_room_is_free() -> None:
    async with rig() as r:
        booked = await asked(r)
        await r.told("POST", r.path("/outlook/decide"), decision(r, booked, "decline"))
        assert await r.truth() == []
        assert await organizer_sees(r, booked) == "declined"


async def test_decision_is_refused_when_it_is_nobodys_to_take() -> None:
    async with rig() as r:
        booked = await asked(r)
        refused = [
            (decision(r, booked, "accept", delegate=r.ada), 403, "not a delegate"),
            (decision(r, {"meeting": "x"}, "accept"), 404, "no meeting"),
            (decision(r, booked, "perhaps"), 400, "not what this call takes"),
        ]
        for body, status, words in refused:
            answer = await r.control.post(r.path("/outlook/decide"), json=body)
            assert (answer.status_code, words in answer.json()["error"]) == (status, True)
        await r.told("POST", r.path("/outlook/decide"), decision(r, booked, "accept"))
        again = await r.control.post(r.path("/outlook/decide"), json=decision(r, booked, "decline"))
        assert (again.status_code, "does not wait" in again.json()["error"]) == (409, True)


async def test_room_that_forwards_nothing_hears_no_delegate() -> None:
    async with rig() as r:
        booked = await asked(r, ForwardRequestsToDelegates=False)
        answer = await r.control.post(r.path("/outlook/decide"), json=decision(r, booked, "accept"))
        assert (answer.status_code, "does not forward" in answer.json()["error"]) == (409, True)
        assert [item["response"] for item in await r.truth()] == ["tentativelyAccepted"]


@pytest.mark.parametrize(("heard", "count"), [(False, 0), (True, 1)])
async def test_outside_organizer_is_heard_only_if_the_room_says_so(heard: bool, count: int) -> None:
    async with rig() as r:
        await settle(r, ProcessExternalMeetingMessages=heard)
        await r.book(*TEN, organizer="eve@elsewhere.example", organizer_name="Eve", outside=True, attendees=[r.ada])
        await r.rest()
        assert [item["organizer"] for item in await r.truth()] == ["eve@elsewhere.example"] * count
        assert [item["subject"] for item in await r.truth()] == ["Eve "] * count
        assert [item["organizer"] for item in await r.truth(r.ada)] == ["eve@elsewhere.example"]
        assert (await r.graph.get("/users/eve@elsewhere.example/events")).status_code == 404


async def test_outside_organizer_moves_and_cancels_like_any_other() -> None:
    async with rig() as r:
        await settle(r, ProcessExternalMeetingMessages=True, RemoveCanceledMeetings=True)
        booked = await r.book(*TEN, organizer="eve@elsewhere.example", outside=True)
        await r.rest()
        times = {"start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        await r.rest()
        assert [item["start"] for item in await r.truth()] == ["2026-11-25T10:00:00Z"]
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        assert await r.truth() == []


@pytest.mark.parametrize(
    ("settings", "subject", "body", "sensitivity", "reminder"),
    [
        ({}, "Ada Lovelace ", "", "normal", False),
        ({"DeleteSubject": False}, "Ada Lovelace Plans", "", "normal", False),
        ({"AddOrganizerToSubject": False}, "", "", "normal", False),
        ({"DeleteComments": False}, "Ada Lovelace ", "Agenda", "normal", False),
        ({"RemovePrivateProperty": False}, "Ada Lovelace ", "", "private", False),
        ({"DisableReminders": False}, "Ada Lovelace ", "", "normal", True),
    ],
)
async def test_room_keeps_of_the_text_what_its_settings_say(
    settings: dict[str, Any], subject: str, body: str, sensitivity: str, reminder: bool
) -> None:
    async with rig() as r:
        await settle(r, **settings)
        await r.book(*TEN, body="Agenda", sensitivity="private")
        await r.rest()
        (item,) = await r.view(*DAY)
        assert (item["subject"], item["bodyPreview"]) == (subject, body)
        assert (item["sensitivity"], item["isReminderOn"]) == (sensitivity, reminder)


async def test_older_items_keep_their_text_when_settings_change() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        await settle(r, DeleteSubject=False, AddOrganizerToSubject=False)
        await r.rest()
        assert [item["subject"] for item in await r.truth()] == ["Ada Lovelace "]
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        await r.rest()
        assert [item["subject"] for item in await r.truth()] == ["New"]


async def test_request_that_does_not_show_tentatively_appears_accepted() -> None:
    async with rig() as r:
        await settle(r, AddNewRequestsTentatively=False)
        await r.subscribe()
        await r.book(*TEN)
        assert await r.truth() == []
        assert (await r.told("GET", r.path("/pending")))["room_processing"] == 1
        await r.rest()
        assert [item["response"] for item in await r.truth()] == ["accepted"]
        late = await r.book(*TEN)
        await r.rest()
        assert await organizer_sees(r, late) == "declined"
        assert [change for change, _ in r.webhook.changes()] == ["created", "updated"]


async def test_cancelled_request_that_never_showed_never_shows() -> None:
    async with rig() as r:
        await settle(r, AddNewRequestsTentatively=False)
        booked = await r.book(*TEN)
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        assert await r.truth() == []


async def test_room_without_processing_ignores_changes_too() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        before = await r.truth()
        await settle(r, AutomateProcessing="None")
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        assert await r.truth() == before


async def test_tentative_room_is_accepted_by_a_person_with_its_text_as_it_is() -> None:
    async with rig() as r:
        await settle(r, AutomateProcessing="AutoUpdate")
        booked = await r.book(*TEN)
        await r.rest()
        assert [item["response"] for item in await r.truth()] == ["notResponded"]
        answer = await r.graph.post(f"{r.event_url(booked['events'][r.room])}/accept", json={})
        assert answer.status_code == 202
        assert [(one["response"], one["subject"]) for one in await r.truth()] == [("accepted", "Plans")]
        assert await organizer_sees(r, booked) == "accepted"


async def test_equipment_answers_as_rooms_do() -> None:
    async with rig() as r:
        made = await r.told("POST", r.path("/rooms"), {"rooms": [{"display_name": "Beamer", "purpose": "equipment"}]})
        beamer = made["rooms"][0]["address"]
        booked = await r.book(*TEN, rooms=[r.room, beamer])
        await r.rest()
        assert [item["response"] for item in await r.truth(beamer)] == ["accepted"]
        assert await organizer_sees(r, booked, beamer) == "accepted"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"Nope": 1}, "Nope"),
        ({"BookingWindowInDays": 1081}, "1080"),
        ({"AutomateProcessing": "Auto"}, "Auto"),
        ({"EnableAutoRelease": True}, "does not play EnableAutoRelease"),
        ({"OrganizerInfo": True, "AdditionalResponse": "x"}, "AdditionalResponse, OrganizerInfo"),
    ],
)
async def test_setting_that_is_not_played_is_refused_with_its_name(settings: dict[str, Any], words: str) -> None:
    async with rig() as r:
        answer = await r.control.patch(r.path(f"/mailboxes/{r.room}"), json={"settings": settings})
        assert (answer.status_code, words in answer.json()["error"]) == (400, True)


async def test_settings_are_changed_whole_or_not_at_all() -> None:
    async with rig() as r:
        body = {"display_name": "Atrium", "settings": {"DeleteSubject": False}, "place": {"capacity": "many"}}
        assert (await r.control.patch(r.path(f"/mailboxes/{r.room}"), json=body)).status_code == 400
        await r.book(*TEN)
        await sleep(r.clock, 1)
        assert [item["subject"] for item in await r.truth()] == ["Ada Lovelace "]
