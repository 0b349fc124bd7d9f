"""Show a tenant's rooms and keep their bookings up to date, until interrupted.

    python example.py TARGET TENANT [FILE]
    python example.py 127.0.0.1:50551 demo

TARGET is `unix:///path/of.sock` or `host:port`, TENANT the tenant's id. With FILE the mirror is kept between runs: the next
one goes on where this one ended.
"""
# ruff: noqa: T201  (a command speaks on standard output)

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exchange_client import ChangeKind, ExchangeClient, ExchangeError, MirrorChange, RoomMirror, names, times
from exchange_client.messages import Booking, Room, SyncState
from exchange_client.tokens import replace_file


async def follow(target: str, tenant_id: str, mirror: RoomMirror) -> None:
    """List the rooms, then keep the mirror equal to them."""
    tenant = names.tenant(tenant_id)
    async with ExchangeClient.connect(target) as client:
        async for room in client.list_rooms(tenant):
            print(f"{names.parse_room(room.name).room}: {room.mailbox}, {Room.State.Name(room.state)}")
        async with client.watch_rooms(tenant, resume_token=mirror.resume_token, on_retry=tell_retry) as watch:
            async for message in watch:
                for change in mirror.apply(message):
                    print(describe(change, mirror))


def describe(change: MirrorChange, mirror: RoomMirror) -> str:
    """Put a change into words."""
    match change.kind:
        case ChangeKind.ROOM_COMPLETE:
            return f"{change.room} is complete: {len(mirror.bookings(change.room))} bookings"
        case ChangeKind.SYNC_CHANGED:
            return f"the copy is {SyncState.Name(mirror.sync.state)}, fresh as of {mirror.fresh_as_of}"
        case _:
            booking = change.after or change.before
            return f"{change.room} {change.kind.value} {summary(booking) if booking is not None else ''}"


def summary(booking: Booking) -> str:
    """Give a booking in a line."""
    start, end = times.to_datetime(booking.time.start_time), times.to_datetime(booking.time.end_time)
    return f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC {booking.subject!r} by {booking.organizer.email}"


def tell_retry(error: ExchangeError, delay_s: float) -> None:
    """Say that the watch is calling again."""
    print(f"{error}; calling again in {delay_s:.1f} s", file=sys.stderr)


def main(target: str, tenant_id: str, file: Path | None = None) -> None:
    """Run until interrupted; rows and token are stored in one piece, so any moment is good for it."""
    mirror = RoomMirror.load(file.read_bytes()) if file is not None and file.exists() else RoomMirror()
    try:
        asyncio.run(follow(target, tenant_id, mirror))
    except ExchangeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
    finally:
        if file is not None:
            replace_file(file, mirror.save())


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:]))
