"""Every case of the conformance suite, asked of every subject. The rules are in `cases_*.py`, one file for each area."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.contract.graph import (
    cases_access,
    cases_batch,
    cases_delta,
    cases_events,
    cases_identity,
    cases_notifications,
    cases_places,
    cases_policies,
    cases_queries,
    cases_rich,
    cases_rooms,
    cases_series,
    cases_service,
    cases_subscriptions,
    cases_views,
    cases_writing,
)
from tests.contract.graph.case import Case, run_case
from tests.contract.graph.emulated import Emulated, emulated
from tests.contract.graph.subject import Subject
from tests.contract.graph.tenant import real_tenant, tenant_is_named

CASES: list[Case] = [
    case
    for area in (
        cases_identity,
        cases_subscriptions,
        cases_notifications,
        cases_views,
        cases_delta,
        cases_events,
        cases_writing,
        cases_series,
        cases_rooms,
        cases_places,
        cases_service,
        cases_access,
        cases_queries,
        cases_batch,
        cases_rich,
        cases_policies,
    )
    for case in area.TABLE.cases
]
SUBJECTS = ("emulator", "tenant")


@pytest.mark.parametrize(
    ("case", "subject_name"),
    [
        pytest.param(
            case,
            subject,
            id=f"{case.case_id}[{subject}]",
            marks=[pytest.mark.looptime] if subject == "emulator" else [],
        )
        for case in CASES
        for subject in SUBJECTS
    ],
)
async def test_rule(case: Case, subject_name: str) -> None:
    # In the test's own body, not in a fixture: virtual time begins with the body.
    async with subject_named(subject_name) as subject:
        reason = case.missing(subject_name, subject.able)
        if reason is not None:
            pytest.skip(reason)
        try:
            await run_case(case, subject)
        finally:
            await subject.close()
        if isinstance(subject, Emulated) and case.emulator_only is None:
            assert await subject.leftovers() == [], "the case left something behind"


@asynccontextmanager
async def subject_named(name: str) -> AsyncIterator[Subject]:
    """Give the emulator always, and a real tenant if the environment names one."""
    if name == "emulator":
        async with emulated() as subject:
            yield subject
    elif not tenant_is_named():
        pytest.skip("no real tenant in the environment")
    else:
        async with real_tenant() as tenant:
            yield tenant


def test_every_case_has_an_id_of_its_own() -> None:
    doubled = [name for name, count in Counter(case.case_id for case in CASES).items() if count > 1]
    assert doubled == []
