"""Somebody who claims to be Graph, and shorthands for what cases ask of them.

A case makes things only through here, so that they are taken away again when it ends, whatever happened in between.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

T = TypeVar("T")
GRAPH_SCOPE = "https://graph.microsoft.com/.default"
IMMUTABLE = 'IdType="ImmutableId"'
DAY = datetime(2035, 3, 5, tzinfo=UTC)
"""A Monday far ahead, with nothing on it; the clocks of Berlin change twenty days later."""
_POLL_S = 0.5

Json = dict[str, Any]  # Any: JSON from the wire


@dataclass(slots=True, kw_only=True)
class Subject:
    """A service, credentials for it, and mailboxes there that may be written to."""

    name: str
    graph: httpx.AsyncClient
    """With a token, and asking for immutable ids."""
    login: httpx.AsyncClient
    tenant: str
    client_id: str
    secret: str
    mailbox: str
    token: str
    able: frozenset[str] = frozenset()
    room: str = ""
    organizer: str = ""
    webhook_url: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    day: datetime = DAY
    patience_s: float = 60.0
    """How long a room or a notification may take."""
    _clean_up: list[Callable[[], Awaitable[object]]] = field(default_factory=list)

    async def close(self) -> None:
        """Take away what the case made, the newest first; one thing that cannot be taken away does not keep the others."""
        failures = list[Exception]()
        while self._clean_up:
            try:
                await self._clean_up.pop()()
            except (httpx.HTTPError, AssertionError) as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("the case could not be cleaned up after", failures)

    def later(self, undo: Callable[[], Awaitable[object]]) -> None:
        """Remember how to undo something."""
        self._clean_up.append(undo)

    # -- login

    @property
    def claims(self) -> Json:
        """Give the claims of the token in use, unverified."""
        return claims_of(self.token)

    async def ask_token(self, *, tenant: str | None = None, **changes: str | None) -> httpx.Response:
        """Ask for a token; a change to None leaves a field of the form out."""
        form: dict[str, str | None] = {
            "client_id": self.client_id,
            "client_secret": self.secret,
            "grant_type": "client_credentials",
            "scope": GRAPH_SCOPE,
            **changes,
        }
        given = {name: value for name, value in form.items() if value is not None}
        return await self.login.post(f"/{tenant or self.tenant}/oauth2/v2.0/token", data=given)

    # -- times

    def at(self, hour: float, *, day: int = 0) -> Json:
        """Give an hour of the empty day, or of one so many days later, as a dateTimeTimeZone in UTC."""
        moment = self.day + timedelta(days=day, hours=hour)
        return {"dateTime": moment.strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"}

    def soon(self, *, days: int = 20, hour: int = 9) -> datetime:
        """Give an hour within a room's booking window."""
        return (self.now() + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)

    # -- events

    def url(self, event_id: str, mailbox: str | None = None) -> str:
        """Give an event's path."""
        return f"/users/{mailbox or self.mailbox}/events/{quote(event_id, safe='')}"

    def body(self, **more: Any) -> Json:  # Any: JSON for the wire
        """Give an event from nine to ten."""
        return {"subject": "Contract", "start": self.at(9), "end": self.at(10), **more}

    async def post(self, body: Json, *, mailbox: str | None = None, prefer: str = IMMUTABLE) -> httpx.Response:
        """Send an event; if it was made, it will be deleted."""
        owner = mailbox or self.mailbox
        answer = await self.graph.post(f"/users/{owner}/events", json=body, headers={"prefer": prefer})
        if answer.status_code == 201:
            made = answer.json()["id"]
            self.later(lambda: self.graph.delete(self.url(made, owner)))
        return answer

    async def create(self, *, mailbox: str | None = None, **more: Any) -> Json:  # Any: JSON for the wire
        """Make an event that must be accepted."""
        answer = await self.post(self.body(**more), mailbox=mailbox)
        assert answer.status_code == 201, answer.text
        return _object(answer)

    async def create_series(self, pattern: Json, reach: Json | None = None, **more: Any) -> Json:  # Any: JSON
        """Make a series that starts at nine on the empty day, of four occurrences unless `reach` says otherwise."""
        span = {"startDate": self.day.date().isoformat(), **(reach or {"type": "numbered", "numberOfOccurrences": 4})}
        return await self.create(recurrence={"pattern": {"interval": 1, **pattern}, "range": span}, **more)

    async def get(self, event_id: str, *, mailbox: str | None = None, prefer: str = IMMUTABLE, **options: str) -> Json:
        """Read an event that must be there; `select` and the like go without their dollar."""
        params = {f"${name}": value for name, value in options.items()}
        answer = await self.graph.get(self.url(event_id, mailbox), params=params, headers={"prefer": prefer})
        assert answer.status_code == 200, answer.text
        return _object(answer)

    async def patch(self, event_id: str, body: Json, *, mailbox: str | None = None) -> Json:
        """Change an event; it must be accepted."""
        answer = await self.graph.patch(self.url(event_id, mailbox), json=body)
        assert answer.status_code == 200, answer.text
        return _object(answer)

    async def delete(self, event_id: str) -> None:
        """Delete an event that must be there."""
        answer = await self.graph.delete(self.url(event_id))
        assert answer.status_code == 204, answer.text

    async def act(self, event_id: str, action: str, body: Json | None = None, *, mailbox: str | None = None) -> int:
        """Call an action of an event; gives the status."""
        answer = await self.graph.post(f"{self.url(event_id, mailbox)}/{action}", json=body or {})
        return answer.status_code

    # -- lists

    def window(self, first_day: float = 0, last_day: float = 1) -> dict[str, str]:
        """Give the parameters of a view over days counted from the empty one."""
        moments = (self.day + timedelta(days=first_day), self.day + timedelta(days=last_day))
        return window(*moments)

    async def view(
        self,
        first_day: float = 0,
        last_day: float = 1,
        *,
        prefer: str = IMMUTABLE,
        mailbox: str | None = None,
        **more: str,
    ) -> list[Json]:
        """Read a view over days counted from the empty one, all pages."""
        params = {**self.window(first_day, last_day), **{f"${name}": value for name, value in more.items()}}
        return await self.pages(f"/users/{mailbox or self.mailbox}/calendarView", params, prefer=prefer)

    async def pages(self, url: str, params: dict[str, str] | None = None, *, prefer: str = IMMUTABLE) -> list[Json]:
        """Read a list, all pages."""
        found: list[Json] = []
        link: str | None = url
        while link is not None:
            answer = await self.graph.get(link, params=params, headers={"prefer": prefer})
            assert answer.status_code == 200, answer.text
            found += answer.json()["value"]
            link, params = answer.json().get("@odata.nextLink"), None
        return found

    async def delta_round(
        self, link: str | None = None, *, days: tuple[float, float] = (0, 7), prefer: str = IMMUTABLE
    ) -> tuple[list[Json], str]:
        """Read one round of delta, the first unless there is a link; gives the items and the next round's link."""
        url, params = (link, None) if link else (f"/users/{self.mailbox}/calendarView/delta", self.window(*days))
        found: list[Json] = []
        while True:
            answer = await self.graph.get(url, params=params, headers={"prefer": prefer})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            found += body["value"]
            if "@odata.deltaLink" in body:
                return found, str(body["@odata.deltaLink"])
            url, params = body["@odata.nextLink"], None

    # -- meetings

    async def book(self, start: datetime, *, minutes: int = 60, **more: Any) -> Json:  # Any: JSON for the wire
        """Let the organizer invite the room; copies the room keeps are swept away at the end."""
        made = await self.create(
            mailbox=self.organizer,
            **{
                "subject": "Plans",
                "body": {"contentType": "text", "content": "Bring the drawings."},
                "start": in_utc(start),
                "end": in_utc(start + timedelta(minutes=minutes)),
                "attendees": [{"type": "resource", "emailAddress": {"address": self.room}}],
                **more,
            },
        )

        async def sweep() -> None:
            for copy in await self.copies(start - timedelta(days=1), start + timedelta(days=40), made["iCalUId"]):
                target = copy["seriesMasterId"] or copy["id"]
                await self.graph.delete(self.url(target, self.room))

        self._clean_up.insert(
            len(self._clean_up) - 1, sweep
        )  # after the organizer's copy, whose end may leave the room's
        return made

    async def copies(self, start: datetime, end: datetime, ical_uid: str) -> list[Json]:
        """Read the room's copies of a meeting, occurrences of a series included."""
        url = f"/users/{self.room}/calendarView"
        shown = await self.pages(url, {**window(start, end), "$top": "500"})
        return [one for one in shown if _same_meeting(one["iCalUId"], ical_uid)]

    async def copy(self, made: Json, start: datetime | None = None) -> Json | None:
        """Read the room's copy of a single meeting; None if it has none."""
        at = start or datetime.fromisoformat(made["start"]["dateTime"][:19]).replace(tzinfo=UTC)
        found = await self.copies(at - timedelta(hours=1), at + timedelta(hours=3), made["iCalUId"])
        return found[0] if found else None

    async def room_answer(self, made: Json, *answers: str) -> str:
        """Wait until the organizer's copy tells what the room answered."""

        async def answered() -> str | None:
            seen = await self.get(made["id"], mailbox=self.organizer)
            rooms = [one for one in seen["attendees"] if one["emailAddress"]["address"].lower() == self.room.lower()]
            response = str(rooms[0]["status"]["response"])
            return response if response in (answers or ("accepted", "declined")) else None

        return await self.eventually(answered, "the room's answer")

    async def eventually(self, check: Callable[[], Awaitable[T | None]], what: str) -> T:
        """Ask until the answer is true."""
        for _ in range(int(self.patience_s / _POLL_S)):
            found = await check()
            if found:
                return found
            await asyncio.sleep(_POLL_S)
        raise AssertionError(f"{what}: not within {self.patience_s:g} s")

    # -- subscriptions

    def subscription(self, **changes: Any) -> Json:  # Any: JSON for the wire
        """Give the body of a subscription to the mailbox, for two hours; a change to None leaves a property out."""
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": self.webhook_url,
            "resource": f"/users/{self.mailbox}/events",
            "expirationDateTime": instant(self.now() + timedelta(hours=2)),
            "clientState": "s3cret",
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    async def subscribe(self, *, prefer: str = IMMUTABLE, **changes: Any) -> httpx.Response:  # Any: JSON for the wire
        """Ask for a subscription; if it was made, it will be deleted."""
        body = self.subscription(**changes)
        answer = await self.graph.post("/subscriptions", json=body, headers={"prefer": prefer})
        if answer.status_code == 201:
            made = answer.json()["id"]
            self.later(lambda: self.graph.delete(f"/subscriptions/{made}"))
        return answer

    async def subscribed(self, **changes: Any) -> Json:  # Any: JSON for the wire
        """Make a subscription that must be accepted."""
        answer = await self.subscribe(**changes)
        assert answer.status_code == 201, answer.text
        return _object(answer)


def in_utc(moment: datetime) -> Json:
    """Give a moment as a dateTimeTimeZone in UTC."""
    return {"dateTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "timeZone": "UTC"}


def instant(moment: datetime) -> str:
    """Write an instant in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def window(start: datetime, end: datetime) -> dict[str, str]:
    """Give the parameters of a view."""
    return {"startDateTime": instant(start), "endDateTime": instant(end)}


def starts(items: Sequence[Json]) -> list[str]:
    """Give the starts of events, to the minute."""
    return [one["start"]["dateTime"][:16] for one in items]


def claims_of(token: str) -> Json:
    """Read a token's claims without looking at its signature."""
    payload = token.split(".")[1]
    claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def error_of(answer: httpx.Response) -> Json:
    """Give a refusal's error object."""
    assert answer.status_code >= 400, f"{answer.status_code} is no refusal: {answer.text}"
    found: Json = answer.json()["error"]
    return found


def assert_refused(answer: httpx.Response, status: int | tuple[int, ...], *codes: str) -> Json:
    """Hold a refusal to its status and, in any case of letters, to one of the codes; gives the error object."""
    error = error_of(answer)
    allowed = (status,) if isinstance(status, int) else status
    assert answer.status_code in allowed, f"{answer.status_code} instead of {status}: {answer.text}"
    assert not codes or error["code"].lower() in [one.lower() for one in codes], f"{error} instead of {codes}"
    return error


def _object(answer: httpx.Response) -> Json:
    found: Json = answer.json()
    return found


_DAY_OF_UID = slice(32, 40)  # an occurrence's UID is its series' with the day written in


def _same_meeting(one: str, other: str) -> bool:
    return (
        one[: _DAY_OF_UID.start] == other[: _DAY_OF_UID.start] and one[_DAY_OF_UID.stop :] == other[_DAY_OF_UID.stop :]
    )
