"""The calendar promises the product relies on. Each is asked of the emulator, and of a real tenant if there is one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.graph.conftest import Subject


@asynccontextmanager
async def event(subject: Subject, **more: Any) -> AsyncIterator[dict[str, Any]]:
    """Keep an event on the calendar while the body runs."""
    body = {"subject": "Contract", "start": subject.at(9), "end": subject.at(10), **more}
    answer = await subject.graph.post(f"/users/{subject.mailbox}/events", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    try:
        yield made
    finally:
        await subject.graph.delete(subject.url(made["id"]))


async def view(subject: Subject, first_hour: int, last_hour: int, **options: str) -> list[dict[str, Any]]:
    params = {
        "startDateTime": subject.at(first_hour)["dateTime"] + "Z",
        "endDateTime": subject.at(last_hour)["dateTime"] + "Z",
        **options,
    }
    answer = await subject.graph.get(f"/users/{subject.mailbox}/calendarView", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["value"]
    return found


async def test_direct_event_is_the_mailboxes_own(subject: Subject) -> None:
    async with event(subject) as made:
        assert (made["isOrganizer"], made["type"], made["subject"]) == (True, "singleInstance", "Contract")
        assert made["start"]["dateTime"].endswith(":00.0000000")
        assert made["@odata.etag"] == f'W/"{made["changeKey"]}"'


async def test_change_gives_a_new_change_key_and_keeps_the_id(subject: Subject) -> None:
    async with event(subject) as made:
        changed = (await subject.graph.patch(subject.url(made["id"]), json={"subject": "Changed"})).json()
        assert changed["id"] == made["id"]
        assert changed["changeKey"] != made["changeKey"]


async def test_transaction_id_makes_a_post_repeatable(subject: Subject) -> None:
    transaction = str(uuid4())
    async with event(subject, transactionId=transaction) as made:
        body = {"subject": "Contract", "start": subject.at(9), "end": subject.at(10), "transactionId": transaction}
        again = await subject.graph.post(f"/users/{subject.mailbox}/events", json=body)
        assert (again.status_code, again.json()["id"]) == (201, made["id"])
        other = await subject.graph.post(f"/users/{subject.mailbox}/events", json={**body, "subject": "Other"})
        assert other.json()["error"]["code"] == "ErrorDuplicateTransactionId"


async def test_view_holds_what_overlaps(subject: Subject) -> None:
    async with event(subject) as made:
        for first, last, expected in ((8, 9, []), (9, 10, [made["id"]]), (8, 11, [made["id"]]), (10, 11, [])):
            assert [item["id"] for item in await view(subject, first, last)] == expected


async def test_occurrences_have_identities_of_their_own(subject: Subject) -> None:
    recurrence = {
        "pattern": {"type": "daily", "interval": 1},
        "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": subject.day.date().isoformat()},
    }
    async with event(subject, recurrence=recurrence) as master:
        assert master["type"] == "seriesMaster"
        shown = await view(subject, 0, 96, **{"$orderby": "start/dateTime"})
        assert [item["type"] for item in shown] == ["occurrence"] * 3
        assert {item["seriesMasterId"] for item in shown} == {master["id"]}
        assert len({item["iCalUId"] for item in shown}) == 3
        assert (await subject.graph.delete(subject.url(shown[1]["id"]))).status_code == 204
        assert [item["id"] for item in await view(subject, 0, 96)] == [shown[0]["id"], shown[2]["id"]]


async def test_deleted_event_is_not_found(subject: Subject) -> None:
    async with event(subject) as made:
        assert (await subject.graph.delete(subject.url(made["id"]))).status_code == 204
        answer = await subject.graph.get(subject.url(made["id"]))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ErrorItemNotFound")


@pytest.mark.parametrize("path", ["cancel", "accept"])
async def test_organizer_may_cancel_but_not_accept(subject: Subject, path: str) -> None:
    async with event(subject) as made:
        answer = await subject.graph.post(f"{subject.url(made['id'])}/{path}", json={})
        if path == "accept":
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidRequest")
        else:
            assert answer.status_code == 202


async def test_unknown_subscription_is_not_found(subject: Subject) -> None:
    answer = await subject.graph.get(f"/subscriptions/{uuid4()}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
