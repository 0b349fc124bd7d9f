"""Contexts of traces in the store: they go from the mark to the work and from the work to the log, and no further."""

from __future__ import annotations

from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.intent import Intent, IntentKind, Priority
from sidecar.store import journal
from sidecar.store.engine import Connection
from sidecar.telemetry.tracing import CONTEXTS_MAX, parse_context
from tests.support.builders import NOW, TENANT, after, always, make_booking, upsert
from tests.support.stores import ManualClock, OpenStore
from tests.support.traces import Traces, context_text

LANE, ROOM = TenantUid("lane"), RoomUid("r1")


async def mark(opened: OpenStore, traces: Traces | None) -> str:
    """Mark a room as a notification does, as a part of a trace or of none; return its context."""

    async def run(c: Connection) -> None:
        await journal.mark_settling(c, ROOM, LANE, settle_s=0.0, settle_max_s=10.0)

    if traces is None:
        await opened.engine.write(run)
        return ""
    with traces.tracing.root("notifications"):
        await opened.engine.write(run)
    return context_text(traces.spans[-1])


async def only(opened: OpenStore) -> Intent:
    (intent,) = await opened.store.intents.due(LANE, count_max=10)
    return intent


async def test_work_knows_the_traces_of_the_marks_that_caused_it(opened: OpenStore) -> None:
    traces = Traces()
    first = await mark(opened, traces)
    await mark(opened, None)
    second = await mark(opened, traces)
    assert (await only(opened)).trace == f"{first} {second}"


async def test_work_that_nothing_traced_caused_is_in_no_trace(opened: OpenStore) -> None:
    await mark(opened, None)
    assert (await only(opened)).trace == ""


async def test_contexts_of_a_flood_stay_bounded_and_whole(opened: OpenStore) -> None:
    traces = Traces()
    told = [await mark(opened, traces) for _ in range(CONTEXTS_MAX + 3)]
    kept = (await only(opened)).trace.split(" ")
    assert kept == told[:CONTEXTS_MAX]
    assert all(map(parse_context, kept))


async def test_mark_during_a_run_leaves_its_own_trace_for_the_next_one(opened: OpenStore) -> None:
    """The next run was not caused by what this one has answered."""
    traces = Traces()
    await mark(opened, traces)
    running = await only(opened)
    later = await mark(opened, traces)
    await opened.store.intents.finish(running, next_at=None)
    assert (await only(opened)).trace == later


async def test_run_that_nothing_traced_came_during_leaves_no_trace(opened: OpenStore) -> None:
    traces = Traces()
    await mark(opened, traces)
    running = await only(opened)
    await mark(opened, None)
    await opened.store.intents.finish(running, next_at=None)
    assert (await only(opened)).trace == ""


async def test_work_that_comes_again_by_its_interval_begins_without_a_trace(
    opened: OpenStore, clock: ManualClock
) -> None:
    await mark(opened, Traces())
    await opened.store.intents.finish(await only(opened), next_at=after(seconds=5), priority=Priority.CHECK)
    clock.at = after(seconds=5)
    assert (await only(opened)).trace == ""


async def test_work_that_failed_is_tried_again_in_its_trace(opened: OpenStore, clock: ManualClock) -> None:
    told = await mark(opened, Traces())
    await opened.store.intents.put_off(await only(opened), until=after(seconds=5), reason="X")
    clock.at = after(seconds=5)
    assert (await only(opened)).trace == told


async def test_changes_carry_the_context_of_their_commit(opened: OpenStore) -> None:
    await opened.add_tenant()
    room = await opened.add_filled_room()
    traces, store = Traces(), opened.store
    with traces.tracing.root(IntentKind.ROOM_SYNC.value):
        await store.calendars.apply(room, always(upsert(make_booking("b1"))), lease=None)
    await store.calendars.apply(room, always(upsert(make_booking("b2"))), lease=None)
    _, head = await store.changes.tenant_head(TENANT)
    traced, untraced = (await store.changes.read(room.tenant_uid, after_revision=head.revision - 2, count_max=2))[0]
    commit = traces.one("commit")
    assert traced.trace == context_text(commit)
    assert dict(commit.attributes or {}) == {"exchange.changes_count": 1}
    assert untraced.trace is None
    assert traced.recorded_at == NOW
