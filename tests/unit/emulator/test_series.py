"""Series through Graph: clock changes, exceptions, cancelled occurrences, stable identities."""

from typing import Any

import pytest

from tests.unit.emulator.rig import Rig, rig, weekly, wire_event

pytestmark = pytest.mark.looptime
IMMUTABLE = {"prefer": 'IdType="ImmutableId"'}


async def post_series(r: Rig, **changes: Any) -> dict[str, Any]:
    body = wire_event("2026-11-23T09:00:00", "2026-11-23T10:00:00", zone="Europe/Berlin")
    body["recurrence"] = weekly("2026-11-23", days=["monday"])
    answer = await r.graph.post(f"/users/{r.room}/events", json={**body, **changes}, headers=IMMUTABLE)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def starts(items: list[dict[str, Any]]) -> list[str]:
    return [item["start"]["dateTime"][:16] for item in items]


@pytest.mark.parametrize(
    ("zone", "first", "expected"),
    [
        # Clocks in Berlin go forward on 2027-03-28 and back on 2027-10-31.
        (
            "Europe/Berlin",
            "2027-03-22",
            ["2027-03-22T08:00", "2027-03-29T07:00", "2027-04-05T07:00", "2027-04-12T07:00"],
        ),
        (
            "Europe/Berlin",
            "2027-10-25",
            ["2027-10-25T07:00", "2027-11-01T08:00", "2027-11-08T08:00", "2027-11-15T08:00"],
        ),
        (
            "Pacific Standard Time",
            "2027-03-08",
            ["2027-03-08T17:00", "2027-03-15T16:00", "2027-03-22T16:00", "2027-03-29T16:00"],
        ),
        (
            "India Standard Time",
            "2027-03-22",
            ["2027-03-22T03:30", "2027-03-29T03:30", "2027-04-05T03:30", "2027-04-12T03:30"],
        ),
    ],
)
async def test_clock_time_is_kept_when_clocks_change(zone: str, first: str, expected: list[str]) -> None:
    async with rig() as r:
        body = wire_event(f"{first}T09:00:00", f"{first}T10:00:00", zone=zone)
        body["recurrence"] = weekly(first, days=["monday"], zone=zone)
        assert (await r.graph.post(f"/users/{r.room}/events", json=body)).status_code == 201
        shown = await r.view("2027-01-01T00:00:00Z", "2027-12-31T00:00:00Z")
        assert starts(shown) == expected


async def test_time_that_does_not_exist_moves_past_the_gap() -> None:
    """At 02:30 on 2027-03-28 Berlin's clocks jump to 03:30; the hour is kept."""
    async with rig() as r:
        body = wire_event("2027-03-27T02:30:00", "2027-03-27T03:30:00", zone="Europe/Berlin")
        body["recurrence"] = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "numberOfOccurrences": 3, "startDate": "2027-03-27"},
        }
        await r.graph.post(f"/users/{r.room}/events", json=body)
        shown = await r.view("2027-03-26T00:00:00Z", "2027-03-31T00:00:00Z")
        assert starts(shown) == ["2027-03-27T01:30", "2027-03-28T01:30", "2027-03-29T00:30"]
        assert [item["end"]["dateTime"][11:16] for item in shown] == ["02:30", "02:30", "01:30"]


async def test_view_shows_occurrences_and_never_the_master() -> None:
    async with rig() as r:
        master = await post_series(r)
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        assert [item["type"] for item in shown] == ["occurrence"] * 4
        assert {item["seriesMasterId"] for item in shown} == {master["id"]}
        assert len({item["id"] for item in shown} | {master["id"]}) == 5
        assert len({item["iCalUId"] for item in shown} | {master["iCalUId"]}) == 5
        listed = (await r.graph.get(f"/users/{r.room}/events")).json()["value"]
        assert [item["type"] for item in listed] == ["seriesMaster"]


async def test_occurrence_is_read_by_its_own_id_and_keeps_it() -> None:
    async with rig() as r:
        await post_series(r)
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        one = (await r.graph.get(r.event_url(shown[1]["id"]), headers=IMMUTABLE)).json()
        assert (one["start"], one["iCalUId"], one["originalStart"]) == (
            shown[1]["start"],
            shown[1]["iCalUId"],
            "2026-11-30T08:00:00Z",
        )


async def test_series_without_end_is_expanded_only_in_the_window() -> None:
    async with rig() as r:
        await post_series(r, recurrence=weekly("2026-11-23", days=["monday"], type="noEnd"))
        shown = await r.view("2046-01-01T00:00:00Z", "2046-02-01T00:00:00Z")
        assert len(shown) == 5


async def test_moved_occurrence_becomes_an_exception() -> None:
    async with rig() as r:
        master = await post_series(r)
        second = (await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z"))[1]
        moved = await r.graph.patch(
            r.event_url(second["id"]),
            json={
                key: {"dateTime": f"2026-12-01T{hour}:00:00", "timeZone": "UTC"}
                for key, hour in (("start", 14), ("end", 15))
            },
            headers=IMMUTABLE,
        )
        assert moved.status_code == 200, moved.text
        body = moved.json()
        assert (body["type"], body["id"], body["iCalUId"]) == ("exception", second["id"], second["iCalUId"])
        assert (body["originalStart"], body["seriesMasterId"]) == ("2026-11-30T08:00:00Z", master["id"])
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        assert starts(shown) == ["2026-11-23T08:00", "2026-12-01T14:00", "2026-12-07T08:00", "2026-12-14T08:00"]


async def test_occurrence_cannot_cross_its_neighbour() -> None:
    async with rig() as r:
        await post_series(r)
        first = (await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z"))[0]
        times = {
            key: {"dateTime": f"2026-12-02T{hour}:00:00", "timeZone": "UTC"}
            for key, hour in (("start", 14), ("end", 15))
        }
        answer = await r.graph.patch(r.event_url(first["id"]), json=times)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorOccurrenceCrossingBoundary")


async def test_occurrence_of_a_series_that_overlaps_itself_can_be_moved_a_little() -> None:
    async with rig() as r:
        rule = {"pattern": {"type": "daily", "interval": 1}, "range": {"type": "noEnd", "startDate": "2026-11-23"}}
        long = {"start": "2026-11-23T09:00:00", "end": "2026-11-24T15:00:00"}  # for a day and six hours, every day
        booked = await r.book(**long, recurrence=rule)
        second = (await r.view("2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", mailbox=r.ada))[1]
        later = {"start": {"dateTime": "2026-11-24T09:10:00", "timeZone": "UTC"}}
        answer = await r.graph.patch(r.event_url(second["id"], r.ada), json=later, headers=IMMUTABLE)
        assert (answer.status_code, answer.json().get("type")) == (200, "exception")
        times = {"start": "2026-11-25T09:10:00", "end": "2026-11-26T15:00:00"}
        third = {"meeting": booked["meeting"], "occurrence": "2026-11-25", **times}
        assert (await r.control.post(r.path("/outlook/move"), json=third)).status_code == 200


async def test_deleted_occurrence_is_gone_and_the_master_tells_it() -> None:
    async with rig() as r:
        master = await post_series(r)
        second = (await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z"))[1]
        assert (await r.graph.delete(r.event_url(second["id"]))).status_code == 204
        assert (await r.graph.get(r.event_url(second["id"]))).status_code == 404
        url = r.event_url(master["id"])
        told = (await r.graph.get(url, params={"$select": "cancelledOccurrences"}, headers=IMMUTABLE)).json()
        assert told["cancelledOccurrences"] == [f"OID.{master['id']}.2026-11-30"]
        window = {"startDateTime": "2026-11-01T00:00:00Z", "endDateTime": "2027-01-31T00:00:00Z"}
        instances = await r.graph.get(f"{url}/instances", params=window)
        assert starts(instances.json()["value"]) == ["2026-11-23T08:00", "2026-12-07T08:00", "2026-12-14T08:00"]


async def test_series_named_in_another_zone_at_the_same_times_keeps_its_exceptions() -> None:
    """Who reads in UTC and writes back what they read has moved nothing."""
    async with rig() as r:
        master = await post_series(r)
        first, second, *_ = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        await r.graph.delete(r.event_url(second["id"]))
        await r.graph.patch(r.event_url(first["id"]), json={"subject": "Other"})
        read = (await r.graph.get(r.event_url(master["id"]))).json()
        changes = {"start": read["start"], "end": read["end"], "recurrence": read["recurrence"]}
        assert (await r.graph.patch(r.event_url(master["id"]), json=changes)).status_code == 200
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        assert starts(shown) == ["2026-11-23T08:00", "2026-12-07T08:00", "2026-12-14T08:00"]
        assert [one["subject"] for one in shown] == ["Other", "Review", "Review"]


async def test_occurrence_is_patched_with_everything_that_was_read_of_it() -> None:
    async with rig() as r:
        await post_series(r)
        first, *_ = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        whole = {name: value for name, value in first.items() if not name.startswith("@")}
        answer = await r.graph.patch(r.event_url(first["id"]), json={**whole, "subject": "Other"}, headers=IMMUTABLE)
        assert (answer.status_code, answer.json()["subject"], answer.json()["id"]) == (200, "Other", first["id"])
        assert answer.json()["start"] == first["start"]


async def test_retimed_series_forgets_its_exceptions() -> None:
    async with rig() as r:
        master = await post_series(r)
        second = (await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z"))[1]
        await r.graph.delete(r.event_url(second["id"]))
        times = {
            key: {"dateTime": f"2026-11-23T{hour}:00:00", "timeZone": "Europe/Berlin"}
            for key, hour in (("start", 11), ("end", 12))
        }
        assert (await r.graph.patch(r.event_url(master["id"]), json=times)).status_code == 200
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        assert starts(shown) == ["2026-11-23T10:00", "2026-11-30T10:00", "2026-12-07T10:00", "2026-12-14T10:00"]


async def test_master_starts_with_its_first_occurrence() -> None:
    """A weekly series of Wednesdays that is said to start on a Monday starts on the Wednesday."""
    async with rig() as r:
        master = await post_series(r, recurrence=weekly("2026-11-23", days=["wednesday"]))
        assert master["start"]["dateTime"] == "2026-11-25T08:00:00.0000000"
        assert len(await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")) == 4


async def test_all_day_series_floats() -> None:
    async with rig() as r:
        body = wire_event("2027-03-26T00:00:00", "2027-03-27T00:00:00", zone="Europe/Berlin", isAllDay=True)
        body["recurrence"] = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "numberOfOccurrences": 4, "startDate": "2027-03-26"},
        }
        assert (await r.graph.post(f"/users/{r.room}/events", json=body)).status_code == 201
        shown = await r.view(
            "2027-03-01T00:00:00Z", "2027-04-30T00:00:00Z", headers={"prefer": 'outlook.timezone="America/New_York"'}
        )
        assert starts(shown) == [f"2027-03-{day}T00:00" for day in (26, 27, 28, 29)]


async def test_new_subject_keeps_the_gaps_of_a_series_said_to_start_on_another_day() -> None:
    """Its first occurrence was moved to the day its pattern has; that is no retiming when anything else changes."""
    async with rig() as r:
        master = await post_series(r, recurrence=weekly("2026-11-23", days=["wednesday"]))
        second = (await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z"))[1]
        await r.graph.delete(r.event_url(second["id"]))
        await r.graph.patch(r.event_url(master["id"]), json={"subject": "Renamed"})
        shown = await r.view("2026-11-01T00:00:00Z", "2027-01-31T00:00:00Z")
        assert starts(shown) == ["2026-11-25T08:00", "2026-12-09T08:00", "2026-12-16T08:00"]
