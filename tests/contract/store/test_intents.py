"""What is due: marks merge, wait, are held, and outlive the run they came during."""

from __future__ import annotations

from datetime import datetime

import pytest

from sidecar.model.ids import EventId, RoomUid, TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.store import journal
from sidecar.store.engine import Connection
from tests.support.builders import CANARY, DIRECTORY, NOW, after, make_notification, secret_hash
from tests.support.stores import ManualClock, OpenStore

LANE = TenantUid("lane")
SYNC, COMPARE = IntentKind.ROOM_SYNC, IntentKind.ROOM_COMPARE


async def mark(
    opened: OpenStore,
    key: str = "k",
    *,
    kind: IntentKind = COMPARE,
    priority: Priority = Priority.COMPARE,
    ready_at: datetime | None = None,
    force: bool = False,
    lane: TenantUid = LANE,
) -> None:
    await opened.store.intents.mark(kind, key, lane, priority=priority, ready_at=ready_at, force=force)


async def due(opened: OpenStore, lane: TenantUid = LANE) -> list[Intent]:
    return list(await opened.store.intents.due(lane, count_max=100))


async def only(opened: OpenStore) -> Intent:
    (intent,) = await due(opened)
    return intent


async def test_marks_merge_into_one_intent(opened: OpenStore) -> None:
    """Many marks are one piece of work: at the earliest time, with the highest priority, and a generation for each."""
    await mark(opened, ready_at=after(hours=1), priority=Priority.IMPORT)
    assert await due(opened) == []
    await mark(opened, priority=Priority.REPAIR)
    await mark(opened, ready_at=after(hours=2), priority=Priority.COMPARE)
    intent = await only(opened)
    assert (intent.priority, intent.ready_at, intent.generation) == (Priority.REPAIR, NOW, 3)
    assert await opened.store.intents.count() == 1


async def test_postponed_work_has_neither_failed_nor_been_done(opened: OpenStore, clock: ManualClock) -> None:
    """It comes at its turn, with the failures it had before."""
    await mark(opened)
    await opened.store.intents.put_off(await only(opened), until=after(seconds=1), reason="X")
    clock.at = after(seconds=1)
    await opened.store.intents.postpone(await only(opened), until=after(seconds=9))
    assert await due(opened) == []
    clock.at = after(seconds=9)
    assert (await only(opened)).attempts == 1


async def test_mark_during_a_run_that_is_postponed_wins(opened: OpenStore) -> None:
    """There is something new to look at."""
    await mark(opened)
    running = await only(opened)
    await mark(opened)
    await opened.store.intents.postpone(running, until=after(hours=1))
    assert (await only(opened)).generation == running.generation + 1


async def test_work_is_due_from_its_instant_on(opened: OpenStore, clock: ManualClock) -> None:
    """Not a microsecond earlier."""
    await mark(opened, ready_at=after(seconds=5))
    assert await opened.store.intents.next_ready_at() == after(seconds=5)
    clock.at = after(seconds=5, microseconds=-1)
    assert await due(opened) == []
    clock.at = after(seconds=5)
    assert len(await due(opened)) == 1


async def test_urgent_work_goes_first_however_much_waits(opened: OpenStore, clock: ManualClock) -> None:
    """A hint is served before a compare that waits longer; within a priority the longest waiting goes first."""
    for number, priority in enumerate((Priority.IMPORT, Priority.COMPARE, Priority.HINT, Priority.REPAIR) * 2):
        await mark(opened, f"k{number}", priority=priority, ready_at=after(seconds=-number))
    found = await due(opened)
    assert [intent.key for intent in found] == ["k6", "k2", "k7", "k3", "k5", "k1", "k4", "k0"]
    assert [intent.key for intent in await opened.store.intents.due(LANE, count_max=3)] == ["k6", "k2", "k7"]


async def test_finished_work_is_gone(opened: OpenStore) -> None:
    """Done is done."""
    await mark(opened)
    await opened.store.intents.finish(await only(opened), next_at=None)
    assert await opened.store.intents.count() == 0


async def test_finished_work_comes_again_at_its_next_time(opened: OpenStore, clock: ManualClock) -> None:
    """Regular work is due again, with the priority of regular work and a clean slate."""
    await mark(opened, priority=Priority.REPAIR)
    await opened.store.intents.put_off(await only(opened), until=after(seconds=1), reason="X")
    clock.advance(1)
    intent = await only(opened)
    assert intent.attempts == 1
    await opened.store.intents.finish(intent, next_at=after(hours=1), priority=Priority.IMPORT)
    assert await due(opened) == []
    clock.at = after(hours=1)
    again = await only(opened)
    assert (again.priority, again.attempts) == (Priority.IMPORT, 0)


@pytest.mark.parametrize("next_at", [None, after(hours=1)])
async def test_mark_during_a_run_runs_it_once_more(opened: OpenStore, next_at: datetime | None) -> None:
    """A mark says that something changed after the run began to look, so the run did not answer it."""
    await mark(opened)
    running = await only(opened)
    await mark(opened)
    await opened.store.intents.finish(running, next_at=next_at)
    again = await only(opened)
    assert again.generation == running.generation + 1
    await opened.store.intents.finish(again, next_at=next_at)
    assert await due(opened) == []


async def test_failed_work_is_not_brought_forward_by_marks(opened: OpenStore, clock: ManualClock) -> None:
    """A room that Exchange throttles is left alone for as long as it asked, whatever is notified."""
    await mark(opened, priority=Priority.HINT)
    running = await only(opened)
    await mark(opened)
    await opened.store.intents.put_off(running, until=after(minutes=1), reason="EXCHANGE_THROTTLED")
    await mark(opened)
    assert await due(opened) == []
    assert await opened.store.intents.next_ready_at(LANE) == after(minutes=1)
    clock.at = after(minutes=1)
    assert (await only(opened)).attempts == 1


async def test_forced_mark_brings_failed_work_forward(opened: OpenStore) -> None:
    """Somebody has reason to believe that the obstacle is gone."""
    await mark(opened)
    await opened.store.intents.put_off(await only(opened), until=after(hours=1), reason="X")
    await mark(opened, force=True)
    assert (await only(opened)).ready_at == NOW


async def test_forced_mark_during_a_run_outlives_the_runs_failure(opened: OpenStore) -> None:
    """The run is about to fail with what it knew before; what came during it is tried at once."""
    await mark(opened)
    running = await only(opened)
    await mark(opened, force=True)
    await opened.store.intents.put_off(running, until=after(hours=1), reason="X")
    again = await only(opened)
    await opened.store.intents.put_off(again, until=after(hours=1), reason="X")
    assert await due(opened) == [], "the force was used up"


async def test_longest_waiting_lane_comes_first_and_held_lanes_not_at_all(
    opened: OpenStore, clock: ManualClock
) -> None:
    """A lane that somebody works on needs nobody else."""
    lanes = [TenantUid(name) for name in ("a", "b", "c", "d")]
    for lane, ready_at in zip(lanes, (after(), after(seconds=-2), after(seconds=-1), after(hours=1)), strict=True):
        await mark(opened, f"k-{lane}", lane=lane, ready_at=ready_at)
    assert await opened.store.intents.due_lanes(count_max=10) == ["b", "c", "a"]
    assert await opened.store.intents.due_lanes(count_max=1) == ["b"]
    lease = await opened.store.intents.take_lane(lanes[1], owner="me", lease_s=10)
    assert lease is not None
    assert await opened.store.intents.due_lanes(count_max=10) == ["c", "a"]
    assert await opened.store.intents.next_ready_at() == after(seconds=-1)
    clock.advance(10)
    assert await opened.store.intents.due_lanes(count_max=10) == ["b", "c", "a"]


class Room:
    """A subscribed room whose notifications settle for 1.5 s, 10 s at most."""

    def __init__(self, opened: OpenStore, clock: ManualClock) -> None:
        self.opened, self.clock = opened, clock
        self.lane, self.uid = TenantUid(""), ""

    async def prepare(self) -> None:
        tenant = await self.opened.add_tenant()
        room = await self.opened.add_filled_room()
        self.lane, self.uid = tenant.uid, room.uid
        await self.opened.store.subscriptions.prepare(
            room.uid, tenant.uid, key="s1", secret_hash=secret_hash(f"{CANARY}-state"), directory_id=DIRECTORY, url="u"
        )

    async def notify(self, event_id: str = "e1") -> None:
        notification = make_notification(event_id=EventId(event_id))
        outcome = await self.opened.store.subscriptions.mark([notification], settle_s=1.5, settle_max_s=10.0)
        assert outcome.marked_count == 1

    async def syncs(self) -> list[Intent]:
        return [intent for intent in await due(self.opened, self.lane) if intent.kind is SYNC]

    async def due_after_s(self) -> float:
        """Notify nothing more, and return how long it takes until the read is due."""
        began_at = self.clock.at
        while not await self.syncs():
            self.clock.advance(0.25)
        return (self.clock.at - began_at).total_seconds()


@pytest.fixture
async def room(opened: OpenStore, clock: ManualClock) -> Room:
    room = Room(opened, clock)
    await room.prepare()
    return room


async def test_notifications_settle_before_the_room_is_read(room: Room, clock: ManualClock) -> None:
    """Each notification puts the read off a little: one read answers a burst."""
    for _ in range(4):
        await room.notify()
        clock.advance(1)
    assert await room.due_after_s() == 0.5
    (intent,) = await room.syncs()
    assert (intent.priority, intent.generation) == (Priority.HINT, 4)


async def test_settling_never_takes_longer_than_its_cap(room: Room, clock: ManualClock) -> None:
    """A room that changes all the time is read all the same: each has its limit between 60 % of the cap and the cap."""
    for second in range(11):
        assert not await room.syncs() or second >= 6
        await room.notify()
        clock.advance(1)
    assert len(await room.syncs()) == 1


async def test_rooms_that_change_together_are_not_read_together(opened: OpenStore, clock: ManualClock) -> None:
    """Their caps differ, or every room of a busy morning would be read in the same second."""
    lane, started_at = TenantUid("t1"), clock.at

    async def mark_all(c: Connection) -> None:
        for number in range(20):
            await journal.mark_settling(c, RoomUid(f"r{number}"), lane, settle_s=1.5, settle_max_s=10.0)

    due_after_s: dict[str, float] = {}
    while len(due_after_s) < 20:
        await opened.engine.write(mark_all)
        clock.advance(0.5)
        for intent in await opened.store.intents.due(lane, count_max=50):
            due_after_s.setdefault(intent.key, (clock.at - started_at).total_seconds())
    assert 6.0 <= min(due_after_s.values()) <= max(due_after_s.values()) <= 10.5
    assert len(set(due_after_s.values())) > 4


async def test_settling_is_capped_though_the_intent_was_there_before(room: Room, clock: ManualClock) -> None:
    """The cap counts from the first notification also when another mark had made the intent, for later and less urgent."""
    await mark(room.opened, room.uid, kind=SYNC, lane=room.lane, ready_at=after(hours=9), priority=Priority.IMPORT)
    for _ in range(11):
        await room.notify()
        clock.advance(1)
    (intent,) = await room.syncs()
    assert intent.priority is Priority.HINT


async def test_settling_begins_anew_after_a_run(room: Room, clock: ManualClock) -> None:
    """A notification during a run is answered by one more run, which waits for others as the first did."""
    await room.notify()
    clock.advance(2)
    (running,) = await room.syncs()
    await room.notify("e2")
    await room.opened.store.intents.finish(running, next_at=None)
    assert await room.due_after_s() == 1.5


@pytest.mark.parametrize("hold_s", [1.0, 60.0])
async def test_notifications_do_not_bring_failed_work_forward(room: Room, clock: ManualClock, hold_s: float) -> None:
    """Also when the cap of settling has long been reached, and when the hold is shorter than the settling."""
    await room.notify()
    clock.advance(20)
    (running,) = await room.syncs()
    held_until = clock.at.timestamp() + hold_s
    until = datetime.fromtimestamp(held_until, tz=clock.at.tzinfo)
    await room.opened.store.intents.put_off(running, until=until, reason="EXCHANGE_THROTTLED")
    await room.notify()
    assert hold_s <= await room.due_after_s() <= max(hold_s, 1.5)


async def test_what_is_brought_back_comes_spread_and_the_most_urgent_first(
    opened: OpenStore, clock: ManualClock
) -> None:
    """What waited together does not come back together, and all of it within the time given."""
    for number in range(10):
        await mark(opened, f"r{number}", priority=Priority.IMPORT)
    await mark(opened, "hinted", priority=Priority.HINT)
    intents = opened.store.intents
    for intent in await intents.due(LANE, count_max=50):
        await intents.put_off(intent, until=after(hours=1), reason="PAUSED")
    count = await intents.bring_back(LANE, reason="PAUSED", step_s=10.0, spread_s_max=22.0)
    assert count == 11
    assert [intent.key for intent in await intents.due(LANE, count_max=50)] == ["hinted"]
    clock.advance(11)
    assert len(await intents.due(LANE, count_max=50)) == 6
    clock.advance(11)
    assert len(await intents.due(LANE, count_max=50)) == 11


async def test_only_what_waits_for_this_reason_in_this_lane_is_brought_back(
    opened: OpenStore, clock: ManualClock
) -> None:
    """An obstacle of one kind that is gone says nothing about others."""
    intents, other = opened.store.intents, TenantUid("other")
    await mark(opened, "paused")
    await mark(opened, "refused")
    await mark(opened, "elsewhere", lane=other)
    for lane in (LANE, other):
        for intent in await intents.due(lane, count_max=50):
            reason = "REFUSED" if intent.key == "refused" else "PAUSED"
            await intents.put_off(intent, until=after(hours=1), reason=reason)
    await intents.bring_back(LANE, reason="PAUSED", step_s=0.1, spread_s_max=10.0)
    assert [intent.key for intent in await intents.due(LANE, count_max=50)] == ["paused"]
    assert await intents.due(other, count_max=50) == []


async def test_only_planned_work_that_is_near_is_hurried(opened: OpenStore) -> None:
    """What was put off stays so, and what is planned for tomorrow is not brought forward."""
    intents = opened.store.intents
    await mark(opened, "held")
    await intents.put_off(await only(opened), until=after(seconds=10), reason="REFUSED")
    await mark(opened, "far", ready_at=after(hours=9))
    assert not await intents.hurry_one(LANE, COMPARE, within_s=60.0, if_count_min=1)
    await mark(opened, "near", ready_at=after(seconds=50))
    await mark(opened, "nearer", ready_at=after(seconds=40))
    assert not await intents.hurry_one(LANE, COMPARE, within_s=60.0, if_count_min=3)
    assert await intents.hurry_one(LANE, COMPARE, within_s=60.0, if_count_min=2)
    assert (await only(opened)).key == "nearer"


@pytest.mark.parametrize(("column", "value"), [("kind", "room.ponder"), ("priority", 15)])
async def test_work_that_a_newer_version_planned_is_left_to_it(
    opened: OpenStore, column: str, value: str | int
) -> None:
    """While processes are replaced, old ones neither fail over such a row, nor wait for it, nor keep its lane."""
    intents = opened.store.intents
    await mark(opened, "newer", ready_at=after(seconds=-9))

    async def rename(c: Connection) -> None:
        await c.execute(f"UPDATE intents SET {column} = $1", value)

    await opened.engine.write(rename)
    assert await due(opened) == []
    assert await intents.due_lanes(count_max=9) == []
    assert await intents.next_ready_at() is None
    assert await intents.next_ready_at(LANE) is None
    lease = await intents.take_lane(LANE, owner="me", lease_s=10)
    assert lease is not None
    assert await intents.release_lane(lease, if_idle=True)
    await mark(opened, "known")
    assert (await only(opened)).key == "known"
    assert await intents.due_lanes(count_max=9) == [LANE]
    assert await intents.next_ready_at() == await intents.next_ready_at(LANE) == NOW
    assert await intents.count() == 2, "it waits for a process that knows it"
