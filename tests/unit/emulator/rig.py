"""One emulator in the test's own event loop, a client for each of its sides, and a webhook that remembers what it was told."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from sidecar.emulator.clock import LoopClock, sleep
from sidecar.emulator.core import Emulator
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.sender import SendFailed, WebhookAnswer
from tests.support.csdl_bodies import given_checker, judged, notification_faults

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # a Monday
JOIN = "https://hooks.example.org/graph"


class Webhook:
    """A webhook that shakes hands and takes everything, unless a test gives it another answer."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self.handshakes: list[str] = []
        self.posts: list[tuple[float, str, list[dict[str, Any]]]] = []
        self.answer: Callable[[str], WebhookAnswer | None] = lambda url: None
        self.delay_s = 0.0
        self.delays: dict[str, float] = {}
        """Seconds by host, for tests with more hosts than one."""
        self.down = False

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        if self.down:
            raise SendFailed("down")
        delay_s = self.delays.get(urlsplit(url).netloc, self.delay_s)
        if delay_s:
            await sleep(self._clock, delay_s)
        given = self.answer(url)
        token = parse_qs(urlsplit(url).query).get("validationToken")
        if token:
            self.handshakes.append(url)
            return given or WebhookAnswer(status=200, content_type="text/plain", body=token[0])
        _check_notification(body)
        if given is None or given.status < 300:
            self.posts.append(((self._clock.now() - START).total_seconds(), url, json.loads(body)["value"]))
        return given or WebhookAnswer(status=202, content_type="", body="")

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for _, _, items in self.posts for item in items]

    def changes(self) -> list[tuple[str, str]]:
        """Give (change type, event id) in the order they arrived."""
        return [(item["changeType"], item["resourceData"]["id"]) for item in self.items if "changeType" in item]


class Rig:
    """A tenant with two rooms and two people, and shorthands for what tests do to them."""

    def __init__(self, emulator: Emulator, clock: LoopClock, webhook: Webhook) -> None:
        self.emulator, self.clock, self.webhook = emulator, clock, webhook
        self.graph = httpx.AsyncClient(
            transport=judged(httpx.ASGITransport(app=emulator.graph_app), given_checker()),
            base_url="https://graph.microsoft.com/v1.0",
        )
        self.login = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=emulator.graph_app), base_url="https://login.microsoftonline.com"
        )
        self.control = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=emulator.control_app), base_url="http://control"
        )
        self.tenant: dict[str, str] = {}
        self.rooms: list[dict[str, str]] = []
        self.users: list[dict[str, str]] = []

    async def set_up(self, **tenant: Any) -> None:
        self.tenant = await self.told("POST", "/control/tenants", tenant)
        self.rooms = (await self.told("POST", self.path("/rooms"), {"count": 2}))["rooms"]
        self.users = (await self.told("POST", self.path("/users"), {"count": 2}))["users"]
        await self.sign_in()

    async def sign_in(self) -> str:
        answer = await self.ask_token()
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        self.graph.headers["authorization"] = f"Bearer {token}"
        return token

    async def ask_token(self, **changes: str) -> httpx.Response:
        form = {
            "client_id": self.tenant["client_id"],
            "client_secret": self.tenant["client_secret"],
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
            **changes,
        }
        return await self.login.post(f"/{self.tenant['tenant_id']}/oauth2/v2.0/token", data=form)

    def path(self, rest: str) -> str:
        return f"/control/tenants/{self.tenant['tenant_id']}{rest}"

    @property
    def room(self) -> str:
        return self.rooms[0]["address"]

    @property
    def ada(self) -> str:
        return self.users[0]["address"]

    async def told(self, method: str, path: str, body: Any = None) -> Any:
        """Make a control call that must succeed."""
        answer = await self.control.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def book(self, start: str, end: str, **more: Any) -> dict[str, Any]:
        body = {"organizer": self.ada, "rooms": [self.room], "subject": "Plans", "start": start, "end": end, **more}
        booked: dict[str, Any] = await self.told("POST", self.path("/outlook/book"), body)
        return booked

    async def truth(self, address: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.told("GET", self.path(f"/calendars/{address or self.room}")))["items"]
        return found

    async def view(self, start: str, end: str, *, mailbox: str | None = None, **more: Any) -> list[dict[str, Any]]:
        """Read a whole calendarView, following next links."""
        headers = more.pop("headers", {"prefer": 'IdType="ImmutableId"'})
        params = {"startDateTime": start, "endDateTime": end, **{f"${name}": value for name, value in more.items()}}
        answer = await self.graph.get(f"/users/{mailbox or self.room}/calendarView", params=params, headers=headers)
        found = []
        while True:
            assert answer.status_code == 200, answer.text
            found += answer.json()["value"]
            link = answer.json().get("@odata.nextLink")
            if link is None:
                return found
            answer = await self.graph.get(link, headers=headers)

    async def subscribe(self, mailbox: str | None = None, **changes: Any) -> httpx.Response:
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": f"{JOIN}/n?k=7",
            "lifecycleNotificationUrl": f"{JOIN}/l",
            "resource": f"/users/{mailbox or self.room}/events",
            "expirationDateTime": (self.clock.now() + timedelta(days=6)).isoformat(),
            "clientState": "s3cret",
            **changes,
        }
        return await self.graph.post("/subscriptions", json=body, headers={"prefer": 'IdType="ImmutableId"'})

    def event_url(self, event_id: str, mailbox: str | None = None) -> str:
        return f"/users/{mailbox or self.room}/events/{quote(event_id, safe='')}"

    async def rest(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(200):
            pending = await self.told("GET", self.path("/pending"))
            if not pending["room_processing"] and not pending["deliveries"]:
                return
            await sleep(self.clock, 0.5)
        raise AssertionError("the emulator does not come to rest")


@asynccontextmanager
async def rig(*, seed: int = 1, calm: bool = True, moods: Moods | None = None, **tenant: Any) -> AsyncIterator[Rig]:
    """Run an emulator with one tenant; the seed is printed, so that a failing random run can be repeated."""
    print(f"seed={seed}")
    clock = LoopClock(start_at=START)
    webhook = Webhook(clock)
    emulator = Emulator(seed=seed, moods=moods or (calm_moods() if calm else Moods()), clock=clock, sender=webhook)
    async with emulator.running():
        made = Rig(emulator, clock, webhook)
        await made.set_up(**tenant)
        yield made


def _check_notification(body: bytes) -> None:
    checker = given_checker()
    if checker is not None:
        faults = notification_faults(checker, json.loads(body))
        assert not faults, "not as the CSDL has it:\n" + "\n".join(faults)


def wire_event(start: str = "2026-11-24T09:00:00", end: str = "2026-11-24T10:00:00", **more: Any) -> dict[str, Any]:
    """Give the body of a POST."""
    zone = more.pop("zone", "UTC")
    return {
        "subject": "Review",
        "start": {"dateTime": start, "timeZone": zone},
        "end": {"dateTime": end, "timeZone": zone},
        **more,
    }


def weekly(start: str, *, days: list[str], zone: str = "Europe/Berlin", **reach: Any) -> dict[str, Any]:
    """Give a weekly recurrence, of four occurrences unless told otherwise."""
    span = reach or {"type": "numbered", "numberOfOccurrences": 4}
    return {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": days, "firstDayOfWeek": "monday"},
        "range": {"startDate": start, "recurrenceTimeZone": zone, **span},
    }
