"""The command that follows changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from exchange_client import MirrorChange, Reconnected, RoomMirror, SyncExchangeClient
from exchange_client.messages import WatchRoomResponse, WatchRoomsResponse

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of, tenant_of
from sidecar.cli.output import Output, OutputOption, at, to_json


def watch(
    scope: Annotated[str, typer.Argument(help="TENANT for all rooms, or TENANT/ROOM.")],
    resume_token: Annotated[str, typer.Option(help="Go on where an earlier watch stopped.")] = "",
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow changes until interrupted: a line each, or with -o json each message of the stream as one line of JSON."""
    mirror = RoomMirror()
    with connected(target) as client:
        try:
            for message in _messages(client, scope, resume_token):
                if output is Output.JSON:
                    if not isinstance(message, Reconnected):
                        print(json.dumps(to_json(message)), flush=True)
                    continue
                for change in mirror.apply(message):
                    print(describe(change), flush=True)
        except KeyboardInterrupt:
            return


def _messages(
    client: SyncExchangeClient, scope: str, resume_token: str
) -> Iterator[WatchRoomResponse | WatchRoomsResponse | Reconnected]:
    if "/rooms/" in scope or ("/" in scope and not scope.startswith("tenants/")):
        yield from client.watch_room(room_of(scope), resume_token=resume_token, watcher_id="cli")
    else:
        yield from client.watch_rooms(tenant_of(scope), resume_token=resume_token, watcher_id="cli")


def describe(change: MirrorChange) -> str:
    """Return a change as one line for people."""
    room = change.room.partition("/rooms/")[2]
    booking = change.after or change.before
    if booking is None:
        return f"{change.kind.value:<13} {room}"
    what = booking.subject or booking.organizer.display_name or booking.organizer.email
    span = f"{at(booking.time.start_time)} - {at(booking.time.end_time)}"
    return f"{change.kind.value:<13} {room:<12} {span}  {what}"
