"""A write to Exchange on its way: what is known of it at each step, so that whoever finds it can bring it to its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from sidecar.model.ids import BookingKey, EventId, RoomUid, TenantUid

WriteUid = NewType("WriteUid", str)
"""Our id of a write."""

TRANSACTION_PREFIX = "xs1-"
"""Events of ours are known by it; see `transaction_id_of`."""


class WriteMode(enum.IntEnum):
    """In whose calendar a booking is written; the numbers are those of the API."""

    ROOM = 1
    """The room's own; we find out whether it is free."""
    ORGANIZER = 2
    """The organizer's, as a meeting to which the room is invited; the room answers."""


class WriteKind(enum.StrEnum):
    """What is asked for, and so whose steps carry it out."""

    CREATE = "create"
    """A booking in the room's own calendar."""
    INVITE = "invite"
    """A booking in a person's calendar, to which the room is invited."""
    RELEASE = "release"
    """A room given back before its booking ends."""
    UPDATE = "update"
    """A booking in the room's own calendar, or a series, is to be another."""
    CANCEL = "cancel"
    """A booking is to be gone: taken out, or declined for the room."""
    RECALL = "recall"
    """A booking in a person's calendar is to be gone: the meeting is cancelled there."""
    REINVITE = "reinvite"
    """A booking in a person's calendar is to be another: the meeting is changed there, and the room answers anew."""


class Hold(enum.IntEnum):
    """What becomes of a booking in the copy while a write of it has not ended, whatever is read of it."""

    NONE = 0
    PENDING = 1
    """It is told as pending: nobody knows yet whether it stays."""
    PRESENT = 2
    """It stays though the room's calendar does not show it: the room has not heard of it yet."""
    RELEASING = 3
    """If it goes, it was released, whoever finds out first."""
    FROZEN = 4
    """It stays as it was, and so do all occurrences of its series: what Exchange shows half-way is nobody's news."""
    MOVED = 5
    """It is told as the write tells it: the room may not have heard of the new time, and shows its answer to the old one."""


class WriteState(enum.StrEnum):
    """How far a write has come."""

    STARTED = "started"
    """Whoever holds its claim since it was begun knows whether anything was sent; to everybody else it is like SENT."""
    SENT = "sent"
    """A request may have been sent; whether it was carried out is not known."""
    UNSETTLED = "unsettled"
    """Exchange has done it; whether the room is ours is not known yet."""
    TENTATIVE = "tentative"
    """Exchange has done it, and the room has answered that somebody will decide."""
    WITHDRAWING = "withdrawing"
    """Exchange holds something that has to go again."""
    DONE = "done"
    FAILED = "failed"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self in {WriteState.DONE, WriteState.FAILED}

    @property
    def is_fresh(self) -> bool:
        """Whether whoever holds the claim knows that nobody sent anything before."""
        return self is WriteState.STARTED

    @property
    def is_taken(self) -> bool:
        """Whether Exchange has done what was asked for."""
        return self in {WriteState.UNSETTLED, WriteState.TENTATIVE, WriteState.DONE}

    @property
    def is_answered(self) -> bool:
        """Whether there is something to tell who waits for more than that; it may not be the last word."""
        return self is WriteState.TENTATIVE or self.is_ended


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a write failed, in a form that can be raised again; see `writes.failures`."""

    reason: str
    message: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write. One process at a time works on it: whoever holds the claim that `fence` counts, until it runs out.

    Attributes:
        request_id: the caller's own; the same one means the same write.
        payload: what was asked for, encoded; None once it is not needed any more. Subjects and people are in it.
        event_id: of the event at Exchange, once it is known; of a series, the master's.
        event_created_at: when Exchange made it.
        booking_key: of the booking that came of it; of a series, the first occurrence's.
        failure: set in the states WITHDRAWING and FAILED.
        claimed_until_at: until when it is being worked on.
        hold: what becomes of its booking in the copy until it ends.
        answer: what its caller is told beyond the booking, encoded by its steps; neither words nor people are in it.
    """

    uid: WriteUid
    tenant_uid: TenantUid
    room_uid: RoomUid
    request_id: str
    kind: WriteKind
    state: WriteState
    payload: bytes | None = field(repr=False)
    event_id: EventId | None
    event_created_at: datetime | None
    booking_key: BookingKey | None
    failure: Failure | None
    fence: int
    claimed_until_at: datetime
    created_at: datetime
    hold: Hold = Hold.NONE
    answer: bytes = b""

    @property
    def transaction_id(self) -> str:
        """By which Exchange knows a request for a new event again."""
        return transaction_id_of(self.uid)


def transaction_id_of(uid: WriteUid) -> str:
    """Return the transaction id of a write's event."""
    return TRANSACTION_PREFIX + uid


def write_of(transaction_id: str) -> WriteUid | None:
    """Return the write that made an event; None when it is not one of ours."""
    if not transaction_id.startswith(TRANSACTION_PREFIX):
        return None
    return WriteUid(transaction_id.removeprefix(TRANSACTION_PREFIX))
