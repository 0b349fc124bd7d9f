"""The command that shows who changed what."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Annotated

import typer
from exchange_client.messages import AuditCaller, AuditEntry

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import Output, OutputOption, at, short, show

app = typer.Typer(help="Who changed what, and when.", no_args_is_help=True)


@app.callback()
def _several() -> None:
    """Keep `list` a command of its own: a tree with one command would lose its name."""


@app.command("list")
def list_all(
    tenant: Annotated[str, typer.Option(help="Only about this tenant.")] = "",
    since: Annotated[str, typer.Option(help="Only from this time on, such as 2026-11-22T08:00+00:00.")] = "",
    until: Annotated[str, typer.Option(help="Only before this time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Only so many, the newest.")] = 100,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List administrative calls, the newest first: done and refused."""
    with connected(target) as client:
        found = client.list_audit_entries(
            tenant_of(tenant) if tenant else "", start_at=_instant(since), end_at=_instant(until)
        )
        entries = list(islice(found, limit))
        show(entries, ("time", "caller", "call", "about", "outcome", "fields"), map(_row, entries), output)


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write +00:00 or Z behind it")
    return instant


def _row(entry: AuditEntry) -> tuple[str, ...]:
    kind = short(AuditCaller.Kind.Name(entry.caller.kind), "KIND_").replace("_", " ")
    caller = " ".join(part for part in (kind, entry.caller.address, entry.caller.identity) if part)
    told = [f"{path}={entry.values[path]}" if path in entry.values else path for path in entry.fields]
    told += [f"{name}={value}" for name, value in sorted(entry.values.items()) if name not in entry.fields]
    return at(entry.time), caller, entry.method, entry.resource, entry.outcome, " ".join(told)
