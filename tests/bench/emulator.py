"""The emulator itself: how much it answers, how much it takes with everybody told, how much it holds, how soon it is up."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from sidecar.emulator.fixture import run_emulator
from tests.bench.figures import Figure, Scale, spread
from tests.bench.lines import Json
from tests.bench.programs import Program, program, rss_kb, to_text
from tests.bench.stage import Microsoft, microsoft

_ROOMS, _BOOKINGS = 200, 50
_HELD_ROOMS, _HELD_BOOKINGS = 2_000, 500
_CONNECTIONS = 16
_READS_GOAL, _WRITES_GOAL, _HELD_GOAL_GIB, _READY_GOAL_S = 1_500, 300, 1.5, 1.0
_DELIVERY_PATIENCE_S = 20.0
_IMPORTS = "import asyncio, cryptography.x509, dateutil.rrule, httpx, jwt, msgspec, trustme, uvicorn, uvloop"


def run(folder: Path, scale: Scale) -> list[Figure]:
    """Measure reads, writes with notifications, memory and start."""
    with (
        microsoft(folder, rooms_count=_ROOMS, bookings_count=_BOOKINGS) as emulator,
        program("https_load") as load,
        program("webhook_sink") as sink,
        _graph(emulator) as graph,
    ):
        reads = _reads(folder, emulator, graph, load, scale)
        writes = _writes(emulator, graph, load, sink, scale)
    return [*reads, writes, _held(folder, scale), _start(folder, scale)]


@contextmanager
def _graph(emulator: Microsoft) -> Iterator[httpx.Client]:
    """Give a client with a token; the limits of a tenant are not what is measured."""
    emulator.control.put("/control/moods", json={"mailbox_concurrency_max": 0}).raise_for_status()
    form = {
        "grant_type": "client_credentials",
        "scope": "https://graph.microsoft.com/.default",
        "client_id": emulator.tenant["client_id"],
        "client_secret": emulator.tenant["client_secret"],
    }
    trusted = ssl.create_default_context(cafile=emulator.started.text("ca_file"))
    with httpx.Client(base_url=emulator.started.text("graph_url"), verify=trusted, trust_env=False) as http:
        answer = http.post(f"/{emulator.tenant['tenant_id']}/oauth2/v2.0/token", data=form).raise_for_status().json()
        http.headers.update({"authorization": f"Bearer {answer['access_token']}", "prefer": 'IdType="ImmutableId"'})
        yield http


def _reads(folder: Path, emulator: Microsoft, graph: httpx.Client, load: Program, scale: Scale) -> list[Figure]:
    ca_file = str(folder / "bare.pem")
    paths = [
        f"/v1.0/users/{room['address']}/events/{item['id']}"
        for room in emulator.rooms
        for item in emulator.get(f"/calendars/{room['address']}")["items"][:5]
    ]
    today = datetime.now(UTC).date()
    window = f"startDateTime={today}T00:00:00Z&endDateTime={today + timedelta(days=60)}T00:00:00Z&$top=50"
    pages = [f"/v1.0/users/{room['address']}/calendarView?{window}" for room in emulator.rooms]
    figures = []
    with program("bare_https", ca_file) as bare:
        for name, urls, count in (("one event a request", paths, 1), ("50 events a page", pages, _BOOKINGS)):
            body = graph.get(urls[0]).raise_for_status().content
            bare.ask(body=to_text(body))
            requests = [to_text(_request(graph, "GET", url)) for url in urls]
            ours, ceilings = list[float](), list[float]()
            for _ in range(scale.rounds_count):
                port = graph.base_url.port
                ours.append(count * _rate(load, port, emulator.started.text("ca_file"), requests, scale))
                ceilings.append(count * _rate(load, bare.ready["port"], ca_file, requests, scale))
            figures.append(
                Figure(
                    name=f"Emulator, reads, {name}",
                    measured=f"{_median(ours):,.0f} events/s",
                    ceiling=f"{_median(ceilings):,.0f} events/s",
                    result=f"x{spread(ours, ceilings)}",
                    goal=f">= {_READS_GOAL:,} events/s",
                    is_met=_median(ours) >= _READS_GOAL,
                    ran=f"{_CONNECTIONS} TLS connections, {_ROOMS} rooms, {len(body):,} bytes an answer; the ceiling is"
                    " uvicorn with TLS handing out the same bytes",
                )
            )
    return figures


def _writes(emulator: Microsoft, graph: httpx.Client, load: Program, sink: Program, scale: Scale) -> Figure:
    url = f"http://127.0.0.1:{sink.ready['port']}/hook"
    ends = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for room in emulator.rooms:
        wire = {
            "changeType": "created,updated,deleted",
            "notificationUrl": url,
            "resource": f"/users/{room['address']}/events",
            "expirationDateTime": ends,
        }
        graph.post("/v1.0/subscriptions", json=wire).raise_for_status()
    event = {
        "subject": "Plans",
        "start": {"dateTime": "2035-03-05T09:00:00", "timeZone": "UTC"},
        "end": {"dateTime": "2035-03-05T10:00:00", "timeZone": "UTC"},
    }
    requests = [
        to_text(_request(graph, "POST", f"/v1.0/users/{room['address']}/events", event)) for room in emulator.rooms
    ]
    before = sink.ask()["items"]
    job = {"port": graph.base_url.port, "ca_file": emulator.started.text("ca_file"), "requests": requests}
    got = load.ask(**job, connections=_CONNECTIONS, seconds=scale.round_s * scale.rounds_count)
    made, rate = got["statuses"].get("201", 0), got["statuses"].get("201", 0) / got["seconds"]
    deadline_s = time.monotonic() + _DELIVERY_PATIENCE_S
    while (told := sink.ask()["items"] - before) < made and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return Figure(
        name="Emulator, writes with notifications",
        measured=f"{rate:,.0f} events/s, answers {got['statuses']}, {told:,} of {made:,} notifications taken",
        ceiling="",
        result=f"{rate:,.0f} events/s",
        goal=f">= {_WRITES_GOAL} events/s, all told",
        is_met=rate >= _WRITES_GOAL and told == made,
        ran=f"{_CONNECTIONS} TLS connections, {_ROOMS} rooms with a subscription each, a webhook process that takes all",
    )


def _held(folder: Path, scale: Scale) -> Figure:
    rooms_count = _HELD_ROOMS // 10 if scale.is_quick else _HELD_ROOMS
    place = folder / "held"
    place.mkdir()
    began_s = time.monotonic()
    with microsoft(place, rooms_count=rooms_count, bookings_count=_HELD_BOOKINGS) as emulator:
        seeded_s = time.monotonic() - began_s
        pid = emulator.started.process.pid
        full_kb = rss_kb(pid)
        with _graph(emulator) as graph:
            _read_all(graph, emulator)
        read_kb = rss_kb(pid)
    gib = read_kb / 2**20 * (_HELD_ROOMS / rooms_count)
    return Figure(
        name="Emulator, memory",
        measured=f"{full_kb / 1024:,.0f} MiB, {read_kb / 1024:,.0f} MiB after everything has been read once",
        ceiling="",
        result=f"{read_kb * 1024 / (rooms_count * _HELD_BOOKINGS):,.0f} bytes a booking",
        goal=f"< {_HELD_GOAL_GIB} GiB for {_HELD_ROOMS:,} x {_HELD_BOOKINGS}",
        is_met=gib < _HELD_GOAL_GIB,
        ran=f"{rooms_count:,} rooms x {_HELD_BOOKINGS} bookings, seeded through control in {seeded_s:.0f} s",
    )


def _read_all(graph: httpx.Client, emulator: Microsoft) -> None:
    for room in emulator.rooms:
        url: str | None = f"/v1.0/users/{room['address']}/events?$top=1000"
        while url is not None:
            url = graph.get(url).raise_for_status().json().get("@odata.nextLink")


def _start(folder: Path, scale: Scale) -> Figure:
    place = folder / "start"
    place.mkdir()
    ours, ceilings = list[float](), list[float]()
    for _ in range(scale.rounds_count):
        began_s = time.monotonic()
        with run_emulator(place):
            ours.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
        ceilings.append(time.monotonic() - began_s)
    return Figure(
        name="Emulator, start to ready",
        measured=f"{_median(ours):.2f} s",
        ceiling=f"{_median(ceilings):.2f} s",
        result=f"x{spread(ours, ceilings)}",
        goal=f"< {_READY_GOAL_S:g} s",
        is_met=_median(ours) < _READY_GOAL_S,
        ran="from starting the process to its ready line; the ceiling is a Python that imports the same libraries and ends",
    )


def _rate(load: Program, port: int | None, ca_file: str, requests: list[str], scale: Scale) -> float:
    got: Json = load.ask(port=port, ca_file=ca_file, requests=requests, connections=_CONNECTIONS, seconds=scale.round_s)
    assert set(got["statuses"]) == {"200"}, got["statuses"]
    return float(got["statuses"]["200"]) / float(got["seconds"])


def _request(graph: httpx.Client, method: str, url: str, body: Json | None = None) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {url} HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: {graph.headers['authorization']}",
        f"prefer: {graph.headers['prefer']}",
        *([] if body is None else ["content-type: application/json", f"content-length: {len(raw)}"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
