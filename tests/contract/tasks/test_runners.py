"""One suite for every runner on every store: what is due runs, at its time, in one place, whatever happens to a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from sidecar.errors import GraphUnavailable, StoreUnavailable
from sidecar.model.intent import Intent, Priority
from sidecar.tasks.chores import Done, Outcome, PutOff
from tests.support import postgres
from tests.support.engines import SETTINGS, SHARED, SUBJECTS, Office, engine, office_open
from tests.support.processes import eventually

CLOCKS_DIFFER = timedelta(seconds=0.05)
"""How far the database's clock may be from what this process takes it for."""


async def nothing(intent: Intent) -> None:
    """Do nothing."""


@pytest.fixture(params=SUBJECTS)
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    async with office_open(str(request.param), tmp_path, nothing) as office:
        yield office
        assert office.overlaps == [], "the same key ran twice at once"


on_shared_stores = pytest.mark.parametrize("office", SHARED, indirect=True)
"""For what is about several processes: an SQLite file lets in one."""


async def test_marks_are_drained(office: Office) -> None:
    async with engine(office):
        for number in range(30):
            await office.mark(f"r{number}", lane=f"t{number % 7}")
        await office.done()
    assert sorted(office.ran) == sorted(f"r{number}" for number in range(30))


async def test_marks_made_while_nothing_ran_are_drained_after_the_start(office: Office) -> None:
    await office.mark("r1")
    async with engine(office):
        await office.done()
    assert office.ran == ["r1"]


async def test_marks_during_a_run_cause_one_more_run(office: Office) -> None:
    may_end = asyncio.Event()

    async def work(intent: Intent) -> None:
        await may_end.wait()

    office.work = work
    async with engine(office):
        await office.mark("r1")
        await eventually(lambda: "r1" in office.running, "it runs")
        for _ in range(3):
            await office.mark("r1")
        may_end.set()
        await office.done()
    assert office.ran == ["r1", "r1"]


async def test_mark_wakes_somebody(office: Office) -> None:
    """Nobody looks by himself here for ten minutes, so each start was woken by its mark. How long it took is printed."""
    loop = asyncio.get_running_loop()
    begun_s: dict[str, float] = {}

    async def work(intent: Intent) -> None:
        begun_s[intent.key] = loop.time()

    office.work = work
    waits_s = []
    async with engine(office, settings=SETTINGS.model_copy(update={"sweep_s": 600.0})):
        await office.mark("warm")
        await office.done()
        for number in range(40):
            marked_s = loop.time()
            await office.mark(f"r{number}", lane=f"t{number}")
            await eventually(partial(begun_s.get, f"r{number}"), "it is begun")
            waits_s.append(begun_s[f"r{number}"] - marked_s)
            if number % SETTINGS.lanes_max == SETTINGS.lanes_max - 1:
                await eventually(lambda: lanes_are_free(office), "the lanes are free again")
    waits_s.sort()
    print(f"{office.kind}: mark to start p50 {waits_s[20] * 1e3:.1f} ms, p90 {waits_s[36] * 1e3:.1f} ms")


async def lanes_are_free(office: Office) -> bool:
    held = await office.opened.fetch("SELECT lane FROM lanes WHERE lease_until > 0 AND lane NOT LIKE '(%'")
    return not held


async def test_future_work_is_started_at_its_time(office: Office) -> None:
    """Not before, and by its time alone: nobody looks by himself here for ten minutes."""
    started_at = []

    async def work(intent: Intent) -> None:
        started_at.append(office.opened.clock.now())

    office.work = work
    async with engine(office, settings=SETTINGS.model_copy(update={"sweep_s": 600.0})):
        due_at = office.opened.clock.now() + timedelta(seconds=0.8)
        await office.mark("r1", in_s=0.8)
        await office.done()
    print(f"{office.kind}: {(started_at[0] - due_at).total_seconds():.3f} s after its time")
    assert started_at[0] >= due_at - CLOCKS_DIFFER


async def test_failing_work_stops_neither_others_nor_itself(office: Office) -> None:
    failures = {"bug": 1, "away": 1}

    async def work(intent: Intent) -> None:
        if failures.get(intent.key, 0) > 0:
            failures[intent.key] -= 1
            raise ZeroDivisionError if intent.key == "bug" else GraphUnavailable("away", retry_after_s=0.5)

    office.work = work
    async with engine(office):
        for key in ("bug", "away", "good"):
            await office.mark(key)
        await office.mark("other", lane="t2")
        await office.done()
    assert sorted(office.ran) == ["away", "bug", "good", "other"]


async def test_work_put_off_is_left_alone_until_its_time(office: Office) -> None:
    began_at = office.opened.clock.now()
    until = began_at + timedelta(seconds=1.2)
    runs_at = []

    async def work(intent: Intent) -> Outcome:
        runs_at.append(office.opened.clock.now())
        return PutOff(until, "MAILBOX_ACCESS_DENIED") if len(runs_at) == 1 else Done()

    office.work = work
    async with engine(office):
        await office.mark("r1")
        await eventually(lambda: office.ran, "it ran once")
        await office.mark("r1")  # does not bring it forward
        await office.done()
    assert len(runs_at) == 2
    assert runs_at[1] >= until - timedelta(milliseconds=5)


async def test_stop_finishes_what_was_begun_and_begins_nothing_new(office: Office) -> None:
    may_end = asyncio.Event()

    async def work(intent: Intent) -> None:
        await may_end.wait()

    office.work = work
    async with engine(office) as running:
        await office.mark("begun")
        await eventually(lambda: "begun" in office.running, "it runs")
        stopping = asyncio.ensure_future(running.stop())
        await asyncio.sleep(0)
        await office.mark("new")
        may_end.set()
        await stopping
        assert office.ran == ["begun"]
        assert await lanes_are_free(office), "the next process need not wait for the lease"
    async with engine(office, number=2):
        await office.done()
    assert office.ran == ["begun", "new"]


async def test_full_slots_make_way_for_waiting_tenants(office: Office) -> None:
    is_over = asyncio.Event()

    async def work(intent: Intent) -> Outcome:
        if intent.lane == "small":
            is_over.set()
        await asyncio.sleep(0.05)
        return Done() if is_over.is_set() else Done(office.opened.clock.now())

    office.work = work
    async with engine(office):
        for number in range(SETTINGS.lanes_max):
            await office.mark(f"endless{number}", lane=f"big{number}")
        await eventually(lambda: len(set(office.ran)) == SETTINGS.lanes_max, "every slot is taken")
        await office.mark("room of small", lane="small")
        await eventually(is_over.is_set, "the small one had its turn")
        await office.done()


@on_shared_stores
async def test_several_processes_never_run_a_room_at_the_same_time(office: Office) -> None:
    """Seeded; every mark is answered by a run that began after it."""
    seed = 5
    print(f"seed {seed}")
    rng = Random(seed)
    loop = asyncio.get_running_loop()
    last_mark: dict[str, float] = {}
    last_start: dict[str, float] = {}

    async def work(intent: Intent) -> None:
        last_start[intent.key] = loop.time()
        await asyncio.sleep(rng.random() / 50)

    office.work = work
    async with AsyncExitStack() as stack:
        for number in (1, 2, 3):
            await stack.enter_async_context(engine(office, number=number))
        for _ in range(200):
            number = rng.randrange(12)
            last_mark[f"r{number}"] = loop.time()
            await office.mark(f"r{number}", lane=f"t{number % 4}", priority=rng.choice(list(Priority)))
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() / 10)
        await office.done()
    assert office.overlaps == []
    assert all(last_start[key] >= marked_s for key, marked_s in last_mark.items())


@on_shared_stores
async def test_killed_process_is_taken_over(office: Office) -> None:
    """Its lanes wait for their lease, and the sender's work goes on without it; the figure is printed."""
    loop = asyncio.get_running_loop()
    is_hanging = True

    async def work(intent: Intent) -> None:
        if is_hanging:
            await asyncio.Event().wait()

    office.work = work
    async with engine(office) as first:
        await office.mark("r1")
        await eventually(lambda: "r1" in office.running, "it runs")
        async with engine(office, number=2):
            await first.kill()
            killed_s = loop.time()
            is_hanging = False
            await office.mark("r2", lane="t2")
            await eventually(lambda: "r2" in office.ran, "an idle lane is served")
            print(f"{office.kind}: an idle lane is served {loop.time() - killed_s:.2f} s after the kill")
            await office.done()
    took_s = loop.time() - killed_s
    print(f"{office.kind}: taken over {took_s:.2f} s after the kill, lease {SETTINGS.lease_s} s")
    assert sorted(office.ran) == ["r1", "r2"]


async def is_marked(office: Office, key: str) -> bool:
    """Mark, and tell whether the database took it."""
    with suppress(StoreUnavailable):
        await office.mark(key)
        return True
    return False


@on_shared_stores
async def test_lost_connections_are_survived(office: Office) -> None:
    """The database ends every session of ours: what runs goes on or is run again, and what is marked later runs."""
    database = postgres.name_of(office.opened.path)
    async with engine(office):
        await office.mark("before")
        await office.done()
        for number in range(3):
            await asyncio.to_thread(
                postgres.server().query,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
            )
            await eventually(partial(is_marked, office, f"after{number}"), "the database answers again")
            await office.done()
    assert {"before", "after0", "after1", "after2"} <= set(office.ran)
