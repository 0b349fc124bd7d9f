"""What happens around handlers, and which workers are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.concurrency import prefork, solo, thread
from celery.exceptions import Ignore, ImproperlyConfigured, Reject
from exchange_client.celery import BridgeOptions, ExchangeChanges, Patience, changes_of, run_bridge_in_workers
from exchange_client.celery.__main__ import main
from exchange_client.celery.changes import TASK_NAME
from exchange_client.celery.handling import carry_out
from exchange_client.celery.publisher import BrokerLost
from exchange_client.celery.steps import OneSlotPerQueue

CHANGE = {"id": "i1", "room": "tenants/acme/rooms/r1", "kind": "UPSERTED"}


class Desk:
    """A handler that fails so many times, and what was done around it."""

    def __init__(self, failures_count: int, error: Exception | None = None) -> None:
        self.failures_count = failures_count
        self.error = error or RuntimeError("secret words")
        self.calls_count = 0
        self.pauses: list[float] = []
        self.dead: list[dict[str, Any]] = []

    def handle(self, change: dict[str, Any]) -> None:
        self.calls_count += 1
        if self.calls_count <= self.failures_count:
            raise self.error

    def carry_out(self, bury: Callable[[dict[str, Any]], None] | None = None) -> None:
        patience = Patience(attempts_max=4, pause_s=1.0, pause_max_s=3.0)
        carry_out(self.handle, CHANGE, patience=patience, wait=self.pauses.append, bury=bury or self.dead.append)


def test_handler_that_fails_at_first_is_tried_again_in_its_place() -> None:
    desk = Desk(2)
    desk.carry_out()
    assert (desk.calls_count, desk.pauses, desk.dead) == (3, [1.0, 2.0], [])


def test_change_that_no_try_helped_is_buried_with_the_errors_name_and_not_its_words() -> None:
    desk = Desk(99)
    desk.carry_out()
    assert (desk.calls_count, desk.pauses) == (4, [1.0, 2.0, 3.0])
    assert desk.dead == [{**CHANGE, "dead": {"error": "RuntimeError", "attempts_count": 4}}]


def test_change_that_cannot_even_be_buried_is_given_again() -> None:
    def away(change: dict[str, Any]) -> None:
        raise BrokerLost("away")

    with pytest.raises(Reject) as raised:
        Desk(99).carry_out(away)
    assert raised.value.requeue


def test_handler_may_ignore_a_change() -> None:
    with pytest.raises(Ignore):
        Desk(1, Ignore()).carry_out()


@pytest.mark.parametrize("count", [0, 21])
def test_patience_that_cannot_be_is_refused(count: int) -> None:
    with pytest.raises(ValueError):
        Patience(attempts_max=count)


def made(queues: int = 2) -> ExchangeChanges:
    return ExchangeChanges(Celery("unit", broker="memory://", set_as_current=False), queues=queues)


def worker(changes: ExchangeChanges, *consumed: str, slots: int = 1, pool: Any = solo, autoscale: object = None) -> Any:
    """Give a worker as far as the steps look at it (Any: Celery has no types)."""
    changes.app.finalize(auto=True)
    queues = changes.app.amqp.queues
    queues.select(consumed)
    return SimpleNamespace(app=changes.app, concurrency=slots, autoscale=autoscale, pool_cls=pool.TaskPool)


def test_worker_with_several_slots_on_queues_of_changes_is_refused() -> None:
    changes = made()
    OneSlotPerQueue(worker(changes, "exchange.changes.0"))
    with pytest.raises(ImproperlyConfigured, match=r"exchange.changes.0 with 4 slots"):
        OneSlotPerQueue(worker(changes, "exchange.changes.0", slots=4))
    with pytest.raises(ImproperlyConfigured):
        OneSlotPerQueue(worker(changes, "exchange.changes.1", autoscale="3,1"))


def test_worker_that_is_not_told_its_queues_takes_no_changes() -> None:
    changes = made()
    unnamed = worker(changes, slots=4)
    assert list(changes.app.amqp.queues.consume_from) == ["celery"]
    OneSlotPerQueue(unnamed)


def test_worker_for_a_queue_of_changes_declares_it_with_one_active_consumer() -> None:
    changes = made()
    worker(changes, "exchange.changes.1")
    (queue,) = changes.app.amqp.queues.consume_from.values()
    assert queue.queue_arguments == {"x-single-active-consumer": True}
    assert queue.durable


@pytest.mark.parametrize("pool", [solo, thread])
def test_bridge_may_run_in_a_worker_of_one_process(pool: Any, tmp_path: Path) -> None:
    changes = made()
    run_bridge_in_workers(changes, BridgeOptions(target="127.0.0.1:1", tenant="acme", cursor=tmp_path))
    (step,) = (step for step in changes.app.steps["worker"] if step is not OneSlotPerQueue)
    step(worker(changes, pool=pool))


def test_bridge_in_a_worker_that_forks_is_refused_with_a_way_out(tmp_path: Path) -> None:
    changes = made()
    run_bridge_in_workers(changes, BridgeOptions(target="127.0.0.1:1", tenant="acme", cursor=tmp_path))
    (step,) = (step for step in changes.app.steps["worker"] if step is not OneSlotPerQueue)
    with pytest.raises(ImproperlyConfigured, match=r"prefork.* -P threads or -P solo, or run the bridge"):
        step(worker(changes, pool=prefork))


def test_handler_is_acknowledged_late_and_given_again_when_its_worker_is_lost() -> None:
    changes = made()
    changes.handler(lambda change: None)
    changes.app.finalize(auto=True)
    task = changes.app.tasks[TASK_NAME]
    assert (task.acks_late, task.reject_on_worker_lost, task.acks_on_failure_or_timeout) == (True, True, False)


def test_second_handler_is_refused_because_celery_would_not_call_it() -> None:
    changes = made()
    changes.handler(patience=Patience(attempts_max=1))(print)
    with pytest.raises(ImproperlyConfigured):
        changes.handler(print)


def test_handler_belongs_to_its_own_app() -> None:
    first, second = made(), made()
    first.handler(lambda change: None)
    second.app.finalize(auto=True)
    assert TASK_NAME not in second.app.tasks


def test_app_without_changes_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured):
        changes_of(Celery("other", set_as_current=False))


@pytest.mark.parametrize(
    ("app", "sentence"),
    [("no_such_module", "no_such_module names no Celery app"), ("json", "json names no Celery app")],
)
def test_bridge_for_an_app_that_is_none_ends_with_a_sentence(
    app: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["bridge", "--app", app, "--target", "127.0.0.1:1", "--tenant", "acme", "--cursor", str(tmp_path)]
    assert main(command) == 1
    assert sentence in capsys.readouterr().err
