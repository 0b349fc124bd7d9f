"""Follows the pages of a delta round to their end, and notices when there is none.

Rounds of some mailboxes never end: the same pages come again under links that are always new. Others end in a refusal,
in one of many spellings, because Exchange has forgotten what the link stood for.
Source: Graph "event: delta" page; msgraph-sdk-dotnet #3070 and #3082 for pages that repeat; codes seen by others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from sidecar.errors import DeltaUnusable, GraphRefused, MailboxNotFound, SidecarError
from sidecar.graph.wire import DeltaItem, DeltaPage, DeltaRound

_REPEATS_MAX = 3
"""A page that comes so often comes for ever. Twice happens: what a failed page told is told again."""
_LINK_CHARS_MAX = 16_384
"""Links of large mailboxes are some hundred characters long."""


class Round:
    """A round under way: what its pages told so far, and where it goes on."""

    def __init__(self, *, pages_max: int) -> None:
        self._pages_max = pages_max
        self._pages_count = 0
        self._items: dict[str, DeltaItem] = {}
        self._seen: Counter[bytes] = Counter()
        self._links: set[str] = set()

    def take(self, page: DeltaPage) -> DeltaRound | str:
        """Take in a page; return the whole round when it was the last one, else the link of the next.

        Raises:
            DeltaUnusable: the pages have no end, or lead nowhere.
        """
        self._pages_count += 1
        for item in page.value:
            self._items.pop(item.id, None)  # the last word also decides the place
            self._items[item.id] = item
        if page.delta_link:
            return DeltaRound(list(self._items.values()), _checked(page.delta_link))
        if not page.next_link:
            raise DeltaUnusable("a round of changes broke off without a link")
        if page.value:
            print_of = _fingerprint(page.value)
            self._seen[print_of] += 1
            if self._seen[print_of] >= _REPEATS_MAX:
                raise self._endless()
        if self._pages_count >= self._pages_max or page.next_link in self._links:
            raise self._endless()
        self._links.add(page.next_link)
        return _checked(page.next_link)

    def _endless(self) -> DeltaUnusable:
        details = {"pages_count": str(self._pages_count)}
        return DeltaUnusable("a round of changes has no end", is_endless=True, details=details)


def is_forgotten(error: SidecarError) -> bool:
    """Tell whether the refusal of a link means that it is worth nothing any more.

    Exchange says so with 410, 400 or 404 and half a dozen codes, some of which it also uses for a mailbox that is not there.
    Reading everything, which is what comes next, tells these apart; and a link refused for whatever other reason would be
    refused for ever.
    """
    return isinstance(error, GraphRefused | MailboxNotFound)


def _fingerprint(items: Sequence[DeltaItem]) -> bytes:
    told = "\n".join(f"{item.id} {item.etag}" for item in items)
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checked(link: str) -> str:
    if len(link) > _LINK_CHARS_MAX:
        raise DeltaUnusable("a delta link is too long to be kept")
    return link
