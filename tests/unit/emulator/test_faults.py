"""Scripted faults, throttling and random refusals."""

import asyncio
from collections.abc import Awaitable, MutableMapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime


async def script(r: Rig, effect: dict[str, Any], **match: Any) -> None:
    await r.told("POST", "/control/faults", {"match": match, "effect": effect})


async def test_fault_meets_what_it_matches_and_is_then_spent() -> None:
    async with rig() as r:
        effect = {
            "status": 429,
            "code": "ApplicationThrottled",
            "message": "Slow down",
            "headers": {"Retry-After": "7"},
        }
        await script(r, effect, path="/calendarview", tenant=r.tenant["tenant_id"], skip=1, count=2)
        params = {"startDateTime": "2026-11-24T00:00:00Z", "endDateTime": "2026-11-25T00:00:00Z"}
        answers = [await r.graph.get(f"/users/{r.room}/calendarView", params=params) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 429, 429, 200]
        assert answers[1].headers["retry-after"] == "7"
        assert answers[1].json()["error"]["message"] == "Slow down"
        told = await r.told("GET", "/control/faults")
        assert (told["faults"][0]["consumed"], told["unconsumed_count"]) == (2, 0)


async def test_unconsumed_fault_is_told() -> None:
    async with rig() as r:
        await script(r, {"status": 500}, method="POST", path_regex=r"/events/.+/accept")
        await r.graph.get(f"/users/{r.room}/events")
        assert (await r.told("GET", "/control/faults"))["unconsumed_count"] == 1
        await r.told("DELETE", "/control/faults")
        assert (await r.told("GET", "/control/faults"))["faults"] == []


async def test_dropped_connection_before_and_after_the_work() -> None:
    async with rig() as r:
        await script(r, {"drop": True}, method="POST")
        await script(r, {"drop": True, "after": True}, method="POST")
        for count in (0, 1):
            with pytest.raises(httpx.RemoteProtocolError):
                await r.graph.post(f"/users/{r.room}/events", json=wire_event())
            assert len(await r.truth()) == count


async def test_half_a_body_is_never_a_whole_answer() -> None:
    async with rig() as r:
        await script(r, {"half_body": True})
        with pytest.raises(httpx.RemoteProtocolError):
            await r.graph.get(f"/users/{r.room}/events")
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


async def test_fault_may_answer_html_and_meet_the_login_server() -> None:
    async with rig() as r:
        await script(r, {"status": 503, "body": "<html>Our services aren't available</html>"}, path="oauth2/v2.0/token")
        answer = await r.ask_token()
        assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html")
        assert (await r.ask_token()).status_code == 200


async def test_fifth_request_on_one_mailbox_at_one_time_is_throttled() -> None:
    async with rig() as r:
        await script(r, {"delay_s": 1.0}, count=0)
        statuses: list[int] = []

        async def read(mailbox: str) -> None:
            answer = await r.graph.get(f"/users/{mailbox}/events")
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert answer.headers["retry-after"] == "10"
                assert answer.json()["error"]["code"] == "ApplicationThrottled"

        async with asyncio.TaskGroup() as group:
            for mailbox in [r.room] * 6 + [r.rooms[1]["address"]] * 4:
                group.create_task(read(mailbox))
        assert sorted(statuses) == [200] * 8 + [429] * 2
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


async def test_throttle_can_be_switched_off() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"mailbox_concurrency_max": 0})
        await script(r, {"delay_s": 1.0}, count=0)

        async def read() -> None:
            assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(read())


async def test_random_refusals_meet_reads_only() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"throttle_share": 0.5, "unavailable_share": 0.5})
        statuses = {(await r.graph.get(f"/users/{r.room}/events")).status_code for _ in range(60)}
        assert statuses == {200, 429, 503}
        written = {(await r.graph.post(f"/users/{r.room}/events", json=wire_event())).status_code for _ in range(20)}
        assert written == {201}


async def test_answer_may_stall_in_the_middle_and_still_be_whole() -> None:
    async with rig() as r:
        await script(r, {"stall_s": 20})
        started = r.clock.now()
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert (answer.status_code, answer.json()["value"]) == (200, [])
        assert (r.clock.now() - started).total_seconds() == pytest.approx(20, abs=0.1)


async def test_stall_comes_after_half_of_the_body() -> None:
    async with rig() as r:
        await script(r, {"stall_s": 20})
        messages: list[tuple[float, int]] = []
        started = r.clock.now()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                messages.append(((r.clock.now() - started).total_seconds(), len(message["body"])))

        headers = [(b"authorization", r.graph.headers["authorization"].encode())]
        path = f"/v1.0/users/{r.room}/events"
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
        await r.emulator.graph_app(scope, receive, send)
        (first_s, first), (second_s, second) = messages
        assert [first_s, second_s] == pytest.approx([0, 20], abs=0.1)
        assert 0 < first <= second


async def test_stall_before_a_cut_is_waited_for() -> None:
    async with rig() as r:
        await script(r, {"stall_s": 20, "half_body": True})
        started = r.clock.now()
        with pytest.raises(httpx.RemoteProtocolError):
            await r.graph.get(f"/users/{r.room}/events")
        assert (r.clock.now() - started).total_seconds() == pytest.approx(20, abs=0.1)


async def test_retry_after_comes_in_seconds_or_as_a_date() -> None:
    async with rig() as r:
        await script(r, {"status": 429, "retry_after_s": 6.2})
        await script(r, {"status": 429, "retry_after_s": 60, "retry_after_as_date": True})
        answers = [await r.graph.get(f"/users/{r.room}/events") for _ in range(2)]
        assert answers[0].headers["retry-after"] == "7"
        wait_s = parsedate_to_datetime(answers[1].headers["retry-after"]) - parsedate_to_datetime(
            answers[1].headers["date"]
        )
        assert wait_s.total_seconds() == 60


async def test_scripted_401_comes_with_its_challenge() -> None:
    async with rig() as r:
        await script(r, {"status": 401, "code": "AuthenticationError"})
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert answer.json()["error"]["code"] == "AuthenticationError"
        assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_fault_is_matched_by_the_query_too() -> None:
    async with rig() as r:
        await script(r, {"status": 504}, path_regex=r"\$top=5\b")
        assert (await r.graph.get(f"/users/{r.room}/events?$top=50")).status_code == 200
        assert (await r.graph.get(f"/users/{r.room}/events?$top=5")).status_code == 504


async def served(r: Rig) -> dict[str, int | None]:
    """Ask both services; None is a cut connection."""

    async def status(asked: Awaitable[httpx.Response]) -> int | None:
        try:
            return (await asked).status_code
        except httpx.RemoteProtocolError:
            return None

    return {"graph": await status(r.graph.get(f"/users/{r.room}/events")), "login": await status(r.ask_token())}


@pytest.mark.parametrize(
    ("outage", "expected"),
    [
        ({}, {"graph": 503, "login": 503}),
        ({"status": 500, "service": "graph"}, {"graph": 500, "login": 200}),
        ({"status": None, "service": "login"}, {"graph": 200, "login": None}),
        ({"status": None}, {"graph": None, "login": None}),
    ],
)
async def test_outage_takes_a_service_away_until_it_ends(
    outage: dict[str, Any], expected: dict[str, int | None]
) -> None:
    async with rig() as r:
        await r.told("POST", "/control/outage", {"for_s": 60, **outage})
        assert await served(r) == expected
        await r.told("POST", "/control/clock", {"advance_s": 59})
        assert await served(r) == expected
        await r.told("POST", "/control/clock", {"advance_s": 1})
        assert await served(r) == {"graph": 200, "login": 200}


async def test_outage_can_be_ended_early_and_can_speak_html() -> None:
    async with rig() as r:
        await r.told("POST", "/control/outage", {"for_s": 600, "status": 502, "body": "<html>"})
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert (answer.status_code, answer.headers["content-type"], answer.text) == (502, "text/html", "<html>")
        await r.told("POST", "/control/outage", {"for_s": 0})
        assert await served(r) == {"graph": 200, "login": 200}


async def test_outage_consumes_no_fault() -> None:
    async with rig() as r:
        await script(r, {"status": 500})
        await r.told("POST", "/control/outage", {"for_s": 60})
        await r.graph.get(f"/users/{r.room}/events")
        assert (await r.told("GET", "/control/faults"))["unconsumed_count"] == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"match": {"path_regex": "("}}, "not a regular expression"),
        ({"match": {"skip": -1}}, "`int` >= 0"),
        ({"match": {"count": -1}}, "`int` >= 0"),
        ({"effect": {"status": 42}}, "`int` >= 200"),
        ({"effect": {"status": 600}}, "`int` <= 599"),
        ({"effect": {"delay_s": 1e18}}, "`float` <= "),
        ({"effect": {"delay_s": -1}}, "`float` >= 0"),
        ({"effect": {"stall_s": 1e18}}, "`float` <= "),
        ({"effect": {"retry_after_s": 1e18}}, "`float` <= "),
        ({"effect": {"headers": {"x": "a\r\nb: c"}}}, "No answer can carry"),
        ({"effect": {"headers": {"x": "\u2603"}}}, "No answer can carry"),
        ({"effect": {"headers": {"a b": "c"}}}, "No answer can carry"),
        ({"effect": {"headers": {"Content-Length": "5"}}}, "server's own"),
    ],
)
async def test_fault_that_could_not_be_carried_out_is_refused(fault: dict[str, Any], words: str) -> None:
    async with rig() as r:
        answer = await r.control.post("/control/faults", json=fault)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
        assert (await r.graph.get("/subscriptions")).status_code == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_scripted_status_without_a_body_has_none(status: int) -> None:
    async with rig() as r:
        await script(r, {"status": status, "body": "<p>"})
        answer = await r.graph.get("/subscriptions")
        assert (answer.status_code, answer.content) == (status, b"")
