"""The two formats of an id: items filed elsewhere, and translation from one format to another."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
IMMUTABLE = {"prefer": 'IdType="ImmutableId"'}
FORMATS = ("entryId", "ewsId", "immutableEntryId", "restId", "restImmutableEntryId")


async def post(r: Rig, **event: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await r.graph.post(f"/users/{r.room}/events", json=wire_event(**event))).json()
    return made


async def refile(r: Rig, item_id: str) -> dict[str, str]:
    told: dict[str, str] = await r.told("POST", r.path("/outlook/refile"), {"address": r.room, "event": item_id})
    return told


async def translate(r: Rig, ids: list[Any], source: str, target: str) -> list[dict[str, Any]]:
    body = {"inputIds": ids, "sourceIdType": source, "targetIdType": target}
    answer = await r.graph.post(f"/users/{r.room}/translateExchangeIds", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["value"]
    return found


async def test_item_filed_elsewhere_has_another_mutable_id_and_the_same_immutable_one() -> None:
    async with rig() as r:
        made = await post(r)
        immutable = (await r.graph.get(r.event_url(made["id"]), headers=IMMUTABLE)).json()["id"]
        told = await refile(r, made["id"])
        assert told["old_mutable_id"] == made["id"] != told["mutable_id"]
        assert told["id"] == immutable
        assert (await r.graph.get(r.event_url(made["id"]))).status_code == 404
        for item_id in (told["mutable_id"], immutable):
            found = (await r.graph.get(r.event_url(item_id))).json()
            assert (found["id"], found["iCalUId"]) == (told["mutable_id"], made["iCalUId"])
        assert found["changeKey"] != made["changeKey"]
        again = await refile(r, immutable)
        assert (await r.graph.get(r.event_url(told["mutable_id"]))).status_code == 404
        assert (await r.graph.delete(r.event_url(again["mutable_id"]))).status_code == 204


async def test_occurrences_follow_their_series() -> None:
    async with rig() as r:
        rule = weekly("2026-11-23", days=["monday"], zone="UTC")
        await post(r, start="2026-11-23T09:00:00", end="2026-11-23T10:00:00", recurrence=rule)
        reach = ("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z")
        (before,) = await r.view(*reach, headers={})
        (immutable,) = await r.view(*reach)
        await refile(r, before["id"])
        (after,) = await r.view(*reach, headers={})
        assert after["id"] != before["id"]
        assert (await r.view(*reach))[0]["id"] == immutable["id"]
        assert (await r.graph.get(r.event_url(after["id"]))).json()["seriesMasterId"] == after["seriesMasterId"]
        assert (await r.graph.get(r.event_url(before["id"]))).status_code == 404


@pytest.mark.parametrize("headers", [{}, IMMUTABLE])
async def test_subscriber_hears_of_a_filed_item_in_their_own_format(headers: dict[str, str]) -> None:
    async with rig() as r:
        made = await post(r)
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": "https://hooks.example.org/n",
            "lifecycleNotificationUrl": "https://hooks.example.org/l",
            "resource": f"/users/{r.room}/events",
            "expirationDateTime": "2026-11-27T00:00:00Z",
        }
        assert (await r.graph.post("/subscriptions", json=body, headers=headers)).status_code == 201
        told = await refile(r, made["id"])
        await r.rest()
        moved = [("deleted", made["id"]), ("created", told["mutable_id"])]
        assert r.webhook.changes() == ([("updated", told["id"])] if headers else moved)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
async def test_every_format_can_be_translated_into_every_other_and_back(source: str, target: str) -> None:
    async with rig() as r:
        made = await post(r)
        await refile(r, made["id"])
        item_id = (await r.view("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", headers={}))[0]["id"]
        (there,) = await translate(r, [item_id], "restId", source)
        (across,) = await translate(r, [there["targetId"]], source, target)
        (back,) = await translate(r, [across["targetId"]], target, "restId")
        assert across["sourceId"] == there["targetId"]
        assert back["targetId"] == item_id


async def test_translated_rest_id_is_the_immutable_one_of_graph() -> None:
    async with rig() as r:
        made = await post(r)
        expected = (await r.graph.get(r.event_url(made["id"]), headers=IMMUTABLE)).json()["id"]
        (result,) = await translate(r, [made["id"]], "restId", "restImmutableEntryId")
        assert result == {"sourceId": made["id"], "targetId": expected}


async def test_id_that_cannot_be_translated_is_told_in_its_own_entry() -> None:
    async with rig() as r:
        made = await post(r)
        gone = (await post(r))["id"]
        await r.graph.delete(r.event_url(gone))
        results = await translate(r, ["nonsense", made["id"], gone, 7], "restId", "restImmutableEntryId")
        assert [one["targetId"] is None for one in results] == [True, False, True, True]
        assert results[0]["errorDetails"]["code"] == "ErrorInvalidIdMalformed"


@pytest.mark.parametrize(
    "body",
    [
        {"inputIds": ["x"] * 1001, "sourceIdType": "restId", "targetIdType": "ewsId"},
        {"inputIds": [], "sourceIdType": "restId", "targetIdType": "ewsId"},
        {"inputIds": ["x"], "sourceIdType": "restId"},
        {"inputIds": ["x"], "sourceIdType": "isbn", "targetIdType": "ewsId"},
    ],
)
async def test_translation_that_cannot_be_asked_for_is_refused(body: dict[str, Any]) -> None:
    async with rig() as r:
        assert (await r.graph.post(f"/users/{r.room}/translateExchangeIds", json=body)).status_code == 400
