"""What people are told about a tenant because of the clock alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.ids import TenantId, TenantUid
from sidecar.model.problem import Actor
from sidecar.model.tenant import Cloud, CredentialInfo, CredentialKind, CredentialRole, Tenant, TenantState
from sidecar.model.tenant_problems import WARNING_DAYS, expiry_step, next_change_at, tenant_problems, told_state
from tests.support.builders import DIRECTORY, NOW, after, make_problem


def make_tenant(expires_at: datetime | None = None, kind: CredentialKind = CredentialKind.CLIENT_SECRET) -> Tenant:
    """Build a tenant in use, with a credential that runs out then."""
    return Tenant(
        uid=TenantUid("t1"),
        tenant_id=TenantId("acme"),
        display_name="Acme",
        directory_id=DIRECTORY,
        cloud=Cloud.GLOBAL,
        problem=None,
        verified_at=NOW,
        deleted_at=None,
        credential=CredentialInfo(
            application_id="app", kind=kind, fingerprint="ab12", expires_at=expires_at, proven_at=NOW
        ),
        version=1,
        revision=0,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("left", "step"),
    [
        (timedelta(days=61), None),
        (timedelta(days=60), 60),
        (timedelta(days=30, seconds=1), 60),
        (timedelta(days=30), 30),
        (timedelta(days=14), 14),
        (timedelta(days=7), 7),
        (timedelta(days=1), 1),
        (timedelta(microseconds=1), 1),
        (timedelta(0), 0),
        (timedelta(days=-400), 0),
    ],
)
def test_time_left_decides_the_warning(left: timedelta, step: int | None) -> None:
    assert expiry_step(make_tenant(NOW + left).credential, now=NOW) == step


def test_unknown_end_is_never_warned_of() -> None:
    tenant = make_tenant(None)
    assert tenant_problems(tenant, now=NOW) == ()
    assert next_change_at(tenant, now=NOW) is None


def test_warning_tells_days_date_and_what_to_do() -> None:
    (problem,) = tenant_problems(make_tenant(after(days=6, hours=1)), now=NOW)
    assert problem.reason == "CREDENTIAL_EXPIRES_SOON"
    assert problem.message == "The client secret runs out in 7 days, on 2026-03-08."
    assert "RotateTenantCredential" in problem.action
    assert problem.actor is Actor.CUSTOMER
    assert (problem.metadata["days"], problem.metadata["step_days"]) == ("7", "7")
    assert problem.next_check_at == after(days=5, hours=1)


@pytest.mark.parametrize(
    ("days", "state"),
    [(61, TenantState.ACTIVE), (60, TenantState.DEGRADED), (1, TenantState.DEGRADED), (-1, TenantState.DEGRADED)],
)
def test_end_that_is_near_is_told_as_a_state(days: int, state: TenantState) -> None:
    """Whoever looks at states alone sees it, too, from the first warning on."""
    tenant = make_tenant(after(days=days))
    assert told_state(tenant, tenant_problems(tenant, now=NOW)) is state


def test_state_that_says_more_is_not_hidden_by_a_warning() -> None:
    tenant = replace(make_tenant(after(days=1)), problem=make_problem("CREDENTIAL_REJECTED"))
    assert told_state(tenant, tenant_problems(tenant, now=NOW)) is TenantState.CREDENTIAL_REJECTED


def test_refused_next_leaves_the_state() -> None:
    """The credential in use works, and whoever handed over the other was told."""
    following = replace(make_tenant().credential, role=CredentialRole.NEXT, refused_at=NOW, problem=make_problem("X"))
    tenant = replace(make_tenant(), next_credential=following)
    assert told_state(tenant, tenant_problems(tenant, now=NOW)) is TenantState.ACTIVE


def test_end_that_has_come_is_told_as_such_and_keeps_nothing_from_being_read() -> None:
    tenant = make_tenant(after(days=-1), CredentialKind.CERTIFICATE)
    (problem,) = tenant_problems(tenant, now=NOW)
    assert (problem.reason, problem.first_seen_at) == ("CREDENTIAL_EXPIRES_SOON", after(days=-1))
    assert problem.message == "The certificate should have run out on 2026-03-01, as far as is known."
    assert tenant.state is TenantState.ACTIVE
    assert next_change_at(tenant, now=NOW) is None


def test_refused_next_is_told_and_one_that_may_be_too_new_is_not() -> None:
    problem = make_problem("CREDENTIAL_NEXT_REFUSED")
    following = replace(make_tenant().credential, role=CredentialRole.NEXT, problem=problem)
    assert tenant_problems(replace(make_tenant(), next_credential=following), now=NOW) == ()
    refused = replace(following, refused_at=NOW)
    assert tenant_problems(replace(make_tenant(), next_credential=refused), now=NOW) == (problem,)


def test_what_blocks_a_tenant_is_told_first() -> None:
    blocking = make_problem("CREDENTIAL_REJECTED")
    told = tenant_problems(replace(make_tenant(after(days=1)), problem=blocking), now=NOW)
    assert [problem.reason for problem in told] == ["CREDENTIAL_REJECTED", "CREDENTIAL_EXPIRES_SOON"]


def test_what_microsoft_says_itself_is_told_once() -> None:
    told = tenant_problems(replace(make_tenant(after(days=-1)), problem=make_problem("CREDENTIAL_EXPIRED")), now=NOW)
    assert [problem.reason for problem in told] == ["CREDENTIAL_EXPIRED"]


def test_deleted_tenant_is_not_warned() -> None:
    tenant = replace(make_tenant(after(days=1)), deleted_at=NOW)
    assert tenant_problems(tenant, now=NOW) == ()
    assert next_change_at(tenant, now=NOW) is None


@given(st.timedeltas(min_value=timedelta(days=-5), max_value=timedelta(days=100)), st.floats(0, 1, exclude_max=True))
def test_nothing_changes_before_the_moment_that_is_named(left: timedelta, share: float) -> None:
    tenant = make_tenant(NOW + left)
    change_at = next_change_at(tenant, now=NOW)
    step = expiry_step(tenant.credential, now=NOW)
    if change_at is None:
        assert step == 0
        return
    assert change_at > NOW
    before = min(NOW + (change_at - NOW) * share, change_at - timedelta(microseconds=1))
    assert expiry_step(tenant.credential, now=before) == step
    assert expiry_step(tenant.credential, now=change_at) != step
    assert expiry_step(tenant.credential, now=change_at) in (*WARNING_DAYS, 0)
