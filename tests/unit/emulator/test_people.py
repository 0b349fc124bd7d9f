"""Meetings of people, with and without rooms: answers, copies of one's own, forwarding, hidden guests, renamed mailboxes."""

from typing import Any

import pytest

from sidecar.emulator.clock import sleep
from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
TEN = ("2026-11-24T10:00:00", "2026-11-24T11:00:00")
DAY = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
MONTH = ("2026-11-20T00:00:00Z", "2026-12-20T00:00:00Z")


def grace(r: Rig) -> str:
    return r.users[1]["address"]


async def statuses(r: Rig, mailbox: str, event_id: str) -> dict[str, str]:
    """Tell what a mailbox's item says of everybody's answers."""
    attendees = (await r.graph.get(r.event_url(event_id, mailbox))).json()["attendees"]
    return {one["emailAddress"]["address"]: one["status"]["response"] for one in attendees}


async def meet(r: Rig, **more: Any) -> dict[str, Any]:
    """Let the first user invite the second, without a room unless asked."""
    booked = await r.book(*TEN, **{"rooms": [], "attendees": [grace(r)], **more})
    await r.rest()
    return booked


@pytest.mark.parametrize(
    ("answer", "response", "show_as"),
    [("accept", "accepted", "busy"), ("tentative", "tentativelyAccepted", "tentative"), ("decline", "declined", None)],
)
async def test_answer_of_a_person_reaches_the_organizer(answer: str, response: str, show_as: str | None) -> None:
    async with rig() as r:
        booked = await meet(r)
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": answer}
        await r.told("POST", r.path("/outlook/respond"), body)
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {grace(r): response}
        assert [(one["response"], one["show_as"]) for one in await r.truth(grace(r))] == (
            [] if show_as is None else [(response, show_as)]
        )


async def test_answer_that_is_not_sent_stays_with_who_gave_it() -> None:
    async with rig() as r:
        booked = await meet(r)
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": "accept", "send_response": False}
        await r.told("POST", r.path("/outlook/respond"), body)
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {grace(r): "none"}
        assert await statuses(r, grace(r), booked["events"][grace(r)]) == {grace(r): "accepted"}


async def test_copy_of_an_attendee_shows_nobody_elses_answer() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room])
        assert await statuses(r, grace(r), booked["events"][grace(r)]) == {grace(r): "none", r.room: "none"}
        assert await statuses(r, r.room, booked["events"][r.room]) == {grace(r): "none", r.room: "accepted"}
        assert (await statuses(r, r.ada, booked["events"][r.ada]))[r.room] == "accepted"


async def test_hidden_attendees_see_only_themselves() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room], hide_attendees=True)
        assert set(await statuses(r, grace(r), booked["events"][grace(r)])) == {grace(r)}
        assert set(await statuses(r, r.room, booked["events"][r.room])) == {r.room}
        assert set(await statuses(r, r.ada, booked["events"][r.ada])) == {grace(r), r.room}
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "hide_attendees": False})
        await r.rest()
        assert set(await statuses(r, grace(r), booked["events"][grace(r)])) == {grace(r), r.room}


async def test_change_of_text_keeps_answers() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room])
        await r.told(
            "POST",
            r.path("/outlook/respond"),
            {"meeting": booked["meeting"], "address": grace(r), "answer": "tentative"},
        )
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        for mailbox in (grace(r), r.room):
            (item,) = await r.truth(mailbox)
            assert item["subject"] == "New"
            assert item["response"] == {grace(r): "tentativelyAccepted", r.room: "accepted"}[mailbox]
        await r.rest()
        assert [item["subject"] for item in await r.truth()] == ["Ada Lovelace "]
        assert (await statuses(r, r.ada, booked["events"][r.ada]))[r.room] == "accepted"


async def test_new_time_takes_answers_back() -> None:
    async with rig() as r:
        booked = await meet(r)
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": "accept"}
        await r.told("POST", r.path("/outlook/respond"), body)
        times = {"start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        (item,) = await r.truth(grace(r))
        assert (item["response"], item["show_as"], item["id"]) == (
            "notResponded",
            "tentative",
            booked["events"][grace(r)],
        )
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {grace(r): "none"}


async def test_answer_to_a_series_goes_to_its_exceptions() -> None:
    async with rig() as r:
        booked = await meet(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        move = {"start": "2026-12-02T10:00:00", "end": "2026-12-02T11:00:00", "occurrence": "2026-12-01"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **move})
        before = [item["change_key"] for item in await r.truth(grace(r))]
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": "accept"}
        await r.told("POST", r.path("/outlook/respond"), body)
        assert [item["response"] for item in await r.truth(grace(r))] == ["accepted"] * 4
        assert not set(before) & {item["change_key"] for item in await r.truth(grace(r))}
        own = await r.view(*MONTH, mailbox=r.ada)
        assert [one["attendees"][0]["status"]["response"] for one in own] == ["accepted"] * 4


async def test_answer_to_one_occurrence_is_its_own() -> None:
    async with rig() as r:
        booked = await meet(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": "decline", "occurrence": "2026-12-01"}
        await r.told("POST", r.path("/outlook/respond"), body)
        assert [item["start"][5:10] for item in await r.truth(grace(r))] == ["11-24", "12-08", "12-15"]
        own = await r.view(*MONTH, mailbox=r.ada)
        assert [one["attendees"][0]["status"]["response"] for one in own] == ["none", "declined", "none", "none"]


async def test_own_copy_can_be_deleted_and_comes_back_with_the_next_change() -> None:
    async with rig() as r:
        booked = await meet(r)
        await r.told("POST", r.path("/outlook/delete_copy"), {"meeting": booked["meeting"], "address": grace(r)})
        assert await r.truth(grace(r)) == []
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {grace(r): "none"}
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        (item,) = await r.truth(grace(r))
        assert item["id"] != booked["events"][grace(r)]


async def test_forwarded_meeting_gets_the_new_people_and_rooms() -> None:
    async with rig() as r:
        booked = await meet(r)
        other = (await r.told("POST", r.path("/users"), {"count": 1}))["users"][0]["address"]
        body = {"meeting": booked["meeting"], "address": grace(r), "to": [other, r.room]}
        await r.told("POST", r.path("/outlook/forward"), body)
        await r.rest()
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {
            grace(r): "none",
            other: "none",
            r.room: "accepted",
        }
        assert [item["organizer"] for item in await r.truth(other)] == [r.ada]
        refused = await r.control.post(r.path("/outlook/forward"), json={**body, "address": "eve@elsewhere.example"})
        assert (refused.status_code, "not part" in refused.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    ("call", "body", "status", "words"),
    [
        ("respond", {"address": "{room}", "answer": "accept"}, 404, "no copy"),
        ("respond", {"address": "{grace}", "answer": "maybe"}, 400, "not what this call takes"),
        ("respond", {"address": "{grace}", "answer": "accept", "occurrence": "2026-11-24"}, 400, "not a series"),
        ("respond", {"address": "{ada}", "answer": "accept"}, 404, "no copy"),
        ("delete_copy", {"address": "{ada}"}, 404, "no copy"),
        ("forward", {"address": "{ada}", "to": []}, 400, "not what this call takes"),
        ("forward", {"address": "{ada}"}, 400, "missing required field `to`"),
    ],
)
async def test_call_that_cannot_be_carried_out_says_why(
    call: str, body: dict[str, Any], status: int, words: str
) -> None:
    async with rig() as r:
        booked = await meet(r)
        names = {"{room}": r.room, "{grace}": grace(r), "{ada}": r.ada}
        filled = {key: names.get(value, value) if isinstance(value, str) else value for key, value in body.items()}
        answer = await r.control.post(r.path(f"/outlook/{call}"), json={"meeting": booked["meeting"], **filled})
        assert (answer.status_code, words in answer.json()["error"]) == (status, True)


async def test_cancelled_meeting_cannot_be_answered() -> None:
    async with rig() as r:
        booked = await meet(r)
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        body = {"meeting": booked["meeting"], "address": grace(r), "answer": "accept"}
        answer = await r.control.post(r.path("/outlook/respond"), json=body)
        assert (answer.status_code, "cancelled" in answer.json()["error"]) == (409, True)


async def test_outside_organizer_must_be_from_outside() -> None:
    async with rig() as r:
        body = {"organizer": r.ada, "outside": True, "start": TEN[0], "end": TEN[1]}
        answer = await r.control.post(r.path("/outlook/book"), json=body)
        assert (answer.status_code, "outside this tenant" in answer.json()["error"]) == (400, True)


async def test_occurrence_cannot_be_moved_over_its_neighbour() -> None:
    async with rig() as r:
        booked = await meet(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        for start, end in (
            ("2026-12-09T10:00:00", "2026-12-09T11:00:00"),
            ("2026-12-08T09:30:00", "2026-12-08T10:30:00"),
        ):
            body = {"meeting": booked["meeting"], "start": start, "end": end, "occurrence": "2026-12-01"}
            answer = await r.control.post(r.path("/outlook/move"), json=body)
            assert (answer.status_code, "neighbour" in answer.json()["error"]) == (400, True)


async def test_somebody_new_at_one_occurrence_only_is_not_played() -> None:
    async with rig() as r:
        await meet(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        one = (await r.view(*MONTH, mailbox=r.ada))[1]
        people = [{"emailAddress": {"address": grace(r)}}, {"type": "resource", "emailAddress": {"address": r.room}}]
        answer = await r.graph.patch(r.event_url(one["id"], r.ada), json={"attendees": people})
        assert answer.status_code == 501


async def test_room_taken_off_one_occurrence_and_put_back_has_it_again() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room], recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        edit = {"meeting": booked["meeting"], "occurrence": "2026-12-01"}
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": []})
        await r.rest()
        assert [item["is_cancelled"] for item in await r.truth()] == [False, True, False, False]
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": [r.room]})
        await r.rest()
        assert [(item["is_cancelled"], item["response"]) for item in await r.truth()] == [(False, "accepted")] * 4


async def test_room_put_back_before_the_cancellation_arrives_keeps_the_occurrence() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room], recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        edit = {"meeting": booked["meeting"], "occurrence": "2026-12-01"}
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": []})
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": [r.room]})
        await r.rest()
        assert [item["is_cancelled"] for item in await r.truth()] == [False] * 4


async def test_exception_follows_its_series_where_it_says_the_same() -> None:
    async with rig() as r:
        booked = await meet(r, recurrence=weekly("2026-11-24", days=["tuesday"], zone="UTC"))
        edit = {"meeting": booked["meeting"]}
        await r.told("POST", r.path("/outlook/edit"), {**edit, "occurrence": "2026-12-01", "subject": "Special"})
        move = {"start": "2026-12-09T10:00:00", "end": "2026-12-09T11:00:00", "occurrence": "2026-12-08"}
        await r.told("POST", r.path("/outlook/move"), {**edit, **move})
        await r.told("POST", r.path("/outlook/edit"), {**edit, "subject": "New", "rooms": [r.room]})
        await r.rest()
        for mailbox in (r.ada, grace(r)):
            assert [item["subject"] for item in await r.truth(mailbox)] == ["New", "Special", "New", "New"]
        assert [item["response"] for item in await r.truth()] == ["accepted"] * 4
        own = await r.view(*MONTH, mailbox=r.ada)
        assert [one["attendees"][1]["status"]["response"] for one in own] == ["accepted"] * 4


async def test_meeting_knows_a_room_whose_address_has_changed() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        new = f"atrium@{r.tenant['domain']}"
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"address": new})
        await r.rest()
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {r.room: "accepted"}
        times = {"start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        await r.rest()
        assert [(one["id"], one["start"]) for one in await r.truth(new)] == [
            (booked["events"][r.room], "2026-11-25T10:00:00Z")
        ]


async def test_attendee_named_by_another_of_their_addresses_keeps_their_answer() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"address": "atrium@contoso.example"})
        (before,) = await r.truth("atrium@contoso.example")
        url = r.event_url(booked["events"][r.ada], r.ada)
        for address in ("atrium@contoso.example", r.room.upper()):
            body = {"attendees": [{"type": "resource", "emailAddress": {"address": address}}]}
            (attendee,) = (await r.graph.patch(url, json=body)).json()["attendees"]
            assert attendee["emailAddress"]["name"] == "Room 1"
            assert attendee["status"]["response"] == "accepted"
        await r.rest()
        assert await r.truth("atrium@contoso.example") == [before]


async def test_invitation_to_a_former_address_arrives() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"address": f"atrium@{r.tenant['domain']}"})
        body = {
            "start": {"dateTime": TEN[0], "timeZone": "UTC"},
            "end": {"dateTime": TEN[1], "timeZone": "UTC"},
            "attendees": [{"type": "resource", "emailAddress": {"address": r.room}}],
        }
        made = (await r.graph.post(f"/users/{r.ada}/events", json=body)).json()
        await r.rest()
        assert await statuses(r, r.ada, made["id"]) == {r.room: "accepted"}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("moving", "accepted"),
        ("onPremises", "accepted"),
        ("unlicensed", "none"),
        ("softDeleted", "none"),
        ("gone", "none"),
    ],
)
async def test_mailbox_that_graph_cannot_open_still_gets_mail_if_it_exists(kind: str, answer: str) -> None:
    async with rig() as r:
        await r.subscribe()
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"kind": kind})
        booked = await r.book(*TEN)
        await r.rest()
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {r.room: answer}
        assert bool(r.webhook.changes()) == (kind == "moving")


async def test_patch_of_the_rooms_copy_stays_there_until_the_organizers_next_change() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room])
        changes = {"subject": "Mine", "start": {"dateTime": "2026-11-24T12:00:00", "timeZone": "UTC"}}
        changes["end"] = {"dateTime": "2026-11-24T13:00:00", "timeZone": "UTC"}
        answer = await r.graph.patch(r.event_url(booked["events"][r.room]), json=changes)
        assert answer.status_code == 200
        assert [(one["subject"], one["start"][11:16]) for one in await r.truth()] == [("Mine", "12:00")]
        assert [(one["subject"], one["start"][11:16]) for one in await r.truth(r.ada)] == [("Plans", "10:00")]
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "body": "Agenda"})
        await r.rest()
        assert [(one["subject"], one["start"][11:16]) for one in await r.truth()] == [("Ada Lovelace ", "10:00")]


async def test_own_categories_of_a_copy_outlive_the_organizers_change() -> None:
    async with rig() as r:
        booked = await meet(r)
        url = r.event_url(booked["events"][grace(r)], grace(r))
        await r.graph.patch(url, json={"categories": ["Red"]})
        await r.told("POST", r.path("/outlook/edit"), {"meeting": booked["meeting"], "subject": "New"})
        times = {"start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        shown = (await r.graph.get(url)).json()
        assert (shown["categories"], shown["subject"]) == (["Red"], "New")


@pytest.mark.parametrize("who", ["organizer", "room"])
async def test_patch_that_meets_the_rooms_answer_is_refused_and_the_answer_is_there(who: str) -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"attendant_race_share": 1})
        booked = await r.book(*TEN)
        mailbox = r.ada if who == "organizer" else r.room
        url = r.event_url(booked["events"][mailbox], mailbox)
        before = (await r.graph.get(url)).json()["changeKey"]
        refused = await r.graph.patch(url, json={"categories": ["Red"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (412, "ErrorIrresolvableConflict")
        assert (await r.graph.get(url)).json()["changeKey"] != before
        assert [item["response"] for item in await r.truth()] == ["accepted"]
        again = await r.graph.patch(url, json={"categories": ["Red"]})
        assert (again.status_code, again.json()["categories"]) == (200, ["Red"])


async def test_refused_patch_leaves_an_occurrence_as_it_was() -> None:
    async with rig() as r:
        recurrence = weekly("2026-11-24", days=["tuesday"], zone="UTC")
        await r.book(*TEN, rooms=[], attendees=[grace(r)], recurrence=recurrence)
        _, second, *_ = await r.view("2026-11-23T00:00:00Z", "2026-12-20T00:00:00Z", mailbox=r.ada)
        url = r.event_url(second["id"], r.ada)
        guests = [{"emailAddress": {"address": one}} for one in (grace(r), r.room)]
        extras = [{"id": "String {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Name x", "value": "1"}]
        body = {"attendees": guests, "singleValueExtendedProperties": extras}
        assert (await r.graph.patch(url, json=body)).status_code == 501
        expand = {"$expand": f"singleValueExtendedProperties($filter=id eq '{extras[0]['id']}')"}
        after = (await r.graph.get(url, params=expand, headers={"prefer": 'IdType="ImmutableId"'})).json()
        assert {name: after[name] for name in second} == second
        assert "singleValueExtendedProperties" not in after


@pytest.mark.parametrize(
    ("action", "word"), [("accept", "Accept"), ("tentativelyAccept", "Tentative"), ("decline", "Decline")]
)
async def test_cancelled_meeting_cannot_be_answered_through_graph(action: str, word: str) -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": booked["meeting"]})
        await r.rest()
        before = await r.truth()
        answer = await r.graph.post(f"{r.event_url(booked['events'][r.room])}/{action}", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, f"ErrorCalendarIsCancelledFor{word}")
        assert await r.truth() == before


async def test_mailbox_named_twice_gets_one_copy() -> None:
    async with rig() as r:
        kinds = [{"type": kind, "emailAddress": {"address": r.room}} for kind in ("required", "resource")]
        body = wire_event("2026-11-24T10:00:00", "2026-11-24T11:00:00", attendees=kinds)
        made = (await r.graph.post(f"/users/{r.ada}/events", json=body)).json()
        await r.rest()
        assert [one["response"] for one in await r.truth()] == ["accepted"]
        shown = (await r.graph.get(r.event_url(made["id"], r.ada))).json()
        assert [one["status"]["response"] for one in shown["attendees"]] == ["accepted", "accepted"]


async def test_restored_acts_are_carried_out_when_they_are_due() -> None:
    """What a dump holds is the table of acts; whoever waited for them before is gone."""
    async with rig() as r:
        gone = await r.book("2026-11-24T12:00:00", "2026-11-24T13:00:00", cancel_kept=False)
        await r.rest()
        await r.book(*TEN)
        await r.told("POST", r.path("/outlook/cancel"), {"meeting": gone["meeting"]})
        (tenant,) = r.emulator.world.directory.tenants.values()
        acts, tenant.pending_acts = tenant.pending_acts, {}
        await sleep(r.clock, 1)
        found = [(item["start"][11:13], item["response"]) for item in await r.truth()]
        assert found == [("10", "notResponded"), ("12", "accepted")]
        tenant.pending_acts = acts
        r.emulator.meetings.resume()
        await r.rest()
        assert [(item["start"][11:13], item["response"]) for item in await r.truth()] == [("10", "accepted")]


async def test_newer_change_makes_an_older_awaited_answer_void() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        times = {"start": "2026-11-25T10:00:00", "end": "2026-11-25T11:00:00"}
        await sleep(r.clock, 0.2)
        await r.told("POST", r.path("/outlook/move"), {"meeting": booked["meeting"], **times})
        assert (await r.told("GET", r.path("/pending")))["room_processing"] == 1
        await sleep(r.clock, 0.2)
        assert [item["response"] for item in await r.truth()] == ["notResponded"]
        await sleep(r.clock, 0.2)
        assert [item["response"] for item in await r.truth()] == ["accepted"]


async def set_delay(r: Rig, seconds: float) -> None:
    await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": {"processing_delay_s": seconds}})


async def test_room_reads_an_older_cancellation_before_it_answers_anew() -> None:
    async with rig() as r:
        booked = await meet(r, rooms=[r.room])
        edit = {"meeting": booked["meeting"]}
        await set_delay(r, 10)
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": []})
        await set_delay(r, 1)
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": [r.room]})
        await sleep(r.clock, 2)
        assert [(item["is_cancelled"], item["response"]) for item in await r.truth()] == [
            (True, "accepted"),
            (False, "accepted"),
        ]


async def test_answer_to_an_invitation_that_was_taken_back_does_not_count() -> None:
    async with rig() as r:
        await set_delay(r, 1)
        booked = await r.book(*TEN)
        await set_delay(r, 10)
        edit = {"meeting": booked["meeting"]}
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": []})
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": [r.room]})
        await sleep(r.clock, 2)
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {r.room: "none"}
        await r.rest()
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {r.room: "accepted"}


async def test_left_over_copy_of_a_meeting_is_no_conflict_with_it() -> None:
    async with rig() as r:
        booked = await r.book(*TEN)
        await r.rest()
        edit = {"meeting": booked["meeting"]}
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": {"AutomateProcessing": "None"}})
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": []})
        await r.told("PATCH", r.path(f"/mailboxes/{r.room}"), {"settings": {"AutomateProcessing": "AutoAccept"}})
        await r.told("POST", r.path("/outlook/edit"), {**edit, "rooms": [r.room]})
        await r.rest()
        assert await statuses(r, r.ada, booked["events"][r.ada]) == {r.room: "accepted"}


async def test_series_begins_on_the_first_day_that_fits_its_pattern() -> None:
    async with rig() as r:
        times = ("2026-11-25T10:00:00", "2026-11-25T11:00:00")
        booked = await r.book(*times, recurrence=weekly("2026-11-25", days=["tuesday"], zone="UTC"))
        for mailbox in (r.ada, r.room):
            shown = (await r.graph.get(r.event_url(booked["events"][mailbox], mailbox))).json()
            assert (shown["start"]["dateTime"][:10], shown["recurrence"]["range"]["startDate"]) == (
                "2026-12-01",
                "2026-12-01",
            )
