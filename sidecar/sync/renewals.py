"""Decides what becomes of a room's subscription, and when it is renewed. Pure."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from sidecar.model.subscription import Subscription, Upkeep

SLACK = timedelta(hours=24)
"""What a subscription is to live on at least, so that an outage of a day costs none."""
_EARLIEST_SHARE = 0.4
_SPREAD_SHARE = 0.2
"""Renewals lie between 40 % and 60 % of a life: what was made in one minute is renewed over more than a day."""
_CLIENT_STATE_LIFE = timedelta(days=90)
"""A subscription is replaced by one with another secret when it is this old; renewals alone would keep it for ever."""


class Step(enum.Enum):
    """What a room's subscription needs."""

    NOTHING = "nothing"
    """Nobody listens, so none is wanted."""
    REST = "rest"
    RENEW = "renew"
    MAKE = "make"
    """One is made, beside the current one if that still lives."""


def plan_upkeep(upkeep: Upkeep, *, now: datetime, life: timedelta, is_in_doubt: bool) -> Step:
    """Say what a room's subscription needs to be alive for another day, with the current secret and the current address.

    Args:
        life: what is asked for; it bounds what can be left.
        is_in_doubt: there is reason to believe that Exchange no longer has it, or does not tell.
    """
    if not upkeep.url:
        return Step.NOTHING
    current, pending = upkeep.current, upkeep.pending
    if current is None or current.graph_id is None or current.url != upkeep.url:
        return Step.MAKE
    if pending is not None and pending.subscription.url == upkeep.url:
        return Step.MAKE  # one for another address is not wanted any more: somebody went back to the former one
    if now - current.created_at > _CLIENT_STATE_LIFE:
        return Step.MAKE
    return Step.RENEW if is_in_doubt or is_renewal_due(current, now=now, life=life) else Step.REST


def plan_renewal(expires_at: datetime, *, now: datetime, chance: float) -> datetime:
    """Say when to renew what lives until `expires_at`: around the middle, and a day before the end at the latest.

    What lives for less than two days is renewed in the middle at the latest.

    Args:
        expires_at: as Microsoft told it, which may be less than was asked for.
        chance: from 0 to 1, different for each.
    """
    life = expires_at - now
    around_middle = now + life * (_EARLIEST_SHARE + _SPREAD_SHARE * chance)
    return min(around_middle, expires_at - min(SLACK, life / 2))


def is_renewal_due(subscription: Subscription, *, now: datetime, life: timedelta) -> bool:
    """Tell whether a subscription is to be renewed now.

    Args:
        life: what is asked for at a renewal; it bounds what can be left.
    """
    if subscription.renew_at is None or subscription.expires_at is None or subscription.renew_at <= now:
        return True
    # What was planned was planned by a clock that may have been set since.
    return subscription.expires_at - now < min(SLACK, life / 2)
