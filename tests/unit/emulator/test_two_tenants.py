"""Two tenants in one emulator: moods, limits, outages and faults of the one are none of the other's business."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sidecar.emulator.moods import Moods, calm_moods
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def two(*, calm: bool = True, **moods: Any) -> AsyncIterator[tuple[Rig, Rig]]:
    """Run an emulator with two tenants, the first of them with some moods of its own."""
    async with rig(calm=calm) as one:
        other = Rig(one.emulator, one.clock, one.webhook)
        await other.set_up()
        await change(one, **moods)
        yield one, other


async def change(r: Rig, *, query: str = "", **moods: Any) -> dict[str, Any]:
    told: dict[str, Any] = await r.told("PUT", r.path(f"/moods{query}"), moods)
    return told


async def effective(r: Rig, name: str) -> Any:
    return (await r.told("GET", r.path("/moods")))["moods"][name]


async def statuses(r: Rig, count: int = 4) -> set[int]:
    return {(await r.graph.get(f"/users/{r.room}/events")).status_code for _ in range(count)}


async def test_tenant_without_moods_of_its_own_has_the_emulators() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"throttle_share": 0.5})
        told = await r.told("GET", r.path("/moods"))
        assert told == {"moods": await r.told("GET", "/control/moods"), "own": {}}
        assert told["moods"]["throttle_share"] == 0.5


async def test_own_mood_leaves_the_other_tenant_and_the_emulator_as_they_were() -> None:
    async with two() as (one, other):
        before = await one.told("GET", "/control/moods")
        told = await change(one, throttle_share=1)
        assert (told["own"], told["moods"]["throttle_share"]) == ({"throttle_share": 1}, 1)
        assert await other.told("GET", other.path("/moods")) == {"moods": before, "own": {}}
        assert await one.told("GET", "/control/moods") == before
        assert (await statuses(one), await statuses(other)) == ({429}, {200})


async def test_own_mood_stays_when_the_emulators_changes() -> None:
    async with two(room_delay_max_s=7) as (one, _):
        await one.told("PUT", "/control/moods", {"room_delay_max_s": 5, "gzip_bytes_min": 99})
        assert (await effective(one, "room_delay_max_s"), await effective(one, "gzip_bytes_min")) == (7, 99)


async def test_null_takes_the_emulators_mood_again() -> None:
    async with two(throttle_share=1, room_delay_max_s=7) as (one, _):
        told = await change(one, throttle_share=None)
        assert (told["own"], told["moods"]["throttle_share"]) == ({"room_delay_max_s": 7}, 0)
        assert await statuses(one) == {200}


async def test_what_is_left_out_of_a_change_stays() -> None:
    async with two(throttle_share=0.5) as (one, _):
        told = await change(one, room_delay_max_s=7)
        assert told["own"] == {"throttle_share": 0.5, "room_delay_max_s": 7}


@pytest.mark.parametrize("moods", [{"nope": 1}, {"nope": None}, {"throttle_share": 2}, {"throttle_share": "much"}])
async def test_wrong_mood_is_refused_and_nothing_changes(moods: dict[str, Any]) -> None:
    async with two(room_delay_max_s=7) as (one, _):
        answer = await one.control.put(one.path("/moods"), json={"room_delay_max_s": 9, **moods})
        assert (answer.status_code, "not moods" in answer.json()["error"]) == (400, True)
        assert (await one.told("GET", one.path("/moods")))["own"] == {"room_delay_max_s": 7}


async def test_calm_tenant_in_an_unkind_emulator_has_every_calm_mood_but_those_named() -> None:
    async with two(calm=False) as (one, other):
        told = await change(one, query="?calm=true", throttle_share=0.5)
        assert told["moods"] == msgspec.to_builtins(calm_moods()) | {"throttle_share": 0.5}
        assert (await other.told("GET", other.path("/moods")))["moods"] == msgspec.to_builtins(Moods())
        answer = await one.control.put(one.path("/moods?calm=perhaps"), json={})
        assert answer.status_code == 400


async def test_whole_emulator_can_be_calmed() -> None:
    async with rig(calm=False) as r:
        told = await r.told("PUT", "/control/moods?calm=true", {"room_delay_max_s": 7})
        assert told == msgspec.to_builtins(calm_moods()) | {"room_delay_max_s": 7}


async def test_calm_tenant_in_an_unkind_emulator_leaves_nothing_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def chance() -> float:
        raise AssertionError("something was left to chance")

    async with two(calm=False) as (one, _):
        await change(one, query="?calm=true")
        monkeypatch.setattr(one.emulator.world.rng, "random", chance)
        await one.sign_in()
        assert (await one.ask_token(client_secret="wrong")).status_code == 401
        made = (await one.subscribe()).json()
        assert (await one.graph.patch(f"/subscriptions/{made['id']}", json={})).status_code == 200
        await one.book("2026-11-24T10:00:00", "2026-11-24T11:00:00")
        await one.rest()
        window = {"startDateTime": "2026-11-24T00:00:00Z", "endDateTime": "2026-11-25T00:00:00Z"}
        (item,) = await one.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
        changes = (await one.graph.get(f"/users/{one.room}/calendarView/delta", params=window)).json()
        again = (await one.graph.get(changes["@odata.deltaLink"])).json()
        asked = [{"id": str(at), "method": "GET", "url": f"/users/{one.room}/events"} for at in range(3)]
        batch = (await one.graph.post("/$batch", json={"requests": asked})).json()
        assert [change for change, _ in one.webhook.changes()] == ["created", "updated"]
        assert (item["responseStatus"]["response"], len(changes["value"]), again["value"]) == ("accepted", 1, [])
        assert [each["status"] for each in batch["responses"]] == [200, 200, 200]


async def test_calm_tenant_hears_once_and_in_order_though_it_shares_a_url_with_an_unkind_one() -> None:
    disorder: dict[str, Any] = {"notify_duplicate_share": 1, "notify_shuffle_share": 1, "notify_late_share": 0.5}
    async with two(**disorder) as (one, other):
        for r in (one, other):
            assert (await r.subscribe()).status_code == 201
        wanted: list[str] = []
        for hour in range(8, 20):
            times = (f"2026-11-24T{hour:02}:00:00", f"2026-11-24T{hour:02}:30:00")
            await one.graph.post(f"/users/{one.room}/events", json=wire_event(*times))
            made = await other.graph.post(
                f"/users/{other.room}/events", json=wire_event(*times), headers={"prefer": 'IdType="ImmutableId"'}
            )
            wanted.append(made.json()["id"])
        await one.rest()
        await other.rest()
        heard: dict[str, list[str]] = {one.tenant["tenant_id"]: [], other.tenant["tenant_id"]: []}
        for item in one.webhook.items:
            heard[item["tenantId"]].append(item["resourceData"]["id"])
        assert heard[other.tenant["tenant_id"]] == wanted
        assert len(heard[one.tenant["tenant_id"]]) == 2 * len(wanted)


async def test_tenants_in_the_same_moods_share_a_post() -> None:
    async with two() as (one, other):
        for r in (one, other):
            await r.subscribe()
        for r in (one, other):
            await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await one.rest()
        await other.rest()
        tenants = [{item["tenantId"] for item in items} for _, _, items in one.webhook.posts]
        assert tenants == [{one.tenant["tenant_id"], other.tenant["tenant_id"]}]


async def test_rooms_of_each_tenant_take_their_own_time() -> None:
    async with two(room_delay_min_s=600, room_delay_max_s=600) as (one, other):
        for r in (one, other):
            await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00")
        await other.rest()
        answers = [(await r.truth())[0]["response"] for r in (one, other)]
        assert answers == ["notResponded", "accepted"]


async def test_tokens_of_each_tenant_live_their_own_time() -> None:
    async with two(token_lifetime_min_s=60, token_lifetime_max_s=60) as (one, other):
        lifetimes = [(await r.ask_token()).json()["expires_in"] for r in (one, other)]
        assert lifetimes == [60, 4499]


async def test_new_secret_is_known_late_in_one_tenant_only() -> None:
    async with two(secret_propagation_s=60) as (one, other):
        for r in (one, other):
            await r.told("PATCH", r.path("/app"), {"client_secret": "fresh~1"})
        answers = [(await r.ask_token(client_secret="fresh~1")).status_code for r in (one, other)]
        assert answers == [401, 200]


async def test_new_room_shows_late_in_one_tenant_only() -> None:
    async with two(places_propagation_s=60) as (one, other):
        counts = []
        for r in (one, other):
            await r.told("PATCH", r.path("/app"), {"roles": ["Place.Read.All"]})
            await r.sign_in()
            await r.told("POST", r.path("/rooms"), {"count": 1})
            counts.append(len((await r.graph.get("/places/microsoft.graph.room")).json()["value"]))
        assert counts == [2, 3]


async def test_refused_login_is_broken_into_lines_in_one_tenant_only() -> None:
    async with two(login_line_break_share=1) as (one, other):
        texts = [(await r.ask_token(client_secret="wrong")).json()["error_description"] for r in (one, other)]
        assert ["\r\n" in text for text in texts] == [True, False]


async def test_answers_are_compressed_in_one_tenant_only() -> None:
    async with two(gzip_bytes_min=1) as (one, other):
        answers = [await r.graph.get(f"/users/{r.room}/calendar") for r in (one, other)]
        assert [one.headers.get("content-encoding") for one in answers] == ["gzip", None]


async def test_documented_limits_hold_in_one_tenant_only() -> None:
    async with two(documented_limits=True) as (one, other):
        refused = [429 in [(await r.graph.get("/subscriptions")).status_code for _ in range(26)] for r in (one, other)]
        assert refused == [True, False]


async def test_limit_of_a_tenant_leaves_the_other_alone() -> None:
    async with two() as (one, other):
        told = await one.told("PUT", one.path("/throttle"), {"limits": {"mailbox_requests": 2}})
        assert told["own"] == {"mailbox_requests": 2}
        assert (await statuses(one), await statuses(other)) == ({200, 429}, {200})
        rows = {row["limit"]: row for row in (await one.told("GET", one.path("/throttle")))["counts"]}
        assert (rows["mailbox_requests"]["max"], rows["mailbox_requests"]["refused_count"]) == (2, 2)
        everybody = await one.told("GET", "/control/throttle")
        assert {row["max"] for row in everybody["limits"]} == {None}


async def test_limit_of_a_tenant_overrules_the_emulators_until_null() -> None:
    async with two() as (one, other):
        await one.told("PUT", "/control/throttle", {"limits": {"mailbox_requests": 1}})
        await one.told("PUT", one.path("/throttle"), {"limits": {"mailbox_requests": 0}})
        assert (await statuses(one), await statuses(other)) == ({200}, {200, 429})
        told = await one.told("PUT", one.path("/throttle"), {"limits": {"mailbox_requests": None}})
        (row,) = [row for row in told["limits"] if row["limit"] == "mailbox_requests"]
        assert (told["own"], row["max"]) == ({}, 1)
        assert await statuses(one) == {429}


async def test_unknown_limit_of_a_tenant_is_refused() -> None:
    async with rig() as r:
        answer = await r.control.put(r.path("/throttle"), json={"limits": {"nope": 1}})
        assert (answer.status_code, "no limit nope" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("key", ["tenant_id", "domain"])
async def test_outage_of_a_tenant_leaves_the_other_alone(key: str) -> None:
    async with two() as (one, other):
        await one.told("POST", "/control/outage", {"for_s": 60, "tenant": one.tenant[key]})
        assert (await statuses(one), (await one.ask_token()).status_code) == ({503}, 503)
        assert (await statuses(other), (await other.ask_token()).status_code) == ({200}, 200)
        await one.told("POST", "/control/outage", {"for_s": 0, "tenant": one.tenant[key]})
        assert await statuses(one) == {200}


async def test_everybodys_outage_goes_on_when_a_tenants_ends() -> None:
    async with two() as (one, other):
        await one.told("POST", "/control/outage", {"for_s": 60, "status": 503})
        await one.told("POST", "/control/outage", {"for_s": 30, "status": 500, "tenant": one.tenant["domain"]})
        assert (await statuses(one), await statuses(other)) == ({500}, {503})
        await one.told("POST", "/control/clock", {"advance_s": 30})
        assert (await statuses(one), await statuses(other)) == ({503}, {503})


async def test_fault_may_name_its_tenant_by_domain() -> None:
    async with two() as (one, other):
        body = {"match": {"tenant": one.tenant["domain"], "count": 0}, "effect": {"status": 500}}
        fault = await one.told("POST", "/control/faults", body)
        assert fault["match"]["tenant"] == one.tenant["tenant_id"]
        assert (await statuses(one), await statuses(other)) == ({500}, {200})


@pytest.mark.parametrize(
    ("path", "body"),
    [("/control/outage", {"for_s": 1, "tenant": "nobody"}), ("/control/faults", {"match": {"tenant": "nobody"}})],
)
async def test_fault_or_outage_of_an_unknown_tenant_is_refused(path: str, body: dict[str, Any]) -> None:
    async with rig() as r:
        answer = await r.control.post(path, json=body)
        assert (answer.status_code, "no tenant nobody" in answer.json()["error"]) == (404, True)
