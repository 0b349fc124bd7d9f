"""The command that follows where a tenant stands."""

from __future__ import annotations

import json
from collections.abc import Iterator

from exchange_client import Reconnected
from exchange_client.messages import NextStep, Room, StreamClosing, SyncState, Tenant, WatchTenantResponse

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import Output, OutputOption, at, short, to_json
from sidecar.cli.tenants import TenantArgument


def watch(tenant: TenantArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Follow a tenant until interrupted or erased: a line whenever something is different, or each message as JSON."""
    with connected(target) as client:
        last: list[str] = []
        try:
            for message in client.watch_tenant(tenant_of(tenant), watcher_id="cli"):
                if isinstance(message, Reconnected):
                    continue
                if output is Output.JSON:
                    print(json.dumps(to_json(message)), flush=True)
                    continue
                lines = list(describe(message))
                if lines != last:
                    print("\n".join(lines), flush=True)
                    last = lines
        except KeyboardInterrupt:
            return


def describe(message: WatchTenantResponse) -> Iterator[str]:
    """Yield the lines of a message for people: the tenant and its rooms, then each problem."""
    if message.HasField("closing"):
        yield f"closed: {short(StreamClosing.Reason.Name(message.closing.reason), 'REASON_')}"
        return
    rooms, tenant = message.rooms, message.tenant
    states = [f"{one.count} {short(Room.State.Name(one.state), 'STATE_')}" for one in rooms.states]
    copies = [f"{one.count} {short(SyncState.Name(one.state), 'SYNC_STATE_')}" for one in rooms.sync_states]
    parts = [short(Tenant.State.Name(tenant.state), "STATE_"), f"{rooms.total_count} rooms"]
    if states:
        parts += [", ".join(states), f"copies: {', '.join(copies)}"]
    if message.HasField("next"):
        when = f" at {at(message.next.time)}" if message.next.HasField("time") else ""
        parts.append(f"next: {short(NextStep.Kind.Name(message.next.kind), 'KIND_')}{when}")
    yield "  ".join(parts)
    for problem in tenant.problems:
        yield f"  {problem.reason}: {problem.message}"
