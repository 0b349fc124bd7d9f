"""Rules broken on purpose, one at a time, to see that the simulation finds it. Nothing outside of tests can do this.

Each mutation replaces one function at a named place of the service, or of a reader, by one that lacks the rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from exchange_client.mirror_room import MirroredRoom

from sidecar.feed.events import Checkpoint
from sidecar.feed.feed import Feed
from sidecar.feed.watch import Start, Watch
from sidecar.model.change import SnapshotReason
from sidecar.model.ids import RoomUid
from sidecar.model.plan import RoomPlan
from sidecar.store import calendars, subscriptions
from sidecar.store.calendars import Calendars
from sidecar.store.engine import Connection
from sidecar.store.intents import Intents
from sidecar.store.subscriptions import MarkOutcome, Subscriptions
from sidecar.sync import plan, reading, rooms
from sidecar.sync import subscriptions as keeper
from sidecar.sync.reading import address_of, ref_of
from sidecar.sync.rooms import RoomSync
from tests.simulation.plan import plan_of
from tests.simulation.run import run
from tests.simulation.watchers import Watcher

# Any, throughout: a stand-in takes whatever the function takes whose place it has.


@dataclass(frozen=True, slots=True)
class Mutation:
    """A rule that is taken away: `name` of `place` becomes `stand_in`."""

    rule: str
    place: Any
    name: str
    stand_in: Any

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Do without the rule while inside."""
        with mock.patch.object(self.place, self.name, self.stand_in):
            yield


@dataclass(frozen=True, slots=True)
class Found:
    """A seed that finds a mutation, and what it says."""

    seed: int
    how: str


def find(name: str, seeds: Sequence[int]) -> Found | None:
    """Return the first of some seeds that finds a mutation; None when all of them hold without the rule."""
    with ALL[name].applied():
        for seed in seeds:
            failure = run(plan_of(seed)).failure
            if failure is not None:
                return Found(seed, f"{type(failure).__name__}: {failure}"[:200].replace("\n", " "))
    return None


_mark, _load_hints, _apply = Subscriptions.mark, Calendars.load_hints, Calendars.apply
_snapshot_page, _finish, _plan_hinted = Calendars.snapshot_page, Intents.finish, plan.plan_hinted


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
    return bookings, frozenset(item.key for item in missing)


async def _believe_in_ids(self: Any, room: Any, tenant: Any, bookings: Any, missing: Any, _: Any) -> Any:
    gone, found = set(), []
    for booking in missing:
        reader = self._reading._reader
        event = await reader.fetch_event(ref_of(tenant), address_of(room), booking.event_id)
        if event is None or event.type == "seriesMaster":
            gone.add(booking.key)
        else:
            found.append(event)
    return bookings + self._reading._bookings(found, room)[0], frozenset(gone)


async def _do_nothing(*_: Any, **__: Any) -> None:
    return None


async def _snapshot_page_that_skips(self: Any, room_uid: Any, *, after: Any, count_max: int) -> Any:
    page = await _snapshot_page(self, room_uid, after=after, count_max=count_max + bool(after))
    return page[1:] if after else page


def _start_at_the_head(self: Any, scope: Any, tenant_uid: Any, resume_token: str, head: Any, **_: Any) -> Start:
    done = None if resume_token else RoomUid("")
    return Start(self.cursor(scope, tenant_uid, head.revision, done=done), SnapshotReason.REQUESTED)


async def _checkpoint_first(self: Any) -> Any:
    view = await self._source.view(self._tenant_uid, at_least=self._cursor.revision)
    if self._cursor.done is None:
        yield Checkpoint([room for room in view.rooms if self._covers(room.uid)], self._cursor)


ALL: dict[str, Mutation] = {
    "answer_before_mark": Mutation("a 202 means that the mark is durable", Subscriptions, "mark", _mark_later),
    "hints_cleared_early": Mutation("hints go with the commit", Calendars, "load_hints", _load_and_forget_hints),
    "newer_marks_finished": Mutation("a mark made during a run is kept", Intents, "finish", _finish_newer_marks_too),
    "failures_given_up": Mutation("work that failed is done again", Intents, "put_off", _give_up),
    "full_read_repairs_nothing": Mutation("full reads repair", rooms, "plan_compare", lambda *_, **__: RoomPlan()),
    "hints_remove_nothing": Mutation(
        "a hinted read takes away what is gone", rooms, "plan_hinted", _plan_hinted_without_removals
    ),
    "series_read_one_by_one": Mutation(
        "a series is read as a set", reading, "is_part_of_series", lambda event: event.type == "seriesMaster"
    ),
    "fresh_as_of_the_end": Mutation(
        "a copy is fresh as of the beginning of its read", Calendars, "apply", _apply_as_of_the_end
    ),
    "first_read_believed": Mutation("a booking goes after two looks", RoomSync, "_confirm", _believe_the_first_read),
    "ids_believed": Mutation("an id that exists keeps no booking", RoomSync, "_confirm", _believe_in_ids),
    "never_renewed": Mutation("subscriptions are renewed", keeper, "is_renewal_due", lambda *_, **__: False),
    "lifecycle_ignored": Mutation("lifecycle is heeded", subscriptions, "_mark_lifecycle", _do_nothing),
    "no_doubt_after_news": Mutation("news casts doubt on a subscription", calendars, "renew_soon", _do_nothing),
    "snapshot_skips_a_row": Mutation(
        "a snapshot is complete for its coverage", Calendars, "snapshot_page", _snapshot_page_that_skips
    ),
    "resumes_at_the_head": Mutation("a token resumes where it was given", Feed, "_start", _start_at_the_head),
    "checkpoint_first": Mutation("a checkpoint follows what it rests on", Watch, "_checkpoint", _checkpoint_first),
    "token_saved_early": Mutation("a token is saved with its effects", Watcher, "saves_token_early", True),
    "epoch_ignored": Mutation("epochs do not compare", MirroredRoom, "begin_epoch", lambda _: None),
    "nothing_swept": Mutation("the end of a snapshot sweeps", MirroredRoom, "unnamed", lambda _: []),
    "no_revision_guard": Mutation("only a higher revision is news", MirroredRoom, "is_news", lambda _, __: True),
}
