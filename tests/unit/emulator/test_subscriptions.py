"""Subscriptions: handshakes, limits, duplicates, renewal, expiry."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.unit.emulator.rig import JOIN, Rig, rig

pytestmark = pytest.mark.looptime


def in_minutes(r: Rig, minutes: float) -> str:
    return (r.clock.now() + timedelta(minutes=minutes)).isoformat()


async def test_both_urls_shake_hands_before_the_answer() -> None:
    async with rig() as r:
        answer = await r.subscribe()
        assert answer.status_code == 201
        assert [url.split("?")[0] for url in r.webhook.handshakes] == [f"{JOIN}/n", f"{JOIN}/l"]
        query = parse_qs(urlsplit(r.webhook.handshakes[0]).query)
        assert query["k"] == ["7"]
        assert query["validationToken"][0].startswith("Validation: Testing client application reachability")
        body = answer.json()
        assert (body["clientState"], body["applicationId"]) == ("s3cret", r.tenant["client_id"])
        assert body["expirationDateTime"] == "2026-11-29T08:00:00Z"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (WebhookAnswer(status=403, content_type="text/html", body="no"), "HTTP status code is 'Forbidden'"),
        (WebhookAnswer(status=200, content_type="text/plain", body="other"), "must exactly match validationToken"),
        (WebhookAnswer(status=202, content_type="text/plain", body=""), "must respond with 200 OK"),
    ],
)
async def test_failed_handshake_refuses_the_subscription(given: WebhookAnswer, message: str) -> None:
    async with rig() as r:
        r.webhook.answer = lambda url: given
        answer = await r.subscribe()
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "ValidationError")
        assert message in error["message"]
        assert (await r.graph.get("/subscriptions")).json()["value"] == []


async def test_handshake_waits_ten_seconds() -> None:
    async with rig() as r:
        r.webhook.delay_s = 9.9
        assert (await r.subscribe()).status_code == 201
        r.webhook.delay_s = 10.1
        started_at = r.clock.now()
        answer = await r.subscribe(r.rooms[1]["address"])
        assert answer.json()["error"]["message"] == "Subscription validation request timed out."
        assert r.clock.now() - started_at == pytest.approx(timedelta(seconds=10), abs=timedelta(seconds=0.1))


async def test_unreachable_webhook_times_out() -> None:
    async with rig() as r:
        r.webhook.down = True
        assert (await r.subscribe()).json()["error"]["message"] == "Subscription validation request timed out."


async def test_duplicate_names_the_first() -> None:
    async with rig() as r:
        first = (await r.subscribe()).json()["id"]
        again = await r.subscribe(changeType="deleted,created,updated")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "ObjectIdentifierInUse")
        assert (
            again.json()["error"]["message"] == f"Subscription Id {first} already exists for the requested combination"
        )
        assert (await r.subscribe(changeType="created")).status_code == 201


@pytest.mark.parametrize(
    ("changes", "status", "code", "message"),
    [
        ({"clientState": "x" * 129}, 400, "InvalidRequest", "128"),
        ({"notificationUrl": "http://hooks.example.org/n"}, 400, "InvalidRequest", "https"),
        ({"changeType": "created,renamed"}, 400, "InvalidRequest", "changeType"),
        ({"resource": "/users/x/messages"}, 400, "ExtensionError", "'Resource' is invalid"),
        ({"resource": "/users/nobody@x.example/events"}, 404, "ErrorInvalidUser", "nobody"),
        ({"expirationDateTime": "2026-11-01T00:00:00Z"}, 400, "InvalidRequest", "future"),
        ({"notificationUrl": None}, 400, "InvalidRequest", "notificationUrl"),
    ],
)
async def test_bad_subscription_is_refused(changes: dict[str, Any], status: int, code: str, message: str) -> None:
    async with rig() as r:
        answer = await r.subscribe(**changes)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert message in answer.json()["error"]["message"]
        assert r.webhook.handshakes == []


async def test_plain_http_is_taken_on_loopback_only() -> None:
    async with rig() as r:
        answer = await r.subscribe(
            notificationUrl="http://127.0.0.1:8080/n", lifecycleNotificationUrl="http://localhost/l"
        )
        assert answer.status_code == 201


async def test_lifetime_has_a_cap_and_a_floor() -> None:
    async with rig() as r:
        over = await r.subscribe(expirationDateTime=in_minutes(r, 10_071))
        assert over.status_code == 400
        assert over.json()["error"]["message"] == "Subscription expiration can only be 10070 minutes in the future."
        assert (await r.subscribe(expirationDateTime=in_minutes(r, 10_069))).status_code == 201
        short = (await r.subscribe(r.rooms[1]["address"], expirationDateTime=in_minutes(r, 5))).json()
        expires_at = datetime.fromisoformat(short["expirationDateTime"])
        assert expires_at - r.clock.now() == pytest.approx(timedelta(minutes=45), abs=timedelta(seconds=2))


async def test_access_policy_refuses_in_the_providers_words() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"access_policy": [r.rooms[1]["address"]]})
        answer = await r.subscribe()
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ExtensionError")
        assert answer.json()["error"]["message"].startswith(
            "Operation: Create; Exception: [Status Code: Forbidden; Reason: "
        )


async def test_list_hides_the_client_state_and_get_shows_it() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        (listed,) = (await r.graph.get("/subscriptions")).json()["value"]
        assert (listed["id"], listed["clientState"]) == (made["id"], None)
        assert (await r.graph.get(f"/subscriptions/{made['id']}")).json()["clientState"] == "s3cret"


async def test_renewal_moves_the_expiry_and_a_new_url_shakes_hands() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        url = f"/subscriptions/{made['id']}"
        renewed = await r.graph.patch(url, json={"expirationDateTime": "2026-11-29T20:00:00Z"})
        assert (renewed.status_code, renewed.json()["expirationDateTime"]) == (200, "2026-11-29T20:00:00Z")
        assert len(r.webhook.handshakes) == 2
        assert (await r.graph.patch(url, json={"notificationUrl": f"{JOIN}/new"})).status_code == 200
        assert len(r.webhook.handshakes) == 3
        assert (await r.graph.patch(url, json={"clientState": "x"})).status_code == 400


async def test_expired_or_deleted_subscription_is_not_found() -> None:
    async with rig() as r:
        first = (await r.subscribe(expirationDateTime=in_minutes(r, 60))).json()["id"]
        second = (await r.subscribe(r.rooms[1]["address"])).json()["id"]
        assert (await r.graph.post(f"/subscriptions/{first}/reauthorize")).status_code == 204
        assert (await r.graph.delete(f"/subscriptions/{second}")).status_code == 204
        await sleep(r.clock, 3601)
        for one in (first, second):
            answer = await r.graph.get(f"/subscriptions/{one}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
        assert (await r.subscribe()).status_code == 201
