"""Subscriptions: handshakes, limits, duplicates, renewal, expiry."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.exchange.app import App, Secret
from sidecar.emulator.moods import calm_moods
from sidecar.emulator.notify.sender import SendFailed, WebhookAnswer
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
        (WebhookAnswer(status=307, content_type="text/plain", body=""), "HTTP status code is 'TemporaryRedirect'"),
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
        ({"resource": "/users/x/views"}, 400, "ExtensionError", "'Resource' is invalid"),
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


def other_app(r: Rig) -> App:
    """Register a second app in the rig's tenant."""
    tenant = r.emulator.world.directory.tenants[r.tenant["tenant_id"]]
    app = App(
        client_id="11111111-0000-4000-8000-000000000000",
        principal_id="22222222-0000-4000-8000-000000000000",
        display_name="Other",
        roles=frozenset({"Calendars.Read"}),
        secrets={"other": Secret()},
        secret_id="33333333-0000-4000-8000-000000000000",
    )
    tenant.apps[app.client_id] = app
    return app


async def sign_in_as_other(r: Rig) -> None:
    app = other_app(r)
    r.tenant |= {"client_id": app.client_id, "client_secret": "other"}
    await r.sign_in()


async def test_token_answered_as_json_is_not_plain_text() -> None:
    async with rig() as r:

        def answer(url: str) -> WebhookAnswer:
            token = parse_qs(urlsplit(url).query)["validationToken"][0]
            return WebhookAnswer(status=200, content_type="application/json", body=token)

        r.webhook.answer = answer
        error = (await r.subscribe()).json()["error"]
        assert error["message"].endswith("Response must exactly match validationToken query parameter.")


async def test_failed_tls_handshake_is_told_in_its_own_words() -> None:
    async with rig() as r:

        def refuse(url: str) -> NoReturn:
            raise SendFailed("no common version", is_tls=True)

        r.webhook.answer = refuse
        answer = await r.subscribe()
        assert answer.status_code == 400
        assert "Could not create SSL/TLS secure channel." in answer.json()["error"]["message"]


async def test_equal_urls_shake_hands_twice() -> None:
    async with rig() as r:
        assert (await r.subscribe(lifecycleNotificationUrl=f"{JOIN}/n?k=7")).status_code == 201
        assert [url.split("&")[0] for url in r.webhook.handshakes] == [f"{JOIN}/n?k=7"] * 2


async def test_handshake_stands_in_the_record_with_its_status_and_time() -> None:
    async with rig() as r:
        r.webhook.delay_s = 1.5
        r.webhook.answer = lambda url: WebhookAnswer(status=403, content_type="", body="")
        await r.subscribe()
        (record,) = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        assert (record["kind"], record["status"], record["took_ms"]) == ("validation", 403, 1500)


@pytest.mark.parametrize(
    ("resource", "status", "code"),
    [
        ("/users/{id}/events", 201, ""),
        ("users/{upn}/events/", 201, ""),
        ("/Users/{ID}/Events", 201, ""),
        ("/users/{upn}/calendar/events", 201, ""),
        ("/users('{id}')/events", 201, ""),
        ("/users/{id}/calendars/{calendar}/events", 201, ""),
        ("/users/{id}/calendars/AAMkOther/events", 400, "ExtensionError"),
        ("/users/{id}/events/AAMkEvent", 400, "ExtensionError"),
        ("/users/{id}/calendarView", 400, "ExtensionError"),
        ("/users/{id}/mailboxSettings", 400, "ExtensionError"),
        ("/places/microsoft.graph.room", 400, "ExtensionError"),
        ("https://graph.microsoft.com/v1.0/users/{id}/events", 400, "ExtensionError"),
        ("/me/events", 400, "BadRequest"),
        ("/users/{id}/events?$filter=isCancelled eq true", 501, "notImplementedByEmulator"),
        ("/users/{id}/events?$select=id", 501, "notImplementedByEmulator"),
        ("/users/{id}/events?$top=5", 400, "InvalidRequest"),
        ("/users/{id}/messages", 501, "notImplementedByEmulator"),
        ("/users/{id}/mailFolders('inbox')/messages", 501, "notImplementedByEmulator"),
        ("/users('{id}')/contacts", 501, "notImplementedByEmulator"),
        ("users/{id}", 501, "notImplementedByEmulator"),
        ("/users", 501, "notImplementedByEmulator"),
        ("/chats/getAllMessages?model=A", 501, "notImplementedByEmulator"),
        ("/nothing", 400, "ExtensionError"),
    ],
)
async def test_resource_is_taken_or_refused(resource: str, status: int, code: str) -> None:
    async with rig() as r:
        key, address = r.rooms[0]["id"], r.room
        calendar = (await r.graph.get(f"/users/{address}/calendar")).json()["id"]
        filled = resource.format(id=key, ID=key.upper(), upn=address, calendar=calendar)
        answer = await r.subscribe(resource=filled)
        assert answer.status_code == status, answer.text
        if status == 201:
            assert answer.json()["resource"] == filled
            await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00")
            await r.rest()
            assert r.webhook.items[0]["resource"].startswith(f"Users/{key}/Events/")
        else:
            assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"clientState": 7}, 400, "clientState must be a string"),
        ({"includeResourceData": "yes"}, 400, "includeResourceData must be true or false"),
        ({"latestSupportedTlsVersion": "v1_4"}, 400, "latestSupportedTlsVersion"),
        ({"expirationDateTime": "2026-11-28T00:00:00"}, 400, "offset"),
        ({"expirationDateTime": "soon"}, 400, "not a date and time"),
        ({"vapidPublicKey": "x"}, 400, "web push"),
        ({"webPushEncryptionSecret": "x"}, 400, "web push"),
        ({"applicationId": "x"}, 400, "read-only"),
        ({"lifecycleNotificationUrl": "http://hooks.example.org/l"}, 400, "https"),
        ({"notificationUrl": "https://hooks.example.org:port/n"}, 400, "not a URL"),
        ({"notificationUrl": "EventHub:https://v.vault.azure.net/secrets/s?tenantId=t"}, 501, "eventhub"),
        ({"notificationQueryOptions": "x"}, 501, "notificationQueryOptions"),
        ({"colour": "red"}, 501, "colour"),
    ],
)
async def test_property_that_graph_would_not_take_is_refused(changes: dict[str, Any], status: int, words: str) -> None:
    async with rig() as r:
        answer = await r.subscribe(**changes)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
        assert r.webhook.handshakes == []


@pytest.mark.parametrize("spelled", ["/users/o'neil@{domain}/events", "/users('o''neil%40{domain}')/events"])
async def test_address_with_an_apostrophe_is_found_in_both_spellings(spelled: str) -> None:
    async with rig() as r:
        domain = r.tenant["domain"]
        await r.told("POST", r.path("/users"), {"users": [{"address": f"o'neil@{domain}"}]})
        assert (await r.subscribe(resource=spelled.format(domain=domain))).status_code == 201


async def test_properties_of_the_endpoint_are_echoed() -> None:
    async with rig() as r:
        made = (await r.subscribe(latestSupportedTlsVersion="v1_3", lifecycleNotificationUrl=None)).json()
        assert (made["latestSupportedTlsVersion"], made["lifecycleNotificationUrl"]) == ("v1_3", None)
        assert made["creatorId"] != made["applicationId"]


@pytest.mark.parametrize(
    ("kind", "status", "code", "words"),
    [
        ("onPremises", 404, "ExtensionError", "[Status Code: NotFound; Reason: REST API is not yet supported"),
        ("moving", 503, "ExtensionError", "hosted on database"),
        ("gone", 404, "ErrorInvalidUser", "is invalid"),
    ],
)
async def test_mailbox_that_cannot_be_watched_is_refused(kind: str, status: int, code: str, words: str) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"kind": kind})
        answer = await r.subscribe()
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert words in answer.json()["error"]["message"]


async def test_token_without_the_permission_is_refused_by_the_provider() -> None:
    async with rig(roles=[]) as r:
        answer = await r.subscribe()
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ExtensionError")
        assert "Access is denied. Check credentials and try again." in answer.json()["error"]["message"]


async def test_scope_of_rbac_is_enough() -> None:
    async with rig(roles=[]) as r:
        await r.told("PATCH", r.path("/app"), {"rbac_scope": [r.room]})
        assert (await r.subscribe()).status_code == 201


async def test_subscriptions_of_another_app_are_out_of_sight() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        await sign_in_as_other(r)
        assert (await r.graph.get("/subscriptions")).json()["value"] == []
        url = f"/subscriptions/{made}"
        for answer in (
            await r.graph.get(url),
            await r.graph.patch(url, json={"expirationDateTime": in_minutes(r, 100)}),
            await r.graph.post(f"{url}/reauthorize"),
            await r.graph.delete(url),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
        assert (await r.subscribe()).status_code == 201


async def test_mailbox_takes_a_thousand_subscriptions_of_all_apps_together() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        tenant = r.emulator.world.directory.tenants[r.tenant["tenant_id"]]
        for number in range(998):
            name = f"filler-{number}"
            tenant.add_subscription(replace(tenant.subscriptions[made], subscription_id=name, resource=name))
        await sign_in_as_other(r)
        assert (await r.subscribe()).status_code == 201
        full = await r.subscribe(changeType="deleted")
        assert (full.status_code, "1000" in full.json()["error"]["message"]) == (403, True)
        assert (await r.subscribe(r.rooms[1]["address"])).status_code == 201


async def test_list_comes_in_pages() -> None:
    async with rig() as r:
        await r.told("POST", r.path("/rooms"), {"count": 120})
        made = []
        for number in range(1, 121):
            answer = await r.subscribe(f"room{number}@{r.tenant['domain']}", lifecycleNotificationUrl=None)
            made.append(answer.json()["id"])
        first = (await r.graph.get("/subscriptions")).json()
        assert len(first["value"]) == 100
        second = (await r.graph.get(first["@odata.nextLink"])).json()
        assert [one["id"] for one in first["value"] + second["value"]] == made
        assert "@odata.nextLink" not in second
        assert (await r.graph.get("/subscriptions?$top=5")).status_code == 501


async def test_small_pages_of_the_list_lead_to_everything() -> None:
    moods = msgspec.structs.replace(calm_moods(), small_page_share=1.0)
    async with rig(moods=moods) as r:
        made = [(await r.subscribe(room["address"])).json()["id"] for room in r.rooms]
        made.append((await r.subscribe(changeType="created")).json()["id"])
        found, link = [], "/subscriptions"
        while link:
            page = (await r.graph.get(link)).json()
            assert len(page["value"]) < 3
            found += [one["id"] for one in page["value"]]
            link = page.get("@odata.nextLink")
        assert found == made


@pytest.mark.parametrize("name", ["clientState", "resource", "changeType", "lifecycleNotificationUrl"])
async def test_what_is_fixed_cannot_be_patched(name: str) -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        answer = await r.graph.patch(f"/subscriptions/{made['id']}", json={name: made[name]})
        assert (answer.status_code, name in answer.json()["error"]["message"]) == (400, True)


async def test_renewal_has_the_same_cap_and_floor() -> None:
    async with rig() as r:
        url = f"/subscriptions/{(await r.subscribe()).json()['id']}"
        over = await r.graph.patch(url, json={"expirationDateTime": in_minutes(r, 10_075)})
        assert (over.status_code, "10070 minutes" in over.json()["error"]["message"]) == (400, True)
        past = await r.graph.patch(url, json={"expirationDateTime": in_minutes(r, -1)})
        assert past.status_code == 400
        short = (await r.graph.patch(url, json={"expirationDateTime": in_minutes(r, 1)})).json()
        left = datetime.fromisoformat(short["expirationDateTime"]) - r.clock.now()
        assert left == pytest.approx(timedelta(minutes=45), abs=timedelta(seconds=2))


async def test_new_url_that_does_not_answer_leaves_the_old_one() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()
        r.webhook.answer = lambda url: WebhookAnswer(status=500, content_type="", body="")
        body = {"notificationUrl": f"{JOIN}/new", "expirationDateTime": in_minutes(r, 100)}
        answer = await r.graph.patch(f"/subscriptions/{made['id']}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ValidationError")
        kept = (await r.graph.get(f"/subscriptions/{made['id']}")).json()
        assert {name: kept[name] for name in body} == {name: made[name] for name in body}


async def test_renewal_shakes_hands_when_the_mood_is_so() -> None:
    async with rig(moods=msgspec.structs.replace(calm_moods(), renewal_handshake_share=1.0)) as r:
        made = (await r.subscribe()).json()
        body = {"expirationDateTime": in_minutes(r, 100)}
        assert (await r.graph.patch(f"/subscriptions/{made['id']}", json=body)).status_code == 200
        assert len(r.webhook.handshakes) == 3


async def test_subscription_deleted_while_its_new_url_shakes_hands_is_not_found() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        r.webhook.delay_s = 5.0
        async with asyncio.TaskGroup() as group:
            patch = group.create_task(r.graph.patch(f"/subscriptions/{made}", json={"notificationUrl": f"{JOIN}/new"}))
            await sleep(r.clock, 1.0)
            assert (await r.graph.delete(f"/subscriptions/{made}")).status_code == 204
        assert patch.result().status_code == 404


async def test_two_equal_calls_at_one_time_make_one_subscription() -> None:
    async with rig() as r:
        r.webhook.delay_s = 1.0
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(r.subscribe()) for _ in range(2)]
        assert sorted(call.result().status_code for call in calls) == [201, 409]
