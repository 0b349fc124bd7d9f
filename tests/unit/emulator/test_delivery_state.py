"""What is on its way is plain data: taken up again from a copy, it arrives as if nothing had happened."""

import dataclasses
from copy import deepcopy
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import calm_moods
from tests.unit.emulator.rig import Rig, rig, wire_event

pytestmark = pytest.mark.looptime


async def write(r: Rig) -> None:
    await r.graph.post(f"/users/{r.room}/events", json=wire_event())


def leaves(value: Any) -> set[type]:
    """Give the types of everything a value holds, apart from dataclasses and containers."""
    if dataclasses.is_dataclass(value):
        return set().union(*(leaves(getattr(value, one.name)) for one in dataclasses.fields(value)))
    if isinstance(value, dict):
        return set().union(*(leaves(one) for pair in value.items() for one in pair))
    if isinstance(value, list | tuple):
        return set().union(*(leaves(one) for one in value))
    return {Enum if isinstance(value, Enum) else type(value)}


def restart(r: Rig) -> None:
    """Take up a copy of all that waits, as after a restore; whatever the old timers do then is for nothing."""
    r.emulator.deliveries.resume(deepcopy(r.emulator.deliveries.state))


async def test_state_holds_nothing_but_data() -> None:
    async with rig() as r:
        made = (await r.subscribe()).json()["id"]
        await r.told("POST", r.path(f"/subscriptions/{made}/disturb"), {"delay_count": 1})
        r.webhook.delay_s = 2.0
        await write(r)
        await write(r)
        await sleep(r.clock, 0.1)
        r.webhook.down = True
        await write(r)
        await r.told("POST", r.path("/deliveries/pause"))
        await write(r)
        state = r.emulator.deliveries.state
        (lane,) = state.lanes.values()
        assert (len(lane.waiting), len(lane.sending), len(state.held)) == (2, 1, 1)
        assert leaves(state) <= {str, int, float, bool, datetime, Enum, type(None)}


async def test_waiting_notifications_arrive_after_a_restore() -> None:
    async with rig() as r:
        await r.subscribe()
        await write(r)
        restart(r)
        await r.rest()
        assert len(r.webhook.items) == 1


async def test_retries_go_on_after_a_restore_where_they_were() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.down = True
        await write(r)
        await sleep(r.clock, 35)
        restart(r)
        await sleep(r.clock, 40)
        found = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        attempts = [one["attempt"] for one in found if one["kind"] == "notification"]
        assert attempts == [1, 2, 3, 4]


async def test_post_that_was_under_way_is_made_again_after_a_restore() -> None:
    async with rig() as r:
        await r.subscribe()
        r.webhook.delay_s = 2.0
        await write(r)
        await sleep(r.clock, 1)
        restart(r)
        await r.rest()
        assert [item["changeType"] for item in r.webhook.items] == ["created", "created"]
        assert (await r.told("GET", r.path("/pending")))["deliveries"] == 0


async def test_lifecycle_timers_go_on_after_a_restore() -> None:
    async with rig() as r:
        await r.subscribe()
        restart(r)
        await sleep(r.clock, 3600)
        times = [at for at, _, _ in r.webhook.posts]
        assert times
        assert len(times) == len({round(at) for at in times})


async def test_what_was_held_for_want_of_authorization_is_given_up_after_a_restore() -> None:
    async with rig(moods=msgspec.structs.replace(calm_moods(), authorization_grace_s=0.0)) as r:
        await r.subscribe(r.ada)
        await sleep(r.clock, 2 * 3600)
        await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00", rooms=[])
        restart(r)
        assert (await r.told("GET", r.path("/pending")))["held"] == 1
        await sleep(r.clock, 4 * 3600 + 60)
        assert (await r.told("GET", r.path("/pending")))["held"] == 0


async def test_penalty_of_an_endpoint_ends_after_a_restore() -> None:
    async with rig(moods=msgspec.structs.replace(calm_moods(), endpoint_responses_min=2)) as r:
        await r.subscribe()
        r.webhook.delay_s = 3.5
        for _ in range(2):
            await write(r)
            await sleep(r.clock, 4)
        r.webhook.delay_s = 0.0
        restart(r)
        await write(r)
        await sleep(r.clock, 1300)
        (endpoint,) = (await r.told("GET", "/control/endpoints"))["endpoints"]
        assert endpoint["state"] == "good"
