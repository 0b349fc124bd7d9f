"""The chain of checks that says whether Microsoft accepts a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from sidecar.diagnosis.reading import NARROW, WIDE, Breadth
from sidecar.diagnosis.verify import Examination, TenantVerifier
from sidecar.errors import (
    ConsentMissing,
    CredentialRejected,
    GraphUnavailable,
    MailboxDenied,
    MailboxNotFound,
    SecretUnreadable,
    SidecarError,
)
from sidecar.graph.clouds import TenantRef
from sidecar.model.check import CheckOutcome
from sidecar.model.ids import RoomId
from sidecar.model.problem import Actor
from sidecar.model.tenant import Tenant
from tests.support.builders import CANARY, DIRECTORY
from tests.support.fake_microsoft import FakeMicrosoft
from tests.support.stores import ManualClock, OpenStore, open_store

PASSED, WARNING, FAILED, SKIPPED = CheckOutcome
ORDER = ["token.acquire", "token.claims", "rooms.read", "consent.calendars"]


@dataclass
class Bench:
    """A tenant with rooms, and a Microsoft that answers as told."""

    db: OpenStore
    tenant: Tenant
    microsoft: FakeMicrosoft

    async def examine(
        self, *, breadth: Breadth | None = WIDE, budget_s: float | None = None, seed: int = 1
    ) -> Examination:
        verifier = TenantVerifier(
            store=self.db.store,
            tokens=self.microsoft,
            prober=self.microsoft,
            clock=ManualClock(),
            rng=Random(seed),
        )
        return await verifier.examine(self.tenant, breadth=breadth, is_anew=True, budget_s=budget_s)

    async def outcomes(self, **options: object) -> list[CheckOutcome]:
        found = await self.examine(**options)  # type: ignore[arg-type]  # passed through
        assert [check.check_id for check in found.checks] == ORDER
        return [check.outcome for check in found.checks]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_store(tmp_path / "v.sqlite3", clock=ManualClock()) as db:
        tenant = await db.add_tenant()
        for number in range(3):
            await db.add_room(f"r{number}")
        yield Bench(db, tenant, FakeMicrosoft(claims={"tid": DIRECTORY, "aud": "https://graph.microsoft.com/"}))


async def test_tenant_in_order_passes_every_check(bench: Bench) -> None:
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [PASSED] * 4
    assert found.checks[2].message == "3 of 3 rooms can be read."
    assert found.checks[3].facts == {"grant": "ENTRA"}
    assert found.error is None


async def test_refused_credential_skips_what_depends_on_it_and_names_the_cause(bench: Bench) -> None:
    bench.microsoft.error = CredentialRejected("no", details={"aadsts": "AADSTS7000222"})
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [FAILED, SKIPPED, SKIPPED, SKIPPED]
    assert {check.because for check in found.checks[1:]} == {"token.acquire"}
    problem = found.checks[0].problem
    assert problem is not None
    assert (problem.reason, problem.actor) == ("CREDENTIAL_REJECTED", Actor.CUSTOMER)
    assert found.checks[0].facts["aadsts"] == "AADSTS7000222"
    assert found.error is bench.microsoft.error
    assert bench.microsoft.probed == []


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"tid": "0f8fad5b-d9cb-469f-a165-70867728950e"}, "TOKEN_MISMATCH"),
        ({"aud": "https://graph.microsoft.us"}, "TOKEN_MISMATCH"),
    ],
)
async def test_token_for_something_else_is_a_warning_and_no_refusal(
    bench: Bench, claims: dict[str, str], reason: str
) -> None:
    bench.microsoft.claims = claims
    found = await bench.examine()
    assert found.checks[1].outcome is WARNING
    assert found.checks[1].problem is not None
    assert found.checks[1].problem.reason == reason
    assert found.error is None


async def test_graphs_own_id_as_audience_is_right(bench: Bench) -> None:
    bench.microsoft.claims = {"aud": "00000003-0000-0000-c000-000000000000"}
    assert await bench.outcomes() == [PASSED] * 4


async def test_permission_to_read_only_is_a_warning(bench: Bench) -> None:
    bench.microsoft.roles = ("Calendars.Read",)
    found = await bench.examine()
    assert found.checks[1].problem is not None
    assert found.checks[1].problem.reason == "CALENDARS_READ_ONLY"
    assert found.checks[3].outcome is PASSED


async def test_no_role_and_a_readable_room_is_rbac(bench: Bench) -> None:
    bench.microsoft.roles = ()
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [PASSED] * 4
    assert found.checks[3].facts == {"grant": "RBAC"}


async def test_no_role_and_no_readable_room_is_no_consent(bench: Bench) -> None:
    bench.microsoft.roles = ()
    bench.microsoft.probe_error = MailboxDenied("no")
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [PASSED, PASSED, FAILED, FAILED]
    assert {check.problem.reason for check in found.checks if check.problem is not None} == {"CONSENT_MISSING"}
    assert isinstance(found.error, ConsentMissing)


async def test_no_role_and_no_room_cannot_be_judged(bench: Bench) -> None:
    bench.microsoft.roles = ()
    for number in range(3):
        await bench.db.store.rooms.unmap(bench.tenant.tenant_id, RoomId(f"r{number}"), etag="")
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [PASSED, PASSED, SKIPPED, WARNING]
    assert found.checks[2].because == ""
    assert found.error is None


async def test_some_refused_rooms_are_a_warning_that_counts_and_names_them(bench: Bench) -> None:
    bench.microsoft.probe_errors = {"r1@contoso.example": MailboxNotFound("gone")}
    found = await bench.examine()
    check = found.checks[2]
    assert (check.outcome, check.message) == (WARNING, "2 of 3 rooms can be read; not: r1.")
    assert check.problem is not None
    assert check.problem.reason == "MAILBOX_NOT_FOUND"
    assert check.facts["rooms"] == "r1"
    assert found.error is None


async def test_rooms_that_are_all_refused_do_not_condemn_a_tenant_with_a_grant(bench: Bench) -> None:
    bench.microsoft.probe_error = MailboxDenied("no")
    found = await bench.examine()
    assert [check.outcome for check in found.checks] == [PASSED, PASSED, FAILED, PASSED]
    assert found.error is None


@pytest.mark.parametrize(
    "error", [GraphUnavailable("away"), CredentialRejected("refused since"), SecretUnreadable("another key ring")]
)
async def test_what_concerns_the_tenant_ends_the_asking(bench: Bench, error: SidecarError) -> None:
    bench.microsoft.probe_error = error
    found = await bench.examine(breadth=NARROW)
    assert found.error is error
    assert len(bench.microsoft.probed) == (2 if isinstance(error, GraphUnavailable) else 1)


async def test_background_look_stops_at_the_first_readable_room(bench: Bench) -> None:
    assert await bench.outcomes(breadth=NARROW) == [PASSED] * 4
    assert len(bench.microsoft.probed) == 1


async def test_many_rooms_are_sampled_and_the_answer_says_so(bench: Bench) -> None:
    for number in range(3, 70):
        await bench.db.add_room(f"r{number}")
    found = await bench.examine()
    assert found.checks[2].message == "60 of 60 rooms can be read; they were chosen by chance from 70."
    assert len(set(bench.microsoft.probed)) == 60
    chosen = set(bench.microsoft.probed)
    bench.microsoft.probed.clear()
    await bench.examine(seed=2)
    assert set(bench.microsoft.probed) != chosen


async def test_asking_ends_with_the_callers_patience_and_tells_what_it_knows(bench: Bench) -> None:
    async def probe(tenant: TenantRef, mailbox: str) -> None:
        if mailbox != "r0@contoso.example":
            await asyncio.Event().wait()

    bench.microsoft.probe = probe  # type: ignore[method-assign]
    found = await bench.examine(budget_s=0.05)
    assert found.checks[2].facts["asked_count"] == "1"
    assert found.checks[2].message == "1 of 1 room can be read; 2 more were not asked."


async def test_no_result_holds_a_secret(bench: Bench) -> None:
    found = await bench.examine()
    assert CANARY not in repr(found)
