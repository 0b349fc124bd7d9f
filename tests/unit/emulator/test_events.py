"""Events through Graph: writing, reading, answering, and the two formats of an id."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.emulator.rig import rig, wire_event

pytestmark = pytest.mark.looptime
IMMUTABLE = {"prefer": 'IdType="ImmutableId"'}


async def test_event_posted_into_a_room_is_kept_as_written() -> None:
    """A direct POST meets no conflict check, and the room is the organizer."""
    async with rig() as r:
        first = await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        second = await r.graph.post(f"/users/{r.room}/events", json=wire_event(subject="Also here"))
        assert (first.status_code, second.status_code) == (201, 201)
        body = second.json()
        assert body["subject"] == "Also here"
        assert body["isOrganizer"] is True
        assert body["organizer"]["emailAddress"]["address"] == r.room
        assert body["start"] == {"dateTime": "2026-11-24T09:00:00.0000000", "timeZone": "UTC"}
        assert body["@odata.etag"] == f'W/"{body["changeKey"]}"'


async def test_each_change_gives_a_new_change_key() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        changed = await r.graph.patch(r.event_url(made["id"]), json={"subject": "Other"})
        assert changed.status_code == 200
        assert changed.json()["changeKey"] != made["changeKey"]
        assert changed.json()["subject"] == "Other"
        assert changed.json()["start"] == made["start"]


async def test_id_format_follows_prefer_and_both_formats_are_understood() -> None:
    async with rig() as r:
        mutable = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()["id"]
        answer = await r.graph.get(r.event_url(mutable), headers=IMMUTABLE)
        immutable = answer.json()["id"]
        assert immutable != mutable
        assert immutable.endswith("=")
        assert answer.headers["preference-applied"] == 'IdType="ImmutableId"'
        assert (await r.graph.get(r.event_url(immutable))).json()["id"] == mutable


async def test_web_link_names_the_item() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        assert parse_qs(urlsplit(made["webLink"]).query)["itemid"] == [made["id"]]
        assert "=&" not in made["webLink"]


async def test_same_transaction_id_and_body_gives_the_event_again() -> None:
    async with rig() as r:
        body = wire_event(transactionId="booking-1")
        first = await r.graph.post(f"/users/{r.room}/events", json=body)
        again = await r.graph.post(f"/users/{r.room}/events", json=body)
        assert again.status_code == 201
        assert again.json()["id"] == first.json()["id"]
        assert len(await r.truth()) == 1


async def test_same_transaction_id_with_another_body_is_refused() -> None:
    async with rig() as r:
        first = await r.graph.post(f"/users/{r.room}/events", json=wire_event(transactionId="booking-1"))
        other = await r.graph.post(f"/users/{r.room}/events", json=wire_event(transactionId="booking-1", subject="X"))
        assert other.status_code == 400
        error = other.json()["error"]
        assert error["code"] == "ErrorDuplicateTransactionId"
        assert error["@event.existingEventId"] == first.json()["id"]


async def test_stale_if_match_is_refused() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        url = r.event_url(made["id"])
        await r.graph.patch(url, json={"subject": "B"}, headers={"if-match": made["@odata.etag"]})
        stale = await r.graph.patch(url, json={"subject": "C"}, headers={"if-match": made["@odata.etag"]})
        assert (stale.status_code, stale.json()["error"]["code"]) == (412, "ErrorIrresolvableConflict")


async def test_deleted_event_is_not_found() -> None:
    async with rig() as r:
        url = r.event_url((await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()["id"])
        assert (await r.graph.delete(url)).status_code == 204
        assert (await r.graph.get(url)).json()["error"]["code"] == "ErrorItemNotFound"
        assert (await r.graph.delete(url)).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"subject": "no times"}, "ErrorPropertyValidationFailure"),
        (wire_event("2026-11-24T10:00:00", "2026-11-24T09:00:00"), "ErrorCalendarEndDateIsEarlierThanStartDate"),
        (wire_event(zone="Middle-earth"), "TimeZoneNotSupportedException"),
        (wire_event(isAllDay=True), "ErrorInvalidRequest"),
        (wire_event(nonsense=1), "RequestBodyRead"),
        (wire_event(showAs="sleeping"), "ErrorInvalidPropertyValue"),
        (wire_event(attendees=[{"emailAddress": {"address": "nobody"}}]), "ErrorInvalidRecipients"),
    ],
)
async def test_bad_event_is_refused_and_leaves_nothing(body: dict[str, object], code: str) -> None:
    async with rig() as r:
        answer = await r.graph.post(f"/users/{r.room}/events", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        assert await r.truth() == []


@pytest.mark.parametrize(
    ("method", "url", "headers", "json"),
    [
        ("GET", "/users/{room}/events?$search=x", {}, None),
        ("GET", "/users/{room}/events?$expand=attachments", {}, None),
        ("GET", "/users/{room}/events/$count", {}, None),
        ("POST", "/users/{room}/calendars", {}, {"name": "Second"}),
        ("GET", "/users/{room}/calendar/calendarPermissions", {}, None),
        ("GET", "/users/{room}/contacts", {}, None),
        ("GET", "/users/{room}/events", {"prefer": "respond-async"}, None),
        ("POST", "/users/{room}/events", {}, wire_event(attachments=[{"name": "plan.pdf"}])),
        ("POST", "/subscriptions", {}, {"notificationUrlAppId": "x"}),
    ],
)
async def test_what_is_not_played_answers_501(method: str, url: str, headers: dict[str, str], json: object) -> None:
    """A silent guess would be worse than no answer."""
    async with rig() as r:
        answer = await r.graph.request(method, url.replace("{room}", r.room), headers=headers, json=json)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "notImplementedByEmulator")


async def test_select_keeps_id_and_etag() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event())).json()
        picked = (await r.graph.get(r.event_url(made["id"]), params={"$select": "subject,start"})).json()
        assert set(picked) == {"@odata.context", "@odata.etag", "id", "subject", "start"}
        assert (await r.graph.get(r.event_url(made["id"]), params={"$select": "colour"})).status_code == 400


async def test_times_are_written_in_the_preferred_zone() -> None:
    async with rig() as r:
        made = (await r.graph.post(f"/users/{r.room}/events", json=wire_event(zone="W. Europe Standard Time"))).json()
        assert made["start"]["dateTime"] == "2026-11-24T08:00:00.0000000"
        assert made["originalStartTimeZone"] == "W. Europe Standard Time"
        prefer = {"prefer": 'outlook.timezone="Pacific Standard Time"'}
        shown = (await r.graph.get(r.event_url(made["id"]), headers=prefer)).json()["start"]
        assert shown == {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "Pacific Standard Time"}
        bad = await r.graph.get(r.event_url(made["id"]), headers={"prefer": 'outlook.timezone="Nowhere"'})
        assert bad.status_code == 400


async def test_body_format_follows_prefer() -> None:
    async with rig() as r:
        body = {"contentType": "text", "content": "a < b"}
        url = r.event_url((await r.graph.post(f"/users/{r.room}/events", json=wire_event(body=body))).json()["id"])
        html = (await r.graph.get(url)).json()["body"]
        text = (await r.graph.get(url, headers={"prefer": 'outlook.body-content-type="text"'})).json()["body"]
        assert html == {"contentType": "html", "content": "a &lt; b"}
        assert text == {"contentType": "text", "content": "a < b"}


async def test_organizer_cannot_answer_and_attendee_cannot_cancel() -> None:
    async with rig() as r:
        booked = await r.book("2026-11-24T09:00:00", "2026-11-24T10:00:00")
        await r.rest()
        own, copy = booked["events"][r.ada], booked["events"][r.room]
        cancel = await r.graph.post(f"{r.event_url(copy)}/cancel", json={})
        accept = await r.graph.post(f"{r.event_url(own, r.ada)}/accept", json={})
        assert [one.json()["error"]["code"] for one in (cancel, accept)] == ["ErrorInvalidRequest"] * 2


async def test_ids_of_no_known_shape_are_malformed() -> None:
    async with rig() as r:
        answer = await r.graph.get(r.event_url("AAMk-nonsense="))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidIdMalformed")


async def test_replies_carry_graphs_headers() -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", headers={"client-request-id": "abc"})
        assert answer.headers["client-request-id"] == "abc"
        assert answer.headers["request-id"]
        assert answer.headers["date"] == "Mon, 23 Nov 2026 08:00:00 GMT"
        assert answer.headers["content-type"].startswith("application/json;odata.metadata=minimal")
