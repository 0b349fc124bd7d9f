"""Questions about schedules, and what is made of the answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest

from sidecar.errors import GraphRefused, GraphUnavailable, MailboxDenied, MailboxNotFound, SidecarError
from sidecar.graph.schedules import ScheduleCalls
from sidecar.graph.wire import Malformed
from sidecar.graph.wire_schedules import busy_of, parse_schedules
from sidecar.model.window import Window
from tests.unit.graph.kit import MAILBOX, NOW, TENANT, Stage, bad, ok

WINDOW = Window(NOW, NOW + timedelta(days=1))
BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def answer(*items: dict[str, object], error: dict[str, object] | None = None) -> bytes:
    told = {"scheduleId": MAILBOX.upper(), "scheduleItems": None if error else list(items), "error": error}
    return msgspec.json.encode({"value": [told]})


def item(start: str, end: str, status: str = "busy") -> dict[str, object]:
    return {
        "isPrivate": False,
        "status": status,
        "subject": "CANARY-subject",
        "location": "CANARY-location",
        "start": {"dateTime": f"{start}.0000000", "timeZone": "UTC"},
        "end": {"dateTime": f"{end}.0000000", "timeZone": "UTC"},
    }


def busy(body: bytes, zone: str = BERLIN) -> object:
    return busy_of(parse_schedules(body).get(MAILBOX), zone)


async def test_question_names_addresses_and_a_day_more_at_both_ends() -> None:
    """In the form of Microsoft's page; through one mailbox about others."""
    stage = Stage(ok(msgspec.json.decode(answer())))
    told = await ScheduleCalls(stage.transport).fetch_schedules(TENANT, "door-id", [MAILBOX], WINDOW)
    (request,) = stage.graph.requests
    assert (request.method, request.url.path) == ("POST", "/v1.0/users/door-id/calendar/getSchedule")
    assert 'outlook.timezone="UTC"' in request.headers["prefer"]
    assert msgspec.json.decode(request.content) == {
        "schedules": [MAILBOX],
        "startTime": {"dateTime": "2026-10-05T08:00:00.000000", "timeZone": "UTC"},
        "endTime": {"dateTime": "2026-10-08T08:00:00.000000", "timeZone": "UTC"},
        "availabilityViewInterval": 1440,
    }
    assert list(told) == [MAILBOX]


async def test_lost_question_is_asked_again() -> None:
    """It changes nothing, POST or not."""
    stage = Stage(httpx.ReadTimeout("lost"), ok(msgspec.json.decode(answer())))
    assert await ScheduleCalls(stage.transport).fetch_schedules(TENANT, MAILBOX, [MAILBOX], WINDOW)


async def test_refusal_is_about_the_mailbox_that_is_asked_through() -> None:
    stage = Stage(bad(403, "ErrorAccessDenied"))
    with pytest.raises(MailboxDenied):
        await ScheduleCalls(stage.transport).fetch_schedules(TENANT, MAILBOX, [MAILBOX], WINDOW)


@pytest.mark.parametrize("status", ["busy", "tentative", "oof", "workingElsewhere", "unknown", "of a later version"])
def test_all_but_free_is_busy(status: str) -> None:
    """What is not known to be free is not offered."""
    span = ("2026-10-06T09:00:00", "2026-10-06T10:00:00")
    assert busy(answer(item(*span, status), item("2026-10-06T12:00:00", "2026-10-06T13:00:00", "Free"))) == [
        (at(span[0]), at(span[1]))
    ]


def test_item_from_midnight_to_midnight_counts_in_both_readings() -> None:
    """It may be a whole day of the mailbox's zone, or of UTC: nothing in it tells."""
    assert busy(answer(item("2026-10-06T00:00:00", "2026-10-07T00:00:00"))) == [
        (at("2026-10-06T00:00:00"), at("2026-10-07T00:00:00")),
        (at("2026-10-05T22:00:00"), at("2026-10-06T22:00:00")),
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"responseCode": "5016", "message": "CANARY"}, MailboxNotFound),
        ({"responseCode": "5009"}, MailboxNotFound),
        ({"responseCode": "5006"}, GraphRefused),
        ({"responseCode": "4711"}, GraphRefused),
        ({}, GraphRefused),
    ],
)
def test_calendar_that_is_not_told_has_its_own_error(error: dict[str, object], kind: type[SidecarError]) -> None:
    """By the number; the text of it is Exchange's and is not passed on."""
    found = busy(answer(error=error))
    assert isinstance(found, kind)
    assert "CANARY" not in f"{found} {found.details}"
    if error.get("responseCode") == "5006":
        assert found.details["cause"] == "TOO_MANY_ENTRIES"


def test_what_cannot_be_read_makes_the_calendar_unknown() -> None:
    """Half of what occupies a room is no answer."""
    broken: dict[str, object] = {"status": "busy", "start": {"dateTime": "soon", "timeZone": "UTC"}, "end": None}
    assert isinstance(busy(answer(item("2026-10-06T09:00:00", "2026-10-06T10:00:00"), broken)), GraphUnavailable)
    assert isinstance(busy(b'{"value":[]}'), GraphUnavailable)


def test_answer_that_is_none_is_malformed() -> None:
    with pytest.raises(Malformed):
        parse_schedules(b"<html>")
