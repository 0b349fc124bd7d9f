"""The doctor: one page that says what is wrong, why, who must act, and which command helps."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from exchange_client import AccessDenied, NotFound, SyncExchangeClient, Unavailable, Unsupported, times
from exchange_client.messages import CheckResult, DiagnoseTenantResponse, Problem, Tenant

from sidecar.aio.clock import SystemClock
from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, reach, tenant_of
from sidecar.cli.output import (
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    Output,
    OutputOption,
    failing_clearly,
    instant,
    short,
    show_outcomes,
    to_do,
    to_json,
)
from sidecar.cli.server import ConfigOption

_TENANTS_MAX = 50
"""One page; whoever has more asks for one, or a program for all with `tenant list`."""
_LANES_MAX = 1_000
_WORK_LATE = timedelta(minutes=5)
"""Longer than a large import keeps what is behind it waiting, unless too few workers run."""
_LOCAL = "this machine"
_COMMANDS = {
    "APPLICATION_DISABLED": "exchange-sidecar kit show {tenant} --to DIR",
    "APPLICATION_NOT_FOUND": "exchange-sidecar kit show {tenant} --to DIR",
    "CONSENT_MISSING": "exchange-sidecar kit show {tenant} --to DIR",
    "CONSENT_UNPROVEN": "exchange-sidecar room map {tenant}/ROOM ADDRESS",
    "CREDENTIAL_EXPIRED": "exchange-sidecar tenant rotate {tenant}",
    "CREDENTIAL_EXPIRES_SOON": "exchange-sidecar tenant rotate {tenant}",
    "CREDENTIAL_NEXT_REFUSED": "exchange-sidecar tenant rotate {tenant}",
    "CREDENTIAL_REJECTED": "exchange-sidecar tenant rotate {tenant}",
    "MAILBOX_ACCESS_DENIED": "exchange-sidecar kit show {tenant} --to DIR",
    "MAILBOX_NOT_FOUND": "exchange-sidecar room update {tenant}/ROOM --mailbox ADDRESS",
    "ROOM_STALE": "exchange-sidecar room diagnose {tenant}/ROOM",
    "SCHEMA_BEHIND": "exchange-sidecar migrate",
    "SETTINGS_INVALID": "exchange-sidecar config check",
    "TENANT_SUSPENDED": "exchange-sidecar tenant resume {tenant}",
    "WORK_WAITING": "exchange-sidecar task drain {tenant}",
}
"""What fixes a cause, or what the one who must act is sent."""


@dataclass(frozen=True, slots=True)
class _Finding:
    about: str
    check: CheckResult

    @property
    def command(self) -> str:
        """The command that helps; "" when it is no command's business."""
        return _COMMANDS.get(self.check.problem.reason, "").format(tenant=self.about.removeprefix("tenants/"))


def doctor(
    tenant: Annotated[str, typer.Option(help="Only this tenant; otherwise all, up to 50.")] = "",
    local: Annotated[
        bool, typer.Option("--local/--no-local", help="Look at this machine's configuration and database, too.")
    ] = True,
    config: ConfigOption = None,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say on one page what is wrong, why, who must act, and which command helps. Microsoft is asked; nothing is changed.

    Exit code 0: nothing failed; 1: something did; 3: the service cannot be reached.
    """
    with failing_clearly():
        machine = list(_look_at_machine(config)) if local else []
        unreachable, answers = _ask_service(target, tenant)
        if output is Output.JSON:
            told = {
                "machine": [to_json(check) for check in machine],
                "service": unreachable or "reachable",
                "tenants": [to_json(answer) for answer in answers],
            }
            print(json.dumps(told, indent=2))
        else:
            _print_page(machine, unreachable, answers)
    checks = [*machine, *(check for answer in answers for check in answer.checks)]
    if any(check.outcome == CheckResult.OUTCOME_FAILED for check in checks):
        raise typer.Exit(EXIT_REFUSED)
    if unreachable:
        raise typer.Exit(EXIT_UNAVAILABLE)


def _look_at_machine(config: Path | None) -> Iterable[CheckResult]:
    # Imported here: the other commands start in a fraction of the time without them.
    from sidecar.api.convert import check_to_proto
    from sidecar.diagnosis.local import check_machine, judge_mistakes
    from sidecar.errors import SettingsInvalid
    from sidecar.settings import load_settings

    clock = SystemClock()
    try:
        found = asyncio.run(check_machine(load_settings(config), clock=clock))
    except SettingsInvalid as error:
        found = [judge_mistakes(error, now=clock.now())]
    for check in found:
        yield CheckResult.FromString(check_to_proto(check).SerializeToString())


def _ask_service(target: str, tenant: str) -> tuple[str, Sequence[DiagnoseTenantResponse]]:
    """Return why the service cannot be asked, "" when it can, and what it says of its tenants."""
    with reach(target) as client:
        try:
            late = _late_lanes(client)
            if tenant:
                return "", [_with_work(_diagnose(client, tenant_of(tenant)), late)]
            answers = []
            for name in _tenants(client):
                with contextlib.suppress(NotFound):  # deleted since it was listed
                    answers.append(_with_work(_diagnose(client, name), late))
        except Unavailable as error:
            return error.message or "no answer", []
        return "", answers


def _late_lanes(client: SyncExchangeClient) -> Mapping[str, datetime]:
    """Return since when work waits, of tenants for which it has waited for long and that nobody works for."""
    try:
        lanes = client.wait_due_lanes(count_max=_LANES_MAX)
    except (AccessDenied, Unsupported):  # a caller that may not ask, or an older service
        return {}
    since = {lane.name: times.to_datetime(lane.oldest_due_time) for lane in lanes}
    now = SystemClock().now()
    return {name: at for name, at in since.items() if now - at > _WORK_LATE}


def _with_work(answer: DiagnoseTenantResponse, late: Mapping[str, datetime]) -> DiagnoseTenantResponse:
    """Add that nobody does what is due for a tenant, if so."""
    since_at = late.get(answer.tenant.name)
    if since_at is not None:
        problem = Problem(
            reason="WORK_WAITING",
            message=f"Work is due since {instant(since_at)}, and nobody does it.",
            action="See that a worker runs; with tasks.runner=outside, that the task runner calls DrainLane.",
            actor=Problem.ACTOR_OPERATOR,
        )
        message, failed = problem.message, CheckResult.OUTCOME_FAILED
        answer.checks.add(check_id="tasks.lane", outcome=failed, message=message, problem=problem)
    return answer


def _diagnose(client: SyncExchangeClient, name: str) -> DiagnoseTenantResponse:
    """Have a tenant diagnosed; that Exchange keeps it from being so is one of the things that are wrong."""
    try:
        return client.diagnose_tenant(name)
    except Unavailable as error:
        if not error.reason.startswith("EXCHANGE_"):
            raise
        problem = Problem(
            reason=error.reason, message=error.message, action="Ask again in a minute.", actor=Problem.ACTOR_NOBODY
        )
        check = CheckResult(check_id="tenant", outcome=CheckResult.OUTCOME_FAILED, problem=problem)
        return DiagnoseTenantResponse(tenant=client.get_tenant(name), checks=[check])


def _tenants(client: SyncExchangeClient) -> list[str]:
    names: list[str] = []
    for found in client.list_tenants():
        if len(names) == _TENANTS_MAX:
            break
        if found.state != Tenant.STATE_DELETED:
            names.append(found.name)
    return names


def _print_page(machine: Sequence[CheckResult], unreachable: str, answers: Sequence[DiagnoseTenantResponse]) -> None:
    rows = [(_LOCAL, check) for check in machine]
    rows += [(answer.tenant.name, check) for answer in answers for check in answer.checks]
    is_long = len(answers) > 1  # then what is well is left out, but for this machine
    shown = [row for row in rows if not is_long or row[0] == _LOCAL or row[1].outcome != CheckResult.OUTCOME_PASSED]
    show_outcomes([(about.removeprefix("tenants/"), check) for about, check in shown])
    if unreachable:
        print(f"\nThe service cannot be reached: {unreachable}")
        print("  to do: start it (exchange-sidecar serve), or name it with --target")
    elif not answers:
        print("\nNo tenant is registered.\n  to do: exchange-sidecar kit show TENANT --directory-id ID --to DIR")
    for answer in answers:
        print(f"\n{answer.tenant.name} is {short(Tenant.State.Name(answer.tenant.state), 'STATE_')}")
    findings = [_Finding(about, check) for about, check in rows if check.HasField("problem")]
    findings += [
        _Finding(answer.tenant.name, CheckResult(check_id="tenant", problem=problem))
        for answer in answers
        for problem in answer.tenant.problems
        if all(problem.reason != check.problem.reason for check in answer.checks)
    ]
    _print_findings(findings)
    if not findings and not unreachable:
        print("\nNothing is wrong.")


def _print_findings(findings: Sequence[_Finding]) -> None:
    """Print what is wrong, the same cause of the same tenant once, failures first."""
    met: dict[tuple[str, str, str], list[_Finding]] = {}
    for finding in sorted(findings, key=lambda one: one.check.outcome != CheckResult.OUTCOME_FAILED):
        problem = finding.check.problem
        met.setdefault((finding.about, problem.reason, problem.action), []).append(finding)
    for (about, reason, _), group in met.items():
        names = ", ".join(one.check.check_id for one in group)
        told: Problem = group[0].check.problem
        print(f"\n{reason} ({about}: {names})\n  {told.message}")
        print(f"  {to_do(told)}")
        if group[0].command:
            print(f"  command: {group[0].command}")
