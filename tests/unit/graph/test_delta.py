"""Delta rounds: read to their end or not at all, and given up when there is no end or no way back."""

from __future__ import annotations

import httpx
import pytest

from sidecar.errors import DeltaUnusable, GraphRefused, GraphUnavailable, MailboxDenied, MailboxNotFound, SidecarError
from sidecar.graph.wire import DeltaRound, parse_delta_page
from tests.unit.graph.kit import MAILBOX, TENANT, WINDOW, Stage, bad, event_json, ok

BASE = "https://graph.microsoft.com/v1.0"
KEPT = f"{BASE}/users/x/calendarView/delta?$deltatoken=a%2Bb"
NEXT = f"{BASE}/users/x/calendarView/delta?$deltatoken=next"


def page(*items: object, more: str | None = None, last: str | None = None) -> httpx.Response:
    body: dict[str, object] = {"value": list(items)}
    if more:
        body["@odata.nextLink"] = f"{BASE}/users/x/calendarView/delta?$skiptoken={more}"
    if last:
        body["@odata.deltaLink"] = last
    return ok(body)


def item(event_id: str, version: str = "1") -> dict[str, object]:
    return event_json(id=event_id, **{"@odata.etag": f'W/"{version}"'})


async def read(stage: Stage, link: str | None = KEPT) -> DeltaRound:
    return await stage.client.fetch_delta(TENANT, MAILBOX, WINDOW, link=link)


async def test_round_is_read_to_its_end_and_gives_the_next_link() -> None:
    """Empty pages with a link are on the way; the last word on an event wins."""
    gone = {"id": "c", "@removed": {"reason": "deleted"}}
    stage = Stage(page(item("a"), more="1"), page(more="2"), page(item("b"), item("a", "2"), gone, last=NEXT))
    told = await read(stage)
    assert [(one.id, one.etag, one.is_removed) for one in told.items] == [
        ("b", 'W/"1"', False),
        ("a", 'W/"2"', False),
        ("c", None, True),
    ]
    assert told.link == NEXT


async def test_link_is_replayed_verbatim_and_asks_for_large_pages() -> None:
    """Links are opaque; preferences are not part of them."""
    stage = Stage(page(last=NEXT))
    await read(stage)
    (request,) = stage.graph.requests
    assert str(request.url) == KEPT
    assert request.headers["prefer"] == 'outlook.timezone="UTC", IdType="ImmutableId", odata.maxpagesize=200'


async def test_first_round_names_its_window_and_no_option() -> None:
    """Delta refuses $select, $top and the like; a day more is asked for at both ends, because whole days float."""
    stage = Stage(page(last=NEXT))
    await read(stage, None)
    params = dict(stage.graph.requests[0].url.params)
    assert params == {"startDateTime": "2026-10-05T08:00:00Z", "endDateTime": "2026-11-06T08:00:00Z"}


async def test_link_is_never_shown() -> None:
    """It is worth a calendar to whoever has a token."""
    assert "deltatoken" not in repr(await read(Stage(page(last=NEXT))))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (410, "SyncStateNotFound"),
        (410, "resyncRequired"),
        (410, "SyncStateInvalid"),
        (400, "SyncStateInvalid"),
        (400, "ErrorInvalidRequest"),
        (404, "SyncStateNotFound"),
        (404, "ErrorItemNotFound"),
        (410, ""),
        (422, "UnprocessableEntity"),
    ],
)
async def test_refused_link_is_unusable(status: int, code: str) -> None:
    """In every spelling that was seen; the full read that follows knows whether the mailbox is there."""
    with pytest.raises(DeltaUnusable) as caught:
        await read(Stage(bad(status, code)))
    assert not caught.value.is_endless


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (bad(403, "ErrorAccessDenied"), MailboxDenied),
        (bad(503), GraphUnavailable),
        (ok({"no": "page"}), GraphUnavailable),
    ],
)
async def test_what_is_not_about_the_link_keeps_its_name(answer: httpx.Response, error: type[SidecarError]) -> None:
    """Access that was taken away, and Exchange being away, are told as such."""
    with pytest.raises(error):
        await read(Stage(answer, *[bad(503)] * 3))


@pytest.mark.parametrize(
    ("answer", "error"),
    [(bad(400, "ErrorInvalidRequest"), GraphRefused), (bad(404, "ErrorInvalidUser"), MailboxNotFound)],
)
async def test_refused_first_round_keeps_its_name(answer: httpx.Response, error: type[SidecarError]) -> None:
    """There was no link that could have been forgotten."""
    with pytest.raises(error):
        await read(Stage(answer), None)


async def test_link_to_another_place_is_not_followed() -> None:
    """The address of Graph may have been changed since the link was kept; our token stays here."""
    stage = Stage()
    with pytest.raises(DeltaUnusable):
        await read(stage, "https://evil.example/v1.0/users/x/calendarView/delta?$deltatoken=a")
    assert stage.graph.requests == []


async def test_page_that_keeps_coming_back_is_endless() -> None:
    """The links are always new, so only the contents tell."""
    stage = Stage(*(page(item("a"), more=str(number)) for number in range(9)))
    with pytest.raises(DeltaUnusable) as caught:
        await read(stage)
    assert caught.value.is_endless
    assert len(stage.graph.requests) == 3


async def test_round_of_too_many_pages_is_endless() -> None:
    """Even if no two of them are alike."""
    stage = Stage(*(page(item(f"e{number}"), more=str(number)) for number in range(9)), pages_max=4)
    with pytest.raises(DeltaUnusable) as caught:
        await read(stage)
    assert caught.value.is_endless
    assert len(stage.graph.requests) == 4


async def test_repeated_link_is_endless() -> None:
    """Empty pages that lead to each other."""
    stage = Stage(page(more="1"), page(more="2"), page(more="1"))
    with pytest.raises(DeltaUnusable):
        await read(stage)


async def test_round_that_breaks_off_is_unusable() -> None:
    """A page without any link would leave us where we cannot go on from."""
    with pytest.raises(DeltaUnusable):
        await read(Stage(page(item("a"))))


def test_item_that_is_not_understood_is_kept_as_its_id() -> None:
    """Something is different there: a direct read tells what."""
    (told,) = parse_delta_page(b'{"value":[{"id":"a","start":7,"@odata.etag":[]}],"@odata.deltaLink":"x"}').value
    assert (told.id, told.etag, told.is_removed) == ("a", None, False)
