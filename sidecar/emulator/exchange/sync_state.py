"""How far readers of a mailbox's changes have come: plain data, bounded, apart from the calendar itself.

A round is one pass over what a reader has to be told. Its links name the round and a page; which items a page holds is decided
when it is first asked for and kept, so that a link asked for twice tells the same items.
"""

from dataclasses import dataclass, field
from datetime import datetime

_ENTRIES_KEPT_MAX = 20_000  # per mailbox; the oldest rounds are forgotten first
_ROUNDS_KEPT_MAX = 2_000  # per mailbox; readers who poll a quiet calendar make rounds that tell nothing
PAGES_MAX = 10_000  # of one round; only pages that never end get there


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaEntry:
    """One thing a round has to tell: an item, or one occurrence of a series."""

    core: str
    day: str = ""
    """ISO date of an occurrence; empty for the item itself."""
    left: str = ""
    """The core of a mutable id that names nothing any more; only readers of mutable ids are told."""


@dataclass(slots=True, kw_only=True)
class DeltaRound:
    """One round: its window, what it tells, where its pages were cut, and whether its links still work."""

    start_at: datetime
    end_at: datetime
    until: int
    """The version of the calendar that this round brings its reader to."""
    made_at: datetime
    pending: list[DeltaEntry]
    pages: list[tuple[int, int]] = field(default_factory=list)
    """Begin and end in `pending` of the pages that were asked for."""
    following: str = ""
    """The round made when this one's delta link was last asked for."""
    refused_status: int = 0
    """With which its links are refused; 0 while they work."""
    refused_code: str = ""


@dataclass(slots=True, kw_only=True)
class SyncState:
    """The rounds of one mailbox, by the token that names them."""

    rounds: dict[str, DeltaRound] = field(default_factory=dict)
    entries_count: int = 0
    """What all rounds together have to tell."""
    endless: bool = False
    """Whether rounds never come to an end, as some mailboxes' do."""

    def keep(self, token: str, made: DeltaRound) -> None:
        """Remember a round, and forget the oldest ones if there are too many."""
        self.rounds[token] = made
        self.entries_count += len(made.pending)
        while len(self.rounds) > 1 and (len(self.rounds) > _ROUNDS_KEPT_MAX or self.entries_count > _ENTRIES_KEPT_MAX):
            oldest = next(iter(self.rounds))
            self.entries_count -= len(self.rounds.pop(oldest).pending)

    def expire(self, status: int, code: str) -> int:
        """Let every link given out so far be refused; gives how many rounds that were."""
        for one in self.rounds.values():
            one.refused_status, one.refused_code = status, code
            one.pending, one.pages = [], []
        self.entries_count = 0
        return len(self.rounds)
