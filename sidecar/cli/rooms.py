"""Commands about rooms."""

from __future__ import annotations

from typing import Annotated

import typer
from exchange_client.messages import CheckRoomAccessResponse, Room, SyncState

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of, tenant_of
from sidecar.cli.output import Output, OutputOption, at, exit_by, short, show, show_checks, show_one

app = typer.Typer(help="Rooms: your ids tied to room mailboxes.", no_args_is_help=True)

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
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List a tenant's rooms."""
    with connected(target) as client:
        rooms = list(client.list_rooms(tenant_of(tenant)))
        columns = ("room", "mailbox", "state", "copy", "fresh as of", "problem")
        show(rooms, columns, map(_row, rooms), output)


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
        if output is Output.JSON:
            show_one(answer, output)
        else:
            print(_what(answer), end="\n\n")
            show_checks(answer.checks)
        exit_by(answer.checks)


def _what(answer: CheckRoomAccessResponse) -> str:
    if not answer.HasField("room"):
        return f"{answer.mailbox} is not mapped"
    state = short(Room.State.Name(answer.room.state), "STATE_")
    copy = short(SyncState.Name(answer.room.sync.state), "SYNC_STATE_")
    return f"{answer.room.name} ({answer.mailbox}) is {state}, its copy {copy}"


@app.command()
def unmap(
    room: RoomArgument,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="No error when there is none.")] = False,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Take the tie away; the mailbox itself is left alone."""
    with connected(target) as client:
        client.unmap_room(room_of(room), allow_missing=allow_missing)


@app.command()
def resync(room: RoomArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Read the whole calendar anew and give every watcher a new snapshot."""
    with connected(target) as client:
        show_one(client.resync_room(room_of(room)), output)


def _row(room: Room) -> tuple[str, ...]:
    problem = room.sync.problems[0].reason if room.sync.problems else ""
    return (
        room.name.partition("/rooms/")[2],
        room.mailbox,
        short(Room.State.Name(room.state), "STATE_"),
        short(SyncState.Name(room.sync.state), "SYNC_STATE_"),
        at(room.sync.fresh_as_of_time),
        problem,
    )
