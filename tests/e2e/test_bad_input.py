"""Nonsense from outside, against the real process: it is refused with a reason, and the service goes on as if nothing was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import httpx
import pytest
from exchange_client import ExchangeClient, InvalidRequest, LimitReached, NotFound, ResumeTokenInvalid, Unsupported
from exchange_client.errors import ExchangeError, from_rpc
from exchange_client.messages import MapRoomRequest

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service, eventually
from tests.support.scene import Scene, prove_copy, scene_set, tomorrow
from tests.support.truth import Json

pytestmark = pytest.mark.e2e

NOTIFICATIONS = "/graph/notifications"
LIFECYCLE = "/graph/lifecycle"
CANARY = "CANARY-3c9a"


@pytest.fixture
async def scene(service: Service, emulator: RunningEmulator) -> AsyncIterator[Scene]:
    """Give a tenant with one room; afterwards it still gets its bookings, and nothing went wrong inside."""
    async with scene_set(service, emulator) as ready, ready.watching() as watcher:
        yield ready
        await ready.directory.book(ready.mailbox(), tomorrow(18))
        await eventually(lambda: watcher.mirror.bookings(ready.room()), "bookings still arrive", service=service)
        await ready.converged(watcher)
        await prove_copy(ready)
        assert [line for line in service.log_lines() if line.get("level") == "error"] == []
        assert CANARY not in service.log_file.read_text()


async def post(service: Service, content: bytes | str, path: str = NOTIFICATIONS) -> int:
    """Send a body to the webhook; return the status of the answer."""
    async with httpx.AsyncClient(base_url=service.webhooks, trust_env=False, timeout=20.0) as http:
        return (await http.post(path, content=content)).status_code


def notification(scene: Scene, **changes: str) -> Json:
    """Return a notification in Graph's form, by default of no subscription of ours."""
    resource = f"Users/{scene.directory.id}/Events/AAMkAGI1AAAoZDOFAAA="
    item = {
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
        "clientState": f"abcdefghij012345.{CANARY}",
        "changeType": "updated",
        "resource": resource,
        "tenantId": scene.directory.id,
    }
    return item | changes


def body_of(*items: Json) -> bytes:
    """Return a body of notifications."""
    return json.dumps({"value": items}).encode()


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in chunks"])
async def test_oversized_body_is_refused(scene: Scene, told: bool) -> None:
    before = await scene.service.metric("requests_too_large_total")
    content = b" " * (1024 * 1024 + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]

    async with httpx.AsyncClient(base_url=scene.service.webhooks, trust_env=False, timeout=20.0) as http:
        answer = await http.post(NOTIFICATIONS, content=content if told else chunks())
    assert answer.status_code == 413
    assert await scene.service.metric("requests_too_large_total") == before + 1


async def test_malformed_bodies_are_refused_and_counted(scene: Scene) -> None:
    bodies = [b"", b"{", b"null", b"[]", b'{"value": 7}', b'{"value": null}', b"\xff\xfe\x00", CANARY.encode()]
    bodies.append(b'{"value": [' * 5_000)
    before = await scene.service.metric("requests_malformed_total")
    for body in bodies:
        assert await post(scene.service, body) == 400, body[:40]
    assert await scene.service.metric("requests_malformed_total") == before + len(bodies)


async def test_more_items_than_allowed_refuse_the_whole_body(scene: Scene) -> None:
    item = notification(scene)
    assert await post(scene.service, body_of(*[item] * 1_001)) == 400
    before = await scene.service.metric("notifications_unknown_total")
    assert await post(scene.service, body_of(*[item] * 1_000)) == 202
    assert await scene.service.metric("notifications_unknown_total") == before + 1_000


async def test_forged_notifications_are_taken_counted_and_without_effect(scene: Scene) -> None:
    (live,) = (await scene.directory.call("GET", "subscriptions"))["subscriptions"]
    key, _, secret = live["clientState"].partition(".")
    forged = [
        notification(scene),
        notification(scene, clientState=f"{key}.{CANARY}"),
        notification(scene, clientState=f"{key}.{secret[:-1]}"),
        notification(scene, clientState=live["clientState"], tenantId="11111111-2222-4333-8444-555555555555"),
        notification(scene, clientState=f"{key}.{CANARY}", lifecycleEvent="subscriptionRemoved"),
    ]
    shapeless = [{}, {"clientState": 7}, {"clientState": "x" * 10_000}, "text", None, {"clientState": key}]
    asked = (await scene.directory.requests())[-1]["number"]
    unknown, dropped = [await scene.service.metric(f"notifications_{kind}_total") for kind in ("unknown", "dropped")]
    for path in (NOTIFICATIONS, LIFECYCLE):
        assert await post(scene.service, body_of(*forged, *shapeless), path) == 202  # type: ignore[arg-type]  # nonsense
    assert await scene.service.metric("notifications_unknown_total") == unknown + 2 * len(forged)
    assert await scene.service.metric("notifications_dropped_total") == dropped + 2 * len(shapeless)
    assert await scene.directory.requests(after=asked) == []
    assert await scene.directory.subscribed() == [scene.mailbox()]


async def test_genuine_notification_among_forged_ones_still_counts(scene: Scene) -> None:
    (live,) = (await scene.directory.call("GET", "subscriptions"))["subscriptions"]
    before = await scene.service.metric("notifications_marked_total")
    genuine = notification(scene, clientState=live["clientState"])
    assert await post(scene.service, body_of(notification(scene), genuine)) == 202
    assert await scene.service.metric("notifications_marked_total") == before + 1


async def test_other_paths_and_methods_of_the_webhook_lead_nowhere(scene: Scene) -> None:
    for path in ("/", "/metrics", "/graph", "/graph/notifications/", "/graph/%ff%fe", "/control/health", "/readyz"):
        assert await post(scene.service, body_of(), path) == 404, path
    async with httpx.AsyncClient(base_url=scene.service.webhooks, trust_env=False) as http:
        assert (await http.get(NOTIFICATIONS)).status_code == 405
        long = await http.post(NOTIFICATIONS, params={"validationToken": "x" * 5_000})
        assert long.status_code == 400
        echo = await http.post(NOTIFICATIONS, params={"validationToken": "<script>alert(1)</script>"})
        assert echo.text == "<script>alert(1)</script>"
        assert echo.headers["content-type"].startswith("text/plain")
        assert echo.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /graph/\xff\xfe\xfd HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200,
        b"POST /graph/notifications HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /graph/notifications HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=["path of no encoding", "TLS to a plain port", "negative length", "endless header"],
)
async def test_broken_http_is_answered_or_hung_up_on(scene: Scene, raw: bytes) -> None:
    reader, writer = await asyncio.open_connection(*scene.service.webhooks.removeprefix("http://").split(":"))
    try:
        writer.write(raw)
        async with asyncio.timeout(10):
            answer = await reader.read(4096)
        assert answer == b"" or answer.split()[1] in (b"400", b"404", b"431"), answer
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_slow_senders_are_cut_off_and_hold_up_nobody(scene: Scene) -> None:
    host, port = scene.service.webhooks.removeprefix("http://").split(":")
    before = await scene.service.metric("requests_too_slow_total")
    async with AsyncExitStack() as stack:
        slow = []
        for _ in range(80):  # more than there are places
            reader, writer = await asyncio.open_connection(host, port)
            stack.callback(writer.close)
            writer.write(b"POST /graph/notifications HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
            await writer.drain()
            slow.append(reader)
        async with httpx.AsyncClient(base_url=scene.service.webhooks, trust_env=False, timeout=5.0) as http:
            shaken = await http.post(NOTIFICATIONS, params={"validationToken": "quick"})
        assert shaken.text == "quick"  # a new subscription can still be made
        assert (await scene.client.get_room(scene.room())).name == scene.room()
        async with asyncio.timeout(20):
            assert (await slow[0].read(64)).split()[1] == b"408"
        await eventually(
            lambda: _grew(scene.service, "requests_too_slow_total", before + 64), "they are counted", deadline_s=5.0
        )


async def _grew(service: Service, name: str, to: float) -> bool:
    return await service.metric(name) >= to


async def test_garbled_resume_tokens_are_refused(scene: Scene) -> None:
    good = (await scene.client.list_bookings(scene.room(), tomorrow(0), tomorrow(1))).resume_token
    middle = len(good) // 2
    flipped = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    for token in ("x", CANARY, good[:-3], good + good, "ä" * 50, flipped, "A" * 20_000):
        with pytest.raises(ResumeTokenInvalid) as refused:
            await scene.client.read_changes(scene.room(), token)
        assert token[:20] not in f"{refused.value} {refused.value.metadata}" or len(token) < 3
        async with scene.client.watch_room(scene.room(), resume_token=token) as watch:
            with pytest.raises(ResumeTokenInvalid):
                await anext(watch)
    page = await scene.client.read_changes(scene.room(), good)
    assert page.resume_token


async def test_overlong_names_are_refused_without_being_repeated(scene: Scene) -> None:
    endless = "ECHO-9f" * 3_000
    window = tomorrow(0), tomorrow(1)
    calls = [
        scene.client.get_room(f"{scene.tenant}/rooms/{endless}"),
        scene.client.get_tenant(f"tenants/{endless}"),
        scene.client.get_booking(f"{scene.room()}/bookings/{endless}"),
        scene.client.list_bookings(f"tenants/{endless}/rooms/-", *window),
        scene.client.map_room(scene.tenant, endless, "room@contoso.example"),
        scene.client.map_room(scene.tenant, "ok", endless),
        scene.client.unmap_room(endless),
        scene.client.delete_tenant(f"tenants/{endless}"),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest) as refused:
            await call
        assert refused.value.reason == "FIELD_INVALID"
        assert refused.value.violations
        assert "ECHO" not in f"{refused.value} {refused.value.metadata}"
    with pytest.raises(InvalidRequest):
        await scene.client.map_rooms(scene.tenant, [MapRoomRequest(room_id="ok")])
    with pytest.raises(NotFound):
        await scene.client.get_room(f"{scene.tenant}/rooms/no-such-room")


async def raw_call(service: Service, method: str | bytes, request: bytes) -> ExchangeError:
    """Make a call that no client library would make; return how it is refused."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)  # type: ignore[arg-type]  # bytes on purpose
        with pytest.raises(grpc.RpcError) as refused:
            await call(request, timeout=10)
        return from_rpc(refused.value)


async def test_unknown_methods_are_told_so(scene: Scene) -> None:
    service = "/ioffice.exchange.v1.RoomService"
    for method in (f"{service}/DropEverything", "/no.such.Service/Call", "/", service + "/" + "x" * 4_000):
        refused = await raw_call(scene.service, method, b"")
        assert isinstance(refused, Unsupported), refused
        assert refused.reason == "METHOD_UNKNOWN"


async def test_method_of_no_encoding_is_refused_and_the_next_call_is_served(own_service: Service) -> None:
    refused = await raw_call(own_service, b"/ioffice.exchange.v1.RoomService/\xff\xfe", b"")
    assert refused.code == "UNKNOWN"
    async with ExchangeClient.connect(own_service.target, timeout_s=5.0) as client:
        assert [tenant async for tenant in client.list_tenants()] == []


async def test_bytes_that_are_no_request_are_refused(scene: Scene) -> None:
    for request in (b"\x0a\x02\xff\xfe", b"\xff\xff\xff", b"\x0a\x7f" + CANARY.encode()):
        refused = await raw_call(scene.service, "/ioffice.exchange.v1.RoomService/GetRoom", request)
        assert isinstance(refused, InvalidRequest), refused
        assert refused.reason == "FIELD_INVALID"
        assert CANARY not in str(refused)


async def test_oversized_request_is_refused(scene: Scene) -> None:
    refused = await raw_call(scene.service, "/ioffice.exchange.v1.RoomService/GetRoom", b" " * (5 * 1024 * 1024))
    assert isinstance(refused, LimitReached), refused
