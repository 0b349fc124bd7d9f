"""The commands `room discover` and `room import`: from what an organisation has to what is mapped."""

from __future__ import annotations

import enum
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from exchange_client.messages import DiscoveredRoom

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE, Output, OutputOption, show, show_table

if TYPE_CHECKING:
    from sidecar.cli.room_file import RoomRow
    from sidecar.cli.room_import import Step

_DISCOVER_S = 40.0
"""For a page; the service itself gives up after half a minute."""


class DiscoverOutput(enum.StrEnum):
    """Form of the output of `room discover`."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def discover(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.")],
    unmapped: Annotated[bool, typer.Option("--unmapped", help="Only those that are not mapped.")] = False,
    query: Annotated[str, typer.Option(help="Only those whose address, name, building or floor holds this.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: Annotated[
        DiscoverOutput,
        typer.Option("-o", "--output", help="A table for people, JSON, or a CSV file for `room import`."),
    ] = DiscoverOutput.TABLE,
) -> None:
    """List the room mailboxes that the customer's organisation has, and which of them are mapped."""
    with connected(target) as client:
        found = client.discover_rooms(tenant_of(tenant), unmapped_only=unmapped, query=query, timeout_s=_DISCOVER_S)
        if output is DiscoverOutput.CSV:
            from sidecar.cli.room_file import write_rooms  # the rules of files, which other commands do without

            mapped = {room.name.rpartition("/")[2] for room in client.list_rooms(tenant_of(tenant))}
            sys.stdout.write(write_rooms(_file_rows(found.rooms, mapped)))
        else:
            columns = ("mailbox", "name", "building", "floor", "seats", "room")
            show(found.rooms, columns, map(_row, found.rooms), Output(output.value))
        if found.problem is not None:
            problem = found.problem
            print(f"exchange-sidecar: {problem.reason}: {problem.message} {problem.action}", file=sys.stderr)
            raise typer.Exit(EXIT_REFUSED)


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV file with a header, from `room discover -o csv` or a spreadsheet.")],
    tenant: Annotated[str, typer.Option(help="Id of the tenant.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each line would do, and do nothing.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Change rooms that are mapped with other values.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Map the rooms of a file: room_id, mailbox, display_name, time_zone, capacity, annotation.KEY.

    All lines are checked before anything is written, and repeating the import does no harm. Empty cells say nothing.
    """
    # Imported here: the rules of files, which other commands do without.
    from sidecar.cli.room_file import BYTES_MAX, RoomFileInvalid, parse_rooms
    from sidecar.cli.room_import import carry_out, plan_import

    try:
        with file.open("rb") as opened:
            rows = parse_rooms(opened.read(BYTES_MAX + 1))
    except (OSError, RoomFileInvalid) as error:
        sentence = error.message if isinstance(error, RoomFileInvalid) else f"{file}: {error.strerror or error}"
        print(f"exchange-sidecar: {sentence}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
    with connected(target) as client:
        parent = tenant_of(tenant)
        steps = plan_import(rows, client.list_rooms(parent), may_update=update)
        if not dry_run:
            steps = carry_out(client, parent, steps)
    _report(steps, is_dry=dry_run, output=output)


def _report(steps: Sequence[Step], *, is_dry: bool, output: Output) -> None:
    from sidecar.cli.room_import import Outcome

    words = {Outcome.CREATE: "created", Outcome.CHANGE: "changed"}
    told = {outcome: outcome.value if is_dry else words.get(outcome, outcome.value) for outcome in Outcome}
    if output is Output.JSON:
        lines = [
            {"line": step.row.line, "room_id": step.row.room_id, "outcome": told[step.outcome], "why": step.why}
            for step in steps
        ]
        print(json.dumps(lines, indent=2))
    else:
        news = [step for step in steps if step.outcome is not Outcome.UNCHANGED]
        rows = [(str(step.row.line), step.row.room_id, told[step.outcome], step.why) for step in news]
        if rows:
            show_table(("line", "room", "outcome", "why"), rows)
        counts = Counter(step.outcome for step in steps)
        summary = ", ".join(f"{told[outcome]} {counts[outcome]}" for outcome in Outcome if counts[outcome])
        print(summary or "the file has no rooms")
    outcomes = {step.outcome for step in steps}
    if Outcome.UNDONE in outcomes:
        raise typer.Exit(EXIT_UNAVAILABLE)
    if Outcome.REFUSED in outcomes:
        raise typer.Exit(EXIT_REFUSED)


def _row(found: DiscoveredRoom) -> tuple[str, ...]:
    seats = str(found.capacity) if found.capacity else ""
    room_id = found.mapped_room.rpartition("/")[2]
    return (found.mailbox, found.display_name, found.building, found.floor, seats, room_id)


def _file_rows(rooms: Sequence[DiscoveredRoom], mapped: set[str]) -> list[RoomRow]:
    """Return lines for a file; a room that is not mapped is given an id made of its address."""
    from sidecar.cli.room_file import RoomRow, propose_id

    taken = set(mapped)
    rows = []
    for line, found in enumerate(rooms, 2):
        notes = {key: text for key, text in (("building", found.building), ("floor", found.floor)) if text}
        rows.append(
            RoomRow(
                line=line,
                room_id=found.mapped_room.rpartition("/")[2] or propose_id(found.mailbox, taken),
                mailbox=found.mailbox,
                display_name=found.display_name,
                time_zone=found.time_zone,
                capacity=found.capacity or None,
                annotations=notes,
            )
        )
    return rows
