"""Who changed what: committed with the change, kept for as long as is promised, and no longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sidecar.errors import TenantNotFound
from sidecar.model.audit import OK, Act, Caller, CallerKind
from sidecar.model.ids import TenantId
from sidecar.store import audit as audit_module
from sidecar.store.audit import Acting, acting
from tests.support.builders import TENANT, make_mapping, make_registration
from tests.support.stores import ManualClock, OpenStore

CALLER = Caller(kind=CallerKind.NETWORK, address="10.0.0.1", identity="app")


def act(method: str = "TenantService/SuspendTenant", resource: str = f"tenants/{TENANT}") -> Acting:
    """Return an act that has not been carried out."""
    return Acting(Act(method=method, resource=resource, caller=CALLER, fields=("name", "reason"), values={"etag": "1"}))


async def told(opened: OpenStore, tenant_id: str | None = None, **span: Any) -> list[tuple[str, str, str]]:
    """Return method, resource and outcome of the entries, the newest first (Any: bounds of the page)."""
    wanted: dict[str, Any] = {"start_at": None, "end_at": None, "before": "", "count_max": 1_000} | span
    about = None if tenant_id is None else TenantId(tenant_id)
    found = await opened.store.audit.page(among=None if about is None else {about}, **wanted)
    return [(entry.act.method, entry.act.resource, entry.outcome) for entry in found]


async def test_change_and_its_entry_are_committed_together(opened: OpenStore) -> None:
    """What was written, by whom and about what is found again as it was."""
    await opened.add_tenant()
    one = act()
    with acting(one):
        await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    assert one.is_written
    (entry,) = await opened.store.audit.page(among=None, start_at=None, end_at=None, before="", count_max=10)
    assert (entry.act, entry.outcome, entry.recorded_at) == (one.act, OK, opened.clock.now())


async def test_change_that_fails_leaves_no_entry_of_having_been_done(opened: OpenStore) -> None:
    """The entry is rolled back with the change; whoever was refused is noted as such afterwards."""
    one = act()
    with acting(one), pytest.raises(TenantNotFound):
        await opened.store.lifecycle.suspend(TENANT, reason="")
    assert not one.is_written
    assert await told(opened) == []
    await opened.store.audit.note(one, outcome="TENANT_NOT_FOUND")
    assert await told(opened) == [("TenantService/SuspendTenant", f"tenants/{TENANT}", "TENANT_NOT_FOUND")]


async def test_call_of_several_transactions_is_one_entry_that_tells_its_end(opened: OpenStore) -> None:
    """It failed after something was changed: both are to be seen."""
    one = act()
    with acting(one):
        await opened.store.tenants.register(make_registration())
        await opened.store.rooms.map_all(TENANT, [make_mapping("r1")])
    await opened.store.audit.note(one, outcome="EXCHANGE_UNAVAILABLE")
    assert [outcome for _, _, outcome in await told(opened)] == ["EXCHANGE_UNAVAILABLE"]


async def test_work_that_nobody_asked_for_has_no_entry(opened: OpenStore) -> None:
    """Background work is in the log of changes, not in the audit; and one task's act is not another's."""

    async def background() -> None:
        await opened.add_tenant("other")

    async with asyncio.TaskGroup() as group:
        group.create_task(background())
        with acting(act()):
            await opened.add_tenant()
    assert len(await told(opened)) == 1


async def test_entries_are_found_by_tenant_and_time_a_page_at_a_time(opened: OpenStore, clock: ManualClock) -> None:
    """Those about a tenant's rooms are about the tenant; the span is half-open."""
    began_at = clock.now()
    for number, resource in enumerate(("tenants/a", "tenants/b", "tenants/a/rooms/r1", "tenants/ab", "")):
        await opened.store.audit.note(act(f"M/{number}", resource), outcome=OK)
        clock.advance(10)
    numbers = [method for method, _, _ in await told(opened)]
    assert numbers == ["M/4", "M/3", "M/2", "M/1", "M/0"]
    assert [method for method, _, _ in await told(opened, "a")] == ["M/2", "M/0"]
    span: dict[str, Any] = {"start_at": began_at + timedelta(seconds=10), "end_at": began_at + timedelta(seconds=30)}
    assert [method for method, _, _ in await told(opened, **span)] == ["M/2", "M/1"]
    page = opened.store.audit.page
    first = await page(among=None, start_at=None, end_at=None, before="", count_max=2)
    rest = await page(among=None, start_at=None, end_at=None, before=first[-1].id, count_max=9)
    assert [entry.act.method for entry in (*first, *rest)] == numbers


async def test_old_entries_and_floods_of_refusals_are_dropped(
    opened: OpenStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals never push out what was done."""
    monkeypatch.setattr(audit_module, "_REFUSED_MAX", 3)
    await opened.store.audit.note(act("M/old"), outcome=OK)
    clock.advance(100)
    await opened.store.audit.note(act("M/done"), outcome=OK)
    for number in range(6):
        clock.advance(1)
        await opened.store.audit.note(act(f"M/{number}"), outcome="TENANT_NOT_FOUND")
    await opened.store.audit.prune(retention=timedelta(seconds=50))
    assert [method for method, _, _ in await told(opened)] == ["M/5", "M/4", "M/3", "M/done"]


async def test_refusals_are_bounded_though_nobody_prunes(
    opened: OpenStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store without tenants has no background work; whoever may call may still be refused as often as he likes."""
    monkeypatch.setattr(audit_module, "_REFUSED_MAX", 3)
    monkeypatch.setattr(audit_module, "_NOTES_BETWEEN", 4)
    for number in range(40):
        clock.advance(1)
        await opened.store.audit.note(act(f"M/{number}"), outcome="TENANT_NOT_FOUND")
    assert len(await told(opened)) <= 3 + 4


async def test_entries_outlive_the_tenant_they_are_about(opened: OpenStore) -> None:
    """Erasing a tenant erases everything but that it was there, and who did what with it."""
    tenant = await opened.add_tenant()
    with acting(act()):
        await opened.store.lifecycle.delete(TENANT, etag="")
    await opened.store.tenants.erase(tenant.uid)
    assert len(await told(opened, TENANT)) == 1


async def test_page_among_several_tenants_holds_entries_about_these_only(opened: OpenStore, clock: ManualClock) -> None:
    """The newest first, whichever of them it is about."""
    for name in ("tenants/t1", "tenants/t2/rooms/r1", "tenants/t3", ""):
        await opened.store.audit.note(act(resource=name), outcome="X")
        clock.advance(1.0)
    wanted: dict[str, Any] = {"start_at": None, "end_at": None, "before": "", "count_max": 9}
    found = await opened.store.audit.page(among={TenantId("t1"), TenantId("t2")}, **wanted)
    assert [entry.act.resource for entry in found] == ["tenants/t2/rooms/r1", "tenants/t1"]
    assert await opened.store.audit.page(among=frozenset(), **wanted) == []
