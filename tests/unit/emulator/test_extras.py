"""Extended properties and open extensions: what applications keep beside an event."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
SET = "{7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f}"
ID, OTHER, MANY = f"String {SET} Name bookingId", f"Integer {SET} Name floor", f"StringArray {SET} Name guests"
SINGLE, MULTI = "singleValueExtendedProperties", "multiValueExtendedProperties"
REFERRAL = {"@odata.type": "microsoft.graph.openTypeExtension", "extensionName": "org.example.Referral", "deal": 7}
REFERRAL_ID = "Microsoft.OutlookServices.OpenTypeExtension.org.example.Referral"


async def post(r: Rig, **event: Any) -> dict[str, Any]:
    answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(**event))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def expanded(r: Rig, item_id: str, expand: str, mailbox: str | None = None) -> dict[str, Any]:
    answer = await r.graph.get(r.event_url(item_id, mailbox), params={"$expand": expand})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_extended_properties_are_shown_only_when_expanded() -> None:
    async with rig() as r:
        made = await post(r, **{SINGLE: [{"id": ID, "value": "8812"}], MULTI: [{"id": MANY, "value": ["a", "b"]}]})
        assert SINGLE not in made
        assert MULTI not in made
        shown = await expanded(r, made["id"], f"{SINGLE}($filter=id eq '{ID}'),{MULTI}($filter=id eq '{MANY}')")
        assert shown[SINGLE] == [{"id": ID, "value": "8812"}]
        assert shown[MULTI] == [{"id": MANY, "value": ["a", "b"]}]


async def test_expanded_property_the_event_does_not_have_is_absent() -> None:
    async with rig() as r:
        made = await post(r, **{SINGLE: [{"id": ID, "value": "8812"}]})
        assert SINGLE not in await expanded(r, made["id"], f"{SINGLE}($filter=id eq '{OTHER}')")


async def test_expand_filters_by_several_ids() -> None:
    async with rig() as r:
        made = await post(r, **{SINGLE: [{"id": ID, "value": "8812"}, {"id": OTHER, "value": "4"}]})
        shown = await expanded(r, made["id"], f"{SINGLE}($filter=id eq '{ID}' or id eq '{OTHER}')")
        assert {one["id"] for one in shown[SINGLE]} == {ID, OTHER}


async def test_patch_changes_the_named_property_and_null_takes_one_away() -> None:
    async with rig() as r:
        made = await post(r, **{SINGLE: [{"id": ID, "value": "8812"}, {"id": OTHER, "value": "4"}]})
        url, both = r.event_url(made["id"]), f"{SINGLE}($filter=id eq '{ID}' or id eq '{OTHER}')"
        upper = ID.replace("7d2c2f0e", "7D2C2F0E")
        changed = await r.graph.patch(url, json={SINGLE: [{"id": upper, "value": "9"}]})
        assert changed.json()["changeKey"] != made["changeKey"]
        assert (await expanded(r, made["id"], both))[SINGLE] == [{"id": ID, "value": "9"}, {"id": OTHER, "value": "4"}]
        await r.graph.patch(url, json={SINGLE: [{"id": ID, "value": None}]})
        assert (await expanded(r, made["id"], both))[SINGLE] == [{"id": OTHER, "value": "4"}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (SINGLE, [{"id": "bookingId", "value": "1"}]),
        (SINGLE, [{"id": "Text {7d2c2f0e-3a4b-4c5d-9e6f-0a1b2c3d4e5f} Name x", "value": "1"}]),
        (SINGLE, [{"id": ID, "value": 8812}]),
        (SINGLE, [{"id": MANY, "value": "1"}]),
        (MULTI, [{"id": ID, "value": ["1"]}]),
        (MULTI, [{"id": MANY, "value": "1"}]),
        ("extensions", [{"deal": 7}]),
        ("extensions", [REFERRAL, REFERRAL]),
    ],
)
async def test_malformed_extra_is_refused_and_leaves_nothing(name: str, value: Any) -> None:
    async with rig() as r:
        answer = await r.graph.post(f"/users/{r.room}/events", json=wire_event(**{name: value}))
        assert answer.status_code == 400
        assert await r.truth() == []


async def test_extras_stay_on_the_organizers_copy() -> None:
    async with rig() as r:
        guests = [{"type": "resource", "emailAddress": {"address": r.room}}]
        extras: dict[str, Any] = {"extensions": [REFERRAL], SINGLE: [{"id": ID, "value": "8812"}]}
        body = wire_event(attendees=guests, **extras)
        made = (await r.graph.post(f"/users/{r.ada}/events", json=body)).json()
        await r.rest()
        await r.graph.patch(r.event_url(made["id"], r.ada), json={"subject": "Other"})
        await r.rest()
        (copy,) = await r.truth()
        both = f"{SINGLE}($filter=id eq '{ID}'),extensions"
        theirs = await expanded(r, copy["id"], both)
        assert SINGLE not in theirs
        assert theirs["extensions"] == []
        assert SINGLE in await expanded(r, made["id"], both, r.ada)


async def test_occurrences_have_their_masters_extras_until_they_get_their_own() -> None:
    async with rig() as r:
        rule = weekly("2026-11-23", days=["monday"], zone="UTC")
        await post(
            r,
            start="2026-11-23T09:00:00",
            end="2026-11-23T10:00:00",
            recurrence=rule,
            **{SINGLE: [{"id": ID, "value": "1"}]},
        )
        first, second = (await r.view("2026-11-23T00:00:00Z", "2026-12-01T00:00:00Z"))[:2]
        await r.graph.patch(r.event_url(second["id"]), json={SINGLE: [{"id": ID, "value": "2"}]})
        values = [
            (await expanded(r, one["id"], f"{SINGLE}($filter=id eq '{ID}')"))[SINGLE][0]["value"]
            for one in (first, second)
        ]
        assert values == ["1", "2"]


async def test_extras_are_not_in_delta() -> None:
    async with rig() as r:
        await post(r, extensions=[REFERRAL], **{SINGLE: [{"id": ID, "value": "8812"}]})
        window = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2027-01-31T00:00:00Z"}
        (item,) = (await r.graph.get(f"/users/{r.room}/calendarView/delta", params=window)).json()["value"]
        assert not {SINGLE, "extensions"} & set(item)


async def test_inline_extension_is_shown_when_expanded_and_found_by_filter() -> None:
    async with rig() as r:
        made = await post(r, extensions=[REFERRAL])
        assert "extensions" not in made
        (shown,) = (await expanded(r, made["id"], "extensions($filter=id eq 'org.example.Referral')"))["extensions"]
        assert shown == {
            "@odata.type": "#microsoft.graph.openTypeExtension",
            "id": REFERRAL_ID,
            "extensionName": "org.example.Referral",
            "deal": 7,
        }
        for name, count in ((REFERRAL_ID, 1), ("org.example.referral", 1), ("org.example.Other", 0)):
            query = {"$filter": f"Extensions/any(f: f/id eq '{name}')"}
            assert len((await r.graph.get(f"/users/{r.room}/events", params=query)).json()["value"]) == count


async def test_extension_lives_on_paths_of_its_own() -> None:
    async with rig() as r:
        made = await post(r)
        url = f"{r.event_url(made['id'])}/extensions"
        posted = await r.graph.post(url, json=REFERRAL)
        assert (posted.status_code, posted.json()["id"]) == (201, REFERRAL_ID)
        assert (await r.graph.post(url, json=REFERRAL)).status_code == 409
        patched = await r.graph.patch(f"{url}/{REFERRAL_ID}", json={"deal": None, "stage": {"name": "won"}})
        assert (patched.status_code, patched.json()["stage"]) == (200, {"name": "won"})
        read = (await r.graph.get(f"{url}/org.example.Referral")).json()
        assert "deal" not in read
        assert [one["id"] for one in (await r.graph.get(url)).json()["value"]] == [REFERRAL_ID]
        assert (await r.graph.delete(f"{url}/{REFERRAL_ID}")).status_code == 204
        assert (await r.graph.get(f"{url}/{REFERRAL_ID}")).status_code == 404
        assert (await r.graph.get(r.event_url(made["id"]))).json()["changeKey"] != made["changeKey"]


@pytest.mark.parametrize(
    ("expand", "status"),
    [
        (SINGLE, 501),
        ("instances", 501),
        (f"{SINGLE}($top=1)", 501),
        (f"{SINGLE}($filter=value eq 'x')", 501),
        ("colour", 400),
        (f"{SINGLE}($filter=id eq '{ID}'", 400),
        (f"{SINGLE}($filter=id eq 'nonsense')", 400),
    ],
)
async def test_expand_that_makes_no_sense_is_refused(expand: str, status: int) -> None:
    async with rig() as r:
        answer = await r.graph.get(f"/users/{r.room}/events", params={"$expand": expand})
        assert answer.status_code == status


async def test_master_expands_its_exceptions_and_lists_do_not() -> None:
    async with rig() as r:
        rule = weekly("2026-11-23", days=["monday"], zone="UTC")
        master = await post(r, start="2026-11-23T09:00:00", end="2026-11-23T10:00:00", recurrence=rule)
        second = (await r.view("2026-11-23T00:00:00Z", "2026-12-01T00:00:00Z", headers={}))[1]
        await r.graph.patch(r.event_url(second["id"]), json={"subject": "Moved talk"})
        shown = await expanded(r, master["id"], "exceptionOccurrences($select=subject)")
        (exception,) = shown["exceptionOccurrences"]
        assert (exception["id"], exception["subject"]) == (second["id"], "Moved talk")
        assert "start" not in exception
        listed = await r.graph.get(f"/users/{r.room}/events", params={"$expand": "exceptionOccurrences"})
        assert listed.status_code == 501
