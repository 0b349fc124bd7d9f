"""Whole lives in which the webhook address changes, and in which very many rooms come at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.emulator.notify.sender import SendFailed, WebhookAnswer
from tests.simulation.checks import check_at_rest
from tests.simulation.loop import run_virtually
from tests.simulation.office import Office
from tests.simulation.plan import HOOKS_URL, Plan, calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

NEW_URL = "https://moved.example.com"
READ_DIRECTORY = "User.Read.All"
"""With this the rooms' object ids are known, so that a mailbox can be spelled in two ways."""


def live(plan: Plan, folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Run a story in a world of its own."""

    async def main() -> None:
        async with world_made(plan, folder, Trace()) as world:
            await story(world)

    run_virtually(main)


async def begin(world: World) -> None:
    """Start the service, register the tenant, map its rooms, and begin to watch."""
    await world.begin_life()
    world.start(world.keep_alive())
    await world.register()
    world.watch(lambda watcher, told: None)


async def rest(world: World, *, hours: float = 12.0) -> None:
    """Wait until everything is right."""
    deadline_s = asyncio.get_running_loop().time() + hours * 3_600.0
    while True:
        await asyncio.sleep(300.0)
        try:
            return await check_at_rest(world)
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline_s:
                raise


async def at_microsoft(world: World) -> Counter[str]:
    """Count the live subscriptions by the address that they call, with notifications and lifecycle notices alike."""
    found = (await world.directory.call("GET", "subscriptions"))["subscriptions"]
    changes = [str(one["notificationUrl"]).partition("?")[0].removesuffix("/graph/notifications") for one in found]
    assert changes == [str(one["lifecycleNotificationUrl"]).removesuffix("/graph/lifecycle") for one in found]
    return Counter(changes)


async def move(world: World, url: str) -> None:
    """Stop the process, and start it with another address."""
    settings = world.plan.settings
    webhook = settings.webhook.model_copy(update={"public_url": url})
    world.plan = replace(world.plan, settings=settings.model_copy(update={"webhook": webhook}))
    assert world.life is not None
    await world.life.stop()


def silence(world: World, url: str) -> None:
    """Let nobody be reached at an address any more."""
    post = world.way.post

    async def post_unless_silent(target: str, **call: object) -> WebhookAnswer:
        if target.startswith(url):
            raise SendFailed("nobody is there")
        return await post(target, **call)  # type: ignore[arg-type]  # passed through

    world.way.post = post_unless_silent  # type: ignore[assignment,method-assign]  # there is no other way to move a service


@pytest.mark.parametrize("knows_ids", [True, False], ids=["two spellings", "one spelling"])
@pytest.mark.parametrize("is_old_silent", [True, False], ids=["old address silent", "both reached"])
def test_changed_address_moves_all_rooms_and_loses_nothing(
    tmp_path: Path, knows_ids: bool, is_old_silent: bool
) -> None:
    """Amid changes: copies and mirrors end equal to the calendars, one subscription for each room, none at the old address."""

    async def story(world: World) -> None:
        if knows_ids:
            roles = ["Calendars.ReadWrite", "MailboxSettings.Read", READ_DIRECTORY]
            await world.directory.call("PATCH", "app", {"roles": roles})
        await begin(world)
        working = world.start(Office(world).work())
        await asyncio.sleep(1_800.0)
        assert await at_microsoft(world) == {HOOKS_URL: 5}
        if is_old_silent:
            silence(world, HOOKS_URL)
        await move(world, NEW_URL)
        await working
        await rest(world)
        assert await at_microsoft(world) == {NEW_URL: 5}
        refused = [one for one in await requests(world) if one["status"] == 409]
        assert len(refused) == (0 if knows_ids else 5), (
            "with two spellings there is never a moment without a subscription"
        )

    live(calm_plan(3, rooms=5, actions=60, hours=1.0), tmp_path, story)


def test_address_where_nobody_answers_costs_no_subscription(tmp_path: Path) -> None:
    """Whoever slips in a setting can go back, and nothing was lost by it."""

    async def story(world: World) -> None:
        await begin(world)
        await rest(world)
        silence(world, NEW_URL)
        await move(world, NEW_URL)
        await asyncio.sleep(1_800.0)
        assert await at_microsoft(world) == {HOOKS_URL: 5}
        rooms = await world.stored_rooms()
        assert {problem.reason for room in rooms for problem in room.problems} == {"WEBHOOK_UNREACHABLE"}
        await move(world, HOOKS_URL)
        await rest(world)
        assert await at_microsoft(world) == {HOOKS_URL: 5}

    live(calm_plan(4, rooms=5, actions=0, hours=1.0), tmp_path, story)


def test_many_rooms_at_once_are_announced_without_a_single_refusal(tmp_path: Path) -> None:
    """Mapped together, and all due together after a pause: Microsoft refuses nothing."""

    async def story(world: World) -> None:
        await world.directory.call(
            "PUT", "throttle", {"limits": {"subscription_writes": 500, "subscription_lists": 25}}
        )
        await begin(world)
        await rest(world)
        world.advance(5 * 86_400.0)
        await rest(world)
        asked = Counter(one["status"] for one in await requests(world) if "/subscriptions" in one["path"])
        assert asked[201] == len(world.rooms)
        assert asked[200] >= len(world.rooms)
        assert asked[429] == 0

    plan = calm_plan(5, rooms=600, actions=0, hours=1.0)
    live(replace(plan, watchers_count=0), tmp_path, story)


async def requests(world: World) -> list[dict[str, Any]]:  # Any: JSON
    """Return all requests that Graph was asked."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        more = await world.directory.requests(after=after)
        if not more:
            return found
        found += more
        after = more[-1]["number"]
