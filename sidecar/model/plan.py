"""What one read of Exchange changes in a room: the decision, before it is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sidecar.model.booking import Booking
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.window import Window


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write a booking. `kind` is None when watchers need not hear of it: it did not take the room before, nor does it now."""

    booking: Booking
    digest: bytes
    kind: ChangeKind | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Removal:
    """Drop a booking. `kind` is None when watchers need not hear of it."""

    key: BookingKey
    kind: ChangeKind | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class Touch:
    """Note Graph's new ids of a booking that callers see unchanged."""

    key: BookingKey
    event_id: EventId
    master_id: EventId | None
    change_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPlan:
    """Upserts, removals and touches with disjoint keys; any of them may be empty."""

    upserts: tuple[Upsert, ...] = ()
    removals: tuple[Removal, ...] = ()
    touches: tuple[Touch, ...] = ()

    @property
    def news_count(self) -> int:
        """How many changes watchers hear of."""
        told = sum(upsert.kind is not None for upsert in self.upserts)
        return told + sum(removal.kind is not None for removal in self.removals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which stored bookings a hinted read is about: those of these events, of these series, or with these keys."""

    event_ids: tuple[EventId, ...]
    keys: tuple[BookingKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRead:
    """Facts of a read of the whole horizon: what it covered, when it began, and the resyncs asked for until then."""

    horizon: Window
    began_at: datetime
    resyncs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a plan did: changes told to watchers, and how many of them nobody had announced."""

    changes_count: int
    drift_count: int
    is_first: bool
