"""Chores as tasks: which lanes are sent where, what is passed over, and what makes a run the same one."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
from celery import Celery
from exchange_client import AccessDenied, Unavailable
from exchange_client.celery import ExchangeChores
from exchange_client.celery.chores import DRAIN_LANE, DUE_LANES, QUEUE, RUN_TASK
from exchange_client.errors import ExchangeError
from exchange_client.messages import DrainLaneResponse, Lane, TaskRun
from kombu import Queue

T = TypeVar("T")


def given(answer: T | ExchangeError) -> T:
    """Give an answer, or raise it."""
    if isinstance(answer, ExchangeError):
        raise answer
    return answer


class Sidecar:
    """Answers in place of a sidecar; an error in place of an answer is raised."""

    def __init__(self) -> None:
        self.lanes: list[str] | ExchangeError = []
        self.drained: DrainLaneResponse | ExchangeError = DrainLaneResponse()
        self.asked: list[Any] = []

    def __enter__(self) -> Sidecar:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing is open."""

    def wait_due_lanes(self, *, wait_s: float, count_max: int) -> list[Lane]:
        self.asked.append((wait_s, count_max))
        return [Lane(name=lane) for lane in given(self.lanes)]

    def drain_lane(self, lane: str, *, max_s: float) -> DrainLaneResponse:
        self.asked.append((lane, max_s))
        return given(self.drained)

    def run_task(self, name: str, scope: str, *, request_id: str) -> TaskRun:
        self.asked.append((name, scope, request_id))
        return TaskRun(name=f"{name}/runs/1", total_count=3)


class Desk:
    """An app with chores over a broker in memory."""

    def __init__(self) -> None:
        self.sidecar = Sidecar()
        self.app = Celery("unit", broker="memory://", set_as_current=False)
        self.chores = ExchangeChores(self.app, target="127.0.0.1:1")
        self.chores._connect = lambda: self.sidecar  # type: ignore[assignment]  # answers in its place
        self.app.finalize(auto=True)

    def run(self, name: str, *args: object, task_id: str | None = None) -> Any:  # Any: as JSON
        return self.app.tasks[name].apply(args, task_id=task_id, throw=True).result

    def sent(self) -> list[tuple[str, Any]]:
        """Take what waits in the queue: name and arguments of each task."""
        found: list[tuple[str, Any]] = []
        with self.app.connection_for_read() as connection:
            queue = Queue(QUEUE)(connection.default_channel)
            queue.declare()
            while (message := queue.get(no_ack=True)) is not None:
                assert message.headers["expires"], "what is not begun soon is named again"
                found.append((message.headers["task"], message.payload[0]))
        return found


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.sent()
    return made


def test_each_due_lane_is_drained_by_a_task_of_its_own(desk: Desk) -> None:
    desk.sidecar.lanes = ["tenants/a", "tenants/b"]
    desk.run(DUE_LANES)
    assert desk.sent() == [(DRAIN_LANE, ["tenants/a"]), (DRAIN_LANE, ["tenants/b"])]


@pytest.mark.parametrize(
    ("answer", "is_sent_again"),
    [
        (DrainLaneResponse(), False),
        (DrainLaneResponse(more_due=True), True),
        (DrainLaneResponse(more_due=True, held_elsewhere=True), False),
    ],
)
def test_lane_with_more_due_is_sent_again_unless_another_has_it(
    desk: Desk, answer: DrainLaneResponse, is_sent_again: bool
) -> None:
    desk.sidecar.drained = answer
    desk.run(DRAIN_LANE, "tenants/a")
    assert desk.sent() == ([(DRAIN_LANE, ["tenants/a"])] if is_sent_again else [])


@pytest.mark.parametrize(("name", "args"), [(DUE_LANES, []), (DRAIN_LANE, ["tenants/a"])])
def test_sidecar_that_is_away_is_a_line_of_the_log_and_one_that_refuses_is_an_error(
    desk: Desk, name: str, args: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    desk.sidecar.lanes = desk.sidecar.drained = Unavailable("away", "UNAVAILABLE")
    desk.run(name, *args)
    assert "chore.put_off" in caplog.text
    desk.sidecar.lanes = desk.sidecar.drained = AccessDenied("no", "PERMISSION_DENIED")
    with pytest.raises(AccessDenied):
        desk.run(name, *args)


def test_run_that_is_given_again_has_the_same_request_id(desk: Desk) -> None:
    told = desk.run(RUN_TASK, "compare-rooms", "tenants/a", task_id="task-1")
    desk.run(RUN_TASK, "compare-rooms", "tenants/a", task_id="task-1")
    assert desk.sidecar.asked == [("tasks/compare-rooms", "tenants/a", "task-1")] * 2
    assert (told["name"], told["total_count"]) == ("tasks/compare-rooms/runs/1", 3)


def test_beat_is_told_what_to_send_when(desk: Desk) -> None:
    desk.chores.beat()
    desk.chores.run_each("compare-rooms", 3600.0, scope="tenants/a")
    plan = desk.app.conf.beat_schedule
    assert plan[DUE_LANES]["schedule"] == 5.0
    assert plan[DUE_LANES]["options"]["expires"] == 5.0
    assert plan[DUE_LANES]["options"]["queue"] == QUEUE
    run = plan["exchange.run_task compare-rooms tenants/a"]
    assert (run["task"], list(run["args"]), run["options"]["queue"]) == (
        RUN_TASK,
        ["compare-rooms", "tenants/a"],
        QUEUE,
    )


def test_wait_longer_than_the_interval_is_refused_because_waiting_tasks_would_fill_the_slots() -> None:
    with pytest.raises(ValueError):
        ExchangeChores(Celery("unit", set_as_current=False), target="127.0.0.1:1", interval_s=2.0, wait_s=3.0)
