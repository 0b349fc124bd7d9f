"""Sections 6.4 and 6.6: making, changing and removing events."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.contract.graph.case import Table
from tests.contract.graph.subject import IMMUTABLE, Subject, assert_refused

TABLE = Table()


@TABLE.case("6.4", "making an event answers 201 and the event")
async def create(s: Subject) -> None:
    answer = await s.post(s.body())
    assert answer.status_code == 201
    made = answer.json()
    assert made["subject"] == "Contract"
    assert (await s.get(made["id"]))["changeKey"] == made["changeKey"]


@TABLE.case("6.4", "without a transaction id, the same body makes another event")
async def repeat_without_id(s: Subject) -> None:
    assert (await s.create())["id"] != (await s.create())["id"]
    assert len(await s.view()) == 2


@TABLE.case("6.4", "an identical repeat gives the first event again")
async def identical_repeat(s: Subject) -> None:
    body = s.body(transactionId=str(uuid4()))
    first, again = await s.post(body), await s.post(body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert first.json()["transactionId"] == body["transactionId"]
    assert len(await s.view()) == 1


@TABLE.case("6.4", "a repeat with another body is refused and names the first event")
async def different_repeat(s: Subject) -> None:
    body = s.body(transactionId=str(uuid4()))
    first = (await s.post(body)).json()
    error = assert_refused(await s.post({**body, "subject": "Other"}), (400, 409), "ErrorDuplicateTransactionId")
    assert error["@event.existingEventId"] == first["id"]
    assert len(await s.view()) == 1


@TABLE.case("6.4", "two transaction ids make two events of one body")
async def two_transactions(s: Subject) -> None:
    for _ in range(2):
        assert (await s.post(s.body(transactionId=str(uuid4())))).status_code == 201
    assert len(await s.view()) == 2


@TABLE.case("6.4", "a transaction id belongs to the making, not to a change")
async def transaction_id_is_fixed(s: Subject) -> None:
    body = s.body(transactionId=str(uuid4()))
    made = (await s.post(body)).json()
    await s.graph.patch(s.url(made["id"]), json={"transactionId": str(uuid4())})
    assert (await s.get(made["id"]))["transactionId"] == body["transactionId"]


@TABLE.case(
    "10",
    "an event that cannot be is refused, and nothing is made",
    rows={
        "no-start": ({"start": None}, ()),
        "no-end": ({"end": None}, ()),
        "backwards": ({"end": {"dateTime": "2035-03-05T08:00:00", "timeZone": "UTC"}}, ()),
        "unknown-zone": ({"start": {"dateTime": "2035-03-05T09:00:00", "timeZone": "Middle-earth"}}, ()),
        "no-date": ({"start": {"dateTime": "soon", "timeZone": "UTC"}}, ()),
        "unknown-property": ({"colour": "blue"}, ("RequestBodyRead",)),
        "capital-property": ({"Subject": "x"}, ()),
        "show-as": ({"showAs": "sleeping"}, ()),
        "sensitivity": ({"sensitivity": "secret"}, ()),
        "importance": ({"importance": "urgent"}, ()),
        "attendee-type": ({"attendees": [{"type": "host", "emailAddress": {"address": "a@contract.invalid"}}]}, ()),
        "body-type": ({"body": {"contentType": "markdown", "content": "x"}}, ()),
        "location-type": ({"location": {"displayName": "x", "locationType": "moon"}}, ()),
        "location-property": ({"location": {"displayName": "x", "floor": 4}}, ()),
        "reminder-text": ({"reminderMinutesBeforeStart": "soon"}, ()),
        "all-day-text": ({"isAllDay": "yes"}, ()),
        "reminder-flag": ({"isReminderOn": "yes"}, ()),
        "categories-text": ({"categories": "Blue"}, ()),
        "subject-number": ({"subject": 7}, ()),
        "transaction-id-number": ({"transactionId": 7}, ()),
        "body-property": ({"body": {"contentType": "text", "text": "x"}}, ()),
        "attendee-property": ({"attendees": [{"name": "x", "emailAddress": {"address": "a@contract.invalid"}}]}, ()),
        "address-property": ({"location": {"displayName": "x", "address": {"town": "x"}}}, ()),
    },
)
async def bad_event(s: Subject, change: dict[str, Any], codes: tuple[str, ...]) -> None:
    body = {name: value for name, value in {**s.body(), **change}.items() if value is not None}
    assert_refused(await s.post(body), 400, *codes)
    assert await s.view() == []


@TABLE.case("10", "an attendee needs an address")
async def bad_attendee(s: Subject) -> None:
    answer = await s.post(s.body(attendees=[{"type": "required", "emailAddress": {"address": "nobody"}}]))
    if answer.status_code != 201:  # Exchange takes some addresses that no mail can reach
        assert_refused(answer, 400, "ErrorInvalidRecipients", "ErrorInvalidAttendees")


@TABLE.case("6.2", "501 attendees are too many")
async def too_many_attendees(s: Subject) -> None:
    crowd = [{"emailAddress": {"address": f"guest{at}@contract.invalid"}} for at in range(501)]
    assert_refused(await s.post(s.body(attendees=crowd)), 400)


@TABLE.case("10", "a body that is no JSON is refused")
async def no_json(s: Subject) -> None:
    headers = {"content-type": "application/json"}
    answer = await s.graph.post(f"/users/{s.mailbox}/events", content=b"{subject:", headers=headers)
    assert_refused(answer, 400)


@TABLE.case("6.6", "a change keeps what it does not name")
async def merge(s: Subject) -> None:
    made = await s.create(categories=["Blue"], location={"displayName": "East"})
    changed = await s.patch(made["id"], {"subject": "Changed"})
    assert changed["subject"] == "Changed"
    for name in ("start", "end", "categories", "location", "body", "showAs"):
        assert changed[name] == made[name]


@TABLE.case(
    "6.6",
    "a complex value and a list are replaced whole",
    rows={
        "categories": ("categories", ["Blue", "Green"], ["Red"], ["Red"]),
        "no-categories": ("categories", ["Blue"], [], []),
        "locations": (
            "locations",
            [{"displayName": "East"}, {"displayName": "West"}],
            [{"displayName": "North"}],
            None,
        ),
    },
)
async def replace(s: Subject, name: str, before: Any, after: Any, shown: Any) -> None:
    made = await s.create(**{name: before})
    changed = await s.patch(made["id"], {name: after})
    if shown is None:
        assert [one["displayName"] for one in changed[name]] == [one["displayName"] for one in after]
    else:
        assert changed[name] == shown


@TABLE.case("6.6", "the list of attendees is replaced whole")
async def replace_attendees(s: Subject) -> None:
    def person(name: str) -> dict[str, Any]:
        return {"type": "required", "emailAddress": {"address": f"{name}@contract.invalid", "name": name}}

    made = await s.create(attendees=[person("ann"), person("bob")])
    changed = await s.patch(made["id"], {"attendees": [person("bob"), person("cyd")]})
    assert [one["emailAddress"]["name"] for one in changed["attendees"]] == ["bob", "cyd"]


@TABLE.case("6.6", "both ends can be moved at once")
async def move(s: Subject) -> None:
    made = await s.create()
    changed = await s.patch(made["id"], {"start": s.at(14), "end": s.at(15)})
    assert (changed["start"]["dateTime"][11:16], changed["end"]["dateTime"][11:16]) == ("14:00", "15:00")
    assert changed["id"] == made["id"]


@TABLE.case("6.6", "a change that cannot be is refused and changes nothing")
async def bad_change(s: Subject) -> None:
    made = await s.create()
    for change in ({"showAs": "sleeping"}, {"end": s.at(8)}, {"colour": "blue"}):
        assert_refused(await s.graph.patch(s.url(made["id"]), json=change), 400)
    assert (await s.get(made["id"]))["changeKey"] == made["changeKey"]


@TABLE.case("6.6", "a deleted event is not found, nor is it deleted twice")
async def delete(s: Subject) -> None:
    made = await s.create()
    answer = await s.graph.delete(s.url(made["id"]))
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE", "PATCH"):
        body = {"subject": "x"} if method == "PATCH" else None
        assert_refused(await s.graph.request(method, s.url(made["id"]), json=body), 404, "ErrorItemNotFound")


@TABLE.case("6.6", "a change with an old etag is a conflict, with the present one it is not")
async def if_match(s: Subject) -> None:
    made = await s.create()
    url, stale = s.url(made["id"]), made["@odata.etag"]
    fresh = await s.graph.patch(url, json={"subject": "B"}, headers={"if-match": stale})
    assert fresh.status_code == 200
    answer = await s.graph.patch(url, json={"subject": "C"}, headers={"if-match": stale})
    assert_refused(answer, (409, 412), "ErrorIrresolvableConflict")
    assert (await s.get(made["id"]))["subject"] == "B"
    assert (await s.graph.patch(url, json={"subject": "D"}, headers={"if-match": "*"})).status_code == 200


@TABLE.case("6.6", "a deletion with an old etag is a conflict")
async def delete_if_match(s: Subject) -> None:
    made = await s.create()
    await s.patch(made["id"], {"subject": "B"})
    answer = await s.graph.delete(s.url(made["id"]), headers={"if-match": made["@odata.etag"]})
    assert_refused(answer, (409, 412), "ErrorIrresolvableConflict")
    assert (await s.get(made["id"]))["subject"] == "B"


@TABLE.case("6.6", "the organizer cancels: 202, and the event is gone")
async def cancel(s: Subject) -> None:
    made = await s.create()
    assert await s.act(made["id"], "cancel", {"Comment": "Sorry"}) == 202
    assert_refused(await s.graph.get(s.url(made["id"])), 404, "ErrorItemNotFound")


@TABLE.case(
    "6.6",
    "the organizer has nothing to answer",
    rows={name: (name,) for name in ("accept", "tentativelyAccept", "decline")},
)
async def organizer_answers(s: Subject, action: str) -> None:
    made = await s.create()
    answer = await s.graph.post(f"{s.url(made['id'])}/{action}", json={"SendResponse": False})
    assert_refused(answer, 400, "ErrorInvalidRequest")
    assert (await s.get(made["id"]))["changeKey"] == made["changeKey"]


@TABLE.case("10", "an id of no known shape is malformed")
async def malformed_id(s: Subject) -> None:
    answer = await s.graph.get(s.url("AAMkAGI-nonsense="))
    assert_refused(answer, (400, 404), "ErrorInvalidIdMalformed")


@TABLE.case("6.6", "an event is not found in another mailbox", needs={"organizer"})
async def other_mailbox(s: Subject) -> None:
    made = await s.create()
    assert (await s.graph.get(s.url(made["id"], s.organizer))).status_code in (400, 404)


@TABLE.case("6.6", "what was written can be read at once")
async def read_your_writes(s: Subject) -> None:
    made = await s.create()
    for at in range(3):
        await s.patch(made["id"], {"subject": f"Round {at}"})
        assert (await s.get(made["id"]))["subject"] == f"Round {at}"
        assert [one["subject"] for one in await s.view()] == [f"Round {at}"]


@TABLE.case("6.4", "an answer to a write has the id format it asked for")
async def id_format_of_writes(s: Subject) -> None:
    mutable = await s.post(s.body(), prefer='IdType="RestId"')
    immutable = (await s.get(mutable.json()["id"]))["id"]
    assert mutable.json()["id"] != immutable
    changed = await s.graph.patch(s.url(immutable), json={"subject": "x"}, headers={"prefer": IMMUTABLE})
    assert changed.json()["id"] == immutable
