"""When a subscription is renewed."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from sidecar.model.ids import RoomUid, TenantUid
from sidecar.model.subscription import Subscription
from sidecar.sync.renewals import SLACK, is_renewal_due, plan_renewal
from tests.support.builders import NOW

LIFE = timedelta(minutes=10_000)


def subscription(*, expires_in: timedelta, renew_in: timedelta) -> Subscription:
    """Build a live one."""
    return Subscription(
        key="k",
        room_uid=RoomUid("r"),
        beside_room_uid=None,
        tenant_uid=TenantUid("t"),
        directory_id="d",
        secret_hash=b"",
        graph_id="g",
        expires_at=NOW + expires_in,
        renew_at=NOW + renew_in,
        url="u",
        mailbox=None,
        is_pending=False,
        created_at=NOW,
    )


def test_renewals_of_what_was_made_in_one_minute_are_no_wave() -> None:
    """Two thousand of them are spread over more than a day, and none comes close to the end."""
    rng = Random(7)
    hours = [0] * 200
    for _ in range(2_000):
        at = plan_renewal(NOW + LIFE, now=NOW, chance=rng.random())
        assert LIFE * 0.4 <= at - NOW <= LIFE * 0.6
        hours[(at - NOW) // timedelta(hours=1)] += 1
    assert max(hours) < 2_000 * 0.05


@pytest.mark.parametrize("life", [timedelta(hours=48), timedelta(hours=50), timedelta(days=3), LIFE])
def test_renewal_leaves_a_day(life: timedelta) -> None:
    """An outage of a day costs no subscription."""
    assert NOW + life - plan_renewal(NOW + life, now=NOW, chance=1.0) >= SLACK


@pytest.mark.parametrize("life", [timedelta(minutes=45), timedelta(hours=24), timedelta(hours=47)])
def test_short_life_is_renewed_in_its_middle_at_the_latest(life: timedelta) -> None:
    """Microsoft may grant less than was asked for; that is obeyed."""
    at = plan_renewal(NOW + life, now=NOW, chance=1.0)
    assert life * 0.4 <= at - NOW <= life / 2


def test_subscription_that_ends_within_a_day_is_due() -> None:
    """Whatever was planned, by a clock that may have been set since."""
    near = subscription(expires_in=timedelta(hours=23), renew_in=timedelta(hours=20))
    assert is_renewal_due(near, now=NOW, life=LIFE)
    far = subscription(expires_in=timedelta(hours=25), renew_in=timedelta(hours=1))
    assert not is_renewal_due(far, now=NOW, life=LIFE)


def test_short_life_that_was_asked_for_is_not_always_due() -> None:
    """With a life of an hour, an hour is all there can be."""
    short = subscription(expires_in=timedelta(minutes=50), renew_in=timedelta(minutes=20))
    assert not is_renewal_due(short, now=NOW, life=timedelta(hours=1))
