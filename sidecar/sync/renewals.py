"""Decides when a subscription is renewed. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from sidecar.model.subscription import Subscription

SLACK = timedelta(hours=24)
"""What a subscription is to live on at least, so that an outage of a day costs none."""
_EARLIEST_SHARE = 0.4
_SPREAD_SHARE = 0.2
"""Renewals lie between 40 % and 60 % of a life: what was made in one minute is renewed over more than a day."""


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
