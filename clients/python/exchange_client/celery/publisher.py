"""Sends changes as Celery tasks, and returns only when the broker has every one of them.

Blocks: the bridge calls it in a thread. With RabbitMQ it publishes persistent messages, many at once, and waits for the
broker's confirms; a message that no queue took counts as not sent. Other brokers (Redis) have a message when the call that
sends it has returned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from amqp.exceptions import PreconditionFailed
from celery import Celery
from kombu import Producer, Queue
from kombu.exceptions import KombuError

from exchange_client.celery.shape import Change

TIMEOUT_S = 30.0
"""For anything asked of the broker: half of what the sidecar lets a watch stall."""

HEARTBEAT_S = 60
"""The broker is spoken to each time that the sidecar sends a checkpoint, every 15 s; four may be late."""


class BrokerLost(Exception):
    """The broker is not there, refused, or did not confirm in time. Nothing sent since the last confirm counts as sent."""


class QueueMismatch(Exception):
    """A queue exists with other arguments than it is declared with. Waiting does not mend it."""


class Publisher:
    """One connection to the broker of a Celery app. Not for several threads at once."""

    def __init__(self, app: Celery, *, task_name: str, queues: Sequence[Queue]) -> None:
        """Prepare; `queues` are declared by `open`, and may be sent to."""
        self._app = app
        self._task_name = task_name
        self._queues = list(queues)
        # Any: kombu has no types.
        self._connection: Any = None
        self._channel: Any = None
        self._producer: Any = None
        self._is_amqp = False
        self._published_count = 0
        self._unconfirmed: set[int] = set()
        self._refused = ""

    def open(self) -> None:
        """Connect and declare the queues; does nothing when that is done.

        Raises:
            BrokerLost: it cannot be reached, or refuses.
            QueueMismatch: see there.
        """
        if self._producer is None:
            self._guarded(self._open)

    def send(self, sendings: Sequence[tuple[Queue, Change]]) -> None:
        """Send changes in order; the broker has them all when this returns.

        Raises:
            BrokerLost: some may have been sent, and may be sent again. The connection is closed.
        """
        self.open()
        self._guarded(lambda: self._send(sendings))

    def lengths(self) -> list[int]:
        """Give how many messages wait in each queue, apart from those that a worker has; a queue that was deleted is made anew.

        Raises:
            BrokerLost, QueueMismatch: as for `open`.
        """
        self.open()
        lengths: list[int] = []
        self._guarded(lambda: lengths.extend(self._declare()))
        return lengths

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        self._producer = self._channel = None
        self._unconfirmed.clear()
        if connection is not None:
            # It says goodbye without waiting for long, and swallows what a broken connection answers to that.
            connection.collect()

    def _guarded(self, act: Callable[[], None]) -> None:
        connection = self._connection or self._app.connection_for_write()
        lost = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError, _Refused)
        try:
            act()
        except PreconditionFailed as error:
            self.close()
            raise QueueMismatch(
                "a queue exists with other arguments; once it is empty delete it, and it is declared anew: "
                f"{error.reply_text}"
            ) from error
        except lost as error:
            self.close()
            raise BrokerLost(f"{type(error).__name__}: {error}") from error

    def _open(self) -> None:
        driver = self._app.connection_for_write().transport.driver_type
        self._is_amqp = driver == "amqp"
        options: dict[str, object] = {"socket_timeout": TIMEOUT_S}
        if self._is_amqp:
            # Confirms are asked for below, for many messages at once; the transport's own waits after each of them.
            options = {"confirm_publish": False, "read_timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S}
        self._connection = self._app.connection_for_write(heartbeat=HEARTBEAT_S, transport_options=options)
        self._channel = self._connection.channel()
        self._published_count, self._refused = 0, ""
        self._unconfirmed.clear()
        self._declare()
        if self._is_amqp:
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._acked)
            self._channel.events["basic_nack"].add(self._nacked)
            self._channel.events["basic_return"].add(self._returned)
        self._producer = Producer(self._channel)

    def _declare(self) -> list[int]:
        return [queue(self._channel).queue_declare().message_count for queue in self._queues]

    def _send(self, sendings: Sequence[tuple[Queue, Change]]) -> None:
        for queue, change in sendings:
            if self._is_amqp:
                self._published_count += 1
                self._unconfirmed.add(self._published_count)
            self._app.send_task(
                self._task_name,
                args=[change],
                task_id=change["id"],
                queue=queue,
                producer=self._producer,
                retry=False,
                serializer="json",
                delivery_mode=2,  # persistent
                ignore_result=True,
                declare=[],
                **({"mandatory": True} if self._is_amqp else {}),
            )
        until_s = time.monotonic() + TIMEOUT_S
        while self._unconfirmed:
            self._connection.drain_events(timeout=max(0.0, until_s - time.monotonic()) or 0.001)
        if self._refused:
            raise _Refused(self._refused)

    def _acked(self, delivery_tag: int, multiple: bool) -> None:
        if multiple:
            self._unconfirmed = {tag for tag in self._unconfirmed if tag > delivery_tag}
        else:
            self._unconfirmed.discard(delivery_tag)

    def _nacked(self, delivery_tag: int, multiple: bool) -> None:
        self._refused = "the broker could not keep a message"
        self._acked(delivery_tag, multiple)

    def _returned(self, error: object, exchange: str, routing_key: str, message: object) -> None:
        self._refused = f"there is no queue {routing_key}"


class _Refused(Exception):
    """The broker said no to a message."""
