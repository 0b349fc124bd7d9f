"""Sections 6.4, 7.1 and 10 on what is asked beyond plain reading: filters, expansions, extras, availability, other ids."""

from __future__ import annotations

from typing import Any

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Json, Subject, assert_refused, in_utc

TABLE = Table()
_BOOKING_ID = "String {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Name bookingId"
_SINGLE = "singleValueExtendedProperties"
_EXTENSION = {"@odata.type": "microsoft.graph.openTypeExtension", "extensionName": "org.example.booking", "deal": 8812}


@TABLE.case(
    "5.2",
    "$filter keeps what it says",
    rows={
        "start-after": ("start/dateTime ge '2035-03-05T12:00:00'", ["late"]),
        "start-between": (
            "start/dateTime ge '2035-03-05T08:00:00' and end/dateTime le '2035-03-05T10:00:00'",
            ["early"],
        ),
        "subject": ("subject eq 'late'", ["late"]),
        "starts-with": ("startswith(subject,'ear')", ["early"]),
        "enum": ("showAs eq 'free'", ["late"]),
        "or": ("subject eq 'early' or subject eq 'late'", ["early", "late"]),
        "not": ("not(subject eq 'early')", ["late"]),
        "nothing": ("subject eq 'neither'", []),
    },
)
async def filtered(s: Subject, text: str, subjects: list[str]) -> None:
    await s.create(subject="early")
    await s.create(subject="late", start=s.at(14), end=s.at(15), showAs="free")
    found = await s.pages(f"/users/{s.mailbox}/events", {"$filter": text})
    assert sorted(one["subject"] for one in found) == subjects


@TABLE.case(
    "10",
    "a filter that makes no sense is refused",
    rows={"syntax": ("subject eq",), "unknown-property": ("colour eq 'red'",), "unknown-word": ("subject equals 'x'",)},
)
async def bad_filter(s: Subject, text: str) -> None:
    assert_refused(await s.graph.get(f"/users/{s.mailbox}/events", params={"$filter": text}), 400)


@TABLE.case("6.2", "a calendar UID finds its event")
async def filter_by_uid(s: Subject) -> None:
    made = await s.create()
    await s.create()
    found = await s.pages(f"/users/{s.mailbox}/events", {"$filter": f"iCalUId eq '{made['iCalUId']}'"})
    assert [one["id"] for one in found] == [made["id"]]


@TABLE.case("6.4", "an extended property is told only when expanded")
async def extended_property(s: Subject) -> None:
    made = await s.create(singleValueExtendedProperties=[{"id": _BOOKING_ID, "value": "8812"}])
    assert _SINGLE not in made
    assert _SINGLE not in await s.get(made["id"])
    shown = await s.get(made["id"], expand=f"{_SINGLE}($filter=id eq '{_BOOKING_ID}')")
    assert shown[_SINGLE] == [{"id": _BOOKING_ID, "value": "8812"}]


@TABLE.case("6.4", "an extended property finds its event, in any case of its value's letters")
async def filter_by_extended_property(s: Subject) -> None:
    made = await s.create(singleValueExtendedProperties=[{"id": _BOOKING_ID, "value": "a-8812"}])
    await s.create(singleValueExtendedProperties=[{"id": _BOOKING_ID, "value": "other"}])
    for value in ("a-8812", "A-8812"):
        text = f"{_SINGLE}/Any(ep: ep/id eq '{_BOOKING_ID}' and ep/value eq '{value}')"
        found = await s.pages(f"/users/{s.mailbox}/events", {"$filter": text})
        assert [one["id"] for one in found] == [made["id"]]


@TABLE.case("6.4", "an extended property is of one mailbox's copy only", needs={"room", "organizer"})
async def extended_property_stays(s: Subject) -> None:
    made = await s.book(s.soon(), singleValueExtendedProperties=[{"id": _BOOKING_ID, "value": "8812"}])
    await s.room_answer(made)
    copy = await s.copy(made)
    assert copy is not None
    expand = f"{_SINGLE}($filter=id eq '{_BOOKING_ID}')"
    assert not (await s.get(copy["id"], mailbox=s.room, expand=expand)).get(_SINGLE)
    assert (await s.get(made["id"], mailbox=s.organizer, expand=expand))[_SINGLE]


@TABLE.case("6.4", "an open extension is told when expanded")
async def open_extension(s: Subject) -> None:
    made = await s.create(extensions=[_EXTENSION])
    assert "extensions" not in await s.get(made["id"])
    (shown,) = (await s.get(made["id"], expand="extensions"))["extensions"]
    assert (shown["extensionName"], shown["deal"]) == ("org.example.booking", 8812)


@TABLE.case("6.2", "the master shows its exceptions when they are expanded")
async def exception_occurrences(s: Subject) -> None:
    master = await s.create_series({"type": "daily"})
    second = (await s.view(0, 7))[1]
    await s.patch(second["id"], {"subject": "Another"})
    shown = (await s.get(master["id"], expand="exceptionOccurrences"))["exceptionOccurrences"]
    assert [(one["id"], one["subject"], one["type"]) for one in shown] == [(second["id"], "Another", "exception")]


@TABLE.case("6.3", "ids are translated in bulk")
async def translated_ids(s: Subject) -> None:
    made = await s.create()
    mutable = (await s.get(made["id"], prefer='IdType="RestId"'))["id"]
    body = {"inputIds": [mutable], "sourceIdType": "restId", "targetIdType": "restImmutableEntryId"}
    answer = await s.graph.post(f"/users/{s.mailbox}/translateExchangeIds", json=body)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["value"]
    assert (found["sourceId"], found["targetId"]) == (mutable, made["id"])


async def _schedules(s: Subject, addresses: list[str], hours: tuple[float, float], **more: Any) -> Any:  # Any: JSON
    body = {"schedules": addresses, "startTime": s.at(hours[0]), "endTime": s.at(hours[1]), **more}
    return await s.graph.post(f"/users/{s.mailbox}/calendar/getSchedule", json=body)


@TABLE.case("7.1", "a schedule is a digit for each interval, and its items")
async def schedule(s: Subject) -> None:
    await s.create(location={"displayName": "East"})
    await s.create(start=s.at(11), end=s.at(12), showAs="tentative")
    answer = await _schedules(s, [s.mailbox], (8, 13), availabilityViewInterval=60)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["value"]
    assert (found["scheduleId"], found["availabilityView"]) == (s.mailbox, "02010")
    items = [
        (one["status"], one["start"]["dateTime"], one["subject"], one["location"]) for one in found["scheduleItems"]
    ]
    assert items == [
        ("busy", s.at(9)["dateTime"] + ".0000000", "Contract", "East"),
        ("tentative", s.at(11)["dateTime"] + ".0000000", "Contract", ""),
    ]
    assert set(found["workingHours"]) == {"daysOfWeek", "startTime", "endTime", "timeZone"}


@TABLE.case(
    "7.1",
    "each status has its digit",
    rows={
        status: (status, digit) for status, digit in (("free", "0"), ("tentative", "1"), ("busy", "2"), ("oof", "3"))
    },
)
async def digit(s: Subject, status: str, digit: str) -> None:
    await s.create(showAs=status)
    answer = await _schedules(s, [s.mailbox], (9, 10), availabilityViewInterval=60)
    assert answer.json()["value"][0]["availabilityView"] == digit


@TABLE.case("7.1", "an interval is thirty minutes unless asked")
async def default_interval(s: Subject) -> None:
    answer = await _schedules(s, [s.mailbox], (8, 12))
    assert answer.json()["value"][0]["availabilityView"] == "00000000"


@TABLE.case("7.1", "an address nobody has is an error in its own place")
async def unknown_schedule(s: Subject) -> None:
    nobody = f"nobody.at.all@{s.mailbox.partition('@')[2]}"
    answer = await _schedules(s, [s.mailbox, nobody], (8, 12))
    assert answer.status_code == 200
    known, unknown = answer.json()["value"]
    assert "error" not in known
    assert unknown["scheduleId"] == nobody
    assert unknown["error"]["responseCode"] in ("5016", "5009")
    assert unknown["error"]["message"]


@TABLE.case(
    "7.1",
    "a question too wide is refused",
    rows={
        "63-days": ((0, 63 * 24), 1, {}, ("ErrorTimeIntervalTooBig",)),
        "21-schedules": ((8, 12), 21, {}, ()),
        "interval-4": ((8, 12), 1, {"availabilityViewInterval": 4}, ()),
        "interval-1441": ((8, 12), 1, {"availabilityViewInterval": 1441}, ()),
        "backwards": ((12, 8), 1, {}, ()),
    },
)
async def wide_schedule(s: Subject, hours: tuple[float, float], count: int, more: Json, codes: tuple[str, ...]) -> None:
    assert_refused(await _schedules(s, [s.mailbox] * count, hours, **more), 400, *codes)


@TABLE.case("7.1", "62 days are not too wide")
async def widest_schedule(s: Subject) -> None:
    assert (await _schedules(s, [s.mailbox], (0, 62 * 24))).status_code == 200


@TABLE.case("7.1", "a private item is told without its subject")
async def private_schedule(s: Subject) -> None:
    await s.create(sensitivity="private")
    answer = await _schedules(s, [s.mailbox], (8, 12))
    (item,) = answer.json()["value"][0]["scheduleItems"]
    assert item["isPrivate"] is True


@TABLE.case("7.1", "a room that accepted is busy, and free again when it is cancelled", needs={"room", "organizer"})
async def room_schedule(s: Subject) -> None:
    start = s.soon()
    made = await s.book(start)
    await s.room_answer(made)

    async def view() -> str:
        body = {
            "schedules": [s.room],
            "startTime": in_utc(start),
            "endTime": made["end"],
            "availabilityViewInterval": 60,
        }
        answer = await s.graph.post(f"/users/{s.mailbox}/calendar/getSchedule", json=body)
        return str(answer.json()["value"][0]["availabilityView"])

    assert await view() == "2"
    await s.act(made["id"], "cancel", mailbox=s.organizer)

    async def is_free() -> bool:
        return await view() == "0"

    await s.eventually(is_free, "the room's being free")


@TABLE.case("5.5", "a delta link that is too old asks to start over", emulator_only="links are made to expire")
async def expired_link(s: Emulated) -> None:
    await s.rig.told("PUT", "/control/moods", {"delta_token_lifetime_s": 86400})
    _, link = await s.delta_round()
    await s.advance(86401)
    await s.sign_in()
    answer = await s.graph.get(link)
    assert_refused(answer, (400, 404, 410), "SyncStateNotFound", "ResyncRequired", "SyncStateInvalid")
