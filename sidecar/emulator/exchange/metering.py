"""How much an app may ask: the table of limits, and what has been counted against them.

Windows are fixed: one opens with the first request it counts and ends after its span, whatever comes meanwhile. What is refused
is not counted, so a caller that waits as told is let in. Everything is counted, also against limits that are not enforced.

Source: Graph "Microsoft Graph service-specific throttling limits" page; where windows begin and the texts are not documented.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType

from sidecar.emulator.exchange.object_graph import NOT_DUMPED


class Scope(Enum):
    """What is counted together."""

    MAILBOX = "app and mailbox"
    TENANT = "app and tenant"
    APP = "app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One row of the table."""

    amount_max: int
    """Requests or bytes in one window; 0 is no limit, as Microsoft tells none."""
    span: timedelta
    scope: Scope
    code: str = "TooManyRequests"
    message: str = "Too many requests. Come back after the time given."


def _exchange(amount_max: int, span_s: int, message: str) -> Limit:
    span = timedelta(seconds=span_s)
    return Limit(amount_max=amount_max, span=span, scope=Scope.MAILBOX, code="ApplicationThrottled", message=message)


def _subscriptions(amount_max: int, scope: Scope) -> Limit:
    return Limit(amount_max=amount_max, span=timedelta(seconds=20), scope=scope)


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "mailbox_requests": _exchange(10_000, 600, "Application is over its 10 minute request limit."),
        "mailbox_upload_bytes": _exchange(150 * 1024 * 1024, 300, "Application is over its 5 minute upload limit."),
        "app_requests": Limit(amount_max=130_000, span=timedelta(seconds=10), scope=Scope.APP),
        "extension_requests": Limit(amount_max=455, span=timedelta(seconds=10), scope=Scope.TENANT),
        "subscription_writes": _subscriptions(500, Scope.TENANT),
        "subscription_writes_app": _subscriptions(2000, Scope.APP),
        "subscription_reauthorizations": _subscriptions(1000, Scope.TENANT),
        "subscription_reauthorizations_app": _subscriptions(4000, Scope.APP),
        "subscription_reads": _subscriptions(500, Scope.TENANT),
        "subscription_reads_app": _subscriptions(2000, Scope.APP),
        "subscription_lists": _subscriptions(25, Scope.TENANT),
        "subscription_lists_app": _subscriptions(40, Scope.APP),
        # Entra publishes no number; a test that wants AADSTS50196 sets one.
        "token_requests": Limit(amount_max=0, span=timedelta(seconds=300), scope=Scope.TENANT),
    }
)


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request counts: so much of a limit, for an app with a mailbox, with a tenant, or alone."""

    limit: str
    key: str
    amount: int = 1


@dataclass(slots=True, kw_only=True)
class Window:
    """What has been counted since it opened."""

    ends_at: datetime
    count: int = 0
    refused_count: int = 0
    """Since the emulator began, not since the window opened."""


@dataclass(slots=True, kw_only=True, eq=False)
class Metering:
    """The counts of one emulator."""

    maxima: dict[str, int] = field(default_factory=dict)
    """What overrules the table, by limit; 0 is no limit."""
    windows: dict[str, dict[str, Window]] = field(default_factory=lambda: {name: {} for name in LIMITS})
    """By limit, then by key."""
    in_flight: Counter[str] = field(default_factory=Counter, metadata=NOT_DUMPED)
    """Requests being answered, by app and mailbox."""
    crowded_counts: Counter[str] = field(default_factory=Counter)
    """Requests refused because others of the same app on the same mailbox were being answered."""

    def amount_max(self, name: str, *, documented: bool, own: Mapping[str, int]) -> int | None:
        """Give what is allowed at present, None for everything.

        Args:
            documented: the numbers of the table are enforced; else only those that overrule it.
            own: what overrules both for the tenant in question; empty for the emulator as a whole.
        """
        if name in own:
            return own[name] or None
        return self.maxima.get(name, LIMITS[name].amount_max if documented else 0) or None

    def admit(
        self, charges: Iterable[Charge], now: datetime, *, documented: bool, own: Mapping[str, int]
    ) -> tuple[Limit, float] | None:
        """Count a request against all its limits, or if one of them is reached, against none.

        Args:
            documented: as for `amount_max`.
            own: as for `amount_max`.
        Returns:
            None if it was counted, else the limit and in how many seconds its window ends.
        """
        counted = []
        for charge in charges:
            window = self._window(charge, now)
            amount_max = self.amount_max(charge.limit, documented=documented, own=own)
            if amount_max is not None and window.count + charge.amount > amount_max:
                window.refused_count += 1
                return LIMITS[charge.limit], (window.ends_at - now).total_seconds()
            counted.append((window, charge.amount))
        for window, amount in counted:
            window.count += amount
        return None

    def _window(self, charge: Charge, now: datetime) -> Window:
        windows = self.windows.setdefault(charge.limit, {})  # an older dump may not know the limit
        window = windows.get(charge.key)
        if window is None:
            window = windows[charge.key] = Window(ends_at=now + LIMITS[charge.limit].span)
        elif window.ends_at <= now:
            window.ends_at, window.count = now + LIMITS[charge.limit].span, 0
        return window
