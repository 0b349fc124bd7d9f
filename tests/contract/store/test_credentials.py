"""Credentials and their roles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sidecar.errors import InvalidArgument, TenantExists, TenantNotFound
from sidecar.model.ids import TenantId
from sidecar.model.intent import IntentKind
from sidecar.model.tenant import Credential, CredentialKind, Tenant, TenantState
from sidecar.model.window import from_micros
from sidecar.store.credentials import NewCredential
from sidecar.store.postgres import PostgresEngine
from sidecar.store.tenants import secret_fingerprint
from sidecar.tenants.rotation import RotationOutcome, judge_rotation
from tests.support.builders import CANARY, TENANT, after, make_problem, make_registration, secret_hash
from tests.support.stores import ManualClock, OpenStore

DAY_S = 86_400.0


def make_new(secret: str = f"{CANARY}-new", *, application_id: str = "app-1", **changes: Any) -> NewCredential:
    """Build a client secret that is handed over for rotation (Any: any other field)."""
    credential = Credential(application_id=application_id, kind=CredentialKind.CLIENT_SECRET, proof=secret.encode())
    values = {"expires_at": None, **changes}
    return NewCredential(credential=credential, fingerprint=secret_fingerprint(secret), **values)


async def reload(opened: OpenStore) -> Tenant:
    """Load the tenant."""
    return await opened.store.tenants.load(TENANT)


async def proof_of(opened: OpenStore, tenant: Tenant, identity: str = "") -> str:
    """Open a credential."""
    return (await opened.store.credentials.load_credential(tenant.uid, identity)).proof.decode()


async def promoted(opened: OpenStore, new: NewCredential, *, read_room: str = "r1") -> Tenant:
    """Rotate to a credential as if it were proven."""
    tenant = await opened.store.credentials.put_next(TENANT, new)
    done = await opened.store.credentials.promote(tenant.uid, new.identity, read_room=read_room, previous_s=DAY_S)
    assert done
    return await reload(opened)


async def test_next_stands_beside_current_and_its_proof_is_due(opened: OpenStore) -> None:
    before = await opened.add_tenant()
    tenant = await opened.store.credentials.put_next(TENANT, make_new(expires_at=after(days=90)))
    assert tenant.credential == before.credential
    assert tenant.version > before.version
    assert tenant.next_credential is not None
    assert tenant.next_credential.expires_at == after(days=90)
    assert await proof_of(opened, tenant) == f"{CANARY}-secret"
    assert await proof_of(opened, tenant, make_new().identity) == f"{CANARY}-new"
    due = {intent.kind for intent in await opened.store.intents.due(tenant.uid, count_max=10)}
    assert IntentKind.TENANT_CREDENTIALS in due
    assert CANARY.encode() not in opened.bytes_at_rest()


async def test_promotion_keeps_the_former_credential_for_its_time(opened: OpenStore) -> None:
    before = await opened.add_tenant()
    tenant = await promoted(opened, make_new())
    assert tenant.credential.identity == make_new().identity
    assert (tenant.credential.proven_at, tenant.credential.read_room) == (after(), "r1")
    assert tenant.next_credential is None
    assert tenant.previous_credential is not None
    assert tenant.previous_credential.fingerprint == before.credential.fingerprint
    assert tenant.previous_credential.ends_at == after(days=1)
    assert await proof_of(opened, tenant) == f"{CANARY}-new"
    assert await proof_of(opened, tenant, before.credential.identity) == f"{CANARY}-secret"


async def test_promotion_of_one_that_was_replaced_meanwhile_does_nothing(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new("first"))
    await opened.store.credentials.put_next(TENANT, make_new("second"))
    identity = make_new("first").identity
    assert not await opened.store.credentials.promote(tenant.uid, identity, read_room="", previous_s=DAY_S)
    assert (await reload(opened)).credential == tenant.credential


async def test_promotion_mends_a_tenant_that_was_refused_and_has_its_rooms_read(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    room = await opened.add_filled_room()
    await opened.store.tenants.set_problem(tenant.uid, make_problem("CREDENTIAL_REJECTED"))
    mended = await promoted(opened, make_new())
    assert mended.state is TenantState.ACTIVE
    due = {(intent.kind, intent.key) for intent in await opened.store.intents.due(tenant.uid, count_max=10)}
    assert (IntentKind.ROOM_COMPARE, room.uid) in due


async def test_promotion_to_another_application_asks_for_every_subscription(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    room = await opened.add_room()
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash("s"), directory_id="d", url="https://x"
    )
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    await opened.execute("DELETE FROM intents")
    await promoted(opened, make_new(application_id="app-1"))
    current = await opened.store.subscriptions.load_for_room(room.uid)
    assert current is not None
    assert current.renew_at == after(days=3)
    await promoted(opened, make_new(application_id="app-2"))
    current = await opened.store.subscriptions.load_for_room(room.uid)
    assert current is not None
    assert (current.graph_id, current.renew_at) == ("g1", after())
    due = {intent.kind for intent in await opened.store.intents.due(tenant.uid, count_max=10)}
    assert IntentKind.ROOM_SUBSCRIBE in due


async def test_former_credential_of_another_application_asks_for_every_subscription(opened: OpenStore) -> None:
    """Those that were made since the promotion belong to the application that is refused now."""
    tenant = await opened.add_tenant()
    room = await opened.add_room()
    changed = await promoted(opened, make_new(application_id="app-2"))
    await opened.store.subscriptions.prepare(
        room.uid, tenant.uid, key="s1", secret_hash=secret_hash("s"), directory_id="d", url="https://x"
    )
    await opened.store.subscriptions.confirm("s1", graph_id="g1", expires_at=after(days=6), renew_at=after(days=3))
    assert await opened.store.credentials.step_back(tenant.uid, changed.credential.identity)
    current = await opened.store.subscriptions.load_for_room(room.uid)
    assert current is not None
    assert (current.graph_id, current.renew_at) == ("g1", after())


async def test_current_handed_over_again_takes_its_new_end_and_withdraws_next(opened: OpenStore) -> None:
    await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new())
    tenant = await opened.store.credentials.put_next(TENANT, make_new(f"{CANARY}-secret", expires_at=after(days=9)))
    assert tenant.next_credential is None
    assert tenant.credential.expires_at == after(days=9)
    again = await opened.store.credentials.put_next(TENANT, make_new(f"{CANARY}-secret"))
    assert again.credential.expires_at == after(days=9)


async def test_proof_of_a_certificate_in_one_application_is_none_in_another(opened: OpenStore) -> None:
    """A verification was under way with the one while the other was registered."""
    before = await opened.add_tenant()
    credential = replace(make_registration().credential, application_id="app-2")
    await opened.store.tenants.register(make_registration(credential=credential))
    await opened.store.tenants.set_proven(before.uid, identity=before.credential.identity)
    tenant = await reload(opened)
    assert (tenant.credential.proven_at, tenant.verified_at) == (None, None)


async def test_request_id_of_another_credential_is_refused(opened: OpenStore) -> None:
    await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new("first", request_id="q1"))
    again = await opened.store.credentials.put_next(TENANT, make_new("first", request_id="q1"))
    assert again.next_credential is not None
    with pytest.raises(InvalidArgument):
        await opened.store.credentials.put_next(TENANT, make_new("second", request_id="q1"))


async def test_next_that_goes_on_being_refused_keeps_the_time_of_its_first_refusal(
    opened: OpenStore, clock: ManualClock
) -> None:
    tenant = await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new())
    problem = make_problem("CREDENTIAL_NEXT_REFUSED")
    note = opened.store.credentials.note_unproven
    await note(tenant.uid, make_new().identity, problem, is_refused=False)
    waiting = (await reload(opened)).next_credential
    assert waiting is not None
    assert (waiting.refused_at, waiting.problem) == (None, problem)
    clock.advance(60)
    await note(tenant.uid, make_new().identity, problem, is_refused=True)
    clock.advance(60)
    await note(tenant.uid, make_new().identity, problem, is_refused=False)
    refused = (await reload(opened)).next_credential
    assert refused is not None
    assert refused.refused_at == after(minutes=1)


async def test_refused_next_handed_over_again_waits_for_another_proof(opened: OpenStore) -> None:
    """What was wrong at Microsoft may be mended by now; the former answer is no answer to this call."""
    tenant = await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new())
    identity = make_new().identity
    problem = make_problem("CREDENTIAL_NEXT_REFUSED")
    await opened.store.credentials.note_unproven(tenant.uid, identity, problem, is_refused=True)
    assert judge_rotation(await reload(opened), identity).outcome is RotationOutcome.REFUSED
    again = await opened.store.credentials.put_next(TENANT, make_new())
    assert judge_rotation(again, identity).outcome is RotationOutcome.PENDING
    await opened.store.credentials.note_unproven(tenant.uid, identity, problem, is_refused=True)
    assert judge_rotation(await reload(opened), identity).outcome is RotationOutcome.REFUSED


async def test_former_credential_comes_back_and_the_refused_one_is_proven_anew(
    opened: OpenStore, clock: ManualClock
) -> None:
    before = await opened.add_tenant()
    tenant = await promoted(opened, make_new())
    clock.advance(60)
    assert await opened.store.credentials.step_back(tenant.uid, tenant.credential.identity)
    back = await reload(opened)
    assert back.credential.identity == before.credential.identity
    assert back.credential.ends_at is None
    assert back.previous_credential is None
    assert back.next_credential is not None
    assert (back.next_credential.identity, back.next_credential.added_at) == (make_new().identity, after(minutes=1))
    assert await proof_of(opened, back) == f"{CANARY}-secret"
    assert not await opened.store.credentials.step_back(tenant.uid, back.credential.identity)


async def test_former_credential_does_not_come_back_after_its_time(opened: OpenStore, clock: ManualClock) -> None:
    await opened.add_tenant()
    tenant = await promoted(opened, make_new())
    clock.advance(DAY_S)
    assert not await opened.store.credentials.step_back(tenant.uid, tenant.credential.identity)


async def test_former_credential_is_erased_after_its_time_and_not_before(opened: OpenStore, clock: ManualClock) -> None:
    before = await opened.add_tenant()
    tenant = await promoted(opened, make_new())
    (row,) = await opened.fetch("SELECT sealed FROM credentials WHERE role = 'previous'")
    await opened.store.credentials.drop_previous(tenant.uid)
    assert (await reload(opened)).previous_credential is not None
    clock.advance(DAY_S)
    await opened.store.credentials.drop_previous(tenant.uid)
    assert (await reload(opened)).previous_credential is None
    if not isinstance(opened.engine, PostgresEngine):  # there the operator decides how long dead rows and logs are kept
        assert bytes(row[0]) not in opened.bytes_at_rest()
    assert (
        await proof_of(opened, tenant, before.credential.identity) == f"{CANARY}-new"
    )  # whoever asks gets the current


async def test_credential_that_is_being_erased_is_gone_though_its_files_wait_for_a_backup(opened: OpenStore) -> None:
    """Whoever holds its identity gets the current one, and not an error that blocks the tenant."""
    before = await opened.add_tenant()
    tenant = await promoted(opened, make_new())
    await opened.execute("UPDATE credentials SET sealed = $1 WHERE role = 'previous'", b"")
    assert await proof_of(opened, tenant, before.credential.identity) == f"{CANARY}-new"


async def _register_another(opened: OpenStore) -> None:
    await opened.store.tenants.register(make_registration(secret=f"{CANARY}-another"))


async def _hand_over_another(opened: OpenStore) -> None:
    await opened.store.credentials.put_next(TENANT, make_new(f"{CANARY}-another"))


async def _put_current_again(opened: OpenStore) -> None:
    await opened.store.credentials.put_next(TENANT, make_new(f"{CANARY}-secret"))


@pytest.mark.parametrize("act", [_register_another, _hand_over_another, _put_current_again])
async def test_secret_that_is_replaced_goes_from_the_files_though_its_tenant_rests(
    opened: OpenStore, act: Callable[[OpenStore], Awaitable[None]]
) -> None:
    """What a row held before lives on in SQLite's log and on freed pages, perhaps for days in a quiet deployment."""
    tenant = await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new())
    await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    (row,) = await opened.fetch("SELECT sealed FROM credentials WHERE role = 'next'")
    assert await opened.store.intents.due_lanes(count_max=9) == []
    await act(opened)
    (lane,) = await opened.store.intents.due_lanes(count_max=9)
    (intent,) = await opened.store.intents.due(lane, count_max=9)
    assert (intent.kind, intent.key) == (IntentKind.TENANT_SCRUB, tenant.uid)
    await opened.store.erasure.scrub()
    if not isinstance(opened.engine, PostgresEngine):  # as above
        assert bytes(row[0]) not in opened.bytes_at_rest()


@pytest.mark.parametrize("is_deleted", [False, True], ids=["suspended", "deleted"])
async def test_former_credential_is_due_to_be_erased_though_nothing_else_is_done_for_a_tenant(
    opened: OpenStore, clock: ManualClock, is_deleted: bool
) -> None:
    """Its lane is held, for months perhaps; the customer was told when the secret goes."""
    tenant = await opened.add_tenant()
    await promoted(opened, make_new())
    if is_deleted:
        await opened.store.lifecycle.delete(TENANT, etag="", grace=timedelta(days=30))
    else:
        await opened.store.lifecycle.suspend(TENANT, reason="unpaid")
    clock.advance(DAY_S - 1)
    assert await opened.store.intents.due_lanes(count_max=9) == []
    clock.advance(1)
    (lane,) = await opened.store.intents.due_lanes(count_max=9)
    (intent,) = await opened.store.intents.due(lane, count_max=9)
    assert (intent.kind, intent.key) == (IntentKind.TENANT_ERASE, tenant.uid)


async def test_registration_with_another_credential_drops_next_and_previous(opened: OpenStore) -> None:
    await opened.add_tenant()
    await promoted(opened, make_new())
    await opened.store.credentials.put_next(TENANT, make_new("third"))
    tenant = await opened.store.tenants.register(make_registration(secret="fourth"))
    assert [one.fingerprint for one in tenant.credentials] == [secret_fingerprint("fourth")]


async def test_end_that_was_told_survives_a_registration_that_does_not_tell_it(opened: OpenStore) -> None:
    await opened.add_tenant()
    await opened.store.credentials.set_expiry(TENANT, fingerprint="", expires_at=after(days=40))
    tenant = await opened.add_tenant()
    assert tenant.credential.expires_at == after(days=40)


async def test_end_is_told_for_the_credential_that_is_meant(opened: OpenStore) -> None:
    await opened.add_tenant()
    await opened.store.credentials.put_next(TENANT, make_new())
    fingerprint = make_new().fingerprint
    tenant = await opened.store.credentials.set_expiry(TENANT, fingerprint=fingerprint, expires_at=after(days=40))
    assert tenant.next_credential is not None
    assert (tenant.credential.expires_at, tenant.next_credential.expires_at) == (None, after(days=40))
    with pytest.raises(InvalidArgument):
        await opened.store.credentials.set_expiry(TENANT, fingerprint="another", expires_at=None)
    assert await opened.store.credentials.expiries(count_max=10) == []
    await opened.store.credentials.set_expiry(TENANT, fingerprint="", expires_at=after(days=4))
    assert await opened.store.credentials.expiries(count_max=10) == [(TENANT, after(days=4))]


async def test_end_told_makes_the_next_warning_due(opened: OpenStore) -> None:
    await opened.store.tenants.register(make_registration(expires_at=after(days=40)))
    ((ready_at,),) = await opened.fetch("SELECT ready_at FROM intents WHERE kind = 'tenant.credentials'")
    assert from_micros(ready_at) == after(days=10)


async def test_tenant_that_is_gone_takes_no_credential(opened: OpenStore) -> None:
    with pytest.raises(TenantNotFound):
        await opened.store.credentials.put_next(TenantId("none"), make_new())
    await opened.add_tenant()
    await opened.store.lifecycle.delete(TENANT, etag="")
    with pytest.raises(TenantExists):
        await opened.store.credentials.put_next(TENANT, make_new())


async def test_what_is_handed_over_does_not_show_its_proof() -> None:
    assert CANARY not in repr(make_new())
