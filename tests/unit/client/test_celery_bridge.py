"""The bridge: what it sends, when it keeps its place, and what it does about brokers that are away or full."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, cast

import pytest
from exchange_client import MemoryTokenStore, ResumeTokenInvalid
from exchange_client.celery.bridge import ALIVE_S, LOOK_S, Bridge
from exchange_client.celery.cursor import Cursor, CursorError, CursorTaken, Position, locked
from exchange_client.celery.pressure import Pressure
from exchange_client.celery.publisher import BrokerLost
from exchange_client.celery.shape import ChangeTask
from exchange_client.messages import Checkpoint, StreamClosing, WatchRoomsResponse

from tests.unit.client.fake_server import FakeClock
from tests.unit.client.test_mirror import booking, end, start, upserts

TENANT = "tenants/acme"


def rooms(message: Any) -> WatchRoomsResponse:
    """Make a message of many rooms out of one of one room (Any: either); they are laid out alike."""
    return WatchRoomsResponse.FromString(message.SerializeToString())


def checkpoint(token: str) -> WatchRoomsResponse:
    return WatchRoomsResponse(resume_token=token, checkpoint=Checkpoint())


def change(revision: int, token: str) -> WatchRoomsResponse:
    return rooms(upserts(booking("a", revision), token=token))


class ScriptedWatch:
    """Gives messages, then ends as told: raises, waits to be stopped, or just ends."""

    def __init__(self, messages: Sequence[Any]) -> None:
        self.messages = list(messages)
        self.stopped = asyncio.Event()
        self.given_count = 0

    async def __aenter__(self) -> ScriptedWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()

    async def __aiter__(self) -> AsyncIterator[WatchRoomsResponse]:
        for message in self.messages:
            if isinstance(message, Exception):
                raise message
            if self.stopped.is_set():
                return
            self.given_count += 1
            yield message
        await self.stopped.wait()

    def stop(self, error: None) -> None:
        self.stopped.set()


class Rig:
    """A bridge over scripted watches and a broker that fails when it is told to."""

    def __init__(self, *watches: Sequence[Any], high_count: int = 1000, store: MemoryTokenStore | None = None) -> None:
        self.store = store or MemoryTokenStore()
        self.watches = [ScriptedWatch(messages) for messages in watches]
        self.tokens: list[str] = []
        self.sent: list[int] = []
        self.kinds: list[str] = []
        self.kept_at: list[tuple[int, str]] = []
        """How much had been sent when a token was kept."""
        self.send_failures: list[bool] = []
        self.lengths_told: list[Sequence[int]] = []
        self.closings_count = 0
        self.clock = FakeClock()
        self.cursor = Cursor(self, TENANT, queues_count=2)
        self.cursor.load()
        self.bridge = Bridge(
            tenant=TENANT,
            queues_count=2,
            open_watch=cast(Any, self._open),  # Any: a script in place of a watch
            outlet=self,
            cursor=self.cursor,
            pressure=Pressure(high_count=high_count),
            clock=self.clock,
            rng=random.Random(7),
        )

    def _open(self, token: str) -> ScriptedWatch:
        self.tokens.append(token)
        watch = self.watches[len(self.tokens) - 1]
        if len(self.tokens) == len(self.watches):
            watch.messages.append(_Stop(self))
        return watch

    # As a store and as an outlet.

    def load(self, name: str) -> str | None:
        return self.store.load(name)

    def save(self, name: str, token: str) -> None:
        self.kept_at.append((len(self.sent), json.loads(token)["token"]))
        self.store.save(name, token)

    def send(self, tasks: Sequence[ChangeTask]) -> None:
        if self.send_failures and self.send_failures.pop(0):
            raise BrokerLost("it is away")
        self.kinds += [task.change["kind"] for task in tasks]
        self.sent += [task.change["revision"] for task in tasks if "revision" in task.change]

    def lengths(self) -> Sequence[int]:
        return self.lengths_told.pop(0) if self.lengths_told else [0, 0]

    def close(self) -> None:
        self.closings_count += 1

    async def run(self) -> None:
        async with asyncio.timeout(10):
            await self.bridge.run()


class _Stop:
    """At the end of a script: stops the bridge, as SIGTERM does."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.resume_token = ""

    def WhichOneof(self, name: str) -> str:
        self._rig.bridge.stop()
        return "nothing"


async def test_place_is_kept_after_all_before_it_was_sent() -> None:
    rig = Rig(
        [rooms(start()), rooms(upserts(booking("a", 1))), rooms(end(token="t1")), change(2, "t2"), checkpoint("t3")]
    )
    await rig.run()
    assert rig.sent == [1, 2]
    assert rig.kept_at == [(1, "t1"), (2, "t2"), (2, "t3")]
    assert rig.closings_count == 1


async def test_broker_that_was_lost_is_sent_everything_since_the_kept_place() -> None:
    rig = Rig([change(1, "t1"), change(2, "t2")], [change(2, "t2"), change(3, "t3")])
    rig.send_failures = [False, True]
    await rig.run()
    assert rig.tokens == ["", "t1"]
    assert rig.sent == [1, 2, 3]
    assert rig.bridge.counts.broker_losses_count == 1


async def test_broker_that_takes_nothing_is_asked_ever_less_often() -> None:
    rig = Rig(*([change(1, "t1")] for _ in range(12)))
    rig.send_failures = [True] * 11
    await rig.run()
    assert rig.sent == [1]
    assert len(rig.clock.pauses) == 11
    assert 1.0 < max(rig.clock.pauses[5:]) <= 30.0


async def test_queues_that_are_long_make_it_hang_up_and_go_on_from_its_place() -> None:
    rig = Rig([checkpoint("t1"), change(1, "t2")], [change(1, "t2")], high_count=100)
    rig.lengths_told = [[0, 0], [0, 101], [0, 60], [0, 51], [0, 50]]
    await rig.run()
    assert rig.tokens == ["", "t1"], "nothing was read while they were long"
    assert rig.sent == [1]
    assert rig.clock.pauses == [LOOK_S, LOOK_S]
    assert rig.bridge.counts.pauses_count == 1


async def test_snapshot_is_finished_before_long_queues_count() -> None:
    script = [
        rooms(start()),
        *[rooms(upserts(booking(f"b{n}", n))) for n in range(1, 6)],
        rooms(end(token="t1")),
        change(9, "t2"),
    ]
    rig = Rig(script, [change(9, "t2")], high_count=2)
    rig.lengths_told = [[0], [50], [0]]
    await rig.run()
    assert rig.tokens == ["", "t1"]
    assert rig.sent == [1, 2, 3, 4, 5, 9]


async def test_deleted_tenant_ends_it_and_forgets_the_place() -> None:
    gone = WatchRoomsResponse(resume_token="t2", closing=StreamClosing(reason=StreamClosing.REASON_SCOPE_GONE))
    rig = Rig([change(1, "t1"), gone])
    await rig.run()
    assert rig.cursor.position == Position()


async def test_deleted_tenant_is_told_although_the_broker_was_away_just_then() -> None:
    gone = WatchRoomsResponse(resume_token="t2", closing=StreamClosing(reason=StreamClosing.REASON_SCOPE_GONE))
    rig = Rig([gone])
    rig.send_failures = [True, True]
    await rig.run()
    assert rig.kinds == ["TENANT_GONE", "TENANT_GONE"], "one for each queue"
    assert rig.tokens == [""], "a tenant that is gone is not asked for again"


async def test_quiet_bridge_says_now_and_then_that_it_lives(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig = Rig([checkpoint("t1"), checkpoint("t2")])
    rig.clock.pauses = [ALIVE_S]  # so long since it began
    await rig.run()
    assert caplog.text.count("bridge.alive tasks_count=0") == 1


async def test_token_that_is_refused_is_forgotten_and_snapshots_begin() -> None:
    store = MemoryTokenStore()
    store.save(TENANT, json.dumps({"token": "old", "epoch": "e1", "queues": 2}))
    rig = Rig([ResumeTokenInvalid("of another store", "INVALID_ARGUMENT")], [change(1, "t1")], store=store)
    await rig.run()
    assert rig.tokens == ["old", ""]


async def test_refusal_without_a_token_is_final() -> None:
    rig = Rig([ResumeTokenInvalid("it has none", "INVALID_ARGUMENT")], [])
    with pytest.raises(ResumeTokenInvalid):
        await rig.run()


async def test_stopped_while_it_waits_for_workers_it_ends() -> None:
    rig = Rig([], high_count=10)
    rig.clock.hold = True
    rig.lengths = lambda: [11]  # type: ignore[method-assign]  # they never get shorter
    running = asyncio.create_task(rig.run())
    await rig.clock.held.wait()
    rig.bridge.stop()
    await running
    assert rig.tokens == []


def test_cursor_of_another_number_of_queues_is_refused_unless_accepted() -> None:
    store = MemoryTokenStore()
    Cursor(store, TENANT, queues_count=8).save(Position(token="t1", epoch="e1"))
    with pytest.raises(CursorError, match="8 queues, and now there are 4"):
        Cursor(store, TENANT, queues_count=4).load()
    cursor = Cursor(store, TENANT, queues_count=4)
    cursor.load(accept_queues=True)
    assert cursor.position == Position(token="t1", epoch="e1")


@pytest.mark.parametrize(
    "text", ["a-plain-token", "[]", '{"token": "t"}', '{"token": "t", "epoch": "e", "queues": "x"}']
)
def test_cursor_that_no_bridge_wrote_is_refused(text: str) -> None:
    store = MemoryTokenStore()
    store.save(TENANT, text)
    with pytest.raises(CursorError):
        Cursor(store, TENANT, queues_count=4).load()


def test_second_bridge_on_a_cursor_is_refused_until_the_first_has_ended(tmp_path: Any) -> None:
    with locked(tmp_path / "cursor", TENANT), pytest.raises(CursorTaken), locked(tmp_path / "cursor", TENANT):
        pass
    with locked(tmp_path / "cursor", TENANT):
        pass


def test_reading_stops_above_the_high_mark_and_goes_on_at_the_low_one() -> None:
    pressure = Pressure(high_count=100, low_count=40)
    assert [pressure.seen([0, length]) for length in (100, 101, 100, 41, 40, 100, 101)] == [
        False, True, True, True, False, False, True,
    ]  # fmt: skip


def test_queues_are_looked_at_when_idle_or_after_many_tasks() -> None:
    pressure = Pressure(high_count=10_000)
    assert pressure.wants_look(is_idle=True)
    pressure.sent(499)
    assert not pressure.wants_look(is_idle=False)
    pressure.sent(1)
    assert pressure.wants_look(is_idle=False)
    pressure.seen([1])
    assert not pressure.wants_look(is_idle=False)


@pytest.mark.parametrize("wrong", [(0, -1), (10, 10), (10, 11)])
def test_water_marks_that_cannot_be_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        Pressure(high_count=wrong[0], low_count=wrong[1])
