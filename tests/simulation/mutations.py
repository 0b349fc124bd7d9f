"""Rules broken on purpose, one at a time, to see that the simulation finds it. Nothing outside of tests can do this.

Each mutation replaces functions at named places of the service, or of a reader, by ones that lack the rule. A mutation that
has grown stale must not pass for one that was found: the place has to exist and be of the same kind, the stand-in has to be
called, and it must not fail by itself; a run only counts as found when a promise was broken (`AssertionError`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from unittest import mock

from exchange_client.mirror_room import MirroredRoom

from sidecar.api import convert
from sidecar.errors import DeltaUnusable, GraphRefused, GraphUnavailable, RoomBlocked, TenantBlocked, Unavailable
from sidecar.feed import feed, paging, tail, watch
from sidecar.feed.events import Changed, Checkpoint
from sidecar.feed.feed import Feed
from sidecar.feed.watch import Start, Watch
from sidecar.graph.clouds import ref_of
from sidecar.graph.events import span_of
from sidecar.model.change import Cause, SnapshotReason
from sidecar.model.ids import RoomUid
from sidecar.model.plan import DeltaPlace, DeltaRead, RoomPlan
from sidecar.model.room import RoomState, SyncState
from sidecar.store import calendars, notices, subscriptions
from sidecar.store.calendars import Calendars
from sidecar.store.engine import Connection
from sidecar.store.intents import Intents
from sidecar.store.subscriptions import MarkOutcome, Subscriptions
from sidecar.sync import delta as sync_delta
from sidecar.sync import plan as sync_plan
from sidecar.sync import reading, rooms
from sidecar.sync import subscriptions as keeper
from sidecar.sync.reading import RoomReader
from sidecar.sync.rooms import RoomSync
from sidecar.writes.creator import RoomCreator
from tests.simulation.checks import may_announce_everything, may_tell_everything
from tests.simulation.plan import Plan, plan_of, writing_plan
from tests.simulation.run import run
from tests.simulation.watchers import Watcher

# Any, throughout: a stand-in takes whatever the function takes whose place it has.


class MutationStale(Exception):
    """A mutation does not do any more what its name says, because what it replaces has changed."""


@dataclass(slots=True)
class Use:
    """How a mutation fared: how often its stand-ins were called, and with what they failed by themselves."""

    calls_count: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is taken away: `name` of each of `places` becomes `stand_in`.

    Attributes:
        found_by: a seed that finds it, as plans are today; None: `make sim-mutations` has to look for one.
        needs: what a plan must hold for the rule to matter; seeds without it are not run.
        more: other guards of the same rule, each a place, a name and a stand-in: one of them would still hold it.
        plans: gives the plans of seeds.
    """

    rule: str
    places: tuple[Any, ...]
    name: str
    stand_in: Callable[..., Any]
    found_by: int | None
    needs: Callable[[Plan], bool] = lambda _: True
    more: tuple[tuple[Any, str, Callable[..., Any]], ...] = ()
    plans: Callable[[int], Plan] = plan_of

    @contextmanager
    def applied(self) -> Iterator[Use]:
        """Do without the rule while inside.

        Raises:
            MutationStale: there is nothing of this name and kind to replace.
        """
        use = Use()
        with ExitStack() as stack:
            parts = [(place, self.name, self.stand_in) for place in self.places]
            for place, name, stand_in in (*parts, *self.more):
                original = getattr(place, name, None)
                if original is None or _kind(original) != _kind(stand_in):
                    raise MutationStale(f"{name} of {place} is not what it was")
                stack.enter_context(mock.patch.object(place, name, _guarded(original, stand_in, use)))
            yield use


def _kind(function: Any) -> str:
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    return "function" if callable(function) else "value"


_OWN_FAULTS = (TypeError, AttributeError, NameError, LookupError, ImportError)


def _guarded(original: Any, stand_in: Any, use: Use) -> Any:
    """Return a stand-in that writes down how it is used; failing by itself is no mutation of the rule."""

    @contextmanager
    def watched() -> Iterator[None]:
        use.calls_count += 1
        try:
            yield
        except _OWN_FAULTS as error:
            use.faults.append(repr(error))
            raise

    @functools.wraps(original)
    async def generator(*what: Any, **how: Any) -> AsyncIterator[Any]:
        with watched():
            async for item in stand_in(*what, **how):
                yield item

    @functools.wraps(original)
    async def coroutine(*what: Any, **how: Any) -> Any:
        with watched():
            return await stand_in(*what, **how)

    @functools.wraps(original)
    def function(*what: Any, **how: Any) -> Any:
        with watched():
            return stand_in(*what, **how)

    return {"async generator": generator, "coroutine": coroutine, "function": function}[_kind(original)]


@dataclass(frozen=True, slots=True)
class Found:
    """A seed that finds a mutation, and what it says."""

    seed: int
    how: str


def find(name: str, seeds: Sequence[int]) -> Found | None:
    """Return a seed that finds a mutation, of the quick ones first; None when all of them hold without the rule.

    Raises:
        MutationStale: it breaks something else than its rule, or nothing, or the life fails with the rule in place, too.
    """
    calls_count = 0
    plans = [plan for plan in map(ALL[name].plans, seeds) if ALL[name].needs(plan)]
    for plan in sorted(plans, key=_length):
        with ALL[name].applied() as use:
            failure = run(plan).failure
        calls_count += use.calls_count
        if use.faults:
            raise MutationStale(f"{name}, seed {plan.seed}: {use.faults[0]}")
        if isinstance(failure, AssertionError):
            if run(plan).failure is not None:
                raise MutationStale(f"{name}, seed {plan.seed}: fails without the mutation")
            return Found(plan.seed, str(failure)[:160].replace("\n", " "))
        if failure is not None:
            raise MutationStale(f"{name}, seed {plan.seed}: {failure!r}")
    if not calls_count:
        raise MutationStale(f"{name}: nobody calls what it replaces")
    return None


def _length(plan: Plan) -> float:
    """Tell about how long a plan takes to run, compared with others."""
    return plan.duration_s * (plan.rooms_count + plan.watchers_count * 60 / plan.heartbeat_s)


_mark, _confirm, _load_hints = Subscriptions.mark, Subscriptions.confirm, Calendars.load_hints
_apply, _snapshot_page = Calendars.apply, Calendars.snapshot_page
_check, _plan_check = RoomSync.check, sync_delta.plan_check
_finish, _plan_hinted, _read_hinted = Intents.finish, sync_plan.plan_hinted, RoomSync.read_hinted


async def _mark_later(self: Any, notifications: Any, **how: Any) -> MarkOutcome:
    async def mark() -> None:
        await asyncio.sleep(0.2)
        await _mark(self, notifications, **how)

    task = asyncio.ensure_future(mark())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return MarkOutcome(len(notifications), 0)


async def _load_and_forget_hints(self: Any, room_uid: Any) -> Any:
    hints, generation = await _load_hints(self, room_uid)

    async def forget(c: Connection) -> None:
        await c.execute("DELETE FROM hints WHERE room_uid = $1 AND generation <= $2", room_uid, generation)

    await self._engine.write(forget)
    return hints, generation


async def _drop_hints_when_too_many(self: Any, room: Any, tenant: Any, *, lease: Any) -> bool:
    hints, generation = await _load_hints(self._store.calendars, room.uid)
    if len(hints) > self._settings.hints_max:

        async def drop(c: Connection) -> None:
            await c.execute("DELETE FROM hints WHERE room_uid = $1 AND generation <= $2", room.uid, generation)

        await self._store.calendars._engine.write(drop)
        return True
    return await _read_hinted(self, room, tenant, lease=lease)


async def _finish_newer_marks_too(self: Any, intent: Any, **how: Any) -> None:
    async def newest(c: Connection) -> int:
        row = await c.fetch_one("SELECT generation FROM intents WHERE kind = $1 AND key = $2", intent.kind, intent.key)
        return intent.generation if row is None else int(row[0])

    await _finish(self, replace(intent, generation=await self._engine.read(newest)), **how)


async def _give_up(self: Any, intent: Any, **_: Any) -> None:
    async def drop(c: Connection) -> None:
        await c.execute("DELETE FROM intents WHERE kind = $1 AND key = $2", intent.kind, intent.key)

    await self._engine.write(drop)


def _plan_hinted_without_removals(*what: Any, **how: Any) -> RoomPlan:
    return _plan_hinted(*what, **how | {"gone_events": frozenset()})


async def _apply_as_of_the_end(self: Any, *what: Any, complete: Any = None, **how: Any) -> Any:
    if complete is not None:
        complete = replace(complete, began_at=self._engine._clock.now())
    return await _apply(self, *what, complete=complete, **how)


async def _believe_the_first_read(_: Any, __: Any, ___: Any, bookings: Any, missing: Any, ____: Any) -> Any:
    return rooms._Verdict(bookings, frozenset(item.key for item in missing))


async def _find_none(_: Any, __: Any, ___: Any, missing: Any) -> Any:
    return [], frozenset(item.key for item in missing)


async def _believe_in_ids(self: Any, room: Any, tenant: Any, bookings: Any, missing: Any, _: Any) -> Any:
    gone, found = set(), []
    for booking in missing:
        reader = self._reading._reader
        event = await reader.fetch_event(ref_of(tenant), room.address, booking.event_id)
        if event is None or event.type == "seriesMaster":
            gone.add(booking.key)
        else:
            found.append(event)
    shown, _ = await self._reading._bookings(found, room)
    return rooms._Verdict(bookings + shown, frozenset(gone))


async def _do_nothing(*_: Any, **__: Any) -> None:
    return None


async def _snapshot_page_that_skips(self: Any, room_uid: Any, *, after: Any, count_max: int) -> Any:
    page = await _snapshot_page(self, room_uid, after=after, count_max=count_max + bool(after))
    return page[1:] if after else page


async def _check_and_believe(self: Any, room: Any, tenant: Any, *, lease: Any, attempts: int = 0) -> Any:
    place = room.delta
    if place is None or place.window != room.horizon:
        return await self.compare(room, tenant, lease=lease)
    began_at = self._clock.now()
    hints, generation = await _load_hints(self._store.calendars, room.uid)
    try:
        told = await self._reading.delta(room, tenant, place.window, link=place.link)
    except (DeltaUnusable, GraphUnavailable) as error:
        if isinstance(error, GraphUnavailable):
            raise
        return await _check(self, room, tenant, lease=lease, attempts=attempts)
    stored = await self._store.calendars.load_stored(room.uid)
    by_event = {booking.event_id: booking for booking in stored.values()}
    moved = [
        (by_event[item.id], span)
        for item in told.items
        if not item.is_removed and item.id in by_event and (span := span_of(item)) is not None
    ]
    gone = frozenset(item.id for item in told.items if item.is_removed and item.id in by_event)
    gone |= frozenset(before.event_id for before, span in moved if span != (before.start_at, before.end_at))
    found = await self._reading.events(room, tenant, hints, place.window)
    found = replace(found, gone=found.gone | gone)
    delta = DeltaRead(place=DeltaPlace(told.link, place.window), began_at=began_at)
    return await self._apply(room, hints, found, place.window, lease=lease, hints_through=generation, delta=delta)


async def _check_with_the_link_first(self: Any, room: Any, tenant: Any, *, lease: Any, attempts: int = 0) -> Any:
    if room.delta is not None and room.delta.window == room.horizon:
        try:
            told = await self._reading.delta(room, tenant, room.delta.window, link=room.delta.link)
        except (DeltaUnusable, Unavailable, GraphRefused, RoomBlocked, TenantBlocked):
            return await _check(self, room, tenant, lease=lease, attempts=attempts)

        async def keep(c: Connection) -> None:
            await c.execute("UPDATE rooms SET delta_link = $2 WHERE uid = $1", room.uid, told.link)

        await self._store.calendars._engine.write(keep)
    return await _check(self, room, tenant, lease=lease, attempts=attempts)


def _plan_check_without_removals(stored: Any, items: Any, horizon: Any) -> Any:
    return _plan_check(stored, [item for item in items if not item.is_removed], horizon)


async def _confirm_and_read_nothing(self: Any, key: str, **how: Any) -> bool:
    async def due(c: Connection) -> Any:
        return await c.fetch(
            "SELECT i.kind, i.key, i.ready_at FROM intents i JOIN subscriptions s ON s.room_uid = i.key"
            " WHERE s.key = $1 AND i.kind IN ('room.check', 'room.compare')",
            key,
        )

    before = await self._engine.read(due)
    confirmed = await _confirm(self, key, **how)

    async def put_back(c: Connection) -> None:
        for row in before:
            await c.execute("UPDATE intents SET ready_at = $3 WHERE kind = $1 AND key = $2 AND ready_at < $3", *row)

    await self._engine.write(put_back)
    return confirmed


def _live_when_up(room: Any, **_: Any) -> SyncState:
    is_read = room.state in (RoomState.UP, RoomState.DEGRADED)
    return SyncState.LIVE if is_read else SyncState.BLOCKED


def _start_at_the_head(self: Any, scope: Any, tenant_uid: Any, cursor: Any, head: Any, **_: Any) -> Start:
    done = None if cursor is not None else RoomUid("")
    return Start(self.cursor(scope, tenant_uid, head, done=done), SnapshotReason.REQUESTED)


def _flush_with_the_newest_token(self: Any, run: Any) -> Any:
    if not run:
        return []
    self._cursor = replace(self._cursor, revision=run[-1].revision)
    newest = max(run[-1].revision, self._source.tails.tail(self._tenant_uid).newest)
    return [Changed(run, replace(self._cursor, revision=newest))]


async def _checkpoint_first(self: Any) -> Any:
    view = await self._source.view(self._tenant_uid, at_least=self._cursor.revision)
    if self._cursor.done is None:
        yield Checkpoint([room for room in view.rooms if self._covers(room.uid)], self._cursor)


async def _withdraw_from_the_copy_alone(self: Any, work: Any, scene: Any) -> None:
    await self._end_without(work, scene, gone=work.write.failure, cause=Cause.WITHDRAWN)


def _mutation(rule: str, places: Any, name: str, stand_in: Callable[..., Any], **more: Any) -> Mutation:
    known = {"found_by": None, **more}
    return Mutation(rule, places if isinstance(places, tuple) else (places,), name, stand_in, **known)


def _trouble(*kinds: str) -> Callable[[Plan], bool]:
    """Ask for a plan in which one of these goes wrong."""
    return lambda plan: any(kind in kinds for _, kind in plan.troubles)


def _hints_alone(plan: Plan) -> bool:
    """Ask for a plan in which only announcements can bring a change in time."""
    return may_announce_everything(plan) and plan.settings.sync.check_interval_s > 20_000


def _restless(plan: Plan) -> bool:
    return plan.habits.crash_share > 0


def _restored(plan: Plan) -> bool:
    return _restless(plan) and _trouble("restore")(plan)


ALL: dict[str, Mutation] = {
    "answer_before_mark": _mutation(
        "a 202 means that the mark is durable", Subscriptions, "mark", _mark_later, found_by=22
    ),
    "hints_cleared_early": _mutation(
        "hints go with the commit",
        Calendars,
        "load_hints",
        _load_and_forget_hints,
        needs=lambda plan: _hints_alone(plan) and _trouble("crash", "graph_weather", "outage", "login_outage")(plan),
        found_by=2215,
    ),
    "hints_dropped_when_many": _mutation(
        "too many hints are answered by a full read",
        RoomSync,
        "read_hinted",
        _drop_hints_when_too_many,
        needs=lambda plan: _hints_alone(plan) and plan.settings.sync.hints_max == 1,
        found_by=729,
    ),
    "newer_marks_finished": _mutation(
        "a mark made during a run is kept", Intents, "finish", _finish_newer_marks_too, needs=_hints_alone
    ),
    "failures_given_up": _mutation(
        "work that failed is done again",
        Intents,
        "put_off",
        _give_up,
        needs=_trouble("graph_weather", "outage", "access_revoked", "login_outage"),
        found_by=358,
    ),
    "full_read_repairs_nothing": _mutation(
        "full reads repair", rooms, "plan_compare", lambda *_, **__: RoomPlan(), found_by=74
    ),
    "hints_remove_nothing": _mutation(
        "a hinted read takes away what is gone", rooms, "plan_hinted", _plan_hinted_without_removals, found_by=22
    ),
    "series_read_one_by_one": _mutation(
        "a series is read as a set",
        reading,
        "is_part_of_series",
        lambda event: event.type == "seriesMaster",
    ),
    "fresh_as_of_the_end": _mutation(
        "a copy is fresh as of the beginning of its read", Calendars, "apply", _apply_as_of_the_end
    ),
    "first_read_believed": _mutation(
        "a booking goes after two looks",
        RoomSync,
        "_confirm",
        _believe_the_first_read,
        needs=lambda plan: plan.settings.graph.page_size == 10,
        found_by=581,
    ),
    "no_deletion_brake": _mutation(
        "a read that lacks much is not believed",
        rooms,
        "choose_held",
        lambda *_, **__: frozenset(),
        more=((RoomReader, "look_for", _find_none),),
        needs=lambda plan: _trouble("calendar_empty")(plan) and plan.settings.sync.confirm_max == 0,
        found_by=49,
    ),
    "delta_believed": _mutation(
        "delta names changes, and nothing else",
        RoomSync,
        "check",
        _check_and_believe,
        needs=lambda plan: plan.settings.sync.check_interval_s < 1_000,
        found_by=877,
    ),
    "delta_link_kept_first": _mutation(
        "a delta link is kept with all that it covers",
        RoomSync,
        "check",
        _check_with_the_link_first,
        needs=lambda plan: (
            plan.settings.sync.check_interval_s < 1_000
            and plan.settings.sync.compare_interval_s > 1_000
            and _trouble("deliveries_lost", "webhook_weather", "subscription_removed")(plan)
        ),
        found_by=877,
    ),
    "delta_removals_ignored": _mutation(
        "what delta calls removed is looked at",
        rooms,
        "plan_check",
        _plan_check_without_removals,
        needs=lambda plan: (
            plan.settings.sync.check_interval_s < 1_000
            and _trouble("deliveries_lost", "webhook_weather", "subscription_removed")(plan)
        ),
        found_by=925,
    ),
    "ids_believed": _mutation(
        "an id that exists keeps no booking", RoomSync, "_confirm", _believe_in_ids, found_by=463
    ),
    "never_renewed": _mutation(
        "subscriptions are renewed",
        keeper,
        "plan_renewal",
        lambda ends_at, **_: ends_at + timedelta(days=365),
        found_by=998,
    ),
    "lifecycle_ignored": _mutation(
        "lifecycle is heeded", notices, "mark_lifecycle", _do_nothing, needs=_trouble("lifecycle"), found_by=1053
    ),
    "no_read_after_silence": _mutation(
        "what was announced to nobody is read",
        Subscriptions,
        "confirm",
        _confirm_and_read_nothing,
        more=((notices, "check_soon", _do_nothing), (subscriptions, "check_soon", _do_nothing)),
        needs=lambda plan: (
            may_tell_everything(plan) and _trouble("lifecycle")(plan) and plan.settings.sync.check_interval_s > 20_000
        ),
        found_by=134,
    ),
    "no_doubt_after_news": _mutation(
        "news casts doubt on a subscription",
        calendars,
        "renew_soon",
        _do_nothing,
        needs=_trouble("subscription_removed", "subscription_expired"),
        found_by=183,
    ),
    "live_though_silent": _mutation(
        "a room is live only while Exchange announces its changes", convert, "sync_state", _live_when_up, found_by=1
    ),
    "snapshot_skips_a_row": _mutation(
        "a snapshot is complete for its coverage", Calendars, "snapshot_page", _snapshot_page_that_skips, found_by=74
    ),
    "resumes_at_the_head": _mutation(
        "a token resumes where it was given", Feed, "_start", _start_at_the_head, needs=_restless, found_by=74
    ),
    "token_sent_early": _mutation(
        "a token comes with all that it stands for",
        Watch,
        "_flush",
        _flush_with_the_newest_token,
        needs=_restless,
        found_by=589,
    ),
    "checkpoint_first": _mutation(
        "a checkpoint follows what it rests on", Watch, "_checkpoint", _checkpoint_first, found_by=184
    ),
    "tokens_without_epoch": _mutation(
        "a token of another epoch is not honoured",
        (feed, watch, tail, paging),
        "log_epoch",
        lambda tenant_uid, _: tenant_uid,
        needs=_restored,
        found_by=237,
    ),
    "token_saved_early": _mutation(
        "a token is saved with its effects", Watcher, "saves_token_early", lambda _: True, needs=_restless, found_by=589
    ),
    "epoch_ignored": _mutation(
        "epochs do not compare", MirroredRoom, "begin_epoch", lambda _: None, needs=_restored, found_by=237
    ),
    "nothing_swept": _mutation(
        "the end of a snapshot sweeps",
        MirroredRoom,
        "unnamed",
        lambda _: [],
        needs=_trouble("restore", "log_pruned"),
        found_by=74,
    ),
    "no_revision_guard": _mutation(
        "only a higher revision is news", MirroredRoom, "is_news", lambda _, __: True, needs=_restless
    ),
    "withdrawn_here_alone": _mutation(
        "a booking that was refused is nowhere",
        RoomCreator,
        "_withdraw",
        _withdraw_from_the_copy_alone,
        plans=writing_plan,
        found_by=42,
    ),
}
