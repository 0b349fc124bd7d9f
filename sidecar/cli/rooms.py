"""Commands about rooms."""

from __future__ import annotations

import enum
from collections import Counter
from typing import Annotated

import typer
from exchange_client.messages import (
    CheckRoomAccessResponse,
    DiagnoseRoomResponse,
    Room,
    RoomStep,
    SyncState,
    UnmapRoomRequest,
)

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of, tenant_of
from sidecar.cli.finding_rooms import discover, import_file
from sidecar.cli.output import (
    Output,
    OutputOption,
    at,
    exit_by,
    short,
    show,
    show_checked,
    show_checks,
    show_one,
    show_values,
)

app = typer.Typer(help="Rooms: your ids tied to room mailboxes.", no_args_is_help=True)

app.command("discover")(discover)
app.command("import")(import_file)

_UPDATE_S = 40.0
"""It may ask Microsoft; the service itself gives up after half a minute."""


class RoomCopy(enum.StrEnum):
    """States of copies, as `room list` shows them."""

    LIVE = "live"
    POLLING = "polling"
    INITIALIZING = "initializing"
    STALE = "stale"
    PAUSED = "paused"
    BLOCKED = "blocked"


RoomArgument = Annotated[str, typer.Argument(help="TENANT/ROOM, or the full name.")]


@app.command("map")
def map_room(
    room: RoomArgument,
    mailbox: Annotated[str, typer.Argument(help="Address of the room mailbox.")],
    display_name: Annotated[str, typer.Option(help="Name for people.")] = "",
    time_zone: Annotated[str, typer.Option(help="IANA zone; empty: the mailbox's own.")] = "",
    capacity: Annotated[int, typer.Option(help="Seats.")] = 0,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tie a room to a mailbox and start reading its calendar."""
    with connected(target) as client:
        parent, _, room_id = room_of(room).partition("/rooms/")
        mapped = client.map_room(
            parent, room_id, mailbox, display_name=display_name, time_zone=time_zone, capacity=capacity
        )
        show_one(mapped, output)


@app.command()
def get(room: RoomArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Show one room: its state, how fresh its copy is, and what stands in its way."""
    with connected(target) as client:
        show_one(client.get_room(room_of(room)), output)


@app.command("list")
def list_all(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.")],
    state: Annotated[
        list[RoomCopy] | None, typer.Option(help="Only rooms whose copy is in this state; may be repeated.")
    ] = None,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a tenant's rooms, and count them by state."""
    with connected(target) as client:
        wanted = [SyncState.Value(f"SYNC_STATE_{one.value.upper()}") for one in state or ()]
        rooms = list(client.list_rooms(tenant_of(tenant), sync_states=wanted))
        columns = ("room", "name", "mailbox", "state", "copy", "fresh as of", "problem")
        show(rooms, columns, map(_row, rooms), output)
        if rooms and output is Output.TABLE:
            counts = Counter(short(Room.State.Name(room.state), "STATE_") for room in rooms)
            states = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            print(f"\n{len(rooms)} rooms: {states}")


@app.command()
def update(
    room: RoomArgument,
    mailbox: Annotated[str | None, typer.Option(help="Another address of its mailbox.")] = None,
    display_name: Annotated[str | None, typer.Option(help="Name for people.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="IANA zone; empty: the mailbox's own.")] = None,
    capacity: Annotated[int | None, typer.Option(help="Seats.")] = None,
    allow_other_mailbox: Annotated[
        bool,
        typer.Option(
            "--allow-other-mailbox", help="Also if the address is another mailbox's: its calendar replaces the copy."
        ),
    ] = False,
    etag: Annotated[str, typer.Option(help="Change only this version.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what is given of a room. A mailbox with a new address goes on: its copy and its watchers stay."""
    with connected(target) as client:
        changed = client.update_room(
            room_of(room),
            mailbox=mailbox,
            display_name=display_name,
            time_zone=time_zone,
            capacity=capacity,
            allow_other_mailbox=allow_other_mailbox,
            etag=etag,
            timeout_s=_UPDATE_S,
        )
        show_one(changed, output)


@app.command()
def check(
    room: RoomArgument,
    write: Annotated[
        bool, typer.Option("--write", help="Also book one minute, far ahead and at night, and remove it at once.")
    ] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have Exchange asked now what the app may do with a room, or with an address: TENANT/ROOM or TENANT/ADDRESS."""
    with connected(target) as client:
        tenant, _, address = room.partition("/")
        if "@" in address:
            answer = client.check_room_access(parent=tenant_of(tenant), mailbox=address, include_write=write)
        else:
            answer = client.check_room_access(room_of(room), include_write=write)
        show_checked(answer, _what(answer), answer.checks, output)


@app.command()
def diagnose(
    room: RoomArgument,
    booking: Annotated[str, typer.Option(help="A booking of the room to explain: its id, or its full name.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show all that is known of a room and what Exchange says of it now. Exit code 1: a check failed."""
    with connected(target) as client:
        name = room_of(room)
        wanted = booking if not booking or booking.startswith("tenants/") else f"{name}/bookings/{booking}"
        answer = client.diagnose_room(name, booking=wanted)
        if output is Output.JSON:
            show_one(answer, output)
        else:
            _show_diagnosis(answer)
        exit_by(answer.checks)


def _show_diagnosis(answer: DiagnoseRoomResponse) -> None:
    print(f"{_state(answer.room)}\n")
    show_checks(answer.checks)
    print("\nwhat happened last")
    steps = [(at(step.time), short(RoomStep.Kind.Name(step.kind), "KIND_"), step.booking) for step in answer.steps]
    show(answer.steps, ("time", "what", "booking"), steps, Output.TABLE)
    print("\nwhat is planned")
    planned = [
        (at(work.due_time), work.work, str(work.failures_count), work.last_reason) for work in answer.planned_work
    ]
    show(answer.planned_work, ("time", "work", "failures", "last reason"), planned, Output.TABLE)
    print("\nids for a support case at Microsoft")
    show_values(dict(sorted(answer.exchange_ids.items())), Output.TABLE)


def _state(room: Room) -> str:
    state, copy = short(Room.State.Name(room.state), "STATE_"), short(SyncState.Name(room.sync.state), "SYNC_STATE_")
    return f"{room.name} ({room.mailbox}) is {state}, its copy {copy}"


def _what(answer: CheckRoomAccessResponse) -> str:
    if not answer.HasField("room"):
        return f"{answer.mailbox} is not mapped"
    return _state(answer.room)


@app.command()
def unmap(
    room: RoomArgument,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="No error when there is none.")] = False,
    untold: Annotated[
        bool, typer.Option("--untold", help="Tell watchers of the room alone, not of each of its bookings.")
    ] = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Take the tie away; the mailbox itself is left alone."""
    with connected(target) as client:
        bookings = UnmapRoomRequest.BOOKINGS_UNTOLD if untold else UnmapRoomRequest.BOOKINGS_LEFT_SCOPE
        answer = client.unmap_room(room_of(room), allow_missing=allow_missing, bookings=bookings)
        if answer.HasField("subscription_expire_time"):
            print(
                f"Microsoft calls about the room until {at(answer.subscription_expire_time)}, unless it is told before."
            )


@app.command()
def resync(room: RoomArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Read the whole calendar anew and give every watcher a new snapshot."""
    with connected(target) as client:
        show_one(client.resync_room(room_of(room)), output)


def _row(room: Room) -> tuple[str, ...]:
    problem = room.sync.problems[0].reason if room.sync.problems else ""
    return (
        room.name.partition("/rooms/")[2],
        room.display_name,
        room.mailbox,
        short(Room.State.Name(room.state), "STATE_"),
        short(SyncState.Name(room.sync.state), "SYNC_STATE_"),
        at(room.sync.fresh_as_of_time),
        problem,
    )
