"""What a change does at Exchange, decided before anything is sent, and written down with the write. Values only.

Whoever goes on with a write after somebody else died goes on from these; they hold what was there before, too, because a
change that turns out to be in the way of somebody is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from sidecar.model.ids import BookingKey, EventId
from sidecar.model.series import Series
from sidecar.model.window import Window
from sidecar.writes.changes import Change, Scope
from sidecar.writes.splits import Lost

Json: TypeAlias = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One event changed, or a series as a whole.

    Attributes:
        change_key: of the version that was read.
        forth: what is sent, as Graph writes it.
        back: what takes it back; empty: it is not taken back, because it is in nobody's way.
        before, after: a series' different days, where Exchange forgets them; None: it keeps them.
        also: occurrence that says something else than its series, and is to say this, too, because it was named.
        windows: times at which the event is new; empty: none.
        named_at: when the occurrence that was named takes place by the pattern after the change; None: not in a series.
    """

    event_id: EventId
    change_key: str
    forth: Json = field(repr=False)
    back: Json = field(default_factory=dict, repr=False)
    before: Series | None = None
    after: Series | None = None
    also: EventId | None = None
    windows: tuple[Window, ...] = ()
    lost: tuple[Lost, ...] = ()
    named_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A series cut in two.

    Attributes:
        head: what stays of it.
        forth: what is sent to cut it.
        tail: what follows; None: nothing does.
        tail_event: the event that the tail is made of.
        tail_id: that event, once it has been made.
        windows: times at which the tail takes place, where the series did not.
        kept: the other times at which it does.
        made_at: when the series was made; whoever booked later may have seen nothing else in his way.
    """

    event_id: EventId
    change_key: str
    head: Series
    forth: Json = field(repr=False)
    tail: Series | None = None
    tail_event: Json = field(default_factory=dict, repr=False)
    tail_id: EventId | None = None
    windows: tuple[Window, ...] = ()
    kept: tuple[Window, ...] = ()
    made_at: datetime | None = None
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOrder:
    """What is needed to go on with a change: the payload of its write.

    Attributes:
        etag: version that is to be changed, as the caller knows it; empty: whichever is there.
        rewrite, cut: what was decided; as long as there is neither, nothing was sent.
    """

    key: BookingKey
    scope: Scope
    etag: str
    change: Change
    rewrite: Rewrite | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """What is needed to go on with a cancellation: the payload of its write.

    Attributes:
        target, cut: what was decided to go; as long as there is neither, nothing was sent.
    """

    key: BookingKey
    scope: Scope
    etag: str
    comment: str = field(repr=False)
    is_missing_allowed: bool = False
    target: EventId | None = None
    cut: Cut | None = None


def encode_order(order: UpdateOrder | CancelOrder) -> bytes:
    """Return an order as bytes."""
    return msgspec.json.encode(order)


def decode_update(payload: bytes) -> UpdateOrder:
    """Read an order."""
    return msgspec.json.decode(payload, type=UpdateOrder)


def decode_cancel(payload: bytes) -> CancelOrder:
    """Read an order."""
    return msgspec.json.decode(payload, type=CancelOrder)
