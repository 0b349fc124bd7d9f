"""Subscriptions that are due all at once: within Microsoft's limits, in order, and without anybody waiting in place."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from contextlib import AbstractContextManager

import pytest

from sidecar.model.ids import TenantUid
from sidecar.sync.pace import CALLS_MAX, SubscriptionPace
from tests.support.stores import ManualClock

LIMIT, LIMIT_S = 500, 20.0
"""What Microsoft takes for an application in one tenant."""
ACME = TenantUid("acme")


class Rush:
    """Many who want to call, as a lane runs them: each comes when it is told to, and holds a place while it calls."""

    def __init__(self, *, call_s: float = 0.0, writes: int = 1, tenant: TenantUid = ACME) -> None:
        self.clock = ManualClock()
        self.pace = SubscriptionPace(clock=self.clock)
        self.call_s = call_s
        self.writes = writes
        self.tenant = tenant
        self.sent: list[float] = []
        self.asked_count = 0
        self.under_way_max = 0

    def run(self, keys: Iterable[str]) -> None:
        """Go on until all have called."""
        waiting = [(0.0, number, key) for number, key in enumerate(keys)]
        heapq.heapify(waiting)
        calls: list[tuple[float, int]] = []
        open_calls: dict[int, AbstractContextManager[None]] = {}
        number = len(waiting)
        while waiting or calls:
            is_end = bool(calls) and (not waiting or calls[0][0] <= waiting[0][0])
            at_s = calls[0][0] if is_end else waiting[0][0]
            self.clock.advance(max(0.0, at_s - self.clock.monotonic()))
            if is_end:
                open_calls.pop(heapq.heappop(calls)[1]).__exit__(None, None, None)
                continue
            _, _, key = heapq.heappop(waiting)
            number += 1
            self.asked_count += 1
            wait_s = self.pace.wait_s(self.tenant, key)
            if wait_s > 0.0:
                heapq.heappush(waiting, (self.clock.monotonic() + wait_s, number, key))
                continue
            call = self.pace.calling(self.tenant)
            call.__enter__()
            for _ in range(self.writes):
                self.pace.note_write(self.tenant)
                self.sent.append(self.clock.monotonic())
            open_calls[number] = call
            heapq.heappush(calls, (self.clock.monotonic() + self.call_s, number))
            self.under_way_max = max(self.under_way_max, len(calls))

    def most_in_a_window(self) -> int:
        """Return how many writes fell into the busiest span of Microsoft's limit."""
        return max(sum(at_s <= other < at_s + LIMIT_S for other in self.sent) for at_s in self.sent)


def rooms(count: int) -> list[str]:
    """Name rooms."""
    return [f"r{number}" for number in range(count)]


@pytest.mark.parametrize(("call_s", "writes"), [(0.0, 1), (0.2, 1), (0.05, 4), (2.0, 1)])
def test_two_thousand_at_once_stay_within_the_limit(call_s: float, writes: int) -> None:
    """However long a call takes, and however many writes it turns out to be."""
    rush = Rush(call_s=call_s, writes=writes)
    rush.run(rooms(2_000))
    assert len(rush.sent) == 2_000 * writes
    assert rush.most_in_a_window() < LIMIT
    assert rush.under_way_max <= CALLS_MAX


def test_two_thousand_quick_calls_take_less_than_two_minutes() -> None:
    """The pace is not slower than the limit makes it."""
    rush = Rush(call_s=0.2)
    rush.run(rooms(2_000))
    assert rush.clock.monotonic() < 120.0


def test_line_learns_how_long_calls_take() -> None:
    """Nobody is told to come back again and again: being told costs a transaction."""
    rush = Rush(call_s=2.0)
    rush.run(rooms(1_000))
    assert rush.asked_count < 4 * 1_000


def test_few_go_at_once() -> None:
    """A room that is mapped by itself does not wait."""
    rush = Rush()
    rush.run(rooms(CALLS_MAX))
    assert rush.asked_count == CALLS_MAX
    assert rush.clock.monotonic() == 0.0


def test_newcomer_goes_to_the_end_of_the_line() -> None:
    """Those who wait are not overtaken."""
    clock = ManualClock()
    pace = SubscriptionPace(clock=clock)
    waits = []
    for key in rooms(200):
        wait_s = pace.wait_s(ACME, key)
        if wait_s == 0.0:
            pace.note_write(ACME)
        waits.append(wait_s)
    assert waits == sorted(waits)
    clock.advance(1.0)
    assert pace.wait_s(ACME, "new") > waits[-1] - 1.0


def test_asking_too_early_keeps_the_turn() -> None:
    """A mark may bring a room's work forward; its turn stays."""
    clock = ManualClock()
    pace = SubscriptionPace(clock=clock)
    with pace.calling(ACME):
        for _ in range(100):
            pace.note_write(ACME)
    wait_s = pace.wait_s(ACME, "r1")
    clock.advance(wait_s / 2)
    assert pace.wait_s(ACME, "r1") == pytest.approx(wait_s / 2)


def test_tenants_do_not_wait_for_each_other() -> None:
    """Microsoft counts each by itself."""
    pace = SubscriptionPace(clock=ManualClock())
    for _ in range(1_000):
        pace.note_write(ACME)
    assert pace.wait_s(ACME, "r1") > 0.0
    assert pace.wait_s(TenantUid("other"), "r1") == 0.0


def test_place_of_a_failed_call_is_free_again() -> None:
    """Failures do not stop the line."""
    pace = SubscriptionPace(clock=ManualClock())
    for _ in range(CALLS_MAX + 1):
        with pytest.raises(ValueError, match="x"), pace.calling(ACME):
            raise ValueError("x")
    assert pace.wait_s(ACME, "r1") == 0.0
