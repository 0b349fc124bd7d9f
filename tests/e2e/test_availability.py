"""Free rooms: what the copy says, and what Exchange says, against what stands in the calendars."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from exchange_client import times

from sidecar.emulator.fixture import RunningEmulator
from tests.support.processes import Service
from tests.support.scene import Scene, scene_set, tomorrow

pytestmark = pytest.mark.e2e

Spans = list[tuple[datetime, datetime]]


@pytest.fixture
async def scene(service: Service, emulator: RunningEmulator) -> AsyncIterator[Scene]:
    """Give a tenant with 22 rooms, more than Exchange is asked about at once."""
    async with scene_set(service, emulator, rooms=22) as scene:
        yield scene


async def free(scene: Scene, *, rooms: list[str], bypass_cache: bool) -> dict[str, Spans]:
    """Ask about tomorrow from 8 to 18; every room must be known."""
    found = await scene.client.find_availability(
        scene.tenant, tomorrow(8), tomorrow(18), rooms=rooms, bypass_cache=bypass_cache
    )
    assert not [one.problem for one in found if one.HasField("problem")]
    return {
        one.room: [(times.to_datetime(span.start_time), times.to_datetime(span.end_time)) for span in one.free]
        for one in found
    }


async def test_copy_and_exchange_tell_the_same_free_spans(scene: Scene) -> None:
    """Meetings, a whole day in the rooms' zone, and rooms that nobody booked."""
    await scene.directory.book(scene.mailbox(0), tomorrow(9))
    midnight = tomorrow(0)
    await scene.directory.book(scene.mailbox(1), midnight, hours=24, all_day=True)
    async with scene.watching() as watcher:
        await scene.converged(watcher)
    copy = await free(scene, rooms=[], bypass_cache=False)
    assert len(copy) == 22
    assert copy[scene.room(0)] == [(tomorrow(8), tomorrow(9)), (tomorrow(10), tomorrow(18))]
    assert copy[scene.room(1)] == []
    assert copy[scene.room(2)] == [(tomorrow(8), tomorrow(18))]
    assert await free(scene, rooms=list(copy), bypass_cache=True) == copy


async def test_room_that_exchange_does_not_know_is_named_beside_the_others(scene: Scene) -> None:
    """Asked of Exchange; its own cause, and nobody else's."""
    address = f"nobody@{scene.directory.domain}"
    missing = (await scene.client.map_room(scene.tenant, "missing", address)).name
    found = await scene.client.find_availability(
        scene.tenant, tomorrow(8), tomorrow(18), rooms=[missing, scene.room()], bypass_cache=True
    )
    assert [one.problem.reason for one in found] == ["MAILBOX_NOT_FOUND", ""]
    assert [len(one.free) for one in found] == [0, 1]
