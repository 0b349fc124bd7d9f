"""What mailboxes have still to do about meetings, as plain data in the tenant; `agenda.py` waits for it."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum


class ActKind(Enum):
    """What is going to happen."""

    INVITE = "invite"
    """A request that nobody sees yet is put on the calendar and answered."""
    ANSWER = "answer"
    """A room answers what is on its calendar."""
    CANCEL = "cancel"
    """A cancellation arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAct:
    """One thing a mailbox will do about one item of a meeting; once it has left the tenant it is void."""

    number: int
    kind: ActKind
    meeting_id: str
    mailbox_id: str
    core: str
    """Of the item's id; empty for an invitation that has no item yet."""
    day: date | None
    """Which occurrence of a series; None is the single item or the whole series."""
    due_at: datetime
