"""Sealing everything anew under another key, while the store is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sidecar.errors import SecretUnreadable, StoreUnavailable
from sidecar.model.ids import TenantId
from sidecar.model.intent import IntentKind
from sidecar.model.privacy import Privacy, Visibility
from sidecar.model.tenant_settings import TenantSettings
from sidecar.store.credentials import Credentials
from sidecar.store.sealed import SealedRecords, load_needs
from sidecar.store.subscriptions import Subscriptions
from sidecar.store.tenants import Tenants
from sidecar.store.vault import Vault
from tests.contract.store.test_credentials import make_new
from tests.support.builders import CANARY, TENANT, make_mapping, make_problem, make_registration, secret_hash
from tests.support.stores import OpenStore

KEYS = {"k1": bytes(range(32)), "k2": bytes([2]) * 32}
BOTH = Vault(primary="k2", keys=KEYS)


async def fill(opened: OpenStore, count: int) -> Sequence[TenantId]:
    """Register tenants; the first has a credential in each role, a client state and a key for hashes. k1 seals all."""
    tenant_ids = [TenantId(f"t{number:04d}") for number in range(count)]
    for tenant_id in tenant_ids:
        await opened.store.tenants.register(make_registration(tenant_id))
    tenant = await opened.store.credentials.put_next(tenant_ids[0], make_new())
    await opened.store.credentials.promote(tenant.uid, make_new().identity, read_room="", previous_s=1e6)
    await opened.store.credentials.put_next(tenant_ids[0], make_new("third"))
    hashing = TenantSettings(privacy=Privacy(organizer=Visibility.HASHED))
    await opened.store.tenants.update(tenant_ids[0], lambda name, _: (name, hashing), etag="")
    (room,) = await opened.store.rooms.map_all(tenant_ids[0], [make_mapping("r1")])
    await opened.store.subscriptions.prepare(
        room.uid,  # type: ignore[union-attr]  # it works
        tenant.uid,
        key="s1",
        secret_hash=secret_hash("s"),
        directory_id="d",
        url="https://x",
        client_state=f"s1.{CANARY}",
    )
    return tenant_ids


async def test_every_record_in_every_role_is_sealed_anew(opened: OpenStore) -> None:
    await fill(opened, 230)
    needs = await load_needs(opened.engine)
    assert {key_id: need.count for key_id, need in needs.items()} == {"k1": 234}
    assert len(needs["k1"].tenant_ids) == 10
    before = await opened.store.tenants.load_hash_key((await opened.store.tenants.load(TenantId("t0000"))).uid)
    resealing = await SealedRecords(opened.engine, BOTH).reseal()
    assert (resealing.done_count, dict(resealing.unreadable)) == (234, {})
    assert set(await load_needs(opened.engine)) == {"k2"}
    assert (await SealedRecords(opened.engine, BOTH).reseal()).done_count == 0
    only_new = Vault(primary="k2", keys={"k2": KEYS["k2"]})
    tenant = await opened.store.tenants.load(TenantId("t0000"))
    credentials = Credentials(opened.engine, only_new)
    proofs = [(await credentials.load_credential(tenant.uid, one.identity)).proof for one in tenant.credentials]
    assert [proof.decode() for proof in proofs] == [f"{CANARY}-new", "third", f"{CANARY}-secret"]
    assert await Tenants(opened.engine, only_new).load_hash_key(tenant.uid) == before
    upkeep = await Subscriptions(opened.engine, only_new).load_upkeep(
        (await opened.store.rooms.load(TenantId("t0000"), make_mapping("r1").room_id)).uid
    )
    assert upkeep.pending is not None
    assert upkeep.pending.client_state == f"s1.{CANARY}"


async def test_files_that_could_not_be_scrubbed_are_scrubbed_by_the_next_run(opened: OpenStore) -> None:
    """It finds nothing left to seal, and what the former key had sealed is in the files all the same."""
    await opened.add_tenant()
    records, scrub, runs = SealedRecords(opened.engine, BOTH), opened.engine.scrub, []

    async def fail_first() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise StoreUnavailable("somebody reads")
        await scrub()

    opened.engine.scrub = fail_first  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await records.reseal()
    for _ in range(2):
        assert (await records.reseal()).done_count == 0
    assert len(runs) == 2


async def test_record_whose_key_is_missing_stays_and_is_counted(opened: OpenStore) -> None:
    tenant = await opened.add_tenant()
    other = Vault(primary="k9", keys={"k9": bytes(32)})
    resealing = await SealedRecords(opened.engine, other).reseal()
    assert (resealing.done_count, dict(resealing.unreadable)) == (0, {"k1": 1})
    with pytest.raises(SecretUnreadable):
        await Credentials(opened.engine, other).load_credential(tenant.uid)
    assert (await opened.store.credentials.load_credential(tenant.uid)).proof


async def test_credential_replaced_during_the_run_is_not_put_back(opened: OpenStore) -> None:
    await opened.add_tenant()
    newer = Tenants(opened.engine, BOTH)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):  # several processes do it at once
            group.create_task(SealedRecords(opened.engine, BOTH).reseal())
        group.create_task(newer.register(make_registration(secret=f"{CANARY}-newest")))
    tenant = await opened.store.tenants.load(TENANT)
    credential = await Credentials(opened.engine, BOTH).load_credential(tenant.uid)
    assert credential.proof == f"{CANARY}-newest".encode()
    assert set(await load_needs(opened.engine)) == {"k2"}


async def test_same_secret_registered_again_mends_a_credential_that_cannot_be_opened(opened: OpenStore) -> None:
    await opened.add_tenant()
    other = Vault(primary="k9", keys={"k9": bytes(32)})
    await Tenants(opened.engine, other).register(make_registration())
    tenant = await opened.store.tenants.load(TENANT)
    assert (await Credentials(opened.engine, other).load_credential(tenant.uid)).proof == f"{CANARY}-secret".encode()


async def test_same_secret_handed_over_again_mends_a_credential_that_cannot_be_opened(opened: OpenStore) -> None:
    """Else the rotation would be told as done, and the tenant would stay as it is."""
    tenant = await opened.add_tenant()
    await opened.store.tenants.set_problem(tenant.uid, make_problem("SECRET_UNREADABLE"))
    await opened.execute("DELETE FROM intents")
    other = Vault(primary="k9", keys={"k9": bytes(32)})
    again = make_new(f"{CANARY}-secret")
    answered = await Credentials(opened.engine, other).put_next(TENANT, again)
    assert (answered.credential.identity, answered.next_credential) == (again.identity, None)
    assert (await Credentials(opened.engine, other).load_credential(tenant.uid)).proof == f"{CANARY}-secret".encode()
    due = {intent.kind for intent in await opened.store.intents.due(tenant.uid, count_max=9)}
    assert IntentKind.TENANT_VERIFY in due
