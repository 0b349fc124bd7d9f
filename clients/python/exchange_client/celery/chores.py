"""The sidecar's chores driven by Celery: tasks that call TaskService, and what beat has to send when.

    chores = ExchangeChores(app, target="unix:///run/exchange/exchange.sock")
    chores.beat()                                        # with tasks.runner=outside: all that is due, within seconds
    chores.run_each("compare-rooms", crontab(hour=3))    # a chore at a time of your own

Each task makes its own connection and closes it, so that they run in workers of any pool: gRPC does not live through a fork,
and nothing of it is alive when `prefork` makes its children. Tasks that are lost, doubled or late cost time and nothing else:
what is due is a row in the sidecar, and a lane is drained in one place at a time.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import Celery
from google.protobuf.json_format import MessageToDict

from exchange_client.channel import BearerToken, ChannelOptions, Tls
from exchange_client.errors import ExchangeError
from exchange_client.sync_client import SyncExchangeClient

log = logging.getLogger("exchange_client.celery")

QUEUE = "exchange.chores"
"""Queue of these tasks unless told otherwise."""

DUE_LANES, DRAIN_LANE, RUN_TASK = "exchange.due_lanes", "exchange.drain_lane", "exchange.run_task"
"""Names of the tasks."""

INTERVAL_S = 5.0
"""How often beat asks which lanes are due."""

WAIT_S = 4.0
"""How long the sidecar is let wait for a lane to become due: less than INTERVAL_S, so that one task waits at a time."""

DRAIN_S = 25.0
"""A drain begins nothing more after this, and its lane comes again; a worker that shuts down does not wait for longer."""

LANES_MAX = 1000
"""Lanes asked for at once. Those beyond are named the next time, when the first ones are held or done."""


class ExchangeChores:
    """Tasks of one Celery app that drive the chores of one sidecar."""

    def __init__(
        self,
        app: Celery,
        *,
        target: str,
        token: BearerToken = None,
        tls: Tls | None = None,
        channel: ChannelOptions = (),
        queue: str = QUEUE,
        interval_s: float = INTERVAL_S,
        wait_s: float = WAIT_S,
        drain_s: float = DRAIN_S,
    ) -> None:
        """Make the tasks; nothing is called yet.

        Args:
            target, token, tls, channel: as for `SyncExchangeClient.connect`; the caller needs the scopes `tasks.read` and
                `tasks.run`.
            queue: where the tasks go; a worker takes it with `-Q`, and any number of slots.
            interval_s, wait_s, drain_s: see INTERVAL_S, WAIT_S, DRAIN_S.
        Raises:
            ValueError: `wait_s` is longer than `interval_s`: waiting tasks would fill all slots.
        """
        if not 0 <= wait_s <= interval_s:
            raise ValueError(f"wait_s is 0 to interval_s, {interval_s:g}, and not {wait_s:g}")
        self._app = app
        self._connect = partial(SyncExchangeClient.connect, target, token=token, tls=tls, options=channel)
        self._queue = queue
        self._interval_s = interval_s
        self._wait_s = wait_s
        self._drain_s = drain_s
        self._make_tasks()

    def beat(self) -> None:
        """Have beat ask for due lanes. The sidecar needs it with `tasks.runner=outside`; otherwise it does no harm."""
        # What waited for a worker for longer than this is asked anew by then.
        self._app.add_periodic_task(
            self._interval_s,
            self._app.signature(DUE_LANES),
            name=DUE_LANES,
            queue=self._queue,
            expires=self._interval_s,
        )

    def run_each(self, task: str, schedule: Any, *, scope: str = "") -> None:
        """Have beat make a chore due at times of your own.

        Args:
            task: its id, as in `exchange-sidecar task list`, such as "compare-rooms".
            schedule: seconds, or what beat takes besides, such as `crontab` (Any: Celery has no types).
            scope: name of a room or tenant; empty: all tenants that the caller may name.
        """
        name = f"{RUN_TASK} {task} {scope}".strip()
        self._app.add_periodic_task(
            schedule, self._app.signature(RUN_TASK, args=(task, scope)), name=name, queue=self._queue
        )

    def _make_tasks(self) -> None:
        # celery has no types, hence the ignores. Not shared: each app has its own sidecar.
        task = self._app.task

        @task(name=DUE_LANES, shared=False, ignore_result=True)  # type: ignore[untyped-decorator]
        def due_lanes() -> None:
            self._due_lanes()

        @task(name=DRAIN_LANE, shared=False, ignore_result=True)  # type: ignore[untyped-decorator]
        def drain_lane(lane: str) -> None:
            self._drain_lane(lane)

        # Late, with its own id as that of the wish: given again after a worker's death it is the same run.
        @task(name=RUN_TASK, shared=False, bind=True, acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
        def run_task(task: Any, name: str, scope: str = "") -> dict[str, Any]:
            return self._run_task(name, scope, request_id=task.request.id)

    def _due_lanes(self) -> None:
        try:
            with self._connect() as client:
                lanes = client.wait_due_lanes(wait_s=self._wait_s, count_max=LANES_MAX)
        except ExchangeError as error:
            self._told(DUE_LANES, error)
            return
        for lane in lanes:
            self._send_drain(lane.name)

    def _drain_lane(self, lane: str) -> None:
        try:
            with self._connect() as client:
                answer = client.drain_lane(lane, max_s=self._drain_s)
        except ExchangeError as error:
            self._told(DRAIN_LANE, error)
            return
        done_count = sum(work.done_count for work in answer.work)
        failed_count = sum(work.failed_count for work in answer.work)
        fields = (lane, done_count, failed_count, answer.held_elsewhere, answer.more_due)
        log.info("lane.drained lane=%s done_count=%d failed_count=%d held_elsewhere=%s more_due=%s", *fields)
        if answer.more_due and not answer.held_elsewhere:
            self._send_drain(lane)

    def _run_task(self, name: str, scope: str, *, request_id: str) -> dict[str, Any]:
        with self._connect() as client:
            run = client.run_task(f"tasks/{name}", scope, request_id=request_id)
        return MessageToDict(run, preserving_proto_field_name=True)

    def _send_drain(self, lane: str) -> None:
        # A lane that nobody has begun on by then is named again: tasks for it must not pile up meanwhile.
        self._app.send_task(
            DRAIN_LANE, args=[lane], queue=self._queue, expires=2 * self._interval_s, ignore_result=True
        )

    def _told(self, what: str, error: ExchangeError) -> None:
        """Pass over what the next task may find mended; raise the rest, for Celery to report."""
        if not error.retryable:
            raise error
        log.warning("chore.put_off task=%s code=%s reason=%s", what, error.code, error.reason)
