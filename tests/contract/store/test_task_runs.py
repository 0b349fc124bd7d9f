"""Runs of chores: what they make due, what ends them, and who sees them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

import pytest

from sidecar.errors import (
    RequestIdReused,
    RoomNotFound,
    TaskRunLimit,
    TaskRunNotFound,
    TaskRunTooLarge,
    TenantNotFound,
    TenantSuspended,
)
from sidecar.model.ids import RoomId, TenantId, TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.model.room import Room
from sidecar.model.task_run import Aim, RunState, Subject, TaskRun
from sidecar.store import task_runs
from tests.support.builders import after
from tests.support.stores import ManualClock, OpenStore

A, B = TenantId("a"), TenantId("b")
CHECK, VERIFY, WRITE = IntentKind.ROOM_CHECK, IntentKind.TENANT_VERIFY, IntentKind.BOOKING_WRITE


def aim(
    tenant_id: str | None = "a",
    room_id: str | None = None,
    *,
    kind: IntentKind = CHECK,
    subject: Subject = Subject.ROOM,
    visible: set[TenantId] | None = None,
) -> Aim:
    return Aim(
        task="check-rooms" if kind is CHECK else kind.value,
        kind=kind,
        subject=subject,
        priority=Priority.CHECK,
        tenant_id=None if tenant_id is None else TenantId(tenant_id),
        room_id=None if room_id is None else RoomId(room_id),
        visible=None if visible is None else frozenset(visible),
    )


async def prepare(opened: OpenStore, rooms: dict[str, int]) -> list[Room]:
    """Register tenants with so many rooms, and nothing due."""
    made = []
    for tenant_id, count in rooms.items():
        await opened.add_tenant(tenant_id)
        for number in range(count):
            made.append(await opened.add_room(f"r{number}", tenant_id=TenantId(tenant_id)))
    await opened.execute("DELETE FROM intents")
    return made


async def begin(opened: OpenStore, wanted: Aim | None = None, request_id: str = "q") -> TaskRun:
    return await opened.store.task_runs.begin(wanted or aim(), request_id=request_id)


async def again(opened: OpenStore, run: TaskRun, *, visible: set[TenantId] | None = None) -> TaskRun:
    return await opened.store.task_runs.load(run.task, run.uid, visible=visible)


async def due(opened: OpenStore) -> list[Intent]:
    """Return all that is due, by key."""
    lanes = [TenantUid(row[0]) for row in await opened.fetch("SELECT DISTINCT lane FROM intents")]
    found = [intent for lane in lanes for intent in await opened.store.intents.due(lane, count_max=100)]
    return sorted(found, key=lambda intent: intent.key)


def counts(run: TaskRun) -> tuple[int, int, int, int]:
    return run.total_count, run.done_count, run.failed_count, run.remaining_count


async def test_run_makes_each_room_of_its_scope_due_now(opened: OpenStore) -> None:
    rooms = await prepare(opened, {"a": 3, "b": 2})
    run = await begin(opened)
    assert [intent.key for intent in await due(opened)] == sorted(room.uid for room in rooms[:3])
    assert (run.state, counts(run), run.ended_at) == (RunState.RUNNING, (3, 0, 0, 3), None)


async def test_run_ends_with_the_last_of_its_work(opened: OpenStore, clock: ManualClock) -> None:
    await prepare(opened, {"a": 3})
    run = await begin(opened)
    for number, intent in enumerate(await due(opened)):
        clock.at = after(seconds=number + 1)
        await opened.store.intents.finish(intent, next_at=after(hours=1), has_changed=number == 1)
        run = await again(opened, run)
        assert counts(run) == (3, number + 1, 0, 2 - number)
    assert (run.state, run.changed_count, run.ended_at) == (RunState.SUCCEEDED, 1, after(seconds=3))
    assert await opened.fetch("SELECT 1 FROM task_run_items") == []


async def test_work_that_is_over_for_good_counts_as_well(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1})
    run = await begin(opened)
    for intent in await due(opened):
        await opened.store.intents.finish(intent, next_at=None)
    assert (await again(opened, run)).state is RunState.SUCCEEDED


async def test_work_that_ends_again_later_counts_once(opened: OpenStore, clock: ManualClock) -> None:
    await prepare(opened, {"a": 2})
    run = await begin(opened)
    first = (await due(opened))[0]
    await opened.store.intents.finish(first, next_at=after(seconds=1))
    clock.at = after(seconds=1)
    (same,) = [intent for intent in await due(opened) if intent.key == first.key]
    await opened.store.intents.finish(same, next_at=after(hours=1))
    assert counts(await again(opened, run)) == (2, 1, 0, 1)


async def test_work_that_was_under_way_already_does_not_count(opened: OpenStore) -> None:
    """It may have looked before whatever the run was asked for."""
    (room,) = await prepare(opened, {"a": 1})
    await opened.store.intents.mark(CHECK, room.uid, room.tenant_uid, priority=Priority.CHECK)
    (under_way,) = await due(opened)
    run = await begin(opened)
    await opened.store.intents.finish(under_way, next_at=after(hours=1))
    assert (await again(opened, run)).state is RunState.RUNNING
    (asked_for,) = await due(opened)
    await opened.store.intents.finish(asked_for, next_at=after(hours=1))
    assert (await again(opened, run)).state is RunState.SUCCEEDED


async def test_run_tries_at_once_what_was_put_off(opened: OpenStore) -> None:
    (room,) = await prepare(opened, {"a": 1})
    await opened.store.intents.mark(CHECK, room.uid, room.tenant_uid, priority=Priority.CHECK)
    (intent,) = await due(opened)
    await opened.store.intents.put_off(intent, until=after(hours=1), reason="EXCHANGE_THROTTLED")
    await begin(opened)
    assert [intent.key for intent in await due(opened)] == [room.uid]


async def test_refused_work_ends_as_failed_with_its_reason_and_an_example(opened: OpenStore) -> None:
    await prepare(opened, {"a": 3})
    run = await begin(opened)
    one, two, three = await due(opened)
    await opened.store.intents.put_off(one, until=after(hours=1), reason="MAILBOX_ACCESS_DENIED")
    await opened.store.intents.put_off(two, until=after(hours=1), reason="MAILBOX_ACCESS_DENIED")
    await opened.store.intents.finish(three, next_at=None)
    run = await again(opened, run)
    assert (run.state, counts(run)) == (RunState.FAILED, (3, 1, 2, 0))
    (problem,) = run.problems
    assert (problem.reason, problem.count, problem.example[:16]) == ("MAILBOX_ACCESS_DENIED", 2, "tenants/a/rooms/")


async def test_work_whose_turn_it_was_not_is_waited_for(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1})
    run = await begin(opened)
    (intent,) = await due(opened)
    await opened.store.intents.postpone(intent, until=after(seconds=5))
    assert counts(await again(opened, run)) == (1, 0, 0, 1)


async def test_two_runs_of_the_same_work_end_with_it(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1})
    runs = [await begin(opened, request_id=request_id) for request_id in ("q1", "q2")]
    (intent,) = await due(opened)
    await opened.store.intents.finish(intent, next_at=after(hours=1))
    assert [(await again(opened, run)).state for run in runs] == [RunState.SUCCEEDED] * 2


async def test_equal_request_gives_the_same_run_and_marks_nothing(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1})
    run = await begin(opened)
    (intent,) = await due(opened)
    await opened.store.intents.finish(intent, next_at=after(hours=1))
    assert (await begin(opened)).uid == run.uid
    assert await due(opened) == []


async def test_equal_requests_at_once_give_one_run(opened: OpenStore) -> None:
    await prepare(opened, {"a": 3})
    runs = await asyncio.gather(*(begin(opened) for _ in range(5)))
    assert len({run.uid for run in runs}) == 1
    assert {intent.generation for intent in await due(opened)} == {1}


@pytest.mark.parametrize(
    "other", [aim("a", "r0"), aim("a", kind=VERIFY, subject=Subject.TENANT)], ids=["scope", "task"]
)
async def test_request_id_with_other_contents_is_refused(opened: OpenStore, other: Aim) -> None:
    await prepare(opened, {"a": 1})
    await begin(opened)
    with pytest.raises(RequestIdReused):
        await begin(opened, other)


async def test_request_id_of_another_tenant_is_another(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1, "b": 1})
    runs = [
        await begin(opened, wanted)
        for wanted in (aim("a"), aim("b"), aim(None), aim(None, visible={A}), aim(None, visible={A, B}))
    ]
    assert len({run.uid for run in runs}) == 5


async def test_random_requests_with_few_ids_are_told_alike_or_refused(opened: OpenStore) -> None:
    """Whatever is sent in whatever order: an id has one run, with the contents that it came with first."""
    seed = Random().randrange(10**6)
    print(f"seed {seed}")
    rng = Random(seed)
    await prepare(opened, {"a": 2, "b": 1})
    choices = [aim("a"), aim("a", "r0"), aim("a", kind=VERIFY, subject=Subject.TENANT), aim("b"), aim(None)]
    first: dict[tuple[str | None, str], tuple[Aim, str]] = {}
    for _ in range(60):
        wanted, request_id = rng.choice(choices), rng.choice(["q1", "q2", "q3"])
        known = first.get((wanted.tenant_id, request_id))
        if known is not None and known[0] != wanted:
            with pytest.raises(RequestIdReused):
                await begin(opened, wanted, request_id)
            continue
        run = await begin(opened, wanted, request_id)
        assert known is None or known[1] == run.uid
        first[wanted.tenant_id, request_id] = (wanted, run.uid)
    ((count,),) = await opened.fetch("SELECT COUNT(*) FROM task_runs")
    assert count == len(first)


async def test_room_that_is_unmapped_meanwhile_is_not_waited_for(opened: OpenStore) -> None:
    rooms = await prepare(opened, {"a": 2})
    run = await begin(opened)
    await opened.store.rooms.unmap(A, rooms[0].room_id, etag="")
    assert counts(await again(opened, run)) == (2, 1, 0, 1)


async def test_tenant_that_is_suspended_meanwhile_has_failed(opened: OpenStore) -> None:
    await prepare(opened, {"a": 2, "b": 1})
    run = await begin(opened, aim(None))
    await opened.store.lifecycle.suspend(A, reason="")
    run = await again(opened, run)
    assert counts(run) == (3, 0, 2, 1)
    assert [(problem.reason, problem.count) for problem in run.problems] == [("TENANT_SUSPENDED", 2)]


async def test_tenant_that_is_deleted_meanwhile_is_not_waited_for(opened: OpenStore) -> None:
    await prepare(opened, {"a": 2, "b": 1})
    run = await begin(opened, aim(None))
    await opened.store.lifecycle.delete(A, etag="", grace=timedelta(days=30))
    assert counts(await again(opened, run)) == (3, 2, 0, 1)


async def test_runs_about_an_erased_tenant_are_gone_with_it(opened: OpenStore) -> None:
    rooms = await prepare(opened, {"a": 2})
    run = await begin(opened)
    await opened.store.lifecycle.delete(A, etag="", grace=None)
    await opened.store.tenants.erase(rooms[0].tenant_uid)
    with pytest.raises(TaskRunNotFound):
        await again(opened, run)
    assert await opened.fetch("SELECT 1 FROM task_run_items") == []


async def test_run_about_all_leaves_suspended_tenants_out_and_says_so(opened: OpenStore) -> None:
    await prepare(opened, {"a": 2, "b": 1})
    await opened.store.lifecycle.suspend(A, reason="")
    await opened.execute("DELETE FROM intents")
    run = await begin(opened, aim(None))
    assert (counts(run), run.left_out_count) == ((1, 0, 0, 1), 1)
    assert len(await opened.fetch("SELECT 1 FROM intents")) == 1


async def test_run_of_a_limited_caller_is_about_its_tenants_only(opened: OpenStore) -> None:
    rooms = await prepare(opened, {"a": 2, "b": 1, "c": 1})
    run = await begin(opened, aim(None, visible={A, B}))
    assert counts(run)[0] == 3
    assert {intent.key for intent in await due(opened)} == {room.uid for room in rooms[:3]}


async def test_what_cannot_be_run_is_refused(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1})
    with pytest.raises(TenantNotFound):
        await begin(opened, aim("nobody"))
    with pytest.raises(RoomNotFound):
        await begin(opened, aim("a", "nowhere"))
    await opened.store.lifecycle.suspend(A, reason="")
    with pytest.raises(TenantSuspended):
        await begin(opened)


async def test_run_about_nothing_has_succeeded(opened: OpenStore) -> None:
    await prepare(opened, {"a": 0})
    run = await begin(opened)
    assert (run.state, run.ended_at) == (RunState.SUCCEEDED, run.started_at)


async def test_planned_work_is_brought_forward_and_none_is_thought_up(opened: OpenStore) -> None:
    rooms = await prepare(opened, {"a": 1, "b": 1})
    for key, room in (("w1", rooms[0]), ("w2", rooms[1])):
        await opened.store.intents.mark(WRITE, key, room.tenant_uid, priority=Priority.HINT, ready_at=after(hours=1))
    run = await begin(opened, aim("a", kind=WRITE, subject=Subject.PLANNED))
    assert (counts(run)[0], [intent.key for intent in await due(opened)]) == (1, ["w1"])


async def test_too_large_a_run_is_refused_and_marks_nothing(opened: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runs, "ITEMS_MAX", 2)
    await prepare(opened, {"a": 3})
    with pytest.raises(TaskRunTooLarge) as told:
        await begin(opened)
    assert told.value.details == {"items_max": "2"}
    assert await due(opened) == []
    assert await opened.fetch("SELECT 1 FROM task_runs") == []


async def test_too_many_runs_of_a_tenant_are_refused_and_stop_nobody_else(
    opened: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_runs, "RUNS_MAX", 2)
    await prepare(opened, {"a": 1, "b": 1})
    for request_id in ("q1", "q2"):
        await begin(opened, request_id=request_id)
    with pytest.raises(TaskRunLimit):
        await begin(opened, request_id="q3")
    await begin(opened, aim("b"))
    await begin(opened, aim(None))


async def test_run_that_nobody_works_on_is_given_up_after_a_day(opened: OpenStore, clock: ManualClock) -> None:
    """What ends later changes nothing any more; the work itself stays due."""
    await prepare(opened, {"a": 1})
    run = await begin(opened)
    clock.at = after(days=1)
    run = await again(opened, run)
    assert (run.state, run.over_at, counts(run)) == (RunState.EXPIRED, after(days=1), (1, 0, 0, 1))
    (intent,) = await due(opened)
    await opened.store.intents.finish(intent, next_at=None)
    assert (await again(opened, run)).state is RunState.EXPIRED


async def test_old_runs_are_forgotten_with_all_that_they_wait_for(opened: OpenStore, clock: ManualClock) -> None:
    await prepare(opened, {"a": 1})
    run = await begin(opened)
    clock.at = after(days=1)
    await opened.store.task_runs.prune()
    assert await opened.fetch("SELECT 1 FROM task_run_items") == []
    assert (await again(opened, run)).state is RunState.EXPIRED
    clock.at = after(days=7)
    await opened.store.task_runs.prune()
    with pytest.raises(TaskRunNotFound):
        await again(opened, run)


async def test_limited_reader_sees_runs_about_its_tenants_only(opened: OpenStore) -> None:
    await prepare(opened, {"a": 1, "b": 1})
    mine, theirs = await begin(opened, aim("a")), await begin(opened, aim("b"))
    of_all, of_us = await begin(opened, aim(None)), await begin(opened, aim(None, visible={A, B}))
    seen = {
        names: {run.uid for run in await listed(opened, visible=set(names) or None)} for names in ((A,), (A, B), ())
    }
    assert seen[A,] == {mine.uid}
    assert seen[A, B] == {mine.uid, theirs.uid, of_us.uid}
    assert seen[()] == {mine.uid, theirs.uid, of_us.uid, of_all.uid}
    for run in (theirs, of_us, of_all):
        with pytest.raises(TaskRunNotFound):
            await again(opened, run, visible={A})


async def listed(
    opened: OpenStore,
    *,
    visible: set[TenantId] | None = None,
    task: str | None = None,
    tenant_id: TenantId | None = None,
    before: str | None = None,
    count_max: int = 100,
) -> list[TaskRun]:
    found = await opened.store.task_runs.load_many(
        task=task, tenant_id=tenant_id, room_id=None, visible=visible, before=before, count_max=count_max
    )
    return list(found)


async def test_runs_are_listed_the_newest_first_in_pages(opened: OpenStore, clock: ManualClock) -> None:
    await prepare(opened, {"a": 1, "b": 1})
    made = []
    for number in range(5):
        clock.at = after(seconds=number)
        made.append(await begin(opened, aim("a" if number % 2 else "b"), request_id=f"q{number}"))
    page = await listed(opened, count_max=2)
    page += await listed(opened, count_max=9, before=page[-1].uid)
    assert [run.uid for run in page] == [run.uid for run in reversed(made)]
    assert [run.tenant_id for run in await listed(opened, tenant_id=A)] == [A, A]
    assert await listed(opened, task="verify-tenants") == []


async def test_preview_tells_what_a_run_would_be_about_and_does_nothing(opened: OpenStore) -> None:
    await prepare(opened, {"a": 25, "b": 1})
    await opened.store.lifecycle.suspend(B, reason="")
    await opened.execute("DELETE FROM intents")
    seen = await opened.store.task_runs.preview(aim(None))
    assert (seen.total_count, seen.left_out_count, len(seen.examples)) == (25, 1, 20)
    assert seen.examples[0] == "tenants/a/rooms/r0"
    assert await due(opened) == []
    assert await opened.fetch("SELECT 1 FROM task_runs") == []
