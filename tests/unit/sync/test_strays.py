"""The audit of subscriptions: leftovers are deleted, losses found out, and other people's are never touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.errors import GraphUnavailable
from sidecar.graph.wire_subscriptions import GraphSubscription
from sidecar.model.ids import RoomId, TenantId
from sidecar.model.intent import IntentKind
from sidecar.sync.strays import Audited
from sidecar.sync.subscriptions import NotYet
from tests.support.builders import NOW
from tests.support.desk import URL, Desk


def leftover(number: int = 1, **changes: str | None) -> GraphSubscription:
    """Build a subscription that nobody here knows."""
    made = GraphSubscription(
        id=f"stray-{number}",
        expires_at=NOW + timedelta(days=3),
        resource=f"/users/m{number}@contoso.example/events",
        notification_url=f"{URL}/graph/notifications",
        lifecycle_url=f"{URL}/graph/lifecycle",
        client_state=f"{'k' * 16}.secret",
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # texts only


async def audit(desk: Desk) -> None:
    """Audit the tenant."""
    assert await desk.audit().run(desk.tenant) == Audited(is_complete=True)


async def test_leftover_that_calls_us_is_deleted(desk: Desk) -> None:
    """Of a room that a restored backup does not know, for instance. Those in use are left alone."""
    await desk.subscribe()
    for number in range(7):
        desk.subscriptions.live[f"stray-{number}"] = leftover(number)
    await audit(desk)
    assert list(desk.subscriptions.live) == ["s1"]


async def test_leftover_that_calls_a_former_address_is_deleted(desk: Desk) -> None:
    """It is ours, too."""
    desk.subscriptions.live["stray-1"] = leftover()
    await desk.announce("https://other.example.com")
    await audit(desk)
    assert desk.subscriptions.live == {}


@pytest.mark.parametrize(
    "url", ["https://test.example.com/graph/notifications", f"{URL}/other", f"{URL}.evil/graph/notifications", None]
)
async def test_subscription_that_calls_somebody_else_is_not_touched(desk: Desk, url: str | None) -> None:
    """The same application may serve another installation."""
    desk.subscriptions.live["stray-1"] = leftover(notification_url=url)
    await audit(desk)
    assert list(desk.subscriptions.live) == ["stray-1"]
    assert set(desk.subscriptions.calls) == {"list"}


async def test_creation_that_was_not_answered_yet_is_no_leftover(desk: Desk) -> None:
    """Its room takes it over at the next try."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await desk.subscribe()
    await audit(desk)
    assert list(desk.subscriptions.live) == ["s1"]
    await desk.subscribe()
    assert desk.room.is_subscribed
    assert list(desk.subscriptions.live) == ["s1"]


async def test_creation_of_an_unmapped_room_whose_answer_was_lost_is_found_at_once(desk: Desk) -> None:
    """Nobody knows its id: the list tells it."""
    desk.subscriptions.lost = GraphUnavailable("broke off")
    with pytest.raises(GraphUnavailable):
        await desk.subscribe()
    await desk.opened.store.rooms.unmap(TenantId(desk.room.tenant_id), RoomId(desk.room.room_id), etag="")
    await desk.keeper().remove(desk.subscriptions.states[0].partition(".")[0], desk.tenant)
    kinds = await desk.opened.fetch("SELECT key FROM intents WHERE kind = 'subscription.audit'")
    assert kinds == [(desk.tenant.uid,)]
    await audit(desk)
    assert desk.subscriptions.live == {}


async def test_subscription_that_microsoft_no_longer_lists_is_asked_about_and_made_anew(desk: Desk) -> None:
    """It said nothing when it dropped it; the room is compared, for nobody told what changed."""
    await desk.subscribe()
    await desk.opened.execute("DELETE FROM intents")
    desk.subscriptions.live.clear()
    desk.clock.advance(60)
    await audit(desk)
    assert set(await desk.due()) == {IntentKind.ROOM_SUBSCRIBE}
    await desk.subscribe()
    assert list(desk.subscriptions.live) == ["s2"]
    assert IntentKind.ROOM_COMPARE in await desk.due()


async def test_subscription_that_microsoft_has_shortened_is_renewed(desk: Desk) -> None:
    """Its word counts, not ours."""
    await desk.subscribe()
    desk.clock.advance(60)
    short = replace(desk.subscriptions.live["s1"], expires_at=desk.clock.now() + timedelta(hours=2))
    desk.subscriptions.live["s1"] = short
    await audit(desk)
    await desk.subscribe()
    assert desk.subscriptions.live["s1"].expires_at > short.expires_at


async def test_subscription_made_while_the_list_is_read_is_neither_stray_nor_lost(desk: Desk) -> None:
    """The list is older than what came after it."""
    for number in range(4):
        desk.subscriptions.live[f"stray-{number}"] = leftover(number, notification_url="https://test.example.com")
    original = desk.subscriptions.fetch_subscription_page

    async def page(*args: object) -> object:
        found = await original(*args)  # type: ignore[arg-type]  # passed through
        if len(desk.subscriptions.states) == 0:
            await desk.subscribe()
        return found

    desk.subscriptions.fetch_subscription_page = page  # type: ignore[assignment,method-assign]  # a hook of this test
    await desk.opened.execute("DELETE FROM intents")
    await audit(desk)
    assert "s1" in desk.subscriptions.live
    assert IntentKind.ROOM_SUBSCRIBE not in await desk.due()


async def test_pages_are_a_second_apart(desk: Desk) -> None:
    """Microsoft allows 25 lists in 20 seconds."""
    for number in range(40):
        desk.subscriptions.live[f"stray-{number}"] = leftover(number, notification_url="https://test.example.com")
    began_s = desk.clock.monotonic()
    await audit(desk)
    assert desk.subscriptions.calls == ["list"] * 20
    assert desk.clock.monotonic() - began_s == 19.0


async def test_many_leftovers_are_deleted_in_several_runs(desk: Desk) -> None:
    """Other work of the tenant has its turn between."""
    for number in range(250):
        desk.subscriptions.live[f"stray-{number}"] = leftover(number)
    assert await desk.audit().run(desk.tenant) == Audited(is_complete=False)
    assert len(desk.subscriptions.live) == 50
    await audit(desk)
    assert desk.subscriptions.live == {}


async def test_second_audit_at_the_same_time_waits(desk: Desk) -> None:
    """Tenants that share an application share Microsoft's limit for lists."""
    auditor = desk.audit()
    waiting: list[object] = []
    original = desk.subscriptions.fetch_subscription_page

    async def page(*args: object) -> object:
        waiting.append(await auditor.run(desk.tenant))
        return await original(*args)  # type: ignore[arg-type]  # passed through

    desk.subscriptions.fetch_subscription_page = page  # type: ignore[assignment,method-assign]  # a hook of this test
    await auditor.run(desk.tenant)
    assert [type(found) for found in waiting] == [NotYet]
    await auditor.run(desk.tenant)


async def test_list_that_breaks_off_changes_nothing(desk: Desk) -> None:
    """Half a list would make losses of what it does not hold."""
    await desk.subscribe()
    await desk.opened.execute("DELETE FROM intents")
    desk.subscriptions.live.update({f"stray-{number}": leftover(number) for number in range(4)})
    desk.subscriptions.errors = [None, GraphUnavailable("away")]
    with pytest.raises(GraphUnavailable):
        await desk.audit().run(desk.tenant)
    assert len(desk.subscriptions.live) == 5
    assert await desk.due() == {}
