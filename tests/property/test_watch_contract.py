"""A reader that follows the rules ends with exactly the store's bookings, whatever happens, over the real store and feed.

A schedule follows from its seed: writers import, change, roll, re-address and unmap rooms, the log is pruned, the process
stops, a backup is restored; readers of one room, some rooms and all rooms are cut off anywhere, crash back to what they
saved, are slow, or read by pages. Time is virtual, and the database works on the loop's own thread at turns chosen by the seed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from exchange_client.names import room_of

from sidecar.errors import NotFound, ResumeTokenExpired, ServerDraining
from sidecar.feed.events import Changed, Checkpoint, Closing, SnapshotBegins, SnapshotEnds, SnapshotRows, WatchEvent
from sidecar.feed.feed import Feed, WatchScope
from sidecar.feed.paging import read_changes
from sidecar.model.cursor import encode_cursor
from sidecar.model.window import Window
from tests.support.builders import ALWAYS, TENANT
from tests.support.checkers import (
    check_atomic,
    check_checkpoint_true,
    check_complete,
    check_coverage_true,
    check_ordered,
    check_resumable,
    check_unique,
)
from tests.support.histories import Log, Stream, of_event
from tests.support.rule_mirror import Mirror, cursor_of, is_covered, within_horizons
from tests.support.schedule import World
from tests.support.stores import TickingClock, decoded, no_stray_loop, open_feed, open_store, put_back, run_virtually

__all__ = ["no_stray_loop"]

BLOCKS = 10
SEEDS_PER_BLOCK = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """A mirror's rows at a checkpoint at which all rooms were done, and where the log stood."""

    checkpoint: Checkpoint
    rows: Mapping[str, bytes]
    head: int

    def check(self, world: World) -> None:
        """At a checkpoint the mirror is the store as of then or later, and the states rest on no more."""
        revision = self.checkpoint.cursor.revision
        for room in self.checkpoint.rooms:
            if room.fresh_as_of_at is not None:
                read_head = world.read_heads[room.uid, room.fresh_as_of_at]
                assert read_head <= revision, "a state was told before what it rests on"
        rows = within_horizons(self.rows, self.checkpoint.rooms)
        # Of a room that is still being read the checkpoint vouches for nothing; its snapshot may have come right before.
        told = {room.name for room in self.checkpoint.rooms if room.horizon is not None}
        allowed: dict[str, tuple[bytes | None, ...]] = {}
        for name, versions in world.versions.items():
            was = [body for at, body in versions if at <= revision][-1:] or [None]
            allowed[name] = (*was, *(body for at, body in versions if revision < at <= self.head))
        check_checkpoint_true(
            f"at {revision}",
            {name: body for name, body in rows.items() if room_of(name) in told},
            {name: bodies for name, bodies in allowed.items() if room_of(name) in told},
        )


class Reader:
    """A client: follows the rules, and is cut off, crashes and dawdles as its generator says."""

    mirror_type: type[Mirror] = Mirror
    saves_token_early = False
    late_rate = 0.05

    def __init__(self, world: World, scope: WatchScope, rng: Random) -> None:
        self.world, self.scope, self.rng = world, scope, rng
        self.mirror = self.mirror_type()
        self.saved = self.mirror.state()
        self.is_alive = True
        self.streams: list[Stream] = []
        self._sent: set[str] = set()
        self._begun_at = 0
        self._coverage: Window | None = None
        self.shown: list[Shown] = []

    async def live(self, feed: Feed) -> None:
        """Read until everything is at rest and read."""
        while self.is_alive:
            try:
                if await self._connect(feed):
                    return
            except ServerDraining:
                return
            except ResumeTokenExpired:
                self.mirror.token = ""
            except NotFound:
                self.is_alive = False
                self.mirror.forget(set())
            await asyncio.sleep(self.rng.choice((0, 0, 0.3, 4)))

    async def _connect(self, feed: Feed) -> bool:
        self.mirror.reconnect()
        ids = self.scope.room_ids
        rooms = None if ids is None else frozenset(f"tenants/{TENANT}/rooms/{room_id}" for room_id in ids)
        stream = Stream(self.mirror.token, rooms)
        self.streams.append(stream)
        fails = self.rng.random() < 0.2
        heartbeat_s = self.rng.choice((5.0, 15.0))
        watch = feed.watch(self.scope, resume_token=self.mirror.token, fail_on_gap=fails, heartbeat_s=heartbeat_s)
        async with aclosing(watch) as events:
            async for event in events:
                self._take(event, stream)
                if isinstance(event, Closing):
                    return False
                if self.world.is_at_rest:
                    if self._has_everything(event):
                        return True
                elif self._breaks_off():
                    return False
                elif self.rng.random() < 0.1:
                    await asyncio.sleep(self.rng.choice((0, 0, 0.05, 1, 20)))
        return False

    def _take(self, event: WatchEvent, stream: Stream) -> None:
        log = self.world.head_now()
        head = log.revision
        stream.told.append(of_event(event, head=head, floor=log.floor))
        self._check_snapshot(event, head)
        before = self.mirror.state()
        self.mirror.apply(event)
        assert self.mirror.went_back == 0, "an older version was shown after a newer one"
        if isinstance(event, Checkpoint):
            self.shown.append(Shown(event, dict(self.mirror.rows), head))
        if cursor_of(event) is not None and self.rng.random() < 0.6:
            self.saved = self.mirror.state()
            if self.saves_token_early:
                before.token = self.mirror.token
                self.saved = before

    def _check_snapshot(self, event: WatchEvent, head: int) -> None:
        match event:
            case SnapshotBegins():
                self._sent, self._begun_at, self._coverage = set(), head, event.coverage
            case SnapshotRows():
                self._sent.update(decoded(body)["name"] for body in event.bodies)
            case SnapshotEnds():
                held = [
                    decoded(body)["name"]
                    for revision, body in self.world.held_now(event.room.uid)
                    if revision <= self._begun_at and is_covered(body, self._coverage)
                ]
                check_coverage_true(f"the snapshot of {event.room.name}", self._sent, held)
            case _:
                pass

    def _breaks_off(self) -> bool:
        if self.rng.random() < 0.04:
            self.mirror = self.saved.state()
            return True
        if self.rng.random() < self.late_rate:
            self.mirror.token = self.saved.token  # older than the rows: what comes again is known, and does no harm
            return True
        return self.rng.random() < 0.06

    def _has_everything(self, event: WatchEvent) -> bool:
        head = self.world.head_now().revision
        return isinstance(event, Checkpoint) and event.cursor.done is None and event.cursor.revision >= head

    def check(self) -> None:
        """Check every promise on what was recorded in this life of the service."""
        log = Log.of_changes(self.world.log)
        for stream in self.streams:
            check_ordered(stream)
            check_atomic(stream)
            check_resumable(stream)
            check_complete(stream, log)
        check_unique(self.streams)
        for shown in self.shown:
            shown.check(self.world)
        self.streams.clear()
        self.shown.clear()


class PagingReader(Reader):
    """A client that lists once, then reads changes page by page; after a gap it lists again."""

    async def _connect(self, feed: Feed) -> bool:
        if not self.mirror.token:
            await self._list(feed)
        while True:
            count_max = self.rng.choice((1, 2, 5, 50))
            wait_s = self.rng.choice((0.0, 0.0, 3.0))
            page = await read_changes(
                feed, self.scope, resume_token=self.mirror.token, count_max=count_max, max_wait_s=wait_s
            )
            self.mirror.apply_changes(page.changes)
            self.mirror.token = encode_cursor(page.cursor)
            if self.rng.random() < 0.6:
                self.saved = self.mirror.state()
            if self.world.is_at_rest:
                # Pages tell of bookings only, and some rooms go without a word about theirs: rule 15.
                self.mirror.forget({room.name for room in await self.world.rooms()})
                if not page.is_more and page.cursor.revision >= self.world.head_now().revision:
                    return True
            elif self._breaks_off():
                return False
            await asyncio.sleep(self.rng.choice((0, 0, 0.2, 5)))

    async def _list(self, feed: Feed) -> None:
        store = self.world.opened.store
        _, head = await store.changes.tenant_head(TENANT)
        uid = None
        if self.scope.room_ids is not None:
            uid = (await store.rooms.load(TENANT, self.scope.room_ids[0])).uid
        bodies: list[bytes] = []
        place = None
        while True:
            page = await store.calendars.page(TENANT, uid, ALWAYS, after=place, count_max=3, show_all=False)
            bodies += page.bodies
            place = page.last
            if place is None:
                break
            await asyncio.sleep(self.rng.choice((0, 0.01, 1)))
        self.mirror.replace(bodies, encode_cursor(feed.cursor(self.scope, self.world.tenant_uid, head)))


@dataclass
class Schedule:
    """One random life of a service and its readers."""

    seed: int
    directory: Path
    reader_type: type[Reader] = Reader

    def run(self) -> None:
        """Run it.

        Raises:
            AssertionError: a promise is broken, or a reader ended wrong.
        """
        try:
            run_virtually(self._main)
        except BaseExceptionGroup as group:
            found: BaseException = group
            while isinstance(found, BaseExceptionGroup):
                found = found.exceptions[0]
            found.add_note(f"seed {self.seed}")
            raise found from group
        except AssertionError as error:
            error.add_note(f"seed {self.seed}")
            raise

    async def _main(self) -> None:
        rng = Random(self.seed)
        world = World(rng)
        readers: list[Reader] = []
        path, backup = self.directory / f"{self.seed}.sqlite3", self.directory / f"{self.seed}.backup"
        clock = TickingClock()
        lives = rng.choice((1, 1, 2, 3))
        for life in range(lives):
            if life and backup.exists() and rng.random() < 0.6:
                put_back(backup, path, with_mark=rng.random() < 0.7)
                world.restore()
            async with open_store(path, clock=clock, stepped=Random(rng.random())) as opened:
                await world.begin(opened)
                if not readers:
                    readers = self._make_readers(world, rng)
                await self._live(world, readers, rng, is_last=life == lives - 1)
            if rng.random() < 0.7:
                shutil.copy(path, backup)
                world.back_up()
        for file in self.directory.glob(f"{self.seed}.*"):
            file.unlink()

    def _make_readers(self, world: World, rng: Random) -> list[Reader]:
        names = sorted(world.wanted)
        one = WatchScope(tenant_id=TENANT, room_ids=(rng.choice(names),))
        some = WatchScope(tenant_id=TENANT, room_ids=tuple(rng.sample(names, 2)))
        everything = WatchScope(tenant_id=TENANT, room_ids=None)
        world.spared = {*one.room_ids, *some.room_ids} if rng.random() < 0.6 else set()  # type: ignore[misc]  # not None
        chosen: list[tuple[type[Reader], WatchScope]] = [
            (self.reader_type, everything),
            (self.reader_type, one),
            (self.reader_type, some),
            (PagingReader, everything),
            (PagingReader, one),
        ]
        return [kind(world, scope, Random(rng.random())) for kind, scope in chosen]

    async def _live(self, world: World, readers: list[Reader], rng: Random, *, is_last: bool) -> None:
        world.is_at_rest = False
        limits: dict[str, Any] = {  # each setting has a type of its own
            "batch_count_max": rng.choice((1, 2, 3, 100)),
            "batch_bytes_max": rng.choice((1024, 10**6)),
        }
        async with open_feed(world.opened.store, clock=world.opened.clock, tail_count=100, **limits) as feed:
            # Nothing can be set below 100; a ring of a few entries is overrun as one of thousands is in life.
            feed.tails._count_max = rng.choice((3, 10, 100))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(reader.live(feed)) for reader in readers]
                await world.run(rng.randint(10, 45))
                if is_last or rng.random() < 0.3:
                    world.is_at_rest = True
                    async with asyncio.timeout(600):
                        await asyncio.wait(tasks)
                    await self._compare(world, readers)
                else:
                    feed.drain() if rng.random() < 0.5 else None
                    await asyncio.sleep(rng.choice((0, 0.1)))
                    for task in tasks:
                        task.cancel()
        for reader in readers:
            reader.check()

    async def _compare(self, world: World, readers: list[Reader]) -> None:
        for reader in readers:
            if not reader.is_alive:
                continue
            truth = await world.truth(reader.scope)
            rows = within_horizons(reader.mirror.rows, await world.rooms())
            missing, extra = truth.keys() - rows.keys(), rows.keys() - truth.keys()
            who = f"{type(reader).__name__} of {reader.scope.room_ids}"
            assert not missing, f"{who} lacks {sorted(missing)}"
            assert not extra, f"{who} still shows {sorted(extra)}"
            assert rows == truth, f"{who} shows old versions"


@pytest.mark.parametrize("block", range(BLOCKS))
def test_reader_that_follows_the_rules_ends_with_the_stores_bookings(block: int, tmp_path: Path) -> None:
    """Whatever was cut, pruned, restored or slow, at rest every mirror equals the store, and every promise was kept."""
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        print(f"seed {seed}")
        Schedule(seed, tmp_path).run()


class NoRevisionGuard(Mirror):
    def is_news(self, name: str, revision: int) -> bool:
        return True


class NoTombstones(Mirror):
    def is_news(self, name: str, revision: int) -> bool:
        was = self.tombstones.get(name, -1)
        self.tombstones.pop(name, None)
        is_news = super().is_news(name, revision)
        self.went_back += is_news and revision < was
        return is_news


class NoSweep(Mirror):
    def sweep(self) -> None:
        pass


class NoEpochs(Mirror):
    def begin_epoch(self, room: str, epoch: str) -> None:
        pass


class NoForgetting(Mirror):
    def forget(self, listed: set[str]) -> None:
        pass


class TokenBeforeRows(Reader):
    saves_token_early = True


def with_mirror(mirror: type[Mirror]) -> type[Reader]:
    """Return a reader that lacks a rule."""
    return type(f"ReaderWith{mirror.__name__}", (Reader,), {"mirror_type": mirror, "late_rate": 0.2})


BROKEN = [*map(with_mirror, (NoRevisionGuard, NoTombstones, NoSweep, NoEpochs, NoForgetting)), TokenBeforeRows]


@pytest.mark.parametrize("reader_type", BROKEN, ids=lambda broken: broken.__name__)
def test_without_one_of_its_rules_a_reader_ends_wrong(reader_type: type[Reader], tmp_path: Path) -> None:
    """The test above can fail: each rule taken away is found out."""
    for seed in range(300):
        try:
            Schedule(seed, tmp_path, reader_type).run()
        except AssertionError as error:
            print(f"seed {seed}: {error}")
            return
    pytest.fail("nobody noticed")


def test_schedule_follows_from_its_seed(tmp_path: Path) -> None:
    """A seed that fails can be run again."""
    traces = []
    for _ in range(2):
        trace: list[str] = []

        class Traced(Reader):
            def _take(self, event: WatchEvent, stream: Stream) -> None:
                trace.append(_told(event))  # noqa: B023  (the one of this round)
                super()._take(event, stream)

        Schedule(7, tmp_path, Traced).run()
        traces.append(trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 50


def _told(event: WatchEvent) -> str:
    match event:
        case Changed():
            return f"changed {[change.booking_key for change in event.changes]}"
        case SnapshotBegins():
            return f"begins {event.room.room_id} {event.reason.name}"
        case SnapshotRows():
            return f"rows {len(event.bodies)}"
    return type(event).__name__
