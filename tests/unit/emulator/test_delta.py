"""calendarView/delta: rounds that, applied one after the other, equal the calendar."""

import random
from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
WINDOW = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2027-01-31T00:00:00Z"}
PREFER = {"prefer": 'IdType="ImmutableId", odata.maxpagesize=3'}


async def round_of(r: Rig, link: str | None, copy: dict[str, dict[str, Any]]) -> str:
    """Read one round into a copy; gives the next delta link."""
    url, params = (link, None) if link else (f"/users/{r.room}/calendarView/delta", WINDOW)
    while True:
        answer = await r.graph.get(url, params=params, headers=PREFER)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["value"]) <= 3
        for item in body["value"]:
            if "@removed" in item:
                copy.pop(item["id"], None)
            else:
                copy[item["id"]] = item
        if "@odata.deltaLink" in body:
            return str(body["@odata.deltaLink"])
        url, params = body["@odata.nextLink"], None


def shown(copy: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    return {(key, item["start"]["dateTime"]) for key, item in copy.items() if item["type"] != "seriesMaster"}


async def test_occurrences_are_reduced_and_the_master_comes_once() -> None:
    async with rig() as r:
        body = wire_event(
            "2026-11-23T09:00:00", "2026-11-23T10:00:00", recurrence=weekly("2026-11-23", days=["monday"], zone="UTC")
        )
        await r.graph.post(f"/users/{r.room}/events", json=body)
        copy: dict[str, dict[str, Any]] = {}
        link = await round_of(r, None, copy)
        kinds = [item["type"] for item in copy.values()]
        assert sorted(kinds) == ["occurrence"] * 4 + ["seriesMaster"]
        occurrence = next(item for item in copy.values() if item["type"] == "occurrence")
        assert set(occurrence) == {"@odata.type", "@odata.etag", "id", "type", "seriesMasterId", "start", "end"}
        quiet = (await r.graph.get(link, headers=PREFER)).json()
        assert quiet["value"] == []


@pytest.mark.parametrize("seed", range(6))
async def test_rounds_keep_a_copy_equal_to_the_view(seed: int) -> None:
    print(f"seed={seed}")
    rng = random.Random(seed)
    async with rig() as r:
        copy: dict[str, dict[str, Any]] = {}
        link: str | None = None
        for _ in range(6):
            for _ in range(rng.randint(1, 4)):
                await _change_something(r, rng)
            link = await round_of(r, link, copy)
            view = await r.view(WINDOW["startDateTime"], WINDOW["endDateTime"], top=1000)
            assert shown(copy) == {(item["id"], item["start"]["dateTime"]) for item in view}


async def _change_something(r: Rig, rng: random.Random) -> None:
    view = await r.view(WINDOW["startDateTime"], WINDOW["endDateTime"], top=1000)
    day, hour = rng.randint(24, 29), rng.randint(8, 16)
    times = {"start": {"dateTime": f"2026-11-{day}T{hour:02}:00:00", "timeZone": "UTC"}}
    times["end"] = {"dateTime": f"2026-11-{day}T{hour:02}:30:00", "timeZone": "UTC"}
    what = rng.choice(["post", "series", "patch", "delete", "delete_series"])
    if what == "post" or not view:
        await r.graph.post(f"/users/{r.room}/events", json={"subject": "x", **times})
    elif what == "series":
        recurrence = {
            "pattern": {"type": "daily", "interval": 9},
            "range": {"type": "numbered", "numberOfOccurrences": 5, "startDate": f"2026-11-{day}"},
        }
        await r.graph.post(f"/users/{r.room}/events", json={"subject": "s", **times, "recurrence": recurrence})
    elif what == "patch":
        await r.graph.patch(r.event_url(rng.choice(view)["id"]), json=times)
    else:
        chosen = rng.choice(view)
        target = chosen["seriesMasterId"] if what == "delete_series" and chosen["seriesMasterId"] else chosen["id"]
        await r.graph.delete(r.event_url(target))


async def test_unknown_token_asks_to_start_over() -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/calendarView/delta?$deltatoken=old")
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "SyncStateNotFound")


@pytest.mark.parametrize("option", ["$top", "$select"])
async def test_delta_takes_no_top_and_no_select(option: str) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/calendarView/delta", params={**WINDOW, option: "5"})
        assert answer.status_code == 400
