"""The control API under absurd bodies made from its own description: whatever it is told, it answers, and the emulator lives.

Between the absurd calls there are sensible ones, so that rooms and notifications have something to do; in the end everything
that waits has happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.unit.emulator.rig import Rig, rig, weekly

pytestmark = pytest.mark.looptime
Json = Any  # Any: JSON of every kind
STEPS_COUNT = 150
ABSURD: tuple[Json, ...] = (
    *(None, True, 0, -1, 10**30, 1e18, -1e308, 1e-300, "", "x", "\0", "\u2603", "a" * 300, [], [None], {}, {"a": 1}),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-24T10:00:00", "24:00", "@"),
)
HOURS = [f"2026-11-24T{hour:02}:00:00" for hour in range(8, 19)]
SERIES = [
    weekly("2026-11-24", days=["tuesday"]),
    weekly("2026-11-24", days=["tuesday"], type="noEnd"),
    weekly("2026-11-24", days=["tuesday"], type="endDate", endDate="9999-12-31"),
]
DATA_LIMITS = {"rooms": 3, "bookings_per_room": 3, "count": 3}  # so that a step takes no seconds


class Caller:
    """Makes calls, and remembers what they may be about."""

    def __init__(self, r: Rig, rng: random.Random) -> None:
        self.r, self.rng = r, rng
        self.addresses = [one["address"] for one in r.rooms + r.users] + ["stranger@y.example"]
        self.meetings, self.subscriptions = ["x"], ["x"]
        self.description: Json = {}

    async def absurd_call(self) -> None:
        """Call an operation with a body that is mostly of the described shape."""
        paths = self.description["paths"]
        path = self.rng.choice([one for one in paths if one != "/control/state"])
        method = self.rng.choice(list(paths[path]))
        operation, filled = paths[path][method], path
        for name in ("tenant", "address", "mode", "id"):
            filled = filled.replace(f"{{{name}}}", self.text(name).replace("/", "%2F") or "x")
        body = None
        if "requestBody" in operation:
            body = self.value(operation["requestBody"]["content"]["application/json"]["schema"], "")
            if path.endswith("/moods"):
                names = self.rng.sample(list(Moods.__struct_fields__), 2)
                body = {name: self.rng.choice([0, 0.1, 5, 3e9, 1e18]) for name in names if "latency" not in name}
        await self.call(self.r.control, method.upper(), filled, body)

    async def sensible_call(self) -> None:
        """Book, now and then at absurd times, change, subscribe or let time pass."""
        tenant, address = self.r.path(""), self.rng.choice(self.addresses)
        match self.rng.randrange(4):
            case 0:
                recurrence = self.rng.choice([None, None, *SERIES])
                times = {"start": self.rng.choice(HOURS[:5]), "end": self.rng.choice(HOURS[5:])}
                if self.rng.random() < 0.3:
                    times = {"start": self.text("start"), "end": self.text("end")}
                body = {"organizer": address, "rooms": [self.r.room], **times, "recurrence": recurrence}
                answer = await self.call(self.r.control, "POST", f"{tenant}/outlook/book", body)
                if answer is not None and answer.status_code == 201:
                    self.meetings.append(answer.json()["meeting"])
            case 1:
                what = self.rng.choice(["cancel", "edit"])
                body = {"meeting": self.rng.choice(self.meetings), "occurrence": self.rng.choice([None, "2026-12-01"])}
                more = {} if what == "cancel" else {"subject": "Other"}
                await self.call(self.r.control, "POST", f"{tenant}/outlook/{what}", {**body, **more})
            case 2:
                until = self.r.clock.now() + timedelta(minutes=self.rng.choice([1, 60, 9000]))
                body = {
                    "changeType": "created,updated,deleted",
                    "notificationUrl": f"https://h{self.rng.randrange(3)}.example/n",
                    "lifecycleNotificationUrl": "https://h1.example/l",
                    "resource": f"/users/{address}/events",
                    "expirationDateTime": until.isoformat(),
                }
                answer = await self.call(self.r.graph, "POST", "/subscriptions", body)
                if answer is not None and answer.status_code == 201 and answer.headers["content-type"] != "text/html":
                    self.subscriptions.append(answer.json().get("id", "x"))
            case _:
                await sleep(self.r.clock, self.rng.choice([0.01, 5, 600, 7200]))

    async def call(self, client: httpx.AsyncClient, method: str, path: str, body: Json) -> httpx.Response | None:
        """Make a call; None when a scripted fault has cut the connection."""
        script = self.r.emulator.script
        may_fail = client is self.r.graph and bool(script.faults or script.outages)
        try:
            answer = await client.request(method, path, json=body)
        except httpx.RemoteProtocolError:
            assert may_fail
            return None
        assert may_fail or answer.status_code != 500, f"{method} {path} {body}: {answer.text}"
        return answer

    def value(self, schema: Json, name: str) -> Json:
        """Make a value of a schema, now and then an absurd one."""
        if self.rng.random() < 0.05:
            return self.rng.choice(ABSURD)
        if "$ref" in schema:
            schema = self.description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return self.value(self.rng.choice(schema["anyOf"]), name)
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        match schema.get("type"):
            case "boolean":
                return self.rng.random() < 0.5
            case "integer" | "number" as kind:
                low, high = schema.get("minimum", -5), schema.get("maximum", 10**12)
                number = self.rng.choice([low, high, self.rng.uniform(low, min(high, 100))])
                number = min(number, DATA_LIMITS.get(name, number))
                return number if kind == "number" and name not in ("delay_s", "stall_s") else int(min(number, 10))
            case "string":
                return self.text(name)
            case "array":
                return [self.value(schema.get("items") or {}, name) for _ in range(self.rng.randrange(3))]
            case "object":
                return dict(self.members(schema))
            case _:
                return None

    def members(self, schema: Json) -> Iterator[tuple[str, Json]]:
        required = schema.get("required", ())
        for name, inner in (schema.get("properties") or {}).items():
            if name in required or name in DATA_LIMITS or self.rng.random() < 0.35:
                yield name, self.value(inner, name)

    def text(self, name: str) -> str:
        """Make a text that may mean something where it is used."""
        known = {
            "tenant": [self.r.tenant["tenant_id"], self.r.tenant["domain"], "nobody"],
            "meeting": self.meetings[-4:],
            "id": self.subscriptions[-4:],
            "subscription_id": self.subscriptions[-4:],
            "event": ["missed", "subscriptionRemoved", "reauthorizationRequired"],
            "mode": ["pause", "resume", "drop"],
            "occurrence": ["2026-11-24", "9999-12-31", "0001-01-01T00:00:00+14:00"],
            "kind": ["cloud", "cloud", "gone", "moving"],
            "path_regex": [".", "("],
        }
        if name in ("start", "end"):
            return self.rng.choice([*HOURS, "9999-12-31T23:59:59", "0001-01-01T00:00:00", "4499-12-31T10:00:00"])
        return self.rng.choice(known.get(name) or [*self.addresses, "UTC", "x", "\u2603"])


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_control_is_told_the_emulator_lives_on(seed: int) -> None:
    rng = random.Random(seed)
    async with rig(seed=seed, calm=seed % 2 == 0) as r:
        caller = Caller(r, rng)
        caller.description = await r.told("GET", "/control/openapi.json")
        statuses = [202, 202, 503, 404]
        r.webhook.answer = lambda url: (
            None if "validationToken" in url else WebhookAnswer(status=rng.choice(statuses), content_type="", body="")
        )
        for _ in range(STEPS_COUNT):
            await (caller.absurd_call() if rng.random() < 0.6 else caller.sensible_call())
        statuses[:] = [202]
        await come_to_rest(r)


async def come_to_rest(r: Rig) -> None:
    """Take everything absurd back, let a month pass, and look that nothing is left waiting that is due."""
    world = r.emulator.world
    await r.told("DELETE", "/control/faults")
    r.emulator.script.outages.clear()
    world.moods = calm_moods()
    for tenant in world.directory.tenants.values():
        tenant.own_moods = {}
        await r.told("POST", f"/control/tenants/{tenant.tenant_id}/deliveries/resume")
    await r.control.post("/control/clock", json={"advance_s": 31 * 86400})
    await sleep(r.clock, 5 * 3600)
    for lane in r.emulator.deliveries.state.lanes.values():
        assert not lane.sending
        assert all(due_at > r.clock.now() for due_at, _, _ in [*lane.waiting, *lane.retries])
    for tenant in world.directory.tenants.values():
        assert all(act.due_at > r.clock.now() for act in tenant.pending_acts.values())
