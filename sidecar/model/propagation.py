"""Access that was granted and is not known everywhere yet: how long that may take, and when it is looked at again. Pure.

Exchange applies a new access policy within an hour or more, a role of its RBAC within two hours, and both within two days at
the latest. Until then a mailbox that the application may read refuses it.

Source: Exchange "Limit application permissions to specific mailboxes" and "Role based access control for applications" pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

PROPAGATION_MAX = timedelta(hours=48)
"""A refusal that lasts longer is no matter of waiting any more."""
_FIRST_LOOKS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 15))
"""After the grant."""
_EARLY = timedelta(hours=4)
_EARLY_STEP, _LATE_STEP = timedelta(minutes=15), timedelta(hours=1)
"""Between the looks that follow: in the first hours, in which most grants arrive, and after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """How far a grant has got.

    Attributes:
        rooms_count: mapped rooms of the tenant.
        readable_count: those of them that were read, and did not refuse us when they were last asked.
        started_at: the grant.
        next_look_at: when some of the others are asked again.
    """

    rooms_count: int
    readable_count: int
    started_at: datetime
    next_look_at: datetime

    @property
    def ends_at(self) -> datetime:
        """When waiting ends: who refuses us then is said to deny access."""
        return self.started_at + PROPAGATION_MAX


def next_look_at(started_at: datetime, *, now: datetime) -> datetime | None:
    """Return when to look after rooms that refuse us; None when the time for that is over."""
    ends_at = started_at + PROPAGATION_MAX
    if now >= ends_at:
        return None
    planned = [started_at + wait for wait in _FIRST_LOOKS if started_at + wait > now]
    if planned:
        return planned[0]
    return min(now + (_EARLY_STEP if now < started_at + _EARLY else _LATE_STEP), ends_at)


def may_be_pending(granted_at: datetime, *, read_at: datetime | None, now: datetime) -> bool:
    """Tell whether a refusal may be a grant that is on its way.

    Args:
        granted_at: the newest reason to believe that the room may be read.
        read_at: when the room was last read; one that was read since is refused for another reason.
    """
    is_young = now < granted_at + PROPAGATION_MAX
    return is_young and (read_at is None or read_at < granted_at)
