"""Bring a file of rooms into the service: say what each line would do, then do it. Repeating it does no harm."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from exchange_client import ExchangeError, SyncExchangeClient, Unavailable, names, room_mapping
from exchange_client.messages import Room

from sidecar.cli.room_file import RoomRow

BATCH_ROOMS = 200
"""What one BatchMapRooms takes."""
_CALL_S = 60.0
"""For a batch, and for an update, which may ask Microsoft."""


class Outcome(enum.StrEnum):
    """What a line does, or did."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNDONE = "undone"
    """The service could not be reached any more; repeat the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of the file and what it means. `changes` are the fields of UpdateRoom that differ; `why` is for people."""

    row: RoomRow
    outcome: Outcome
    changes: frozenset[str] = frozenset()
    annotations: dict[str, str] | None = None
    why: str = ""


def plan_import(rows: Iterable[RoomRow], rooms: Iterable[Room], *, may_update: bool) -> list[Step]:
    """Decide what each line does to the rooms that are mapped. Pure."""
    by_id: dict[str, Room] = {}
    by_mailbox: dict[str, Room] = {}
    for room in rooms:
        by_id[room.name.rpartition("/")[2]] = room
        for address in _addresses(room):
            by_mailbox[address] = room
    return [_plan_row(row, by_id.get(row.room_id), by_mailbox.get(row.mailbox.casefold()), may_update) for row in rows]


def _addresses(room: Room) -> set[str]:
    """Return what a mailbox may be called: its present address, and the one that was given."""
    return {room.mailbox.casefold(), room.given_mailbox.casefold()} - {""}


def _plan_row(row: RoomRow, room: Room | None, owner: Room | None, may_update: bool) -> Step:
    if owner is not None and (room is None or owner.name != room.name):
        why = f"the mailbox belongs to room {owner.name.rpartition('/')[2]}"
        return Step(row=row, outcome=Outcome.REFUSED, why=why)
    if room is None:
        return Step(row=row, outcome=Outcome.CREATE)
    notes = {**room.annotations, **row.annotations}
    differs = {
        "mailbox": row.mailbox.casefold() not in _addresses(room),
        "display_name": bool(row.display_name) and row.display_name != room.display_name,
        "time_zone": bool(row.time_zone) and row.time_zone != room.time_zone,
        "capacity": row.capacity is not None and row.capacity != room.capacity,
        "annotations": notes != dict(room.annotations),
    }
    changes = frozenset(name for name, is_other in differs.items() if is_other)
    if not changes:
        return Step(row=row, outcome=Outcome.UNCHANGED)
    what = ", ".join(name for name in differs if name in changes)
    if not may_update:
        why = f"the room is mapped with another {what}; --update changes it"
        return Step(row=row, outcome=Outcome.REFUSED, changes=changes, why=why)
    return Step(row=row, outcome=Outcome.CHANGE, changes=changes, annotations=notes, why=what)


def carry_out(client: SyncExchangeClient, tenant: str, steps: Sequence[Step]) -> list[Step]:
    """Do what was planned; a line that the service refuses does not keep the others back.

    Returns:
        The steps as they went, in their order. From the first one on that the service could not be reached for, they are
        UNDONE.
    """
    done: dict[int, Step] = {}
    try:
        creations = [step for step in steps if step.outcome is Outcome.CREATE]
        for start in range(0, len(creations), BATCH_ROOMS):
            for step in _create(client, tenant, creations[start : start + BATCH_ROOMS]):
                done[step.row.line] = step
        for step in steps:
            match step.outcome:
                case Outcome.CHANGE:
                    done[step.row.line] = _change(client, tenant, step)
                case Outcome.CREATE:
                    pass  # done above, many at once
                case Outcome.UNCHANGED | Outcome.REFUSED | Outcome.UNDONE:
                    done[step.row.line] = step
                case other:
                    assert_never(other)
    except Unavailable as error:
        why = f"{error.reason or 'no answer from the service'}: {error.message}"
        return [done.get(step.row.line) or _left(step, why) for step in steps]
    return [done[step.row.line] for step in steps]


def _left(step: Step, why: str) -> Step:
    """Return what a step is when the service went away before its turn."""
    if step.outcome in (Outcome.UNCHANGED, Outcome.REFUSED):
        return step
    return replace(step, outcome=Outcome.UNDONE, why=why)


def _create(client: SyncExchangeClient, tenant: str, steps: Sequence[Step]) -> list[Step]:
    mappings = [
        room_mapping(
            step.row.room_id,
            step.row.mailbox,
            display_name=step.row.display_name,
            time_zone=step.row.time_zone,
            capacity=step.row.capacity or 0,
            annotations=step.row.annotations,
        )
        for step in steps
    ]
    outcomes = client.map_rooms(tenant, mappings, timeout_s=_CALL_S)
    return [
        step
        if outcome.problem is None
        else replace(step, outcome=Outcome.REFUSED, why=f"{outcome.problem.reason}: {outcome.problem.message}")
        for step, outcome in zip(steps, outcomes, strict=True)
    ]


def _change(client: SyncExchangeClient, tenant: str, step: Step) -> Step:
    row, changes = step.row, step.changes
    try:
        client.update_room(
            names.room(tenant.removeprefix("tenants/"), row.room_id),
            mailbox=row.mailbox if "mailbox" in changes else None,
            display_name=row.display_name if "display_name" in changes else None,
            time_zone=row.time_zone if "time_zone" in changes else None,
            capacity=row.capacity if "capacity" in changes else None,
            annotations=step.annotations if "annotations" in changes else None,
            timeout_s=_CALL_S,
        )
    except Unavailable:
        raise
    except ExchangeError as error:
        return replace(step, outcome=Outcome.REFUSED, why=f"{error.reason}: {error.message}")
    return step
