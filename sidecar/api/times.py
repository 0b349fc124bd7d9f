"""Instants of the model and of the protos."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from sidecar.model.window import EPOCH


def set_time(message: Timestamp, at: datetime) -> None:
    """Write an instant into a message."""
    delta = at - EPOCH
    message.seconds = delta.days * 86_400 + delta.seconds
    message.nanos = delta.microseconds * 1_000


def time_of(message: Timestamp) -> datetime:
    """Read an instant that this service wrote."""
    return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1_000)
