"""The doctor's page when single tenants cannot be diagnosed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from exchange_client import NotFound, Unavailable, times
from exchange_client.messages import CheckResult, DiagnoseTenantResponse, Lane, Tenant

from sidecar.cli import connection, doctor


class FakeClient:
    """Three tenants: the first one is gone by the time it is asked about, and Exchange slows down the second."""

    @classmethod
    def connect(cls, _target: str, **_: object) -> AbstractContextManager[FakeClient]:
        return nullcontext(cls())

    def list_tenants(self) -> list[Tenant]:
        return [Tenant(name=f"tenants/{name}") for name in ("gone", "slow", "good")]

    def wait_due_lanes(self, *, count_max: int) -> list[Lane]:
        return [
            Lane(
                name=f"tenants/{name}", oldest_due_time=times.to_timestamp(datetime.now(UTC) - timedelta(seconds=age_s))
            )
            for name, age_s in (("slow", 3_600), ("good", 20))
        ]

    def get_tenant(self, name: str) -> Tenant:
        return Tenant(name=name, state=Tenant.STATE_ACTIVE)

    def diagnose_tenant(self, name: str) -> DiagnoseTenantResponse:
        if name.endswith("gone"):
            raise NotFound("there is no such tenant", "NOT_FOUND", "TENANT_NOT_FOUND")
        if name.endswith("slow"):
            raise Unavailable("Exchange asks the sidecar to slow down", "UNAVAILABLE", "EXCHANGE_THROTTLED")
        return DiagnoseTenantResponse(tenant=self.get_tenant(name))


def test_tenant_that_cannot_be_diagnosed_keeps_no_other_from_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SyncExchangeClient", FakeClient)
    unreachable, answers = doctor._ask_service("127.0.0.1:1", "")
    assert unreachable == ""
    assert [answer.tenant.name for answer in answers] == ["tenants/slow", "tenants/good"]
    check = answers[0].checks[0]
    assert (check.outcome, check.problem.reason) == (CheckResult.OUTCOME_FAILED, "EXCHANGE_THROTTLED")


def test_work_that_nobody_does_is_a_failure_of_its_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SyncExchangeClient", FakeClient)
    _, answers = doctor._ask_service("127.0.0.1:1", "")
    found = {answer.tenant.name: [check.problem.reason for check in answer.checks] for answer in answers}
    assert found == {"tenants/slow": ["EXCHANGE_THROTTLED", "WORK_WAITING"], "tenants/good": []}


def test_service_that_does_not_answer_is_said_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SyncExchangeClient", FakeClient)

    def away(_self: FakeClient, _name: str) -> DiagnoseTenantResponse:
        raise Unavailable("no connection", "UNAVAILABLE")

    monkeypatch.setattr(FakeClient, "diagnose_tenant", away)
    assert doctor._ask_service("127.0.0.1:1", "good") == ("no connection", [])
