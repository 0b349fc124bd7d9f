"""From a room's answer to the verdict at a watcher, for bookings made in people's calendars.

Nobody but the room knows when it answers. The calm emulator's rooms do so a fixed time after the meeting was made, which the
booking itself tells by the emulator's clock; how far that is from this machine's is asked first.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exchange_client import Reconnected, SyncExchangeClient, names, times
from exchange_client.messages import Booking, WatchRoomsResponse, WriteMode
from exchange_client.sync_watch import SyncWatch

from tests.bench.figures import Figure, Scale, quantile
from tests.bench.notify import lag_s
from tests.bench.stage import TENANT, Microsoft, Service, stage

_ROOMS = 5
_BOOKINGS = 50
_PAUSE_S = 0.1
_ROOM_DELAY_S = 0.3
"""After which the calm emulator's rooms answer."""
_PATIENCE_S = 60.0
_GOAL_S = 2.0


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Book once in a tenth of a second, and note when each verdict arrives."""
    count = 20 if scale.is_quick else _BOOKINGS
    with (
        stage(folder, rooms_count=_ROOMS, bookings_count=20) as (service, emulator),
        SyncExchangeClient.connect(service.target) as client,
    ):
        latencies_s = _measure(client, service, emulator, count)
    p50_s, p95_s = quantile(latencies_s, 0.5), quantile(latencies_s, 0.95)
    return [
        Figure(
            name="Room's answer to verdict at the watcher",
            measured=f"p50 {p50_s:.2f} s, p95 {p95_s:.2f} s, longest {max(latencies_s):.2f} s",
            ceiling="",
            result=f"p95 {p95_s:.2f} s",
            goal=f"p95 < {_GOAL_S:g} s",
            is_met=p95_s < _GOAL_S,
            ran=f"N = {len(latencies_s)} meetings in a person's calendar, one every {_PAUSE_S:g} s, {_ROOMS} rooms in turn",
        )
    ]


def _measure(client: SyncExchangeClient, service: Service, emulator: Microsoft, count: int) -> list[float]:
    behind_s = lag_s(emulator)
    latencies_s: dict[str, float] = {}
    is_up, is_done = threading.Event(), threading.Event()

    def follow(watch: SyncWatch[WatchRoomsResponse]) -> None:
        for message in watch:
            if isinstance(message, Reconnected):
                continue
            if message.HasField("checkpoint"):
                is_up.set()
            for change in message.changes.changes if message.resume_token else ():
                booking = change.booking
                if booking.origin == Booking.ORIGIN_API and booking.state == Booking.STATE_CONFIRMED:
                    answered = times.to_datetime(booking.create_time).timestamp() + behind_s + _ROOM_DELAY_S
                    latencies_s.setdefault(booking.name, time.time() - answered)
            if len(latencies_s) == count:
                is_done.set()
                return

    with client.watch_rooms(names.tenant(TENANT)) as watch:
        watching = threading.Thread(target=follow, args=(watch,))
        watching.start()
        assert is_up.wait(_PATIENCE_S), "the watch did not come up"
        _book(client, emulator, count)
        assert is_done.wait(_PATIENCE_S), service.started.log_file.read_text()[-2_000:]
        watching.join()
    return list(latencies_s.values())


def _book(client: SyncExchangeClient, emulator: Microsoft, count: int) -> None:
    (person,) = emulator.post("/users", {"count": 1})["users"]
    first_at = (datetime.now(UTC) + timedelta(days=90)).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in range(count):
        start_at = first_at + timedelta(hours=number // _ROOMS)
        answer = client.create_booking(
            names.room(TENANT, f"r{number % _ROOMS + 1}"),
            start_at,
            start_at + timedelta(hours=1),
            organizer=person["address"],
            mode=WriteMode.WRITE_MODE_ORGANIZER,
        )
        assert answer.booking.state == Booking.STATE_PENDING, answer
        time.sleep(_PAUSE_S)
