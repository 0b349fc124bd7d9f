"""calendarView/delta on bad days: links that expire, rounds that never end, pages of odd sizes, items filed elsewhere."""

from typing import Any

import pytest

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime
WINDOW = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2027-01-31T00:00:00Z"}
IMMUTABLE = 'IdType="ImmutableId"'
Page = dict[str, Any]


async def post(r: Rig, day: int = 24, **event: Any) -> dict[str, Any]:
    body = wire_event(f"2026-11-{day}T09:00:00", f"2026-11-{day}T10:00:00", **event)
    answer = await r.graph.post(f"/users/{r.room}/events", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def daily(count: int) -> dict[str, Any]:
    return {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": count, "startDate": "2026-11-24"},
    }


async def page(r: Rig, link: str | None = None, prefer: str = IMMUTABLE) -> Page:
    url, params = (link, None) if link else (f"/users/{r.room}/calendarView/delta", WINDOW)
    answer = await r.graph.get(url, params=params, headers={"prefer": prefer})
    assert answer.status_code == 200, answer.text
    found: Page = answer.json()
    return found


async def pages(r: Rig, link: str | None = None, prefer: str = IMMUTABLE) -> list[Page]:
    """Read a whole round."""
    found = [await page(r, link, prefer)]
    while "@odata.deltaLink" not in found[-1]:
        found.append(await page(r, found[-1]["@odata.nextLink"], prefer))
        assert len(found) < 200
    return found


def ids(found: list[Page]) -> list[str]:
    return [("-" if "@removed" in item else "+") + item["id"] for one in found for item in one["value"]]


async def test_link_asked_for_again_gives_the_same_page_and_the_same_next_link() -> None:
    async with rig() as r:
        for day in range(24, 29):
            await post(r, day)
        await r.told("PUT", "/control/moods", {"small_page_share": 0.5, "delta_repeat_share": 0.5})
        sized = f"{IMMUTABLE}, odata.maxpagesize=2"
        for one in await pages(r, prefer=sized):
            link = one.get("@odata.nextLink")
            if link is not None:
                assert await page(r, link, sized) == await page(r, link, sized)


async def test_delta_link_asked_for_again_tells_the_same_changes() -> None:
    async with rig() as r:
        link = (await pages(r))[-1]["@odata.deltaLink"]
        await post(r)
        first, again = await page(r, link), await page(r, link)
        assert first == again
        assert len(first["value"]) == 1
        await post(r, 25)
        assert len((await page(r, link))["value"]) == 2


async def test_change_outside_the_window_is_told_as_removed() -> None:
    async with rig() as r:
        link = (await pages(r))[-1]["@odata.deltaLink"]
        body = wire_event("2027-03-01T09:00:00", "2027-03-01T10:00:00")
        made = (await r.graph.post(f"/users/{r.room}/events", json=body, headers={"prefer": IMMUTABLE})).json()
        assert ids([await page(r, link)]) == [f"-{made['id']}"]


async def test_deleted_occurrence_causes_its_whole_series_to_be_told_again() -> None:
    async with rig() as r:
        await post(r, recurrence=daily(4))
        link = (await pages(r))[-1]["@odata.deltaLink"]
        second = (await r.view("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"))[0]
        await r.graph.delete(r.event_url(second["id"]))
        told = ids([await page(r, link)])
        assert len([one for one in told if one[0] == "+"]) == 4  # the master and what is left
        assert f"-{second['id']}" in told


async def test_deleted_series_is_told_with_its_occurrences_whoever_has_looked_at_them() -> None:
    async with rig() as r:
        master = await post(r, recurrence=daily(3))
        first = await pages(r)
        told = ids(first)
        await r.graph.patch(r.event_url(master["id"]), json={"subject": "New"})  # what was shown is forgotten
        await r.graph.delete(r.event_url(master["id"]))
        gone = ids(await pages(r, first[-1]["@odata.deltaLink"]))
        assert sorted(gone) == sorted(f"-{one[1:]}" for one in told)
        assert len(told) == 4


async def test_unkind_page_goes_on_to_the_end_of_its_series() -> None:
    async with rig() as r:
        await post(r, recurrence=daily(30))
        await post(r, 24)
        await r.told("PUT", "/control/moods", {"delta_whole_series_share": 1})
        sizes = [len(one["value"]) for one in await pages(r, prefer="odata.maxpagesize=5")]
        assert max(sizes) > 20
        assert sum(sizes) == 32


async def test_unkind_round_has_empty_pages_and_repeats_and_still_tells_everything() -> None:
    async with rig() as r:
        made = {(await post(r, day))["id"] for day in range(20, 29)}
        await r.told("PUT", "/control/moods", {"delta_empty_page_share": 0.5, "delta_repeat_share": 0.5})
        found = await pages(r, prefer="odata.maxpagesize=2")
        assert any(not one["value"] and "@odata.nextLink" in one for one in found)
        told = ids(found)
        assert len(told) > len(set(told))
        assert set(told) == {f"+{one}" for one in made}


@pytest.mark.parametrize("option", ["$filter", "$expand", "$orderby", "$search", "$skip", "$count"])
async def test_delta_takes_no_other_options(option: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/calendarView/delta", params={**WINDOW, option: "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 410, "SyncStateNotFound"),
        ({"status": 410, "code": "resyncRequired"}, 410, "resyncRequired"),
        ({"status": 400, "code": "SyncStateInvalid"}, 400, "SyncStateInvalid"),
        ({"status": 404, "code": "ResyncRequired"}, 404, "ResyncRequired"),
    ],
)
async def test_control_expires_links_in_any_of_microsofts_ways(body: dict[str, Any], status: int, code: str) -> None:
    async with rig() as r:
        await post(r)
        await post(r, 25)
        first = await page(r, prefer="odata.maxpagesize=1")
        delta_link = (await pages(r))[-1]["@odata.deltaLink"]
        await r.told("POST", r.path(f"/calendars/{r.room}/expire_delta"), body)
        for link in (first["@odata.nextLink"], delta_link):
            answer = await r.graph.get(link)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert ("location" in answer.headers) == (status == 410)
        assert len(ids(await pages(r))) == 2


async def test_location_of_a_gone_link_starts_the_same_window_over() -> None:
    async with rig() as r:
        made = await post(r)
        link = (await pages(r))[-1]["@odata.deltaLink"]
        await r.told("POST", r.path(f"/calendars/{r.room}/expire_delta"), {})
        start_url = (await r.graph.get(link)).headers["location"]
        assert start_url.endswith("$deltatoken=")
        assert ids(await pages(r, start_url, prefer='IdType="RestId"')) == [f"+{made['id']}"]


async def test_links_expire_with_age_and_then_stay_expired_the_same_way() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"delta_token_lifetime_s": 3600, "delta_odd_expiry_share": 1})
        link = (await pages(r))[-1]["@odata.deltaLink"]
        await sleep(r.clock, 3599)
        assert (await r.graph.get(link)).status_code == 200
        await sleep(r.clock, 2)
        first, again = await r.graph.get(link), await r.graph.get(link)
        assert first.status_code in (400, 404, 410)
        assert first.json()["error"]["code"].lower() in ("syncstatenotfound", "resyncrequired", "syncstateinvalid")
        assert first.json()["error"]["code"] == again.json()["error"]["code"]


@pytest.mark.parametrize("token", ["$skiptoken=x", "$skiptoken=x.1", "$deltatoken=latest"])
async def test_token_nobody_gave_out_asks_to_start_over(token: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/calendarView/delta?{token}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "SyncStateNotFound")


async def test_page_that_was_never_linked_to_is_gone() -> None:
    async with rig() as r:
        await post(r)
        await post(r, 25)
        link = (await page(r, prefer="odata.maxpagesize=1"))["@odata.nextLink"]
        for odd in ("9", "-1", "x"):
            assert (await r.graph.get(link.rsplit(".", 1)[0] + f".{odd}")).status_code == 410


async def test_links_work_on_their_own_mailbox_only() -> None:
    async with rig() as r:
        link = (await pages(r))[-1]["@odata.deltaLink"]
        assert (await r.graph.get(link.replace(r.room, r.ada))).status_code == 410


async def test_endless_round_repeats_its_pages_under_new_links_until_it_is_told_to_end() -> None:
    async with rig() as r:
        made = [(await post(r, day))["id"] for day in (24, 25, 26)]
        await r.told("POST", r.path(f"/calendars/{r.room}/endless_delta"), {"on": True})
        link, links, told = None, set(), []
        for _ in range(12):
            one = await page(r, link, "odata.maxpagesize=2")
            assert "@odata.deltaLink" not in one
            told += [item["id"] for item in one["value"]]
            link = one["@odata.nextLink"]
            links.add(link)
        assert len(links) == 12
        assert told == made * 6
        await r.told("POST", r.path(f"/calendars/{r.room}/endless_delta"), {"on": False})
        assert "@odata.deltaLink" in (await pages(r, link))[-1]


async def test_scripted_fault_keeps_one_mailbox_from_answering_delta() -> None:
    async with rig() as r:
        fault = {"match": {"path": f"{r.room}/calendarView/delta", "count": 0}, "effect": {"status": 503}}
        await r.told("POST", "/control/faults", fault)
        for room, status in ((r.room, 503), (r.rooms[1]["address"], 200)):
            answer = await r.graph.get(f"/users/{room}/calendarView/delta", params=WINDOW)
            assert answer.status_code == status
        assert (await r.graph.get(f"/users/{r.room}/calendarView", params=WINDOW)).status_code == 200


async def test_item_filed_elsewhere_goes_and_comes_for_readers_of_mutable_ids_only() -> None:
    async with rig() as r:
        made = await post(r)
        immutable = (await r.graph.get(r.event_url(made["id"]), headers={"prefer": IMMUTABLE})).json()["id"]
        plain = 'IdType="RestId"'
        links = {prefer: (await pages(r, prefer=prefer))[-1]["@odata.deltaLink"] for prefer in (plain, IMMUTABLE)}
        moved = await r.told("POST", r.path("/outlook/refile"), {"address": r.room, "event": made["id"]})
        assert sorted(ids([await page(r, links[plain], plain)])) == [f"+{moved['mutable_id']}", f"-{made['id']}"]
        assert ids([await page(r, links[IMMUTABLE])]) == [f"+{immutable}"]


async def test_series_filed_elsewhere_takes_its_occurrences_ids_along() -> None:
    async with rig() as r:
        made, plain = await post(r, recurrence=daily(3)), 'IdType="RestId"'
        first = await pages(r, prefer=plain)
        await r.told("POST", r.path("/outlook/refile"), {"address": r.room, "event": made["id"]})
        second = await pages(r, first[-1]["@odata.deltaLink"], plain)
        gone = {one[1:] for one in ids(second) if one[0] == "-"}
        come = {one[1:] for one in ids(second) if one[0] == "+"}
        assert gone == {one[1:] for one in ids(first)}
        view = await r.view(WINDOW["startDateTime"], WINDOW["endDateTime"], headers={})
        assert come == {item["id"] for item in view} | {view[0]["seriesMasterId"]}


async def test_forgotten_rounds_ask_to_start_over_and_the_newest_works() -> None:
    """Positions are bounded: a reader who never comes back costs nothing for ever."""
    async with rig() as r:
        for _ in range(3):
            await post(r, recurrence=daily(60))
        first = (await pages(r, prefer="odata.maxpagesize=1000"))[-1]["@odata.deltaLink"]
        for _ in range(130):
            last = await page(r, prefer="odata.maxpagesize=1000")
        assert (await r.graph.get(first)).status_code == 410
        assert (await r.graph.get(last["@odata.deltaLink"])).status_code == 200
