"""From a notification that the service has accepted to the message at a watcher, most of which is waiting on purpose.

Somebody books in (emulated) Outlook; the room accepts a little later; the emulator tells both. The emulator's record says
when the last notification of a booking was accepted, the watch when the booking came. The emulator keeps a calendar of its
own, so how far that is from this machine's is asked first.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from sidecar.settings import SyncSettings
from tests.bench.figures import Figure, Scale, quantile
from tests.bench.stage import Microsoft, Service, stage, watch_all

_BOOKINGS = 100
_PAUSE_S = 0.15
_REST_S = 4.0
_GOAL_S = 0.1
_CLOCK_LOOKS = 20


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Book once in each room, and compare the two records."""
    count = 20 if scale.is_quick else _BOOKINGS
    with stage(folder, rooms_count=count, bookings_count=20) as (service, emulator):
        latencies_s = measure(service, emulator, count=count, pause_s=_PAUSE_S, first_day=60)
    settle_s = SyncSettings().settle_s
    p50_s, p95_s = quantile(latencies_s, 0.5), quantile(latencies_s, 0.95)
    return [
        Figure(
            name="Notification accepted to message at the watcher",
            measured=f"p50 {p50_s:.3f} s, p95 {p95_s:.3f} s, of which {settle_s:g} s settling",
            ceiling=f"settle time alone: {settle_s:.3f} s",
            result=f"settle + {(p50_s - settle_s) * 1e3:.0f} ms (p50), + {(p95_s - settle_s) * 1e3:.0f} ms (p95)",
            goal=f"p50 < settle + {_GOAL_S:g} s",
            is_met=p50_s < settle_s + _GOAL_S,
            ran=f"N = {len(latencies_s)} of {count} bookings, one in each room, one every {_PAUSE_S:g} s; from the emulator's"
            " record of the last accepted notification of the booking to its arrival on a WatchRooms stream",
        )
    ]


def measure(service: Service, emulator: Microsoft, *, count: int, pause_s: float, first_day: int) -> list[float]:
    """Book so often, in one room after the other, and return how long each took from its last notification to a watcher.

    Args:
        first_day: days from now on which the bookings begin; calls on one stage must not overlap.
    """
    arrived_at: dict[str, float] = {}
    is_up = threading.Event()
    with grpc.insecure_channel(service.target) as channel:
        stream = watch_all(channel)

        def follow() -> None:
            try:
                for message in stream:
                    now = time.time()
                    if message.HasField("checkpoint"):
                        is_up.set()
                    for change in message.changes.changes if message.resume_token else ():
                        arrived_at.setdefault(change.booking.calendar_uid, now)
            except grpc.RpcError:
                return  # cancelled below

        watching = threading.Thread(target=follow)
        watching.start()
        assert is_up.wait(60), "the watch did not come up"
        event_ids = _book(emulator, count, pause_s, first_day)
        time.sleep(_REST_S)
        stream.cancel()
        watching.join()
    accepted_at = _accepted(emulator, lag_s(emulator))
    latencies_s: list[float] = []
    for uid, event_id in event_ids.items():
        arrival = arrived_at.get(uid)
        before = [at for at in accepted_at.get(event_id, ()) if arrival is not None and at <= arrival]
        if arrival is not None and before:
            latencies_s.append(arrival - max(before))
    return latencies_s


def _book(emulator: Microsoft, count: int, pause_s: float, first_day: int) -> dict[str, str]:
    """Book rooms in turn; return the ids of the rooms' items by calendar uid."""
    (person,) = emulator.post("/users", {"count": 1})["users"]
    start_at = (datetime.now(UTC) + timedelta(days=first_day)).replace(hour=9, minute=0, second=0, microsecond=0)
    event_ids: dict[str, str] = {}
    for number in range(count):
        room = emulator.rooms[number % len(emulator.rooms)]
        start_at += timedelta(hours=1)
        made = emulator.post(
            "/outlook/book",
            {
                "organizer": person["address"],
                "rooms": [room["address"]],
                "subject": "Benchmark",
                "start": start_at.strftime("%Y-%m-%dT%H:%M:%S"),
                "end": (start_at + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%S"),
            },
        )
        event_ids[made["ical_uid"]] = made["events"][room["address"]]
        time.sleep(pause_s)
    return event_ids


def lag_s(emulator: Microsoft) -> float:
    """Return how far the emulator's clock is behind this machine's, from the quickest of some answers."""
    answers: list[tuple[float, float]] = []
    for _ in range(_CLOCK_LOOKS):
        before = time.time()
        told = emulator.control.get("/control/health").raise_for_status().json()["now"]
        after = time.time()
        answers.append((after - before, (before + after) / 2 - datetime.fromisoformat(told).timestamp()))
    return min(answers)[1]


def _accepted(emulator: Microsoft, lag_s: float) -> dict[str, list[float]]:
    """Return when notifications were accepted, by event id and this machine's clock."""
    found: dict[str, list[float]] = {}
    for record in emulator.get("/deliveries")["deliveries"]:
        if record["outcome"] == "accepted" and record["kind"] == "notification":
            at = datetime.fromisoformat(record["at"]).timestamp() + lag_s
            for item in record["items"]:
                found.setdefault(item["resource"].rpartition("/")[2], []).append(at)
    return found
