"""Delta checks of a room: what they ask, what becomes of the answers, and what follows when delta does not work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sidecar.errors import DeltaUnusable, GraphRefused, GraphUnavailable, StoreConflict, Throttled
from sidecar.model.change import ChangeKind
from sidecar.model.intent import IntentKind, Lease
from sidecar.model.window import to_micros
from tests.support.builders import after, make_problem
from tests.support.desk import Desk
from tests.support.fake_calendar import event, master, occurrence

OLD = {"lastModifiedDateTime": "2026-01-01T00:00:00Z"}


def metric(desk: Desk, name: str) -> float:
    """Return the value of a metric."""
    lines = desk.telemetry.render().decode().splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"exchange_{name}{{", f"exchange_{name} "))
    )


async def link_of(desk: Desk) -> str | None:
    """Return the link that the next check goes on from."""
    place = (await desk.opened.reload(desk.room)).delta
    return None if place is None else place.link


async def test_first_link_is_taken_before_the_read_it_belongs_to(desk: Desk) -> None:
    """What changes while the calendar is read is told by the next round: nothing falls between."""

    def book() -> None:
        if desk.calendar.calls[-1] == "view":
            desk.calendar.on_read = lambda: None
            desk.calendar.put(event("late", after(hours=2)))
            desk.calendar.hidden = {"late"}

    desk.calendar.on_read = book
    await desk.compare()
    assert [call for call in desk.calendar.calls if call != "mailbox"] == ["delta first", "view"]
    desk.calendar.hidden = set()
    await desk.check()
    assert [change.kind for change in await desk.told()] == [ChangeKind.UPSERTED]


async def test_quiet_room_costs_one_request_and_is_fresh_as_of_its_beginning(desk: Desk) -> None:
    """However full it is; and nobody hears of it."""
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(20)))
    await desk.compare()
    desk.calendar.calls.clear()
    desk.clock.advance(900)
    applied = await desk.check()
    assert desk.calendar.calls == ["delta"]
    assert applied.changes_count == 0
    assert desk.room.fresh_as_of_at == desk.clock.now()


async def test_what_delta_names_is_read_and_told(desk: Desk) -> None:
    """New, moved and deleted, single and in a series: delta says where to look, a direct read says what is there."""
    desk.calendar.put(event("e1", after(hours=1)), event("e2", after(hours=2)), event("e3", after(hours=3)))
    desk.calendar.put(master("m", after(days=1)), *(occurrence("m", n, after(days=n)) for n in (1, 2, 3)))
    await desk.compare()
    desk.calendar.calls.clear()
    desk.calendar.put(event("e0", after()), event("e1", after(hours=9), changeKey="ck2"))
    desk.calendar.drop("e2", "m-2")
    await desk.check()
    assert desk.calendar.calls == ["delta", "event e0", "event e1", "event e2", "event m", "instances m"]
    kinds = sorted(change.kind for change in await desk.told())
    assert kinds == [ChangeKind.UPSERTED, ChangeKind.UPSERTED, ChangeKind.REMOVED, ChangeKind.REMOVED]
    assert await desk.told(await desk.opened.head()) == []


async def test_removal_told_of_an_event_that_exists_takes_nothing_away(desk: Desk) -> None:
    """Delta also calls removed what only left its window, and may be wrong: the direct read decides."""
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.compare()
    kept = desk.calendar.events["e1"]
    desk.calendar.drop("e1")

    def put_back() -> None:
        if desk.calendar.calls[-1] == "event e1":
            desk.calendar.events["e1"] = kept

    desk.calendar.on_read = put_back
    await desk.check()
    assert await desk.told() == []
    assert len(await desk.opened.store.calendars.load_stored(desk.room.uid)) == 1


async def test_what_was_announced_and_read_is_not_read_again(desk: Desk) -> None:
    """The next round tells it once more; its version says that the copy has it."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1")
    await desk.read_hinted()
    desk.calendar.calls.clear()
    await desk.check()
    assert desk.calendar.calls == ["delta"]


async def test_waiting_hints_are_answered_by_the_check(desk: Desk) -> None:
    """One plan, one transaction; the hinted read that comes later finds nothing left to ask."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1", "e2")
    await desk.check()
    assert await desk.hints() == []
    assert len(await desk.told()) == 1


async def test_many_named_events_lead_to_a_full_read_that_keeps_the_link(desk: Desk) -> None:
    """Asking one by one would cost more; the round that was read need not be read again."""
    await desk.compare()
    desk.calendar.put(*(event(f"e{n}", after(hours=n)) for n in range(desk.settings.hints_max + 1)))
    desk.calendar.calls.clear()
    applied = await desk.check()
    assert desk.calendar.calls == ["delta", "view"]
    assert applied.changes_count == desk.settings.hints_max + 1
    desk.calendar.calls.clear()
    await desk.check()
    assert desk.calendar.calls == ["delta"]


async def test_find_of_delta_is_unannounced_and_no_drift(desk: Desk) -> None:
    """It says that notifications get lost, so the subscription is asked about; the proof that nothing is lost still holds."""
    await desk.subscribe()
    await desk.compare()
    await desk.opened.execute("DELETE FROM intents")
    desk.calendar.put(event("e1", after(hours=1), **OLD))
    applied = await desk.check()
    assert (applied.unannounced_count, applied.drift_count) == (1, 0)
    assert IntentKind.ROOM_SUBSCRIBE in await desk.due()
    assert metric(desk, "unannounced_changes_total") == 1
    assert metric(desk, "room_drift_total") == 0


async def test_find_of_a_full_read_that_delta_names_is_no_drift(desk: Desk) -> None:
    """The round that is asked right before says so."""
    await desk.subscribe()
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1), **OLD))
    applied = await desk.compare()
    assert (applied.unannounced_count, applied.drift_count) == (1, 0)


async def test_polled_room_counts_what_delta_did_not_name_as_drift(desk: Desk) -> None:
    """Nobody announces its changes, so checks alone are what may not lose any."""
    await desk.compare()
    desk.calendar.untold = {"e1"}
    desk.calendar.put(event("e1", after(hours=1), **OLD))
    applied = await desk.compare()
    assert (applied.unannounced_count, applied.drift_count) == (0, 1)


async def test_failed_read_of_what_delta_named_keeps_the_former_link(desk: Desk) -> None:
    """The round is told again: its link is kept only together with what it covers."""
    await desk.compare()
    before = await link_of(desk)
    desk.calendar.put(event("e1", after(hours=1)))

    def fail() -> None:
        if desk.calendar.calls[-1] == "event e1":
            raise GraphUnavailable("away")

    desk.calendar.on_read = fail
    desk.clock.advance(900)
    with pytest.raises(GraphUnavailable):
        await desk.check()
    assert await link_of(desk) == before
    assert desk.room.fresh_as_of_at == after()
    desk.calendar.on_read = lambda: None
    await desk.check()
    assert len(await desk.told()) == 1


async def test_check_with_a_lost_lease_keeps_the_former_link(desk: Desk) -> None:
    """Somebody else works on the tenant now, and goes on from there."""
    await desk.compare()
    before = await link_of(desk)
    desk.calendar.put(event("e1", after(hours=1)))
    desk.lease = Lease(desk.lease.lane, desk.lease.fence - 1)
    with pytest.raises(StoreConflict):
        await desk.check()
    assert await link_of(desk) == before
    assert await desk.told() == []


async def test_forgotten_link_leads_to_a_full_read_and_another_link(desk: Desk) -> None:
    """Exchange does not say for how long links live."""
    await desk.compare()
    desk.calendar.put(event("e1", after(hours=1)))
    desk.calendar.delta_error = DeltaUnusable("gone")
    desk.calendar.calls.clear()
    applied = await desk.check()
    assert desk.calendar.calls == ["delta", "delta first", "view"]
    assert applied.changes_count == 1
    desk.calendar.delta_error = None
    desk.calendar.calls.clear()
    await desk.check()
    assert desk.calendar.calls == ["delta"]


async def test_endless_rounds_let_the_mailbox_do_without_for_a_day(desk: Desk) -> None:
    """Another link would loop, too; until then each check is a full read, and the room stays fresh."""
    await desk.compare()
    desk.calendar.delta_error = DeltaUnusable("loops", is_endless=True)
    await desk.check()
    desk.calendar.delta_error = None
    desk.calendar.calls.clear()
    desk.clock.advance(timedelta(hours=23).total_seconds())
    await desk.check()
    assert desk.calendar.calls == ["view"]
    assert desk.room.fresh_as_of_at == desk.clock.now()
    desk.clock.advance(timedelta(hours=2).total_seconds())
    desk.calendar.calls.clear()
    await desk.check()
    assert desk.calendar.calls == ["delta first", "view"]
    assert await link_of(desk) is not None


@pytest.mark.parametrize("error", [DeltaUnusable("x"), GraphUnavailable("x"), GraphRefused("x")])
async def test_first_round_that_does_not_work_does_not_keep_a_room_from_being_read(
    desk: Desk, error: Exception
) -> None:
    """Delta saves requests; the promise does not rest on it."""
    desk.calendar.put(event("e1", after(hours=1)))
    desk.calendar.first_round_error = error  # type: ignore[assignment]  # one of ours
    assert (await desk.compare()).is_first
    assert await link_of(desk) is None
    desk.calendar.first_round_error = None
    desk.clock.advance(900)
    await desk.check()
    assert await link_of(desk) is not None


async def test_delta_that_keeps_failing_is_given_up_for_a_full_read(desk: Desk) -> None:
    """Some mailboxes answer delta with 503 for days, and everything else well."""
    await desk.compare()
    desk.calendar.delta_error = GraphUnavailable("503")
    with pytest.raises(GraphUnavailable):
        await desk.check(attempts=1)
    desk.clock.advance(900)
    await desk.check(attempts=2)
    assert desk.room.fresh_as_of_at == desk.clock.now()


async def test_throttled_check_does_not_ask_for_more(desk: Desk) -> None:
    """Exchange wants to be left alone; a full read is not what it meant."""
    await desk.compare()
    desk.calendar.delta_error = Throttled("x", retry_after_s=30)
    desk.calendar.calls.clear()
    with pytest.raises(Throttled):
        await desk.check(attempts=9)
    assert desk.calendar.calls == ["delta"]


async def test_link_of_another_window_is_not_used(desk: Desk) -> None:
    """A version that knows no links may have moved the horizon: what changed beyond the link's end is invisible to it."""
    await desk.compare()
    await desk.opened.execute("UPDATE rooms SET horizon_end_at = horizon_end_at + 86400000000")
    desk.calendar.calls.clear()
    await desk.check()
    assert "view" in desk.calendar.calls
    assert desk.room.delta is not None
    assert desk.room.delta.window == desk.room.horizon


async def test_full_read_on_another_day_takes_a_link_for_the_new_window(desk: Desk) -> None:
    """The window of a link does not roll."""
    await desk.compare()
    desk.clock.advance(timedelta(days=1).total_seconds())
    desk.calendar.calls.clear()
    await desk.compare()
    assert desk.calendar.calls == ["delta", "delta first", "view"]
    assert desk.room.delta is not None
    assert desk.room.delta.window == desk.room.horizon


async def test_hinted_read_does_not_make_the_room_fresher(desk: Desk) -> None:
    """What was announced says nothing of what was not."""
    await desk.compare()
    desk.clock.advance(600)
    desk.calendar.put(event("e1", after(hours=1)))
    await desk.hint("e1")
    await desk.read_hinted()
    assert (await desk.opened.reload(desk.room)).fresh_as_of_at == after()


async def test_check_ends_what_refused_the_room(desk: Desk) -> None:
    """The calendar can be read again; its hints need not wait out their time either."""
    await desk.compare()
    await desk.opened.store.rooms.set_problem(desk.room.uid, make_problem("MAILBOX_ACCESS_DENIED"), lease=None)
    await desk.hint("e1")
    for due in await desk.opened.store.intents.due(desk.tenant.uid, count_max=9):
        await desk.opened.store.intents.put_off(due, until=after(hours=1), reason="MAILBOX_ACCESS_DENIED")
    await desk.check()
    assert desk.room.problems == []
    assert (await desk.due())[IntentKind.ROOM_SYNC] <= to_micros(desk.clock.now())
