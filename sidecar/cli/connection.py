"""How the commands reach a running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from exchange_client import SyncExchangeClient, Tls, TokenFile, names

from sidecar.cli.output import failing_clearly
from sidecar.cli.version import show_version

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


@dataclass(frozen=True, slots=True)
class Access:
    """How the service is to be reached, as the options before the command say."""

    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    token_file: Path | None = None


_PLAIN = Access()
_ACCESS: ContextVar[Access] = ContextVar("access", default=_PLAIN)
"""Of this command line: commands have only the options that they need themselves."""


def options(
    context: typer.Context,
    tls: Annotated[bool, typer.Option("--tls", envvar="EXCHANGE_TLS", help="Use TLS, as --ca, --cert do.")] = False,
    ca: Annotated[
        Path | None, typer.Option(envvar="EXCHANGE_CA", help="PEM file of the authorities to trust, not the system's.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(envvar="EXCHANGE_CERT", help="PEM file of your own certificate; with --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar="EXCHANGE_KEY", help="PEM file of its private key.")] = None,
    server_name: Annotated[
        str, typer.Option(envvar="EXCHANGE_SERVER_NAME", help="Name to expect in the service's certificate.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(envvar="EXCHANGE_TOKEN_FILE", help="File with the bearer token to call with.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say which build this is, and end.")
    ] = False,
) -> None:
    """Keeps Microsoft Exchange room calendars and your product in step, behind a gRPC API.

    The options say how the commands reach the service; they stand before the command.
    """
    before = _ACCESS.set(Access(tls, ca, cert, key, server_name, token_file))
    context.call_on_close(lambda: _ACCESS.reset(before))


def reach(target: str) -> SyncExchangeClient:
    """Make a client as the options of this command line say.

    Raises:
        ValueError: a file cannot be read, or the options do not fit together.
    """
    tls = tls_for(target)
    file = _ACCESS.get().token_file
    try:
        token = None if file is None else TokenFile(file)
    except OSError as error:
        raise _unreadable(error) from error
    return SyncExchangeClient.connect(target, tls=tls, token=token, timeout_s=_PATIENCE_S)


def tls_for(target: str) -> Tls | None:
    """Return what the options of this command line secure a connection with; None: nothing.

    Raises:
        ValueError: a file cannot be read, or the options do not fit together.
    """
    access = _ACCESS.get()
    is_wanted = access.tls or access.ca or access.cert or access.key or access.server_name
    if not is_wanted or target.startswith("unix:"):  # a socket is plain, whatever the environment says of others
        return None
    try:
        return Tls.from_files(ca=access.ca, cert=access.cert, key=access.key, server_name=access.server_name)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> ValueError:
    return ValueError(f"cannot read {error.filename}: {error.strerror}")


@contextmanager
def connected(target: str) -> Iterator[SyncExchangeClient]:
    """Connect for the time of a command; failures end it with a sentence and an exit code."""
    with failing_clearly(), reach(target) as client:
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
