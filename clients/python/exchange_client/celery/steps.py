"""Parts of a Celery worker: one that refuses to break the order of changes, and one that runs the bridge inside it."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.exceptions import ImproperlyConfigured


class OneSlotPerQueue(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """Refuses a worker with several slots on queues of changes: two changes of one room would be worked on at once."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: object) -> None:
        """Look at a worker that is about to start (Any: celery has no types).

        Raises:
            ImproperlyConfigured: it has several slots and consumes queues of changes.
        """
        super().__init__(worker)
        ours = {queue.name for queue in worker.app.exchange_changes.queues}
        taken = sorted(ours & set(worker.app.amqp.queues.consume_from))
        if taken and (worker.concurrency != 1 or worker.autoscale):
            raise ImproperlyConfigured(
                f"this worker consumes {taken[0]} with {worker.concurrency} slots, and would work on changes of one room at "
                "the same time: start it with -c 1 and without --autoscale, and more workers for more queues"
            )
