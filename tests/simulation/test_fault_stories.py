"""Faults that the table has no row for, on virtual time: what looks like one and is none, and what takes its own course."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.emulator.notify.sender import SendFailed
from sidecar.errors import InvalidArgument
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2
from sidecar.model.ids import TenantId
from sidecar.model.room import RoomState, SyncState, freshness_limits, sync_state
from sidecar.model.tenant import Tenant, TenantState
from tests.simulation.checks import check_copy, check_states
from tests.simulation.loop import run_virtually
from tests.simulation.plan import calm_plan
from tests.simulation.trace import Trace
from tests.simulation.world import TENANT, World, world_made
from tests.support.stores import no_stray_loop

__all__ = ["no_stray_loop"]

_KNOWN_S = 300.0
_TOKEN_S = 4_499.0
"""How long a token of the emulator lives on a calm day."""


def _in_world(play: Callable[[World], Awaitable[None]], *, rooms: int = 3) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="stories") as folder:
            async with world_made(calm_plan(1, rooms=rooms), Path(folder), Trace(None)) as world:
                await world.begin_life()
                await play(world)

    run_virtually(main)


async def _change_app(world: World, **change: Any) -> None:  # Any: JSON
    await world.directory.call("PATCH", "app", change)


async def _tenant(world: World) -> Tenant:
    assert world.life is not None, "it began"
    return await world.life.service.store.tenants.load(TenantId(TENANT))


async def _states(world: World) -> list[tuple[RoomState, SyncState]]:
    limits = freshness_limits(world.plan.settings.sync)
    rooms = sorted(await world.stored_rooms(), key=lambda room: room.room_id)
    return [(room.state, sync_state(room, now=world.clock.now(), limits=limits)) for room in rooms]


async def _all_is_well(world: World) -> None:
    rooms = await world.stored_rooms()
    assert (await _tenant(world)).state is TenantState.ACTIVE
    check_states(world, rooms)
    for room in rooms:
        await check_copy(world, room)


_BLOCKED = (RoomState.CREDENTIAL_EXPIRED, SyncState.BLOCKED)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"secret_expires_at": "2020-01-01T00:00:00Z"}, "CREDENTIAL_EXPIRED"),
        ({"roles": ["MailboxSettings.Read"]}, "CONSENT_MISSING"),
        ({"disabled": True}, "APPLICATION_DISABLED"),
    ],
)
def test_token_from_before_works_until_it_ends_and_then_the_cause_is_told(change: dict[str, Any], reason: str) -> None:
    """Nothing is wrong while Microsoft takes the token: changes are read, and rooms are well, as they say."""

    async def play(world: World) -> None:
        await world.register()
        await asyncio.sleep(600.0)
        await _change_app(world, **change)
        await world.knock(world.directory.rooms[0])
        await asyncio.sleep(_TOKEN_S - 1_200.0)
        await _all_is_well(world)
        await asyncio.sleep(600.0 + _KNOWN_S)
        problem = (await _tenant(world)).problem
        assert problem is not None
        assert problem.reason == reason
        assert await _states(world) == [_BLOCKED] * 3

    _in_world(play)


def test_grant_of_exchange_alone_is_a_grant() -> None:
    """Its token names no permission; the rooms decide."""

    async def play(world: World) -> None:
        await _change_app(world, roles=["MailboxSettings.Read"], rbac_scope=world.directory.rooms)
        await world.register()
        await asyncio.sleep(_KNOWN_S)
        await world.knock(world.directory.rooms[0])
        await asyncio.sleep(60.0)
        await _all_is_well(world)

    _in_world(play)


def test_grant_of_exchange_that_lacks_a_room_concerns_that_room_alone() -> None:
    """It may be on its way; the tenant is in order."""

    async def play(world: World) -> None:
        await _change_app(world, roles=[], rbac_scope=world.directory.rooms[1:])
        await world.register()
        await asyncio.sleep(_KNOWN_S)
        assert (await _tenant(world)).state is TenantState.ACTIVE
        first, *others = await _states(world)
        assert first == (RoomState.PENDING_PROPAGATION, SyncState.BLOCKED)
        assert others == [(RoomState.UP, SyncState.LIVE)] * 2

    _in_world(play)


def test_grant_of_exchange_that_names_no_room_is_a_lack_of_consent_and_heals() -> None:
    """No permission in the token, and no room that can be read."""

    async def play(world: World) -> None:
        await _change_app(world, roles=[], rbac_scope=[])
        await world.register()
        await asyncio.sleep(_KNOWN_S)
        assert (await _tenant(world)).state is TenantState.CONSENT_MISSING
        assert await _states(world) == [_BLOCKED] * 3
        await _change_app(world, rbac_scope=world.directory.rooms)
        await asyncio.sleep(1_200.0)
        await _all_is_well(world)

    _in_world(play)


def test_room_that_gets_another_address_is_followed_by_its_object_id() -> None:
    """The application may read the directory, so the id was learned at the first read."""

    async def play(world: World) -> None:
        await _change_app(world, roles=["Calendars.ReadWrite", "MailboxSettings.Read", "User.Read.All"])
        await world.register()
        await asyncio.sleep(600.0)
        old, new = world.directory.rooms[0], f"renamed@{world.directory.domain}"
        await world.directory.call("PATCH", f"mailboxes/{old}", {"address": new})
        await world.knock(new)
        world.rooms = {name: new if address == old else address for name, address in world.rooms.items()}
        await asyncio.sleep(_KNOWN_S)
        await _all_is_well(world)
        await asyncio.sleep(3_600.0)
        await _all_is_well(world)

    _in_world(play)


def test_room_that_gets_another_address_and_whose_id_nobody_told_is_not_found() -> None:
    """It is well again once it has its address back; nothing is lost."""

    async def play(world: World) -> None:
        await world.register()
        await asyncio.sleep(600.0)
        old, new = world.directory.rooms[0], f"renamed@{world.directory.domain}"
        await world.directory.call("PATCH", f"mailboxes/{old}", {"address": new})
        await world.knock(new)
        await asyncio.sleep(_KNOWN_S)
        assert (await _states(world))[0] == (RoomState.NOT_FOUND, SyncState.BLOCKED)
        await world.directory.call("PATCH", f"mailboxes/{new}", {"address": old})
        await asyncio.sleep(1_200.0)
        await _all_is_well(world)

    _in_world(play)


@pytest.mark.parametrize(
    ("is_tls", "says"),
    [
        (False, "Exchange gets no answer from the sidecar's webhook address within ten seconds"),
        (True, "Exchange cannot make a TLS connection to the sidecar's webhook address"),
    ],
)
def test_webhook_that_cannot_be_reached_makes_rooms_polled_until_it_can(is_tls: bool, says: str) -> None:
    """A certificate without its chain is told apart from an address where nobody answers."""

    async def play(world: World) -> None:
        post = world.way.post

        async def fail(*_: Any, **__: Any) -> Any:  # Any: those of a sender
            raise SendFailed("broken", is_tls=is_tls)

        world.way.post = fail  # type: ignore[method-assign]  # a hook of this test
        await world.register()
        await asyncio.sleep(_KNOWN_S)
        assert await _states(world) == [(RoomState.DEGRADED, SyncState.POLLING)] * 3
        for room in await world.stored_rooms():
            (problem,) = room.problems
            assert problem.reason == "WEBHOOK_UNREACHABLE"
            assert problem.message.startswith(says)
        await world.knock(world.directory.rooms[0])
        await asyncio.sleep(_KNOWN_S)
        for room in await world.stored_rooms():
            await check_copy(world, room)
        world.way.post = post  # type: ignore[method-assign]  # as above
        await asyncio.sleep(1_200.0)
        await _all_is_well(world)

    _in_world(play)


def test_database_that_is_away_costs_no_change() -> None:
    """Nobody is told anything meanwhile, because nobody can be; what happened is read when it is back."""

    async def play(world: World) -> None:
        await world.register()
        await asyncio.sleep(600.0)
        world.is_disk_failing = True
        for mailbox in world.directory.rooms:
            await world.knock(mailbox)
        await asyncio.sleep(1_500.0)
        world.is_disk_failing = False
        await asyncio.sleep(1_200.0)
        await _all_is_well(world)

    _in_world(play)


def test_secret_id_in_place_of_the_secret_is_refused_at_once() -> None:
    """The portal shows both, side by side; nobody has to wait for Microsoft to hear of it."""

    async def play(world: World) -> None:
        made = await world.directory.call("PATCH", "app", {})
        request = tenant_service_pb2.RegisterTenantRequest(
            tenant_id=TENANT,
            tenant=tenant_service_pb2.Tenant(directory_id=world.directory.id),
            credential=tenant_service_pb2.Credential(
                application_id=world.directory.application_id, client_secret=made["client_secret_id"]
            ),
        )
        with pytest.raises(InvalidArgument, match="Secret ID"):
            await world.call(lambda life: life.servicers.tenants.register_tenant(request))

    _in_world(play)


def test_policy_without_any_room_is_told_at_each_of_them_and_heals() -> None:
    """The token names the permission: consent is not what is missing."""

    async def play(world: World) -> None:
        await _change_app(world, access_policy=["nobody@contoso.example"])
        await world.register()
        await asyncio.sleep(_KNOWN_S)
        assert await _states(world) == [(RoomState.PENDING_PROPAGATION, SyncState.BLOCKED)] * 3
        tenant = await _tenant(world)
        assert (tenant.state, tenant.problem and tenant.problem.reason) == (
            TenantState.DEGRADED,
            "MAILBOX_ACCESS_DENIED",
        )
        await _change_app(world, access_policy=None)
        await asyncio.sleep(1_200.0)
        await _all_is_well(world)

    _in_world(play)
