"""What one read of Exchange changes in a room: the decision, before it is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sidecar.model.booking import Booking
from sidecar.model.change import Cause, ChangeKind
from sidecar.model.ids import BookingKey, EventId
from sidecar.model.problem import Problem
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


@dataclass(frozen=True, slots=True)
class DeltaPlace:
    """Where the next look for changes begins: Graph's link, and the window that it is bound to. The link stays inside."""

    link: str = field(repr=False)
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRead:
    """Facts of a read of the whole horizon.

    Attributes:
        horizon: what it covered.
        began_at: when it began.
        resyncs: those asked for until then.
        place: taken before the read began, so that nothing falls between; None: there is none, and changes are found by
            reading everything.
        no_delta_until_at: until when this mailbox does without delta, because it does not work there.
        named: what a delta round named right before; None: none could be read.
        held: bookings that the read did not show and that are kept until a second read agrees; `hold` tells people.
    """

    horizon: Window
    began_at: datetime
    resyncs: int
    place: DeltaPlace | None = None
    no_delta_until_at: datetime | None = None
    named: frozenset[EventId] | None = None
    held: frozenset[BookingKey] = frozenset()
    hold: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRead:
    """Facts of a delta round that was read to its end, and of which all that it named was then read: from where the next one
    begins, and when it began."""

    place: DeltaPlace
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a plan did.

    Attributes:
        changes_count: changes told to watchers.
        unannounced_count: those of them that no notification had announced although it should have, minutes ago.
        drift_count: those of them that nothing had named, neither a notification nor a delta round.
        held_count: bookings that the read did not show and that are kept for now.
        is_first: the room was never read before.
    """

    changes_count: int
    unannounced_count: int = 0
    drift_count: int = 0
    held_count: int = 0
    is_first: bool = False
