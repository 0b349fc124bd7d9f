"""Sections 8 and 10: headers, the error envelope, throttling, and the faults of a service in trouble."""

from __future__ import annotations

import asyncio
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import Subject, assert_refused, error_of

TABLE = Table()
_TROUBLE = "a fault is scripted"


@TABLE.case("8.6", "an answer carries ids for support, the date and Graph's content type")
async def headers(s: Subject) -> None:
    answer = await s.graph.get(f"/users/{s.mailbox}/events")
    assert len(answer.headers["request-id"]) == 36
    assert answer.headers["client-request-id"]
    assert parsedate_to_datetime(answer.headers["date"]).tzinfo is not None
    assert answer.headers["content-type"].replace(" ", "").startswith("application/json;odata.metadata=minimal")
    assert "ServerInfo" in answer.headers["x-ms-ags-diagnostic"]
    assert answer.headers["odata-version"] == "4.0"
    assert "max-age" in answer.headers["strict-transport-security"]


@TABLE.case("8.6", "the caller's request id is told back, with success and refusal")
async def client_request_id(s: Subject) -> None:
    for path in ("events", "no-such-thing-as-this"):
        own = str(uuid4())
        headers = {"client-request-id": own, "return-client-request-id": "true"}
        answer = await s.graph.get(f"/users/{s.mailbox}/{path}", headers=headers)
        assert answer.headers["client-request-id"] == own


@TABLE.case("8.6", "no two answers have one request id")
async def request_ids_differ(s: Subject) -> None:
    answers = [await s.graph.get(f"/users/{s.mailbox}/events") for _ in range(3)]
    assert len({one.headers["request-id"] for one in answers}) == 3


@TABLE.case("8.6", "a refusal says what, why, and its ids, in the body and in the headers")
async def envelope(s: Subject) -> None:
    own = str(uuid4())
    gone = await s.create()
    await s.delete(gone["id"])
    answer = await s.graph.get(s.url(gone["id"]), headers={"client-request-id": own})
    assert set(answer.json()) == {"error"}
    error = error_of(answer)
    assert error["code"] == "ErrorItemNotFound"
    assert error["message"]
    inner = error["innerError"]
    assert inner["request-id"] == answer.headers["request-id"]
    assert inner["client-request-id"] == own
    datetime.fromisoformat(inner["date"])


@TABLE.case("8.6", "an answer without a body has no content type")
async def no_content(s: Subject) -> None:
    made = await s.create()
    answer = await s.graph.delete(s.url(made["id"]))
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert answer.headers["request-id"]


@TABLE.case(
    "8.1",
    "four requests at one time on one mailbox pass, the fifth is refused with Retry-After",
    emulator_only="requests must overlap",
)
async def concurrency(s: Emulated) -> None:
    await s.fault({"delay_s": 1.0}, path="/events", count=0)

    async def ask(mailbox: str) -> httpx.Response:
        return await s.graph.get(f"/users/{mailbox}/events")

    async with asyncio.TaskGroup() as group:
        mine = [group.create_task(ask(s.mailbox)) for _ in range(5)]
        other = [group.create_task(ask(s.room)) for _ in range(4)]
    refused = [task.result() for task in mine if task.result().status_code != 200]
    assert [task.result().status_code for task in other] == [200] * 4
    (answer,) = refused
    error = assert_refused(answer, 429, "ApplicationThrottled")
    assert error["message"] == "Application is over its MailboxConcurrency limit."
    assert int(answer.headers["retry-after"]) > 0
    assert (await ask(s.mailbox)).status_code == 200


@TABLE.case(
    "8.1", "the limit counts a mailbox once, by whatever name it is called", emulator_only="requests must overlap"
)
async def concurrency_by_any_name(s: Emulated) -> None:
    user = (await s.graph.get(f"/users/{s.mailbox}")).json()["id"]
    await s.fault({"delay_s": 1.0}, path="/events", count=0)

    async def ask(name: str) -> int:
        return (await s.graph.get(f"/users/{name}/events")).status_code

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(name)) for name in (s.mailbox, user) for _ in range(3)]
    assert sorted(task.result() for task in tasks) == [200] * 4 + [429] * 2


@TABLE.case(
    "8.4",
    "a fault of the service looks as it does with Microsoft",
    emulator_only=_TROUBLE,
    rows={
        "throttled": ({"status": 429, "code": "TooManyRequests", "headers": {"Retry-After": "7"}},),
        "busy": ({"status": 503, "code": "ErrorServerBusy"},),
        "timeout": ({"status": 504, "code": "UnknownError"},),
        "internal": ({"status": 500, "code": "ErrorInternalServerTransientError"},),
    },
)
async def fault(s: Emulated, effect: dict[str, Any]) -> None:
    await s.fault(effect, path="/events")
    answer = await s.graph.get(f"/users/{s.mailbox}/events")
    assert_refused(answer, effect["status"], effect["code"])
    assert answer.headers.get("retry-after") == effect.get("headers", {}).get("Retry-After")
    assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == 200


@TABLE.case(
    "8.4",
    "an overloaded front answers HTML or nothing",
    emulator_only=_TROUBLE,
    rows={"html": ("<html>Busy</html>",), "nothing": ("",)},
)
async def raw_fault(s: Emulated, body: str) -> None:
    await s.fault({"status": 503, "body": body}, path="/events")
    answer = await s.graph.get(f"/users/{s.mailbox}/events")
    assert (answer.status_code, answer.text) == (503, body)
    assert not answer.headers["content-type"].startswith("application/json")


@TABLE.case(
    "8.4",
    "a write whose answer is lost has happened, and its transaction id makes it safe to repeat",
    emulator_only=_TROUBLE,
)
async def lost_answer(s: Emulated) -> None:
    body = s.body(transactionId=str(uuid4()))
    await s.fault({"drop": True, "after": True}, method="POST", path="/events")
    with pytest.raises(httpx.RemoteProtocolError):
        await s.post(body)
    made = await s.post(body)
    assert made.status_code == 201
    assert [one["id"] for one in await s.view()] == [made.json()["id"]]


@TABLE.case("8.4", "a write that never arrived has not happened", emulator_only=_TROUBLE)
async def lost_request(s: Emulated) -> None:
    await s.fault({"drop": True}, method="POST", path="/events")
    with pytest.raises(httpx.RemoteProtocolError):
        await s.post(s.body())
    assert await s.view() == []


@TABLE.case(
    "1.10", "the token endpoint can be throttled and down", emulator_only=_TROUBLE, rows={"429": (429,), "503": (503,)}
)
async def token_fault(s: Emulated, status: int) -> None:
    await s.fault({"status": status, "headers": {"Retry-After": "3"}}, path="/oauth2/v2.0/token")
    answer = await s.ask_token()
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "3")
    assert (await s.ask_token()).status_code == 200
