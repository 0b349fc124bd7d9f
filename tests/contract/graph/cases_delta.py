"""Sections 5.3 to 5.5: rounds of calendarView/delta."""

from __future__ import annotations

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import IMMUTABLE, Json, Subject, assert_refused
from tests.support.delta_copy import DeltaCopy

TABLE = Table()
_REDUCED = {"@odata.type", "@odata.etag", "id", "type", "seriesMasterId", "start", "end"}
_DAILY = {"type": "daily"}


async def _viewed(s: Subject, first_day: float = 0, last_day: float = 7) -> set[tuple[str, str, str]]:
    shown = await s.view(first_day, last_day, top="500")
    return {(one["id"], one["start"]["dateTime"], one["end"]["dateTime"]) for one in shown}


@TABLE.case("5.3", "the first round tells everything in the window and ends with a delta link")
async def first_round(s: Subject) -> None:
    made = await s.create()
    await s.create(start=s.at(9, day=9), end=s.at(10, day=9))
    told, link = await s.delta_round()
    assert [one["id"] for one in told if "@removed" not in one] == [made["id"]]
    assert "$deltatoken=" in link
    assert told[0]["@odata.type"] == "#microsoft.graph.event"


@TABLE.case("5.3", "single events are told in full")
async def full_single(s: Subject) -> None:
    made = await s.create(body={"contentType": "text", "content": "Minutes."})
    ((told,), _) = await s.delta_round()
    assert {name: told[name] for name in ("subject", "changeKey", "iCalUId")} == {
        name: made[name] for name in ("subject", "changeKey", "iCalUId")
    }
    assert "Minutes." in told["body"]["content"]


@TABLE.case("5.4", "a series is its master once and occurrences with little more than their times")
async def reduced_occurrences(s: Subject) -> None:
    master = await s.create_series(_DAILY)
    told, _ = await s.delta_round()
    assert [one["id"] for one in told if one["type"] == "seriesMaster"] == [master["id"]]
    occurrences = [one for one in told if one["type"] == "occurrence"]
    assert len(occurrences) == 4
    for one in occurrences:
        assert set(one) <= _REDUCED
        assert one["seriesMasterId"] == master["id"]


@TABLE.case("5.4", "exceptions are told in full")
async def full_exceptions(s: Subject) -> None:
    await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    await s.patch(second["id"], {"subject": "Another"})
    told, _ = await s.delta_round()
    (exception,) = [one for one in told if one["type"] == "exception"]
    assert (exception["id"], exception["subject"]) == (second["id"], "Another")


@TABLE.case("5.3", "a round after nothing happened is empty and gives a link again")
async def quiet_round(s: Subject) -> None:
    await s.create()
    _, link = await s.delta_round()
    told, following = await s.delta_round(link)
    assert told == []
    assert (await s.delta_round(following))[0] == []


@TABLE.case("5.3", "a round tells what was made, changed and deleted since")
async def changes(s: Subject) -> None:
    kept, gone = await s.create(), await s.create(start=s.at(11), end=s.at(12))
    _, link = await s.delta_round()
    new = await s.create(start=s.at(13), end=s.at(14))
    await s.patch(kept["id"], {"subject": "Changed"})
    await s.delete(gone["id"])
    told = {one["id"]: one for one in (await s.delta_round(link))[0]}
    assert set(told) == {kept["id"], gone["id"], new["id"]}
    assert told[kept["id"]]["subject"] == "Changed"
    assert told[gone["id"]]["@removed"] == {"reason": "deleted"}


@TABLE.case("5.3", "the same link told again gives the same again")
async def replay(s: Subject) -> None:
    _, link = await s.delta_round()
    made = await s.create()
    for _ in range(2):
        assert [one["id"] for one in (await s.delta_round(link))[0]] == [made["id"]]


@TABLE.case("5.3", "an event that leaves the window is removed, one that enters is told")
async def window_moves(s: Subject) -> None:
    inside, outside = await s.create(), await s.create(start=s.at(9, day=9), end=s.at(10, day=9))
    copy = DeltaCopy()
    told, link = await s.delta_round()
    copy.take(told)
    await s.patch(inside["id"], {"start": s.at(9, day=10), "end": s.at(10, day=10)})
    await s.patch(outside["id"], {"start": s.at(9, day=1), "end": s.at(10, day=1)})
    told, _ = await s.delta_round(link)
    copy.take(told)
    assert copy.shown() == await _viewed(s)
    assert [one for one, _, _ in copy.shown()] == [outside["id"]]


@TABLE.case("5.3", "news from outside the window is @removed or nothing")
async def outside_the_window(s: Subject) -> None:
    _, link = await s.delta_round()
    await s.create(start=s.at(9, day=9), end=s.at(10, day=9))
    assert all("@removed" in one for one in (await s.delta_round(link))[0])


async def _delete_one(s: Subject, shown: list[Json], master: Json) -> None:
    await s.delete(shown[1]["id"])


async def _move_one(s: Subject, shown: list[Json], master: Json) -> None:
    await s.patch(shown[1]["id"], {"start": s.at(14, day=1), "end": s.at(15, day=1)})


async def _move_all(s: Subject, shown: list[Json], master: Json) -> None:
    await s.patch(master["id"], {"start": s.at(11), "end": s.at(12)})


async def _rename_all(s: Subject, shown: list[Json], master: Json) -> None:
    await s.patch(master["id"], {"subject": "Changed"})


async def _delete_all(s: Subject, shown: list[Json], master: Json) -> None:
    await s.delete(master["id"])


@TABLE.case(
    "5.4",
    "a changed series is told so that a consumer who replaces it ends with the view",
    rows={
        "delete-one": (_delete_one,),
        "move-one": (_move_one,),
        "move-all": (_move_all,),
        "rename-all": (_rename_all,),
        "delete-all": (_delete_all,),
    },
)
async def changed_series(s: Subject, change: object) -> None:
    master = await s.create_series(_DAILY)
    copy = DeltaCopy()
    told, link = await s.delta_round()
    copy.take(told)
    assert copy.shown() == await _viewed(s)
    await change(s, await s.view(0, 7), master)  # type: ignore[operator]  # one of the functions above
    told, _ = await s.delta_round(link)
    assert told
    copy.take(told)
    assert copy.shown() == await _viewed(s)


@TABLE.case("5.3", "odata.maxpagesize makes more pages, whose links carry a skip token")
async def page_size(s: Subject) -> None:
    for hour in range(5):
        await s.create(start=s.at(hour), end=s.at(hour + 1))
    prefer = f"{IMMUTABLE}, odata.maxpagesize=2"
    answer = await s.graph.get(
        f"/users/{s.mailbox}/calendarView/delta", params=s.window(0, 7), headers={"prefer": prefer}
    )
    assert "$skiptoken=" in answer.json()["@odata.nextLink"]
    assert "@odata.deltaLink" not in answer.json()
    told, _ = await s.delta_round(prefer=prefer)
    assert len({one["id"] for one in told}) == 5


@TABLE.case(
    "5.3",
    "delta takes no $top, no $select and none of the others",
    rows={name: (f"${name}", value) for name, value in (("top", "5"), ("select", "subject"))},
)
async def no_options(s: Subject, option: str, value: str) -> None:
    params = {**s.window(), option: value}
    answer = await s.graph.get(f"/users/{s.mailbox}/calendarView/delta", params=params)
    assert_refused(answer, 400)


@TABLE.case("5.3", "delta needs a window to begin with")
async def no_window(s: Subject) -> None:
    assert_refused(await s.graph.get(f"/users/{s.mailbox}/calendarView/delta"), 400)


@TABLE.case("5.5", "an unknown token asks to start over")
async def unknown_token(s: Subject) -> None:
    answer = await s.graph.get(f"/users/{s.mailbox}/calendarView/delta", params={"$deltatoken": "R0usmcCM996atia_s"})
    assert_refused(answer, (400, 404, 410), "SyncStateNotFound", "ResyncRequired", "SyncStateInvalid")


@TABLE.case("5.3", "the preferred zone counts on each call of its own")
async def preferred_zone(s: Subject) -> None:
    await s.create()
    zone = f'{IMMUTABLE}, outlook.timezone="Pacific Standard Time"'
    ((told,), link) = await s.delta_round(prefer=zone)
    assert told["start"]["dateTime"][:16] == f"{s.day.date().isoformat()}T01:00"
    await s.patch(told["id"], {"subject": "Changed"})
    ((again,), _) = await s.delta_round(link)
    assert again["start"] == {"dateTime": s.at(9)["dateTime"] + ".0000000", "timeZone": "UTC"}


@TABLE.case(
    "5.5", "a token of another mailbox is worth nothing", emulator_only="it writes to a mailbox of somebody else"
)
async def foreign_token(s: Emulated) -> None:
    _, link = await s.delta_round()
    token = link.partition("$deltatoken=")[2]
    answer = await s.graph.get(f"/users/{s.organizer}/calendarView/delta", params={"$deltatoken": token})
    assert_refused(answer, (400, 404, 410), "SyncStateNotFound", "ResyncRequired", "SyncStateInvalid")
