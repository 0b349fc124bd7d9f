"""Whole lives in which a tenant's settings change again and again, under people at work, watchers, and processes that die."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from sidecar.api.tenant_settings import FIELDS
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from tests.simulation.loop import run_virtually
from tests.simulation.office import Office
from tests.simulation.plan import calm_plan
from tests.simulation.test_subscriptions import begin, rest
from tests.simulation.trace import Trace
from tests.simulation.world import World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_VISIBILITIES = pb.TenantSettings.Visibility.values()
_MASKED = pb.TenantSettings.VISIBILITY_MASKED
_ALL_MASKED = pb.TenantSettings(subject_visibility=_MASKED, organizer_visibility=_MASKED, attendee_visibility=_MASKED)


async def update(world: World, settings: pb.TenantSettings) -> None:
    """Replace all settings."""
    tenant = pb.Tenant(name=world.tenant, settings=settings)
    mask = FieldMask(paths=[f"settings.{name}" for name in FIELDS])
    request = pb.UpdateTenantRequest(tenant=tenant, update_mask=mask)
    await world.call(lambda life: life.servicers.tenants.update_tenant(request))


async def _change_often(world: World, rng: Random) -> None:
    for _ in range(12):
        await asyncio.sleep(rng.uniform(1.0, 900.0))
        settings = pb.TenantSettings(
            subject_visibility=rng.choice(_VISIBILITIES),
            organizer_visibility=rng.choice(_VISIBILITIES),
            attendee_visibility=rng.choice(_VISIBILITIES),
            private_events=rng.choice(pb.TenantSettings.PrivateEvents.values()),
            pending_subjects=rng.choice(pb.TenantSettings.PendingSubjects.values()),
            write_mode=rng.choice(common_pb.WriteMode.values()),
        )
        if rng.random() < 0.5:
            settings.past_days, settings.future_days = rng.choice((0, 3)), rng.choice((1, 9))
        if rng.random() < 0.5:
            settings.check_interval.seconds = rng.choice((60, 3_600))
        await update(world, settings)
        if rng.random() < 0.5:
            await asyncio.sleep(rng.choice((0.0, 0.0, 0.01, 0.1, 2.0)))
            world.crash()


def _everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def _until_erased(world: World) -> None:
    for _ in range(600):
        if world.fetch("SELECT erasing_since_at FROM tenants") == [(None,)]:
            return
        await asyncio.sleep(1.0)
    raise AssertionError("something is left to be erased after ten minutes")


@pytest.mark.parametrize("seed", range(6))
def test_settings_may_change_at_any_time_and_everything_is_right_in_the_end(seed: int) -> None:
    """Nothing is kept that is not to be, whoever died in between; and looser again, the copy equals the calendars."""

    async def story(world: World, folder: Path) -> None:
        await begin(world)
        changing = asyncio.create_task(_change_often(world, Random(f"settings {seed}")))
        await Office(world).work()
        await changing
        await update(world, _ALL_MASKED)
        await _until_erased(world)
        files = _everything_in(folder)
        assert b"CANARY-subject" not in files
        assert b"@" in files  # the rooms' own addresses: what was searched is not empty
        for person in world.directory.people:
            assert person.encode() not in files
        await update(world, pb.TenantSettings())
        await rest(world)

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="settings") as name:
            folder = Path(name)
            plan = calm_plan(seed, rooms=2, actions=40, hours=2.0)
            async with world_made(plan, folder, Trace(None)) as world:
                await story(world, folder)

    run_virtually(main)
