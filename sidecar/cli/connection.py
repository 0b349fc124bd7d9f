"""How the commands reach a running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from exchange_client import SyncExchangeClient, names

from sidecar.cli.output import failing_clearly

TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="EXCHANGE_TARGET",
        help="Where the service listens: unix:///path/to.sock or host:port.",
        show_default=True,
    ),
]
DEFAULT_TARGET = "127.0.0.1:50551"
_PATIENCE_S = 5.0


@contextmanager
def connected(target: str) -> Iterator[SyncExchangeClient]:
    """Connect for the time of a command; failures end it with a sentence and an exit code."""
    with failing_clearly(), SyncExchangeClient.connect(target, timeout_s=_PATIENCE_S) as client:
        yield client


def tenant_of(tenant: str) -> str:
    """Return the name of a tenant given as an id or as a name."""
    return tenant if tenant.startswith("tenants/") else names.tenant(tenant)


def rooms_of(rooms: str) -> str:
    """Return the name of a room as `room_of` does; TENANT/- stands for all rooms of a tenant."""
    tenant_id, _, room_id = rooms.partition("/")
    return names.all_rooms(tenant_id) if room_id == "-" else room_of(rooms)


def booking_of(booking: str) -> str:
    """Return the name of a booking given as tenant/room/booking or as a name."""
    if booking.startswith("tenants/"):
        return booking
    parts = booking.split("/")
    if len(parts) != 3:
        raise ValueError(f"{booking!r} is not a booking: write TENANT/ROOM/BOOKING or its full name")
    return names.booking(*parts)


def room_of(room: str) -> str:
    """Return the name of a room given as tenant/room or as a name."""
    if room.startswith("tenants/"):
        return room
    tenant_id, slash, room_id = room.partition("/")
    if not slash:
        raise ValueError(f"{room!r} is not a room: write TENANT/ROOM or tenants/TENANT/rooms/ROOM")
    return names.room(tenant_id, room_id)
