"""How long a subscription is authorized, and when its owner is asked to renew that. Decisions only.

Source: Graph "Reduce missing subscriptions and change notifications" page (the interval halves below three hours, is 15
minutes below one, and nothing comes after expiry; delivery goes on for a while, then pauses; PATCH and reauthorize must lie
ten minutes apart).
"""

from datetime import datetime, timedelta

from sidecar.emulator.exchange.subscription import Subscription

_ASKED_FROM = timedelta(minutes=180)
_HALVED_FROM = timedelta(minutes=60)
_ASKED_EVERY = timedelta(minutes=15)
_SPACING = timedelta(minutes=10)


def lasts_until(subscription: Subscription) -> datetime:
    """Give the moment that `reauthorizationRequired` warns of: the token's expiry or the subscription's, the earlier."""
    return min(subscription.authorization.until, subscription.expires_at)


def next_ask(now: datetime, until: datetime) -> datetime | None:
    """Give the next moment to ask for a new authorization; None when there is none before `until`."""
    left = until - now
    if left > _ASKED_FROM:
        return until - _ASKED_FROM
    at = now + (left / 2 if left > _HALVED_FROM else _ASKED_EVERY)
    return at if at < until else None


def is_paused(subscription: Subscription, now: datetime, *, grace_s: float) -> bool:
    """Tell whether notifications are withheld: access is denied, or the token expired `grace_s` ago."""
    authorization = subscription.authorization
    return authorization.denied_since is not None or now >= authorization.until + timedelta(seconds=grace_s)


def note_renewal(subscription: Subscription, now: datetime, *, until: datetime, by_patch: bool) -> None:
    """Take a new token's expiry; PATCH and reauthorize too close together leave the subscription inconsistent."""
    authorization = subscription.authorization
    other_at = authorization.reauthorized_at if by_patch else authorization.patched_at
    authorization.is_inconsistent = other_at is not None and now - other_at < _SPACING
    if by_patch:
        authorization.patched_at = now
    else:
        authorization.reauthorized_at = now
    authorization.until, authorization.renewed_at, authorization.denied_since = until, now, None
    authorization.ask_at = next_ask(now, lasts_until(subscription))
