"""What goes wrong: one method for each name of `plan.TROUBLES`. Each puts right in time what it has broken."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec

from sidecar.emulator.moods import calm_moods
from tests.simulation.network import Weather
from tests.simulation.world import World

_STEPS_MAX = 40
_LOOK_S = 60.0
_TURNS_MAX = 60
_FULL_COUNT = 8
"""More than the deletion brake lets pass."""
_EMPTY_READS = 2
"""A read, and the second look that follows it at once."""
_EMPTY_S = 100.0
"""Shorter than the brake waits before it looks again."""
_CALM = msgspec.to_builtins(calm_moods())


_WHOLE = ("remap", "resync", "restart")
"""Troubles that must not be left half-way: somebody waits for an answer."""


_SKEW_S_MAX = 200.0


class Troubles:
    """Brings about the troubles of a plan."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.plan.rng("troubles")
        self._directory = world.directory
        self._under_way: dict[asyncio.Task[None], str] = {}

    async def work(self) -> None:
        """Let each trouble come at its time; they overlap as they like."""
        began_s = asyncio.get_running_loop().time()
        for at_s, kind in self._world.plan.troubles:
            await asyncio.sleep(max(0.0, began_s + at_s - asyncio.get_running_loop().time()))
            self._world.trace.note("trouble", kind)
            self._under_way[self._world.start(getattr(self, kind)())] = kind

    async def heal(self) -> None:
        """Put everything right, and let the world be calm from now on."""
        world, directory = self._world, self._directory
        for task, kind in self._under_way.items():
            if kind in _WHOLE:
                await asyncio.wait([task])
            else:
                task.cancel()
        world.crash_after = None
        world.crash_when_accepted = world.crash_when_read = False
        world.is_disk_failing = False
        world.way.weather = Weather()
        await directory.call("DELETE", "/control/faults")
        await directory.call("POST", "/control/outage", {"for_s": 0})
        await directory.call("PUT", "/control/moods", _CALM)
        await directory.call("POST", "deliveries/resume", {})
        for mailbox in directory.rooms:
            await directory.call("POST", f"calendars/{mailbox}/endless_delta", {"on": False})
        await self._grant()

    async def crash(self) -> None:
        """The process is killed: some steps or turns of the loop from now, or when it has accepted or read something."""
        dice = self._rng.random()
        if dice < 0.4:
            self._world.crash_after = self._rng.randint(1, _STEPS_MAX)
            return
        if dice < 0.6:
            self._world.crash_when_accepted = True
            return
        if dice < 0.8:
            self._world.crash_when_read = True
            return
        for _ in range(self._rng.randrange(_TURNS_MAX)):
            await asyncio.sleep(0)
        self._world.crash()

    async def restart(self) -> None:
        """The process is asked to stop, and started again."""
        life = self._world.serving
        if life is not None:
            self._world.trace.note("life", "is stopped")
            await life.stop()

    async def restore(self) -> None:
        """The database is put back to what it was a while ago, as an operator does: with a new epoch."""
        world = self._world
        backup, rooms, head = world.back_up(), dict(world.rooms), world.head()
        lost_count = self._rng.choice((1, 10, 30))
        while world.serving is None or world.head() < head + lost_count:  # noqa: ASYNC110  (nothing outside of the service could ring)
            await asyncio.sleep(_LOOK_S)
        if world.rooms == rooms:  # an operator who restores maps anew what was mapped since; nobody does it here
            world.restore(backup)

    async def log_pruned(self) -> None:
        """The log is cut: readers that were away, or are slow, find nothing to go on from."""
        count_max = self._rng.choice((0, 1, 5, 20))
        await self._world.prune(count_max)

    async def webhook_weather(self) -> None:
        """Calls of the webhook are lost, unanswered, doubled and late for a while."""
        self._world.way.weather = Weather(
            lost_share=self._rng.choice((0.0, 0.3, 1.0)),
            unanswered_share=self._rng.choice((0.0, 0.3, 1.0)),
            doubled_share=self._rng.choice((0.0, 0.5)),
            late_share=self._rng.choice((0.0, 0.5)),
            late_s=self._rng.choice((1.0, 8.0)),
        )
        await asyncio.sleep(self._lasting())
        self._world.way.weather = Weather()

    async def graph_weather(self) -> None:
        """Graph is slow, refuses, breaks off, and answers with half of a body."""
        moods = {
            "throttle_share": self._rng.choice((0.0, 0.3)),
            "unavailable_share": self._rng.choice((0.0, 0.3)),
            "latency_max_s": self._rng.choice((0.5, 5.0)),
            "flaky_token_share": self._rng.choice((0.0, 0.1)),
        }
        effects: list[dict[str, Any]] = [  # Any: JSON
            {"drop": True},
            {"drop": True, "after": True},
            {"half_body": True},
            {"stall_s": 45.0},
            {"delay_s": 45.0},
            {"status": 500},
            {"status": 502, "body": "<html>bad gateway</html>"},
            {"status": 504, "after": True},
            {"status": 429, "code": "ApplicationThrottled", "retry_after_s": 90.0},
            {"status": 200, "body": "<html>captive portal</html>"},
        ]
        for effect in self._rng.sample(effects, 4):
            match = self._rng.choice(
                ({}, {"path": "/subscriptions"}, {"path": "/calendarView"}, {"path": "/events/"}, {"path": "/token"})
            )
            await self._directory.fault(effect, count=self._rng.randint(1, 6), **match)
        await self._directory.call("PUT", "/control/moods", moods)
        await asyncio.sleep(self._lasting())
        usual = msgspec.to_builtins(self._world.plan.moods)
        await self._directory.call("PUT", "/control/moods", {name: usual[name] for name in moods})

    async def outage(self) -> None:
        """Microsoft is away."""
        status = self._rng.choice((503, 500, None))
        await self._directory.call("POST", "/control/outage", {"status": status, "for_s": self._lasting()})

    async def login_outage(self) -> None:
        """Microsoft's login is away, and all tokens are called back."""
        body = {"status": 503, "for_s": self._lasting(), "service": "login"}
        await self._directory.call("POST", "/control/outage", body)
        await self.tokens_revoked()

    async def tokens_revoked(self) -> None:
        """All tokens given out so far are useless."""
        await self._directory.call("PATCH", "app", {"revoke_tokens": True})

    async def subscription_removed(self) -> None:
        """A subscription vanishes without a word; `lifecycle` removes one and says so."""
        found = await self._some_subscription()
        if found is not None:
            await self._directory.call("DELETE", f"subscriptions/{found['id']}")
            await self._perhaps_knock(found)

    async def subscription_expired(self) -> None:
        """A subscription runs out before its time."""
        found = await self._some_subscription()
        if found is not None:
            await self._directory.call("POST", f"subscriptions/{found['id']}/expire", {})
            await self._perhaps_knock(found)

    async def lifecycle(self) -> None:
        """Microsoft sends a lifecycle notification."""
        found = await self._some_subscription()
        if found is not None:
            event = self._rng.choice(
                ("reauthorizationRequired", "subscriptionRemoved", "subscriptionRemoved", "missed")
            )
            body = {"subscription_id": found["id"], "event": event}
            await self._directory.call("POST", "lifecycle", body)
            await self._world.knock(str(found["mailbox"]))

    async def access_revoked(self) -> None:
        """An administrator takes access away, from everything or from some rooms, and gives it back."""
        rooms = self._directory.rooms
        if self._rng.random() < 0.5:
            await self._directory.call("PATCH", "app", {"roles": []})
        else:
            left = [*self._directory.people, *self._rng.sample(rooms, len(rooms) - 1)]
            await self._directory.call("PATCH", "app", {"access_policy": left})
        if self._rng.random() < 0.5:
            await self.tokens_revoked()
        await asyncio.sleep(self._lasting())
        await self._grant()

    async def _grant(self) -> None:
        roles = ["Calendars.ReadWrite", "MailboxSettings.Read"]
        await self._directory.call("PATCH", "app", {"roles": roles, "access_policy": None})

    async def deliveries_lost(self) -> None:
        """Microsoft loses notifications."""
        await self._directory.call("POST", "deliveries/drop", {})
        await asyncio.sleep(self._lasting())
        await self._directory.call("POST", "deliveries/resume", {})

    async def deliveries_held(self) -> None:
        """Microsoft keeps notifications back, and sends them all at once."""
        await self._directory.call("POST", "deliveries/pause", {})
        await asyncio.sleep(self._lasting())
        await self._directory.call("POST", "deliveries/resume", {})

    async def delta_forgotten(self) -> None:
        """Exchange forgets every delta link of a mailbox."""
        mailbox = self._rng.choice(self._directory.rooms)
        await self._directory.call("POST", f"calendars/{mailbox}/expire_delta", {})

    async def delta_endless(self) -> None:
        """Delta rounds of a mailbox have no end for a while."""
        mailbox = self._rng.choice(self._directory.rooms)
        await self._directory.call("POST", f"calendars/{mailbox}/endless_delta", {"on": True})
        await asyncio.sleep(self._lasting())
        await self._directory.call("POST", f"calendars/{mailbox}/endless_delta", {"on": False})

    async def calendar_empty(self) -> None:
        """Exchange shows a full calendar as empty twice, while somebody has the room read anew."""
        rooms = self._world.full_rooms(at_least=_FULL_COUNT)
        if not rooms:
            return
        name, address = self._rng.choice(rooms)
        view = f"{re.escape(address)}/calendarView\\?"
        await self._directory.fault({"status": 200, "body": '{"value": []}'}, count=_EMPTY_READS, path_regex=view)
        await self._world.resync(name)
        await asyncio.sleep(_EMPTY_S)
        await self._directory.call("DELETE", "/control/faults")

    async def store_fails(self) -> None:
        """The service's database fails."""
        self._world.is_disk_failing = True
        await asyncio.sleep(self._rng.choice((0.5, 10.0, 300.0)))
        self._world.is_disk_failing = False

    async def clock_set(self) -> None:
        """Somebody sets the clock of the service's machine; never further from Microsoft's than that allows."""
        seconds = self._rng.choice((-90.0, -2.0, 2.0, 90.0))
        skew_s = (self._world.clock.now() - self._world.now()).total_seconds()
        self._world.clock.shift(-seconds if abs(skew_s + seconds) > _SKEW_S_MAX else seconds)

    async def pause(self) -> None:
        """Everything sleeps for a while and wakes up later than it believes."""
        self._world.advance(self._rng.choice((60.0, 3_600.0, 30_000.0)))

    async def resync(self) -> None:
        """Somebody has a room read anew."""
        rooms = sorted(self._world.rooms)
        if rooms:
            await self._world.resync(self._rng.choice(rooms))

    async def remap(self) -> None:
        """A room is unmapped, and mapped again under another id."""
        watched = {watcher.room for watcher in self._world.watchers}
        rooms = sorted(self._world.rooms.keys() - watched)
        if not rooms:
            return
        name = self._rng.choice(rooms)
        mailbox = self._world.rooms[name]
        await self._world.unmap_room(name)
        await asyncio.sleep(self._rng.choice((0.0, 0.2, 30.0)))
        self._world.remaps_count += 1
        await self._world.map_room(f"again{self._world.remaps_count}", mailbox)

    async def _some_subscription(self) -> dict[str, Any] | None:  # Any: JSON
        found = (await self._directory.call("GET", "subscriptions"))["subscriptions"]
        found = sorted(found, key=lambda one: str(one["id"]))
        return self._rng.choice(found) if found else None

    async def _perhaps_knock(self, subscription: dict[str, Any]) -> None:  # Any: JSON
        """Have somebody book at once, half of the time: a change that nobody is told of."""
        if self._rng.random() < 0.5:
            await self._world.knock(str(subscription["mailbox"]))

    def _lasting(self) -> float:
        """Choose how long something lasts, seconds."""
        return self._rng.choice((5.0, 60.0, 600.0, 3_600.0, 9_000.0))
