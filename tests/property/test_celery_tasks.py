"""A table kept by tasks ends equal to the truth, whatever happens to server, bridge and workers, and never goes back meanwhile.

The bridge here is its pure part with a queue for each number: it dies between any two steps, and begins again at its cursor. A
worker dies after its work and before it said so, and the change comes again. The handler is the example's.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

import pytest
from example_celery import BEGUN, TABLE, apply
from exchange_client import names, times
from exchange_client.celery.shape import Change, ChangeMaker, ChangeTask
from exchange_client.messages import Booking, BookingChange, TimeWindow, WatchRoomsResponse
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.unit.client.model_server import ROOMS
from tests.unit.client.server_machine import ServerMachine

QUEUES_COUNT = 2
TENANT = names.tenant("acme")


class TaskMachine(ServerMachine):
    keeps_cursor_first: ClassVar[bool] = False
    maker_type: ClassVar[type[ChangeMaker]] = ChangeMaker

    def __init__(self) -> None:
        super().__init__()
        self.db = sqlite3.connect(":memory:")
        self.db.execute(TABLE)
        self.db.execute(BEGUN)
        self.queues: list[deque[Change]] = [deque() for _ in range(QUEUES_COUNT)]
        self.cursor = ("", "")
        self.epochs: dict[str, str] = {}
        self.highest: dict[str, int] = {}
        self.stream: Iterator[WatchRoomsResponse] | None = None

    @rule(
        moves=st.lists(st.tuples(st.sampled_from(ROOMS), st.integers(0, 1), st.integers(0, 5)), min_size=3, max_size=9)
    )
    def be_busy(self, moves: list[tuple[str, int, int]]) -> None:
        """Changes between almost any two messages, so that they meet the snapshots."""
        for room, key, day in moves:
            self.server.write(room, key, day)
            self.bridge_one()

    @precondition(lambda self: self.server.rows)
    @rule(pick=st.integers(0, 99), told=st.sampled_from(["cancelled", "unkind"]))
    def remove(self, pick: int, told: str) -> None:
        kind = BookingChange.KIND_REMOVED if told == "cancelled" else BookingChange.KIND_UPSERTED
        rows = sorted(self.server.rows)
        self.server.remove(rows[pick % len(rows)], BookingChange(kind=kind))

    @rule(count=st.integers(1, 12))
    def bridge_some(self, count: int) -> None:
        for _ in range(count):
            self.bridge_one()

    @rule(dies=st.sampled_from(["before", "in the midst", "after"]), share=st.floats(0, 1))
    def bridge_dies(self, dies: str, share: float) -> None:
        self.bridge_one(dies=dies, share=share)
        self.stream = None

    @rule(queue=st.integers(0, QUEUES_COUNT - 1), count=st.integers(1, 9), is_told=st.booleans())
    def work_some(self, queue: int, count: int, is_told: bool) -> None:
        for place in range(count):
            # The last one may be done, and the worker dead before the broker knew.
            self.work_one(queue, is_told=is_told or place < count - 1)

    def bridge_one(self, *, dies: str = "", share: float = 1.0) -> WatchRoomsResponse | None:
        if self.stream is None:
            token, epoch = self.cursor
            self.maker = self.maker_type(TENANT, queues_count=QUEUES_COUNT, epoch=epoch)
            self.stream = self.server.stream(token)
        message = next(self.stream, None)
        if message is None:
            self.stream = None
            return None
        tasks = self.maker.take(message)
        if self.keeps_cursor_first:
            self.keep(message)
        if dies != "before":
            for task in tasks[: int(len(tasks) * share) if dies == "in the midst" else None]:
                self.queues[task.queue].append(json.loads(json.dumps(task.change)))
        if not dies:
            self.keep(message)
        return message

    def keep(self, message: WatchRoomsResponse) -> None:
        if message.resume_token:
            self.cursor = (message.resume_token, self.maker.epoch)

    def work_one(self, queue: int, *, is_told: bool = True) -> None:
        if self.queues[queue]:
            change = self.queues[queue][0]
            with self.db:
                apply(self.db, change)
            self.check_not_back(change)
            if is_told:
                self.queues[queue].popleft()

    def check_not_back(self, change: Change) -> None:
        room = change["room"]
        if change["kind"] == "SNAPSHOT_BEGIN" and self.epochs.get(room) != change["epoch"]:
            self.epochs[room] = change["epoch"]
            self.highest = {name: highest for name, highest in self.highest.items() if names.room_of(name) != room}
        if "booking" in change:
            name = change["booking"]["name"]
            ((revision,),) = self.db.execute("SELECT revision FROM bookings WHERE name = ?", (name,))
            assert revision >= self.highest.get(name, 0), "a booking went back"
            self.highest[name] = max(self.highest.get(name, 0), change["revision"])

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        target = json.dumps([self.server.epoch, self.server.revision])[:-1]
        for _ in range(500):
            message = self.bridge_one()
            if message is not None and message.HasField("checkpoint") and message.resume_token.startswith(target):
                done = json.loads(message.resume_token)[2]
                if set(done) == self.server.imported:
                    break
        else:
            raise AssertionError("the stream did not come to rest")
        for queue, waiting in enumerate(self.queues):
            while waiting:
                self.work_one(queue)
        span = self.server.span()
        kept = {row.name: row.revision for row in self.rows() if times.touches(row.time, span)}
        wanted = {
            name: row.revision for name, row in self.server.rows.items() if names.room_of(name) in self.server.imported
        }
        assert kept == wanted, "the table differs from the truth"

    def rows(self) -> list[Booking]:
        rows = []
        for name, revision, body in self.db.execute("SELECT name, revision, body FROM bookings WHERE takes_room"):
            told = json.loads(body)["time"]
            time = TimeWindow()
            time.start_time.FromJsonString(told["start_time"])
            time.end_time.FromJsonString(told["end_time"])
            rows.append(Booking(name=name, revision=revision, time=time))
        return rows


TestTasks = TaskMachine.TestCase
TestTasks.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


class ServersSnapshotIds(ChangeMaker):
    """Takes the server's id of a snapshot, which comes again when the snapshot is begun anew."""

    def take(self, message: WatchRoomsResponse) -> list[ChangeTask]:  # type: ignore[override]  # no Reconnected here
        tasks = super().take(message)
        for task in tasks:
            if task.change.get("snapshot"):
                task.change["snapshot"]["id"] = "always"
        return tasks


class CursorBeforeTasks(TaskMachine):
    keeps_cursor_first = True


class MarksOfTwoTries(TaskMachine):
    maker_type = ServersSnapshotIds


@pytest.mark.parametrize("broken", [CursorBeforeTasks, MarksOfTwoTries], ids=lambda one: one.__name__)
def test_without_one_of_its_rules_the_table_goes_wrong(broken: type[TaskMachine]) -> None:
    """The test above can fail: each rule taken away is found out."""
    found = settings(
        max_examples=1000,
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(broken, settings=found)
