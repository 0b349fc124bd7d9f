"""What an application puts into its Celery app: the queues of changes, and its handler.

    app = Celery("myapp", broker="amqp://...")
    changes = ExchangeChanges(app, queues=8)

    @changes.handler
    def on_change(change): ...

The bridge finds it on the app, so that bridge and workers agree on queues and names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import overload

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from kombu import Queue

from exchange_client.celery.handling import Handle, Patience, carry_out
from exchange_client.celery.layout import PREFIX, QUEUES_COUNT, Layout
from exchange_client.celery.publisher import Publisher
from exchange_client.celery.shape import Change, ChangeTask
from exchange_client.celery.steps import OneSlotPerQueue

TASK_NAME = "exchange.change"
"""Name of the task that a change is."""

_ON_APP = "exchange_changes"


class ExchangeChanges:
    """The changes of rooms as tasks of one Celery app.

    Attributes:
        app: the app.
        layout: names and number of the queues.
        queues: the queues, by number.
        dead_queue: for changes that the handler did not take.
    """

    def __init__(
        self,
        app: Celery,
        *,
        queues: int = QUEUES_COUNT,
        prefix: str = PREFIX,
        queue_arguments: Mapping[str, object] | None = None,
    ) -> None:
        """Add the queues to an app. A worker consumes them only if it is told to, with `-Q`.

        Args:
            queues: how many; a room belongs to one of them for good.
            prefix: their names are this, a dot and a number.
            queue_arguments: of RabbitMQ, beside `x-single-active-consumer`, such as {"x-queue-type": "quorum"}.
        Raises:
            ValueError: see `Layout`.
        """
        self.app = app
        self.layout = Layout(queues_count=queues, prefix=prefix)
        arguments = dict(queue_arguments or {})
        # Of several workers on one queue RabbitMQ serves one, and the next when that is gone. Other brokers ignore it.
        single = {**arguments, "x-single-active-consumer": True}
        self.queues: tuple[Queue, ...] = tuple(_queue(name, single) for name in self.layout.names)
        self.dead_queue = _queue(self.layout.dead_name, arguments)
        self._has_handler = False
        setattr(app, _ON_APP, self)
        app.on_after_finalize.connect(self._add_queues, weak=False)
        app.steps["worker"].add(OneSlotPerQueue)

    @overload
    def handler(self, handle: Handle, /) -> Handle: ...
    @overload
    def handler(self, /, *, patience: Patience) -> Callable[[Handle], Handle]: ...
    def handler(
        self, handle: Handle | None = None, /, *, patience: Patience | None = None
    ) -> Handle | Callable[[Handle], Handle]:
        """Name the function that takes changes; README.md says what it is given and what it has to bear.

        It runs in a worker and may block. It is tried again when it raises, as `patience` says. It is given back as it was.

        Raises:
            ImproperlyConfigured: there is one already.
        """

        if self._has_handler:
            raise ImproperlyConfigured("changes have a handler already, and Celery would go on calling that one")
        self._has_handler = True

        def named(handle: Handle) -> Handle:
            self._make_task(handle, patience or Patience())
            return handle

        return named if handle is None else named(handle)

    def outlet(self) -> ChangeOutlet:
        """Make a connection that changes are sent through."""
        return ChangeOutlet(self)

    def bury(self, change: Change) -> None:
        """Put a change durably into the queue of dead ones; raises BrokerLost."""
        publisher = Publisher(self.app, task_name=TASK_NAME, queues=[self.dead_queue])
        try:
            publisher.send([(self.dead_queue, change)])
        finally:
            publisher.close()

    def _add_queues(self, **_: object) -> None:
        known = self.app.amqp.queues
        for queue in (*self.queues, self.dead_queue):
            known.add(queue)
        # A worker that is not told which queues it is for must not take these as well: it has more than one slot.
        known.deselect([*self.layout.names, self.layout.dead_name])

    def _make_task(self, handle: Handle, patience: Patience) -> None:
        wait = threading.Event().wait

        @self.app.task(  # type: ignore[untyped-decorator]  # celery has no types
            name=TASK_NAME,
            shared=False,  # or every other app of the process would have it, in place of its own
            ignore_result=True,
            # Acknowledged when it is done: a worker that dies has its change given to the next one, at its old place.
            acks_late=True,
            reject_on_worker_lost=True,
            # Only a hard time limit gets here, `carry_out` lets no error through: the change is given again then.
            acks_on_failure_or_timeout=False,
        )
        def exchange_change(change: Change) -> None:
            carry_out(handle, change, patience=patience, wait=wait, bury=self.bury)


class ChangeOutlet:
    """Sends changes to the queues of their rooms; see `bridge.Outlet`."""

    def __init__(self, changes: ExchangeChanges) -> None:
        """Prepare; connects when it is used."""
        self._queues = changes.queues
        self._publisher = Publisher(changes.app, task_name=TASK_NAME, queues=changes.queues)

    def send(self, tasks: Sequence[ChangeTask]) -> None:
        """See `bridge.Outlet`."""
        self._publisher.send([(self._queues[task.queue], task.change) for task in tasks])

    def lengths(self) -> Sequence[int]:
        """See `bridge.Outlet`."""
        return self._publisher.lengths()

    def close(self) -> None:
        """See `bridge.Outlet`."""
        self._publisher.close()


def changes_of(app: Celery) -> ExchangeChanges:
    """Give what an app was given.

    Raises:
        ImproperlyConfigured: nothing was.
    """
    found = getattr(app, _ON_APP, None)
    if not isinstance(found, ExchangeChanges):
        raise ImproperlyConfigured(f"the app {app.main!r} has no ExchangeChanges; make one beside the app")
    return found


def _queue(name: str, arguments: Mapping[str, object]) -> Queue:
    # No exchange of its own: what is sent to the default one by a queue's name arrives there, and nowhere else.
    return Queue(name, exchange="", routing_key=name, durable=True, queue_arguments=dict(arguments))
