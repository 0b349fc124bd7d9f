"""The life of a subscription between calls: asked to be reauthorized, paused, healed, removed."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sidecar.emulator.clock import sleep
from sidecar.emulator.moods import Moods, calm_moods
from sidecar.emulator.notify.authorization import next_ask
from tests.unit.emulator.rig import START, Rig, rig, wire_event

pytestmark = pytest.mark.looptime
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR_S = 3600.0
PASSED_S = 2 * HOUR_S
"""Longer than any token lives."""


def moods(**changes: Any) -> Moods:
    return msgspec.structs.replace(calm_moods(), **changes)


def lifecycle(r: Rig) -> list[tuple[float, str]]:
    """Give when, in seconds since the start, which lifecycle notification arrived."""
    return [
        (at, item["lifecycleEvent"]) for at, _, items in r.webhook.posts for item in items if "lifecycleEvent" in item
    ]


def changes(r: Rig) -> list[str]:
    return [change for change, _ in r.webhook.changes()]


async def shown(r: Rig) -> dict[str, Any]:
    (one,) = (await r.told("GET", r.path("/subscriptions")))["subscriptions"]
    return dict(one)


async def token_left_s(r: Rig) -> float:
    until = datetime.fromisoformat((await shown(r))["authorized_until"])
    return (until - r.clock.now()).total_seconds()


async def change(r: Rig) -> None:
    """Change a calendar through a person, which needs no token."""
    await r.book("2026-11-24T10:00:00", "2026-11-24T11:00:00", rooms=[], organizer=r.ada)


async def watch_ada(r: Rig, **changes: Any) -> str:
    answer = await r.subscribe(r.ada, **changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize(
    ("left_minutes", "wait_minutes"),
    [
        (600, 420),
        (181, 1),
        (180, 90),
        (90, 45),
        (61, 30.5),
        (60, 15),
        (46, 15),
        (16, 15),
        (15, None),
        (3, None),
        (-5, None),
    ],
)
def test_interval_halves_below_three_hours_and_is_a_quarter_below_one(
    left_minutes: float, wait_minutes: float | None
) -> None:
    at = next_ask(NOON, NOON + timedelta(minutes=left_minutes))
    assert at == (None if wait_minutes is None else NOON + timedelta(minutes=wait_minutes))


@pytest.mark.parametrize("seed", range(4))
async def test_token_near_expiry_asks_every_quarter_of_an_hour_and_then_never_again(seed: int) -> None:
    async with rig(seed=seed) as r:
        await watch_ada(r)
        left_s = await token_left_s(r)
        await sleep(r.clock, 12 * HOUR_S)
        times = [at for at, event in lifecycle(r) if event == "reauthorizationRequired"]
        assert len(times) == len(lifecycle(r)) >= 2
        assert times[0] == pytest.approx(left_s / 2 if left_s > HOUR_S else 900, abs=1)
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert gaps == pytest.approx([900.0] * len(gaps), abs=1)
        assert left_s - 901 <= times[-1] < left_s


async def test_question_goes_to_the_lifecycle_url_only() -> None:
    async with rig() as r:
        await watch_ada(r)
        await sleep(r.clock, HOUR_S)
        assert {url for _, url, _ in r.webhook.posts} == {"https://hooks.example.org/graph/l"}


async def test_subscription_without_a_lifecycle_url_is_never_asked() -> None:
    async with rig() as r:
        await watch_ada(r, lifecycleNotificationUrl=None)
        await sleep(r.clock, PASSED_S)
        assert r.webhook.posts == []


@pytest.mark.parametrize("by_patch", [True, False])
async def test_new_token_puts_off_the_next_question(by_patch: bool) -> None:
    async with rig() as r:
        url = f"/subscriptions/{await watch_ada(r)}"
        while not lifecycle(r):
            await sleep(r.clock, 60)
        asked_at = r.clock.now()
        await r.sign_in()
        if by_patch:
            answer = await r.graph.patch(url, json={"expirationDateTime": (asked_at + timedelta(days=2)).isoformat()})
        else:
            answer = await r.graph.post(f"{url}/reauthorize")
        assert answer.is_success
        left_s = await token_left_s(r)
        await sleep(r.clock, 3 * HOUR_S)
        after = [at for at, _ in lifecycle(r)][1:]
        due_s = (asked_at - START).total_seconds() + (left_s / 2 if left_s > HOUR_S else 900)
        assert after[0] == pytest.approx(due_s, abs=1)


async def test_subscription_near_its_own_expiry_asks_too() -> None:
    async with rig() as r:
        until = r.clock.now() + timedelta(minutes=50)
        await watch_ada(r, expirationDateTime=until.isoformat())
        await sleep(r.clock, PASSED_S)
        assert [at for at, _ in lifecycle(r)] == pytest.approx([900, 1800, 2700], abs=1)


async def test_expired_subscription_goes_without_a_word() -> None:
    async with rig(moods=moods(reauthorize_share=0.0)) as r:
        await watch_ada(r, expirationDateTime=(r.clock.now() + timedelta(minutes=50)).isoformat())
        await sleep(r.clock, PASSED_S)
        tenant = r.emulator.world.directory.tenants[r.tenant["tenant_id"]]
        assert (tenant.subscriptions, r.webhook.posts) == ({}, [])


async def test_question_that_nobody_took_is_dropped_once_it_is_answered() -> None:
    async with rig() as r:
        subscription = await watch_ada(r)
        r.webhook.down = True
        await sleep(r.clock, 50 * 60)
        await r.sign_in()
        assert (await r.graph.post(f"/subscriptions/{subscription}/reauthorize")).status_code == 204
        r.webhook.down = False
        await sleep(r.clock, 14 * 60)
        assert lifecycle(r) == []
        outcomes = [one["outcome"] for one in (await r.told("GET", r.path("/deliveries")))["deliveries"]]
        assert "no longer needed" in outcomes


async def test_calm_subscription_is_notified_for_days_on_its_first_token() -> None:
    async with rig() as r:
        await watch_ada(r)
        await sleep(r.clock, 5 * 24 * HOUR_S)
        await change(r)
        await r.rest()
        assert changes(r) == ["created"]


async def test_notifications_flow_for_a_while_after_the_token_has_expired_and_are_then_held() -> None:
    async with rig(moods=moods(authorization_grace_s=1800.0)) as r:
        await watch_ada(r)
        await sleep(r.clock, await token_left_s(r) + 1000)
        await change(r)
        await r.rest()
        assert changes(r) == ["created"]
        await sleep(r.clock, 1000)
        await change(r)
        await r.rest()
        assert changes(r) == ["created"]
        assert (await shown(r))["paused"]
        pending = await r.told("GET", r.path("/pending"))
        assert (pending["deliveries"], pending["held"]) == (0, 1)


@pytest.mark.parametrize("by_patch", [True, False])
async def test_held_notifications_come_once_the_subscription_is_authorized_again(by_patch: bool) -> None:
    async with rig(moods=moods(authorization_grace_s=0.0)) as r:
        url = f"/subscriptions/{await watch_ada(r)}"
        await sleep(r.clock, PASSED_S)
        await change(r)
        await r.sign_in()
        if by_patch:
            body = {"expirationDateTime": (r.clock.now() + timedelta(days=2)).isoformat()}
            assert (await r.graph.patch(url, json=body)).status_code == 200
        else:
            assert (await r.graph.post(f"{url}/reauthorize")).status_code == 204
        await r.rest()
        assert changes(r) == ["created"]
        assert not (await shown(r))["paused"]


async def test_notifications_held_for_four_hours_are_lost_and_missed_is_told() -> None:
    async with rig(moods=moods(authorization_grace_s=0.0)) as r:
        await watch_ada(r)
        await sleep(r.clock, PASSED_S)
        await change(r)
        await sleep(r.clock, HOUR_S)
        await change(r)
        await sleep(r.clock, 3 * HOUR_S + 60)
        assert (await r.told("GET", r.path("/pending")))["held"] == 1
        assert [event for _, event in lifecycle(r)][-1] == "missed"
        await sleep(r.clock, HOUR_S)
        assert (await r.told("GET", r.path("/pending")))["held"] == 0
        assert changes(r) == []


async def test_changes_during_a_pause_are_lost_when_the_mood_is_so() -> None:
    async with rig(moods=moods(authorization_grace_s=0.0, pause_loss_share=1.0)) as r:
        subscription = await watch_ada(r)
        await sleep(r.clock, PASSED_S)
        await change(r)
        await r.sign_in()
        await r.graph.post(f"/subscriptions/{subscription}/reauthorize")
        await r.rest()
        assert changes(r) == []


async def test_retries_wait_while_the_authorization_has_run_out() -> None:
    async with rig(moods=moods(authorization_grace_s=0.0, reauthorize_share=0.0)) as r:
        subscription = await watch_ada(r)
        await sleep(r.clock, await token_left_s(r) - 60)
        r.webhook.down = True
        await change(r)
        await sleep(r.clock, 120)
        r.webhook.down = False
        await sleep(r.clock, HOUR_S)
        assert changes(r) == []
        await r.sign_in()
        await r.graph.post(f"/subscriptions/{subscription}/reauthorize")
        await r.rest()
        assert changes(r) == ["created"]


@pytest.mark.parametrize("change_app", [{"disabled": True}, {"roles": []}, {"access_policy": ["nobody@x.example"]}])
async def test_app_that_lost_access_is_asked_then_its_subscription_is_removed(change_app: dict[str, Any]) -> None:
    async with rig() as r:
        await watch_ada(r)
        await r.told("PATCH", r.path("/app"), change_app)
        await sleep(r.clock, 901)
        ((at, event),) = lifecycle(r)
        assert (at == pytest.approx(900, abs=1), event) == (True, "reauthorizationRequired")
        assert (await shown(r))["denied_since"] is not None
        await change(r)
        await r.rest()
        assert changes(r) == []
        await sleep(r.clock, HOUR_S)
        removed = [at for at, event in lifecycle(r) if event == "subscriptionRemoved"]
        assert removed == [pytest.approx(900 + 3600, abs=1)]
        assert (await r.told("GET", r.path("/subscriptions")))["subscriptions"] == []


async def test_token_from_before_the_refusal_still_heals_until_the_next_check() -> None:
    async with rig() as r:
        url = f"/subscriptions/{await watch_ada(r)}"
        await r.told("PATCH", r.path("/app"), {"roles": []})
        await sleep(r.clock, 901)
        await change(r)
        assert (await r.graph.post(f"{url}/reauthorize")).status_code == 204
        await r.rest()
        assert changes(r) == ["created"]
        await sleep(r.clock, 900)
        assert (await shown(r))["denied_since"] is not None


async def test_nothing_is_held_for_a_subscription_that_is_gone() -> None:
    async with rig(moods=moods(authorization_grace_s=0.0)) as r:
        subscription = await watch_ada(r)
        await sleep(r.clock, PASSED_S)
        await change(r)
        assert (await r.told("GET", r.path("/pending")))["held"] == 1
        await r.told("DELETE", r.path(f"/subscriptions/{subscription}"))
        assert (await r.told("GET", r.path("/pending")))["held"] == 0


async def test_leap_over_the_tokens_expiry_asks_nothing_any_more() -> None:
    async with rig() as r:
        await watch_ada(r)
        await r.told("POST", "/control/clock", {"advance_s": PASSED_S})
        await sleep(r.clock, 60)
        records = (await r.told("GET", r.path("/deliveries")))["deliveries"]
        assert [one for one in records if one["kind"] == "lifecycle"] == []


async def test_access_given_back_heals_the_subscription() -> None:
    async with rig() as r:
        await watch_ada(r)
        await r.told("PATCH", r.path("/app"), {"roles": []})
        await sleep(r.clock, 901)
        await change(r)
        await r.told("PATCH", r.path("/app"), {"roles": ["Calendars.Read"]})
        await sleep(r.clock, 901)
        assert changes(r) == ["created"]
        await sleep(r.clock, PASSED_S)
        assert "subscriptionRemoved" not in [event for _, event in lifecycle(r)]


@pytest.mark.parametrize("kind", ["gone", "onPremises"])
async def test_subscription_on_a_mailbox_that_has_left_is_removed(kind: str) -> None:
    async with rig() as r:
        await watch_ada(r)
        await r.told("PATCH", r.path(f"/mailboxes/{r.ada}"), {"kind": kind})
        await sleep(r.clock, 901)
        assert [event for _, event in lifecycle(r)] == ["subscriptionRemoved"]
        assert (await r.told("GET", r.path("/subscriptions")))["subscriptions"] == []


async def test_mailbox_that_is_being_moved_keeps_its_subscription() -> None:
    async with rig(moods=moods(reauthorize_share=0.0)) as r:
        await watch_ada(r)
        await r.told("PATCH", r.path(f"/mailboxes/{r.ada}"), {"kind": "moving"})
        await sleep(r.clock, PASSED_S)
        assert (lifecycle(r), (await shown(r))["denied_since"]) == ([], None)


@pytest.mark.parametrize("patch_first", [True, False])
async def test_patch_and_reauthorize_within_ten_minutes_leave_it_inconsistent(patch_first: bool) -> None:
    async with rig(moods=moods(inconsistent_loss_share=1.0)) as r:
        url = f"/subscriptions/{await watch_ada(r)}"
        for by_patch in (patch_first, not patch_first):
            if by_patch:
                body = {"expirationDateTime": (r.clock.now() + timedelta(days=2)).isoformat()}
                assert (await r.graph.patch(url, json=body)).status_code == 200
            else:
                assert (await r.graph.post(f"{url}/reauthorize")).status_code == 204
            await sleep(r.clock, 500)
        assert (await shown(r))["inconsistent"]
        await change(r)
        await r.rest()
        assert changes(r) == []


async def test_calls_ten_minutes_apart_are_consistent_and_a_later_one_mends_it() -> None:
    async with rig(moods=moods(inconsistent_loss_share=1.0)) as r:
        url = f"/subscriptions/{await watch_ada(r)}"
        seen = []
        for pause_s in (601, 300, 601):
            assert (await r.graph.post(f"{url}/reauthorize")).status_code == 204
            await sleep(r.clock, pause_s)
            body = {"expirationDateTime": (r.clock.now() + timedelta(days=2)).isoformat()}
            assert (await r.graph.patch(url, json=body)).status_code == 200
            seen.append((await shown(r))["inconsistent"])
            await sleep(r.clock, 601)
            await r.sign_in()
        assert seen == [False, True, False]
        await change(r)
        await r.rest()
        assert changes(r) == ["created"]


async def test_writes_through_an_authorized_app_still_echo() -> None:
    async with rig() as r:
        await r.subscribe()
        await r.graph.post(f"/users/{r.room}/events", json=wire_event())
        await r.rest()
        assert changes(r) == ["created"]
