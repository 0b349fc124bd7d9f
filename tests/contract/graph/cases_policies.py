"""Sections 6.7 and 7.3: who may book a room and how, and more of the directory's places."""

from __future__ import annotations

from datetime import timedelta

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Json, Subject, assert_refused

TABLE = Table()
_SETTINGS = "the room's settings are changed"


@TABLE.case(
    "6.7",
    "each rule of the room decides, by its default or otherwise",
    emulator_only=_SETTINGS,
    rows={
        "reserved": ({"BookingType": "Reserved"}, {}, 9, "declined"),
        "work-hours": ({"ScheduleOnlyDuringWorkHours": True}, {}, 9, "accepted"),
        "after-hours": ({"ScheduleOnlyDuringWorkHours": True}, {}, 20, "declined"),
        "after-hours-by-default": ({}, {}, 20, "accepted"),
        "capacity": ({"EnforceCapacity": True}, {"capacity": 1}, 9, "declined"),
        "capacity-by-default": ({}, {"capacity": 1}, 9, "accepted"),
    },
)
async def rule(s: Emulated, settings: Json, place: Json, hour: int, answer: str) -> None:
    await s.change_mailbox(s.room, settings=settings, place=place)
    room = {"type": "resource", "emailAddress": {"address": s.room}}
    guests = [{"type": "required", "emailAddress": {"address": f"guest{at}@contract.invalid"}} for at in range(2)]
    start = s.soon(days=20, hour=hour)
    start += timedelta(days=(7 - start.weekday()) % 7)  # a Monday
    made = await s.book(start, attendees=[room, *guests] if place else [room])
    assert await s.room_answer(made) == answer


@TABLE.case(
    "6.7",
    "who may book is listed, or everybody may",
    emulator_only=_SETTINGS,
    rows={"listed": (True, "accepted"), "not-listed": (False, "declined")},
)
async def book_in_policy(s: Emulated, is_listed: bool, answer: str) -> None:
    listed = [s.organizer] if is_listed else [s.mailbox]
    await s.change_mailbox(s.room, settings={"AllBookInPolicy": False, "BookInPolicy": listed})
    assert await s.room_answer(await s.book(s.soon())) == answer


@TABLE.case("6.7", "a request that waits for a delegate shows as tentative", emulator_only=_SETTINGS)
async def pending_approval(s: Emulated) -> None:
    await s.change_mailbox(
        s.room,
        settings={"AllBookInPolicy": False, "AllRequestInPolicy": True, "ResourceDelegates": [s.organizer]},
    )
    made = await s.book(s.soon())
    await s.rest()
    copy = await s.copy(made)
    assert copy is not None
    assert copy["showAs"] == "tentative"
    assert await s.room_answer(made, "tentativelyAccepted", "none", "notResponded")


@TABLE.case("7.3", "a room is found by its address and by its ids", needs={"places", "room"})
async def room(s: Subject) -> None:
    by_address = (await s.graph.get(f"/places/{s.room}")).json()
    assert by_address["emailAddress"].lower() == s.room.lower()
    assert (await s.graph.get(f"/places/{by_address['id']}")).json()["emailAddress"] == by_address["emailAddress"]


@TABLE.case("7.3", "an unknown place is not found", needs={"places"})
async def unknown_place(s: Subject) -> None:
    assert_refused(await s.graph.get(f"/places/nowhere@{s.mailbox.partition('@')[2]}"), 404)


@TABLE.case("7.3", "room lists are listed, empty where there are none", needs={"places"})
async def room_lists(s: Subject) -> None:
    listed = await s.pages("/places/microsoft.graph.roomList")
    assert all(one["emailAddress"] and one["displayName"] for one in listed)


@TABLE.case("7.3", "rooms can be counted and selected", needs={"places", "room"})
async def room_options(s: Subject) -> None:
    listed = await s.pages("/places/microsoft.graph.room", {"$select": "id,emailAddress,capacity"})
    names = {name for one in listed for name in one if not name.startswith("@")}
    assert names == {"id", "emailAddress", "capacity"}
