"""Looking after credentials: NEXT comes into use once it is proven, and never before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from sidecar.errors import (
    CredentialRejected,
    GraphUnavailable,
    MailboxDenied,
    SidecarError,
    StoreUnavailable,
)
from sidecar.graph.clouds import TenantRef
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Tenant
from sidecar.model.tenant_problems import tenant_problems
from sidecar.settings import CredentialSettings
from sidecar.tenants.credentials import CredentialKeeper
from sidecar.tenants.rotation import RotationOutcome, await_rotation
from tests.contract.store.test_credentials import make_new
from tests.support.builders import TENANT, after, make_registration
from tests.support.stores import ManualClock, OpenStore, open_store

NOT_KNOWN = CredentialRejected("the client secret is wrong", details={"aadsts": "AADSTS7000215"})
EXPIRED = CredentialRejected("the client secret has expired", details={"aadsts": "AADSTS7000222"})


@dataclass
class Bench:
    """A keeper over a store, with Microsoft in its hands: errors by identity of the credential."""

    opened: OpenStore
    clock: ManualClock
    login_errors: dict[str, SidecarError] = field(default_factory=dict)
    probe_errors: dict[str, SidecarError] = field(default_factory=dict)
    forgotten: list[str | None] = field(default_factory=list)

    async def fetch_token(self, tenant: TenantRef) -> str:
        """See `Tokens`."""
        error = self.login_errors.get(tenant.credential)
        if error is not None:
            raise error
        return "t"

    def forget(self, tenant_uid: TenantUid, *, credential: str | None = None) -> None:
        """See `Tokens`."""
        self.forgotten.append(credential)

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """See `Prober`."""
        error = self.probe_errors.get(mailbox)
        if error is not None:
            raise error

    @property
    def keeper(self) -> CredentialKeeper:
        """What is under test."""
        return CredentialKeeper(
            store=self.opened.store,
            tokens=self,
            prober=self,
            clock=self.clock,
            rng=Random(1),
            settings=CredentialSettings(),
        )

    async def tenant(self) -> Tenant:
        """Load the tenant."""
        return await self.opened.store.tenants.load(TENANT)

    async def put(self, secret: str = "new") -> str:
        """Hand over a secret; return its identity."""
        await self.opened.store.credentials.put_next(TENANT, make_new(secret))
        return make_new(secret).identity

    async def look(self, *, planned_at: datetime | None = None) -> datetime | None:
        """Look once."""
        return await self.keeper.look(await self.tenant(), planned_at=planned_at or self.clock.now())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A registered tenant without rooms."""
    clock = ManualClock()
    async with open_store(tmp_path / "s.sqlite3", clock=clock) as opened:
        await opened.add_tenant()
        yield Bench(opened, clock)


async def test_next_comes_into_use_with_a_token_and_a_room_that_was_read(bench: Bench) -> None:
    await bench.opened.add_room("r1")
    identity = await bench.put()
    assert await bench.look() is None
    tenant = await bench.tenant()
    assert (tenant.credential.identity, tenant.credential.read_room) == (identity, "r1")


async def test_next_without_any_room_to_read_comes_into_use_and_says_so(bench: Bench) -> None:
    identity = await bench.put()
    await bench.look()
    tenant = await bench.tenant()
    assert (tenant.credential.identity, tenant.credential.read_room) == (identity, "")


async def test_one_readable_room_among_denied_ones_is_proof(bench: Bench) -> None:
    for room_id in ("r1", "r2", "r3"):
        await bench.opened.add_room(room_id)
    bench.probe_errors = {f"{name}@contoso.example": MailboxDenied("denied") for name in ("r1", "r2")}
    await bench.put()
    await bench.look()
    assert (await bench.tenant()).credential.read_room == "r3"


async def test_next_that_reads_no_room_stays_out_of_use(bench: Bench) -> None:
    before = await bench.tenant()
    await bench.opened.add_room("r1")
    bench.probe_errors = {"r1@contoso.example": MailboxDenied("denied")}
    await bench.put()
    bench.clock.advance(301)
    await bench.look()
    tenant = await bench.tenant()
    assert tenant.credential == before.credential
    (problem,) = tenant_problems(tenant, now=bench.clock.now())
    assert (problem.reason, problem.metadata["cause"]) == ("CREDENTIAL_NEXT_REFUSED", "MAILBOX_ACCESS_DENIED")


async def test_refusal_of_a_new_secret_is_believed_only_after_some_minutes(bench: Bench) -> None:
    identity = await bench.put()
    bench.login_errors = {identity: NOT_KNOWN}
    next_at = await bench.look()
    assert next_at is not None
    assert 4 < (next_at - bench.clock.now()).total_seconds() < 6
    assert tenant_problems(await bench.tenant(), now=bench.clock.now()) == ()
    bench.clock.advance(300)
    await bench.look()
    (problem,) = tenant_problems(await bench.tenant(), now=bench.clock.now())
    assert (problem.reason, problem.metadata["aadsts"]) == ("CREDENTIAL_NEXT_REFUSED", "AADSTS7000215")
    bench.login_errors = {}
    await bench.look()
    assert (await bench.tenant()).credential.identity == identity


async def test_secret_that_has_expired_is_refused_at_once(bench: Bench) -> None:
    bench.login_errors = {await bench.put(): EXPIRED}
    await bench.look()
    assert len(tenant_problems(await bench.tenant(), now=bench.clock.now())) == 1


async def test_login_that_does_not_answer_is_no_refusal_however_long(bench: Bench) -> None:
    bench.login_errors = {await bench.put(): GraphUnavailable("away", retry_after_s=77.0)}
    bench.clock.advance(10_000)
    next_at = await bench.look()
    assert next_at is not None
    assert (next_at - bench.clock.now()).total_seconds() >= 77
    following = (await bench.tenant()).next_credential
    assert following is not None
    assert following.refused_at is None
    assert following.problem is not None


async def test_tries_become_rarer_and_never_end(bench: Bench) -> None:
    bench.login_errors = {await bench.put(): NOT_KNOWN}
    waits_s = []
    for _ in range(40):
        next_at = await bench.look()
        assert next_at is not None
        waits_s.append((next_at - bench.clock.now()).total_seconds())
        bench.clock.advance(waits_s[-1])
    assert waits_s[0] < 6
    assert 3_000 < waits_s[-1] < 4_000


async def test_each_try_begins_without_what_msal_remembers_of_the_last(bench: Bench) -> None:
    identity = await bench.put()
    await bench.look()
    assert bench.forgotten == [identity]


async def test_store_that_fails_is_told_to_whoever_runs_the_look(bench: Bench) -> None:
    bench.login_errors = {await bench.put(): StoreUnavailable("away")}
    with pytest.raises(StoreUnavailable):
        await bench.look()


async def test_former_credential_is_erased_at_its_end_and_not_before(bench: Bench) -> None:
    await bench.put()
    await bench.look()
    assert await bench.keeper.drop_previous(await bench.tenant()) == after(days=1)
    bench.clock.advance(86_400)
    assert (await bench.tenant()).previous_credential is not None
    assert await bench.keeper.drop_previous(await bench.tenant()) is None
    assert (await bench.tenant()).previous_credential is None


async def test_refused_current_gives_way_to_the_former_that_still_works(bench: Bench) -> None:
    before = await bench.tenant()
    identity = await bench.put()
    await bench.look()
    tenant = await bench.tenant()
    assert await bench.keeper.step_back(tenant, NOT_KNOWN)
    back = await bench.tenant()
    assert back.credential.identity == before.credential.identity
    assert back.next_credential is not None
    assert back.next_credential.identity == identity


async def test_refused_current_stays_when_the_former_is_refused_too(bench: Bench) -> None:
    before = await bench.tenant()
    await bench.put()
    await bench.look()
    bench.login_errors = {before.credential.identity: EXPIRED}
    tenant = await bench.tenant()
    assert not await bench.keeper.step_back(tenant, NOT_KNOWN)
    assert await bench.tenant() == tenant


async def test_missing_consent_does_not_bring_the_former_back(bench: Bench) -> None:
    await bench.put()
    await bench.look()
    assert not await bench.keeper.step_back(await bench.tenant(), MailboxDenied("denied"))


async def test_each_warning_is_logged_once_when_its_day_comes(bench: Bench) -> None:
    await bench.opened.store.tenants.register(make_registration(expires_at=after(days=61)))
    planned_at: datetime | None = bench.clock.now()
    logged = []
    while planned_at is not None:
        bench.clock.advance((planned_at - bench.clock.now()).total_seconds() + 1)
        with capture_logs() as logs:
            planned_at = await bench.look(planned_at=planned_at)
            await bench.look(planned_at=bench.clock.now())  # somebody made it due once more
        logged += [(line["event"], line["days"]) for line in logs]
    warnings = [("credential.expires_soon", days) for days in (60, 30, 14, 7, 1)]
    assert logged == [*warnings, ("credential.expired", 0)]


async def test_call_waits_for_the_proof_and_no_longer_than_its_time(bench: Bench) -> None:
    identity = await bench.put()
    tenants = bench.opened.store.tenants
    pending = await await_rotation(tenants, await bench.tenant(), identity, clock=bench.clock, wait_s=20.0)
    assert pending.outcome is RotationOutcome.PENDING
    assert bench.clock.now() == after(seconds=20)
    bench.login_errors = {identity: EXPIRED}
    await bench.look()
    refused = await await_rotation(tenants, await bench.tenant(), identity, clock=bench.clock, wait_s=20.0)
    assert (refused.outcome, bench.clock.now()) == (RotationOutcome.REFUSED, after(seconds=20))
    await bench.put("other")
    replaced = await await_rotation(tenants, await bench.tenant(), identity, clock=bench.clock, wait_s=20.0)
    assert replaced.outcome is RotationOutcome.SUPERSEDED
