"""Sections 6.5 to 6.7: booking a room through an organizer, and what the room makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Json, Subject, assert_refused, in_utc

TABLE = Table()
_BOTH = {"room", "organizer"}
_SETTINGS = "the room's settings are changed"


async def _settled(s: Subject, made: Json) -> Json:
    """Wait for the room to have accepted; gives its copy."""
    assert await s.room_answer(made) == "accepted"

    async def settled() -> Json | None:
        copy = await s.copy(made)
        return copy if copy is not None and copy["responseStatus"]["response"] == "accepted" else None

    return await s.eventually(settled, "the room's copy")


@TABLE.case("6.7", "a free room accepts, and both copies tell it", needs=_BOTH)
async def accepted(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    assert copy["iCalUId"] == made["iCalUId"]
    assert copy["id"] != made["id"]
    assert (copy["isOrganizer"], copy["isCancelled"], copy["showAs"]) == (False, False, "busy")
    assert copy["organizer"]["emailAddress"]["address"].lower() == s.organizer.lower()
    assert (copy["start"], copy["end"]) == (made["start"], made["end"])
    own = await s.get(made["id"], mailbox=s.organizer)
    assert (own["isOrganizer"], own["responseStatus"]["response"]) == (True, "organizer")


@TABLE.case("6.7", "by default the room hides subject, body and reminder; the organizer keeps them", needs=_BOTH)
async def hidden_text(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    assert copy["subject"].strip() == made["organizer"]["emailAddress"]["name"]
    assert copy["bodyPreview"] == ""
    assert "drawings" not in copy["body"]["content"]
    assert copy["isReminderOn"] is False
    own = await s.get(made["id"], mailbox=s.organizer)
    assert own["subject"] == "Plans"
    assert "drawings" in own["bodyPreview"]


@TABLE.case("6.7", "by default a private meeting arrives as a normal one", needs=_BOTH)
async def private_meeting(s: Subject) -> None:
    made = await s.book(s.soon(), sensitivity="private")
    assert (await _settled(s, made))["sensitivity"] == "normal"
    assert (await s.get(made["id"], mailbox=s.organizer))["sensitivity"] == "private"


@TABLE.case(
    "6.7",
    "until it answers the room shows the meeting as tentative, under its own subject",
    emulator_only="the moment before is looked at",
)
async def tentative_first(s: Emulated) -> None:
    made = await s.book(s.soon())
    copy = await s.copy(made)
    assert copy is not None
    assert (copy["showAs"], copy["subject"]) == ("tentative", "Plans")
    assert copy["responseStatus"]["response"] in ("none", "notResponded", "tentativelyAccepted")
    settled = await _settled(s, made)
    assert settled["id"] == copy["id"]
    assert settled["changeKey"] != copy["changeKey"]


@TABLE.case("6.7", "a taken room declines, and keeps nothing", needs=_BOTH)
async def conflict(s: Subject) -> None:
    first = await s.book(s.soon())
    await _settled(s, first)
    second = await s.book(s.soon() + timedelta(minutes=30))
    assert await s.room_answer(second) == "declined"

    async def gone() -> bool:
        return await s.copy(second) is None

    await s.eventually(gone, "the declined copy's end")
    assert (await s.get(second["id"], mailbox=s.organizer))["isCancelled"] is False


@TABLE.case("6.7", "meetings that only touch do not conflict", needs=_BOTH)
async def back_to_back(s: Subject) -> None:
    for hour in (9, 10):
        assert await s.room_answer(await s.book(s.soon(hour=hour))) == "accepted"


@TABLE.case("6.7", "a meeting longer than a day is declined", needs=_BOTH)
async def too_long(s: Subject) -> None:
    assert await s.room_answer(await s.book(s.soon(), minutes=1441)) == "declined"


@TABLE.case("6.7", "a meeting beyond 180 days is declined", needs=_BOTH)
async def too_far(s: Subject) -> None:
    assert await s.room_answer(await s.book(s.soon(days=200))) == "declined"


@TABLE.case("6.5", "an event written straight to the room's calendar meets no conflict check", needs=_BOTH)
async def direct_conflict(s: Subject) -> None:
    start = s.soon()
    made = await s.book(start)
    await _settled(s, made)
    times = {"start": in_utc(start), "end": in_utc(start + timedelta(hours=1))}
    direct = await s.create(mailbox=s.room, **times)
    assert (direct["isOrganizer"], direct["subject"]) == (True, "Contract")


@TABLE.case("6.6", "a meeting moved by its organizer moves in the room, under the same id", needs=_BOTH)
async def moved(s: Subject) -> None:
    start = s.soon()
    made = await s.book(start)
    copy = await _settled(s, made)
    later = start + timedelta(hours=3)
    await s.patch(made["id"], {"start": in_utc(later), "end": in_utc(later + timedelta(hours=1))}, mailbox=s.organizer)

    async def there() -> Json | None:
        found = await s.copy(made, later)
        return found if found is not None and found["responseStatus"]["response"] == "accepted" else None

    after = await s.eventually(there, "the moved copy")
    assert (after["id"], after["iCalUId"]) == (copy["id"], copy["iCalUId"])


@TABLE.case("6.7", "a cancelled meeting frees the room, kept as cancelled and free or not at all", needs=_BOTH)
async def cancelled(s: Subject) -> None:
    start = s.soon()
    made = await s.book(start)
    await _settled(s, made)
    assert await s.act(made["id"], "cancel", {"Comment": "Sorry"}, mailbox=s.organizer) == 202

    async def freed() -> bool:
        copy = await s.copy(made, start)
        return copy is None or copy["isCancelled"] is True

    await s.eventually(freed, "the cancellation in the room")
    copy = await s.copy(made, start)
    if copy is not None:
        assert copy["showAs"] == "free"
        assert copy["subject"].startswith("Canceled:")
    assert await s.room_answer(await s.book(start)) == "accepted"


@TABLE.case("6.6", "deleting the organizer's event cancels it too", needs=_BOTH)
async def deleted_by_organizer(s: Subject) -> None:
    start = s.soon()
    made = await s.book(start)
    await _settled(s, made)
    assert (await s.graph.delete(s.url(made["id"], s.organizer))).status_code == 204

    async def freed() -> bool:
        copy = await s.copy(made, start)
        return copy is None or copy["isCancelled"] is True

    await s.eventually(freed, "the cancellation in the room")


@TABLE.case("6.6", "an attendee cannot cancel", needs=_BOTH)
async def attendee_cancels(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    answer = await s.graph.post(f"{s.url(copy['id'], s.room)}/cancel", json={"Comment": "no"})
    assert "organizer" in assert_refused(answer, 400, "ErrorInvalidRequest")["message"]


@TABLE.case("6.6", "a decline from the room's calendar frees it and tells the organizer", needs=_BOTH)
async def declined_later(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    assert await s.act(copy["id"], "decline", {"SendResponse": True}, mailbox=s.room) == 202
    assert await s.room_answer(made, "declined") == "declined"
    assert (await s.graph.get(s.url(copy["id"], s.room))).status_code == 404
    assert (await s.get(made["id"], mailbox=s.organizer))["isCancelled"] is False


@TABLE.case("6.6", "a deletion from the room's calendar frees it and tells nobody", needs=_BOTH)
async def deleted_from_room(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    assert (await s.graph.delete(s.url(copy["id"], s.room))).status_code == 204
    assert await s.copy(made) is None
    assert await s.room_answer(made) == "accepted"


@TABLE.case("6.6", "a change of the room's copy stays there", needs=_BOTH)
async def changed_in_room(s: Subject) -> None:
    made = await s.book(s.soon())
    copy = await _settled(s, made)
    await s.patch(copy["id"], {"subject": "Seen here only"}, mailbox=s.room)
    assert (await s.get(made["id"], mailbox=s.organizer))["subject"] == "Plans"


@TABLE.case("6.7", "a series is answered once, and its occurrences carry the answer", needs=_BOTH)
async def series(s: Subject) -> None:
    start = s.soon()
    recurrence = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": start.date().isoformat()},
    }
    made = await s.book(start, recurrence=recurrence)
    assert await s.room_answer(made) == "accepted"

    async def settled() -> list[Json] | None:
        found = await s.copies(start - timedelta(days=1), start + timedelta(days=5), made["iCalUId"])
        accepted = [one for one in found if one["responseStatus"]["response"] == "accepted"]
        return accepted if len(accepted) == 3 else None

    copies = await s.eventually(settled, "the room's occurrences")
    assert {one["type"] for one in copies} == {"occurrence"}
    assert len({one["seriesMasterId"] for one in copies}) == 1


@TABLE.case("6.7", "a series with one conflict is declined as a whole", needs=_BOTH)
async def series_conflict(s: Subject) -> None:
    start = s.soon()
    await _settled(s, await s.book(start + timedelta(days=1)))
    recurrence = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": start.date().isoformat()},
    }
    assert await s.room_answer(await s.book(start, recurrence=recurrence)) == "declined"


@TABLE.case("6.7", "a series without an end is declined, for it goes beyond the booking window", needs=_BOTH)
async def endless_series(s: Subject) -> None:
    start = s.soon()
    recurrence = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "noEnd", "startDate": start.date().isoformat()},
    }
    assert await s.room_answer(await s.book(start, recurrence=recurrence)) == "declined"


@TABLE.case(
    "6.7",
    "each setting of the room does what its page says",
    emulator_only=_SETTINGS,
    rows={
        "allow-conflicts": ({"AllowConflicts": True}, {}, "accepted", {}),
        "keep-subject": (
            {"DeleteSubject": False, "AddOrganizerToSubject": False},
            {},
            "accepted",
            {"subject": "Plans"},
        ),
        "add-organizer": ({"DeleteSubject": False}, {}, "accepted", {"subject": "Ada Lovelace Plans"}),
        "no-subject": ({"AddOrganizerToSubject": False}, {}, "accepted", {"subject": ""}),
        "keep-comments": ({"DeleteComments": False}, {}, "accepted", {"bodyPreview": "Bring the drawings."}),
        "keep-private": (
            {"RemovePrivateProperty": False},
            {"sensitivity": "private"},
            "accepted",
            {"sensitivity": "private"},
        ),
        "keep-reminder": ({"DisableReminders": False}, {"isReminderOn": True}, "accepted", {"isReminderOn": True}),
        "short-window": ({"BookingWindowInDays": 10}, {}, "declined", None),
        "long-window": ({"BookingWindowInDays": 30}, {}, "accepted", {}),
        "short-duration": ({"MaximumDurationInMinutes": 59}, {}, "declined", None),
        "minimum-duration": ({"MinimumDurationInMinutes": 61}, {}, "declined", None),
    },
)
async def setting(s: Emulated, settings: Json, more: Json, answer: str, shown: dict[str, Any] | None) -> None:
    await s.change_mailbox(s.room, settings=settings)
    start = s.soon()
    if settings.get("AllowConflicts"):
        await s.book(start)
        await s.rest()
    made = await s.book(start, **more)
    assert await s.room_answer(made) == answer
    await s.rest()
    copy = await s.copy(made)
    if shown is None:
        assert copy is None
    else:
        assert copy is not None
        assert {name: copy[name] for name in shown} == shown


@TABLE.case("6.7", "a room that only updates leaves the answer to somebody", emulator_only=_SETTINGS)
async def auto_update(s: Emulated) -> None:
    await s.change_mailbox(s.room, settings={"AutomateProcessing": "AutoUpdate"})
    made = await s.book(s.soon())
    await s.rest()
    copy = await s.copy(made)
    assert copy is not None
    assert copy["showAs"] == "tentative"
    assert await s.act(copy["id"], "accept", {"SendResponse": True}, mailbox=s.room) == 202
    assert await s.room_answer(made) == "accepted"


@TABLE.case("6.7", "a room that processes nothing shows nothing", emulator_only=_SETTINGS)
async def no_processing(s: Emulated) -> None:
    await s.change_mailbox(s.room, settings={"AutomateProcessing": "None"})
    made = await s.book(s.soon())
    await s.rest()
    assert await s.copy(made) is None


@TABLE.case("6.7", "a room that allows no series declines them", emulator_only=_SETTINGS)
async def no_series(s: Emulated) -> None:
    await s.change_mailbox(s.room, settings={"AllowRecurringMeetings": False})
    start = s.soon()
    recurrence = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": 2, "startDate": start.date().isoformat()},
    }
    assert await s.room_answer(await s.book(start, recurrence=recurrence)) == "declined"


@TABLE.case(
    "6.7",
    "a room can drop what was cancelled",
    emulator_only=_SETTINGS,
    rows={"dropped": (True, 0), "kept": (False, 1)},
)
async def cancelled_copies(s: Emulated, remove: bool, count: int) -> None:
    await s.change_mailbox(s.room, settings={"RemoveCanceledMeetings": remove})
    start = s.soon()
    made = await s.book(start)
    await s.rest()
    await s.act(made["id"], "cancel", mailbox=s.organizer)
    await s.rest()
    assert len(await s.copies(start, start + timedelta(hours=1), made["iCalUId"])) == count
