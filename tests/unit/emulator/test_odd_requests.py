"""Requests no client library would send: broken texts, numbers beyond measure, too much. None answers 500."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.emulator.rig import rig, wire_event

pytestmark = pytest.mark.looptime
DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NOT_UTF8 = b'{"a":"\xff"}'
LONG_NUMBER = "9" * 5000


@pytest.mark.parametrize("body", [DEEP, NOT_UTF8, b"\xff", b"{", b'{"a":NaN}', b'{"a":1e999}'])
@pytest.mark.parametrize("path", ["/subscriptions", "/$batch", "/users/{room}/events"])
async def test_body_that_is_no_json_is_refused_by_graph(path: str, body: bytes) -> None:
    async with rig() as r:
        headers = {"content-type": "application/json"}
        answer = await r.graph.post(path.replace("{room}", r.room), content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize("body", [DEEP, NOT_UTF8, b"\xff", b"{", b'{"a":NaN}'])
@pytest.mark.parametrize(("method", "path"), [("POST", "/control/tenants"), ("PUT", "/control/moods")])
async def test_body_that_is_no_json_is_refused_by_control(method: str, path: str, body: bytes) -> None:
    async with rig() as r:
        answer = await r.control.request(method, path, content=body)
        assert (answer.status_code, "error" in answer.json()) == (400, True)


async def test_claims_nested_beyond_measure_are_refused() -> None:
    async with rig() as r:
        answer = await r.ask_token(claims="[" * 100_000)
        assert (answer.status_code, answer.json()["error_codes"]) == (400, [9002313])


@pytest.mark.parametrize("text", [LONG_NUMBER, "\u00b2", "\u0663", "-1", "1e3", ""])
@pytest.mark.parametrize(
    "path",
    [
        "/subscriptions?$skiptoken=",
        "/users?$top=",
        "/users/{room}/events?$top=",
        "/users/{room}/events?$skip=",
        "/places/microsoft.graph.room?$top=",
    ],
)
async def test_number_that_is_none_is_refused_in_a_query(path: str, text: str) -> None:
    async with rig(roles=["Calendars.ReadWrite", "User.Read.All", "Place.Read.All"]) as r:
        answer = await r.graph.get(path.replace("{room}", r.room) + quote(text))
        assert answer.status_code == 400


@pytest.mark.parametrize("text", [LONG_NUMBER, "\u00b2", "x"])
async def test_number_that_is_none_is_refused_in_a_page_of_delta(text: str) -> None:
    async with rig() as r:
        window = {"startDateTime": "2026-11-24T00:00:00Z", "endDateTime": "2026-11-25T00:00:00Z"}
        for _ in range(2):
            await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        headers = {"prefer": "odata.maxpagesize=1"}
        page = await r.graph.get(f"/users/{r.room}/calendarView/delta", params=window, headers=headers)
        link = page.json()["@odata.nextLink"]
        assert (await r.graph.get(link[: link.rindex(".") + 1] + quote(text))).status_code == 410


@pytest.mark.parametrize("value", [b"odata.maxpagesize=\xb2", b"odata.maxpagesize=" + LONG_NUMBER.encode()])
async def test_page_size_that_is_no_number_is_not_played(value: bytes) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", headers=[(b"prefer", value)])
        assert answer.status_code == 501


@pytest.mark.parametrize("text", [LONG_NUMBER, "\u00b2", "-1"])
async def test_number_that_is_none_is_refused_by_control(text: str) -> None:
    async with rig() as r:
        for path in ("/requests", "/deliveries"):
            answer = await r.control.get(r.path(path), params={"after": text})
            assert (answer.status_code, "must be a number" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "more",
    [
        {"reminderMinutesBeforeStart": LONG_NUMBER},
        {"reminderMinutesBeforeStart": "\u00b2"},
        *(
            {"singleValueExtendedProperties": [{"id": f"Integer {what}", "value": "1"}]}
            for what in (
                f"0x{LONG_NUMBER}",
                "{66f5a359-4659-4830-9070-00047ec6ac6e} Id " + LONG_NUMBER,
                "{66f5a359-4659-4830-9070-00047ec6ac6e} Id \u0663",
            )
        ),
    ],
)
async def test_number_that_is_none_is_refused_in_an_event(more: dict[str, Any]) -> None:
    async with rig() as r:
        assert (await r.graph.post(f"/users/{r.room}/events", json=wire_event(**more))).status_code == 400


async def test_body_beyond_measure_is_refused_as_graph_does_and_recorded() -> None:
    async with rig() as r:
        answer = await r.graph.post("/subscriptions", content=b"x" * 5_000_000)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestEntityTooLarge")
        assert answer.headers["request-id"]
        assert (await r.told("GET", r.path("/requests")))["requests"][-1]["status"] == 413


async def test_body_beyond_measure_of_a_stranger_is_unauthorized() -> None:
    async with rig() as r:
        r.graph.headers.pop("authorization")
        assert (await r.graph.post("/subscriptions", content=b"x" * 5_000_000)).status_code == 401


async def test_half_a_request_is_not_carried_out() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        scope = {
            "type": "http",
            "method": "DELETE",
            "path": f"/v1.0{r.event_url(made['id'])}",
            "query_string": b"",
            "headers": [
                (b"authorization", r.graph.headers["authorization"].encode()),
                (b"content-length", b"5"),
            ],
        }
        sent: list[Any] = []

        async def gone() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await r.emulator.graph_app(scope, gone, send)
        assert sent == []
        assert len(await r.truth()) == 1
