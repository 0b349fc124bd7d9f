"""One lane is worked on in one place at a time, and no mark falls between two."""

from __future__ import annotations

import pytest

from sidecar.errors import StoreConflict
from sidecar.model.ids import TenantUid
from sidecar.model.intent import IntentKind, Lease, Priority
from tests.support.builders import after
from tests.support.stores import ManualClock, OpenStore

LANE = TenantUid("lane")


async def take(opened: OpenStore, owner: str = "me", lease_s: float = 10.0) -> Lease | None:
    return await opened.store.intents.take_lane(LANE, owner=owner, lease_s=lease_s)


async def taken(opened: OpenStore, owner: str = "me") -> Lease:
    lease = await take(opened, owner)
    assert lease is not None
    return lease


async def mark(opened: OpenStore, *, in_s: float = 0.0) -> None:
    await opened.store.intents.mark(
        IntentKind.ROOM_COMPARE, "k", LANE, priority=Priority.HINT, ready_at=after(seconds=in_s)
    )


async def test_lane_is_held_by_one(opened: OpenStore) -> None:
    """Whoever comes second gets nothing, even under the same name."""
    await taken(opened)
    assert await take(opened) is None
    assert await take(opened, "somebody else") is None


async def test_expired_lease_can_be_taken_with_a_higher_fence(opened: OpenStore, clock: ManualClock) -> None:
    """A holder that fell silent loses the lane, and its number with it."""
    first = await taken(opened)
    clock.advance(9.999999)
    assert await take(opened, "other") is None
    clock.advance(0.000001)
    second = await taken(opened, "other")
    assert second.fence > first.fence
    with pytest.raises(StoreConflict):
        await opened.store.intents.renew_lane(first, lease_s=10)


async def test_renewed_lease_lasts_from_its_renewal(opened: OpenStore, clock: ManualClock) -> None:
    """A holder that is alive keeps the lane as long as it likes, also when it was late and nobody came."""
    lease = await taken(opened)
    clock.advance(8)
    await opened.store.intents.renew_lane(lease, lease_s=10)
    clock.advance(8)
    assert await take(opened, "other") is None
    clock.advance(8)
    await opened.store.intents.renew_lane(lease, lease_s=10)
    assert await take(opened, "other") is None


async def test_released_lane_is_free_at_once_and_its_fence_still_grows(opened: OpenStore) -> None:
    """A number is never given out twice."""
    first = await taken(opened)
    assert await opened.store.intents.release_lane(first, if_idle=False)
    second = await taken(opened, "other")
    assert second.fence > first.fence


async def test_late_release_does_not_free_the_next_holders_lane(opened: OpenStore, clock: ManualClock) -> None:
    """Only the holder gives a lane back."""
    first = await taken(opened)
    clock.advance(11)
    await taken(opened, "other")
    await opened.store.intents.release_lane(first, if_idle=False)
    assert await take(opened, "third") is None


async def test_lane_with_due_work_is_not_released_as_idle(opened: OpenStore, clock: ManualClock) -> None:
    """A mark made just before the release keeps the lane with the one who can work on it."""
    lease = await taken(opened)
    await mark(opened)
    assert not await opened.store.intents.release_lane(lease, if_idle=True)
    assert await take(opened, "other") is None


async def test_mark_after_the_release_is_found_by_the_next(opened: OpenStore, clock: ManualClock) -> None:
    """Released or not, a mark is in the hands of one or on the list of due lanes: never on neither."""
    lease = await taken(opened)
    await mark(opened, in_s=5)
    assert await opened.store.intents.release_lane(lease, if_idle=True), "what is due later holds nobody"
    clock.advance(5)
    assert await opened.store.intents.due_lanes(count_max=9) == [LANE]


async def test_broken_leases_fence_off_their_holders(opened: OpenStore) -> None:
    """After a restart nobody waits for a dead process, and a write it left behind is refused."""
    lease = await taken(opened)
    await opened.store.intents.break_leases()
    with pytest.raises(StoreConflict):
        await opened.store.intents.renew_lane(lease, lease_s=10)
    again = await taken(opened, "other")
    assert again.fence > lease.fence
