"""The emulator as a subject: one of its own for each case, in the test's event loop, with a webhook that remembers.

What only state can reach (faults, the clock, an admin's decisions) is done through `Emulated`; a case that uses it is for the
emulator only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sidecar.emulator.moods import Moods
from tests.contract.graph.subject import IMMUTABLE, Json, Subject
from tests.unit.emulator.rig import JOIN, Rig, Webhook, rig

ROLES = ["Calendars.ReadWrite", "Place.Read.All", "User.Read.All", "MailboxSettings.Read"]
_ABLE = frozenset({"room", "organizer", "webhook", "deliveries", "places", "users", "settings"})


@dataclass(slots=True, kw_only=True)
class Emulated(Subject):
    """A subject whose state can be changed from behind."""

    rig: Rig

    @property
    def webhook(self) -> Webhook:
        """Give what the notifications go to."""
        return self.rig.webhook

    async def control(self, method: str, path: str, body: Any = None) -> Json:  # Any: JSON for the wire
        """Make a control call about the tenant."""
        found: Json = await self.rig.told(method, self.rig.path(path), body)
        return found

    async def change_app(self, **changes: Any) -> None:  # Any: JSON for the wire
        """Do to the app registration what an admin would."""
        await self.control("PATCH", "/app", changes)

    async def change_mailbox(self, mailbox: str, **changes: Any) -> None:  # Any: JSON for the wire
        """Do to a mailbox what an admin would."""
        await self.control("PATCH", f"/mailboxes/{mailbox}", changes)

    async def sign_in(self) -> None:
        """Take a new token."""
        self.token = await self.rig.sign_in()

    async def advance(self, seconds: float) -> None:
        """Move the present forward."""
        await self.rig.told("POST", "/control/clock", {"advance_s": seconds})

    async def fault(self, effect: Json, **match: Any) -> None:  # Any: JSON for the wire
        """Script a fault."""
        await self.rig.told("POST", "/control/faults", {"match": match, "effect": effect})

    async def rest(self) -> None:
        """Let everything that is on its way arrive."""
        await self.rig.rest()

    async def leftovers(self) -> list[Json]:
        """Give what is on the calendars that belong to the suite, in truth, and the live subscriptions."""
        found: list[Json] = (await self.control("GET", "/subscriptions"))["subscriptions"]
        for address in (self.mailbox, self.organizer):
            span = "?start=2020-01-01T00:00:00Z&end=2060-01-01T00:00:00Z"
            found += (await self.control("GET", f"/calendars/{address}{span}"))["items"]
        return found


@asynccontextmanager
async def emulated(moods: Moods | None = None) -> AsyncIterator[Emulated]:
    """Run an emulator with a room to write to, a room that answers, and a person."""
    async with rig(moods=moods, roles=ROLES) as made:
        made.graph.headers["prefer"] = IMMUTABLE
        yield Emulated(
            name="emulator",
            graph=made.graph,
            login=made.login,
            tenant=made.tenant["tenant_id"],
            client_id=made.tenant["client_id"],
            secret=made.tenant["client_secret"],
            mailbox=made.rooms[0]["address"],
            token=made.graph.headers["authorization"].removeprefix("Bearer "),
            able=_ABLE,
            room=made.rooms[1]["address"],
            organizer=made.users[0]["address"],
            webhook_url=f"{JOIN}/n?k=7",
            now=made.clock.now,
            rig=made,
        )
