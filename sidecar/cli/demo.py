"""The demo: the emulator and the service as two real processes, an office at work, and a table fed by a watch alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Annotated, Any

import httpx
import typer
from exchange_client import ChangeKind, ExchangeClient, MirrorChange, RoomMirror, names
from exchange_client.messages import Booking, Room, SnapshotReason, WatchRoomsResponse
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sidecar.aio.clock import SystemClock
from sidecar.cli.office import Control, Office
from sidecar.cli.output import at, failing_clearly, short
from sidecar.cli.processes import ProcessFailed, Started, service_env, started
from sidecar.settings import SyncSettings
from sidecar.store.key_ring import create_key_ring

_TENANT = "demo"
_PATIENCE_S = 60.0


def demo(
    seconds: Annotated[float, typer.Option(help="How long the office works.")] = 20.0,
    rooms: Annotated[int, typer.Option(min=1, max=100, help="How many rooms.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of what the office does.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave both processes running afterwards, until interrupted.")
    ] = False,
    unkind: Annotated[
        bool, typer.Option("--unkind", help="Late, doubled and reordered notifications, some refusals.")
    ] = False,
) -> None:
    """Show the whole way: bookings made in (emulated) Outlook arrive on a gRPC stream."""
    with failing_clearly(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exchange-demo-")))
        stage = stack.enter_context(_stage(folder, seed=seed, calm=not unkind))
        console = Console()
        clock = SystemClock()
        play = _Play(stage, clock, console, Random(seed), rooms_count=rooms, duration_s=seconds)
        failure: BaseException | None = None
        try:
            is_good = asyncio.run(play.run())
        except* ProcessFailed as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure  # not inside except*, which would wrap it again
        if keep:
            _tell_how_to_go_on(console, stage)
            with contextlib.suppress(KeyboardInterrupt):
                stage.service.process.wait()
        raise typer.Exit(0 if is_good else 1)


@dataclass(frozen=True, slots=True)
class _Stage:
    emulator: Started
    service: Started

    @property
    def target(self) -> str:
        addresses = self.service.ready["grpc"]
        assert isinstance(addresses, list), "the ready line holds a list"
        return str(addresses[-1])


@contextlib.contextmanager
def _stage(folder: Path, *, seed: int, calm: bool) -> Iterator[_Stage]:
    """Start both processes."""
    create_key_ring(folder / "keyring.json")
    command = ["emulator", "--ca-dir", str(folder), "--seed", str(seed), *(["--calm"] if calm else [])]
    with started(command, log_file=folder / "emulator.log") as emulator:
        env = service_env(folder, emulator, webhook_port=_free_port())
        with started(["serve"], log_file=folder / "service.log", env=env) as service:
            yield _Stage(emulator, service)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class _Tally:
    """What the watch told, and how long after somebody acted."""

    changes_count: int = 0
    acted_at_s: dict[str, float] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)

    def note(self, change: MirrorChange, now_s: float) -> None:
        booking = change.after or change.before
        if booking is None:
            return
        self.changes_count += 1
        began_s = self.acted_at_s.pop(booking.calendar_uid, None)
        if began_s is not None:
            self.latencies_s.append(now_s - began_s)


class _Play:
    """One performance."""

    def __init__(
        self,
        stage: _Stage,
        clock: SystemClock,
        console: Console,
        rng: Random,
        *,
        rooms_count: int,
        duration_s: float,
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._console = console
        self._rng = rng
        self._rooms_count = rooms_count
        self._duration_s = duration_s
        self._mirror = RoomMirror()
        self._tally = _Tally()
        self._last_change: dict[str, tuple[str, float]] = {}
        self._resynced: set[str] = set()
        self._rooms: dict[str, str] = {}  # name -> mailbox

    async def run(self) -> bool:
        """Set up, watch the office work, and compare; true when all is as it should be."""
        async with (
            httpx.AsyncClient(base_url=self._stage.emulator.text("control_url"), trust_env=False, timeout=30) as http,
            ExchangeClient.connect(self._stage.target) as client,
        ):
            control = Control(http)
            office = await self._set_up(control, client)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(client), name="watch")
                with self._screen() as draw:
                    drawing = group.create_task(self._redraw(draw), name="draw")
                    await self._until(lambda: all(map(self._mirror.is_complete, self._rooms)), "the first reads")
                    await office.work(self._duration_s, pause_s=0.6)
                    equal = await self._settle(control, office.tenant)
                    for room in self._rooms:
                        await client.resync_room(room)
                    await self._until(lambda: self._resynced >= set(self._rooms), "the closing full reads")
                    drawing.cancel()
                watching.cancel()
            return await self._sum_up(office, equal)

    async def _set_up(self, control: Control, client: ExchangeClient) -> Office:
        tenant = await control.post("/control/tenants", {"display_name": "Contoso"})
        directory = tenant["tenant_id"]
        rooms = (await control.post(f"/control/tenants/{directory}/rooms", {"count": self._rooms_count}))["rooms"]
        people = (await control.post(f"/control/tenants/{directory}/users", {"count": 6}))["users"]
        await client.register_tenant(
            _TENANT,
            directory_id=directory,
            application_id=tenant["client_id"],
            client_secret=tenant["client_secret"],
            display_name="Contoso",
        )
        parent = names.tenant(_TENANT)
        for number, room in enumerate(rooms, 1):
            mapped = await client.map_room(
                parent, f"room-{number}", room["address"], display_name=room["display_name"], time_zone="Europe/Berlin"
            )
            self._rooms[mapped.name] = room["address"]
        return Office(
            control=control,
            tenant=directory,
            rooms=[room["address"] for room in rooms],
            people=[person["address"] for person in people],
            clock=self._clock,
            rng=self._rng,
            acted=lambda uid: self._tally.acted_at_s.__setitem__(uid, self._clock.monotonic()),
        )

    async def _watch(self, client: ExchangeClient) -> None:
        """Feed the mirror; nothing else does."""
        async for message in client.watch_rooms(names.tenant(_TENANT), watcher_id="demo"):
            if (
                isinstance(message, WatchRoomsResponse)
                and message.snapshot_start.reason == SnapshotReason.SNAPSHOT_REASON_RESYNCED
            ):
                self._resynced.add(message.snapshot_start.room)
            now_s = self._clock.monotonic()
            for change in self._mirror.apply(message):
                self._tally.note(change, now_s)
                if change.kind in (ChangeKind.ADDED, ChangeKind.UPDATED, ChangeKind.REMOVED):
                    self._last_change[change.room] = (_line(change), now_s)
                    if not self._console.is_terminal:
                        self._console.print(f"{change.room.rpartition('/')[2]:<8} {_line(change)}", highlight=False)

    @contextlib.contextmanager
    def _screen(self) -> Iterator[Live | None]:
        """A live table on a terminal; elsewhere only lines."""
        if not self._console.is_terminal:
            yield None
            return
        with Live(self._table(), console=self._console, refresh_per_second=8) as live:
            yield live
            live.update(self._table())

    async def _redraw(self, live: Live | None) -> None:
        while live is not None:
            live.update(self._table())
            await self._clock.sleep(0.2)

    def _table(self) -> Table:
        table = Table(title="Rooms of Contoso, as told by WatchRooms", title_justify="left")
        for column in ("room", "state", "bookings", "next booking (UTC)", "what", "last change"):
            table.add_column(column, no_wrap=True)
        now = self._clock.now()
        for name in self._rooms:
            room = self._mirror.rooms.get(name)
            state = short(Room.State.Name(room.state), "STATE_") if room is not None else "unknown"
            coming = self._mirror.bookings_between(now, now + timedelta(days=30), name)
            line, _ = self._last_change.get(name, ("", 0.0))
            table.add_row(
                name.rpartition("/")[2],
                state,
                str(len(self._mirror.bookings(name))) if self._mirror.is_complete(name) else "?",
                _span(coming[0]) if coming else "",
                coming[0].subject.strip() or coming[0].organizer.display_name if coming else "",
                line,
            )
        return table

    async def _settle(self, control: Control, tenant: str) -> bool:
        """Wait until Outlook rests and the mirror shows what its calendars hold."""
        deadline_s = self._clock.monotonic() + _PATIENCE_S
        while self._clock.monotonic() < deadline_s:
            pending = await control.get(f"/control/tenants/{tenant}/pending")
            if not any(pending.values()) and await self._equals_calendars(control, tenant):
                return True
            await self._clock.sleep(0.2)
        return False

    async def _equals_calendars(self, control: Control, tenant: str) -> bool:
        start_at, end_at = self._clock.now() - timedelta(days=2), self._clock.now() + timedelta(days=60)
        for name, mailbox in self._rooms.items():
            truth = await control.get(
                f"/control/tenants/{tenant}/calendars/{mailbox}", start=start_at.isoformat(), end=end_at.isoformat()
            )
            shown = self._mirror.bookings_between(start_at, end_at, name)
            if _expected(truth["items"]) != sorted(
                (booking.calendar_uid, _start(booking), _end(booking)) for booking in shown
            ):
                return False
        return True

    async def _until(self, is_so: Any, what: str) -> None:  # Any: a plain predicate
        deadline_s = self._clock.monotonic() + _PATIENCE_S
        while not is_so():
            if self._clock.monotonic() > deadline_s:
                raise ProcessFailed(f"{what} did not end:\n{self._stage.service.log_file.read_text()[-2000:]}")
            await self._clock.sleep(0.05)

    async def _sum_up(self, office: Office, equal: bool) -> bool:
        """Print what happened; true when nothing was lost."""
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"http://{self._stage.service.text('probes')}/metrics")).text
        drift_count = sum(
            int(float(line.split()[-1]))
            for line in metrics.splitlines()
            if line.startswith("exchange_room_drift_total")
        )
        latencies_s = sorted(self._tally.latencies_s)
        cuts = quantiles(latencies_s, n=20) if len(latencies_s) > 1 else [0.0] * 19
        settle_s = SyncSettings().settle_s
        lines = [
            f"{office.actions_count} actions in Outlook, {self._tally.changes_count} changes told by the stream",
            f"from Outlook to the watcher: p50 {cuts[9]:.2f} s, p95 {cuts[18]:.2f} s, of which {settle_s:.1f} s settling",
            f"mirror equals the calendars: {'yes' if equal else 'NO'}",
            f"drift {drift_count}: what full reads found that nothing had announced",
        ]
        self._console.print("\n" + "\n".join(lines), highlight=False)
        return equal and drift_count == 0


def _expected(items: list[dict[str, Any]]) -> list[tuple[str, datetime, datetime]]:  # Any: JSON
    taking = [item for item in items if not item["is_cancelled"] and item["response"] != "declined"]
    return sorted(
        (item["ical_uid"], datetime.fromisoformat(item["start"]), datetime.fromisoformat(item["end"]))
        for item in taking
    )


def _start(booking: Booking) -> datetime:
    return booking.time.start_time.ToDatetime(tzinfo=UTC)


def _end(booking: Booking) -> datetime:
    return booking.time.end_time.ToDatetime(tzinfo=UTC)


def _span(booking: Booking) -> str:
    return f"{at(booking.time.start_time)[5:-1]}-{at(booking.time.end_time)[11:-1]}"


def _line(change: MirrorChange) -> str:
    booking = change.after or change.before
    assert booking is not None, "a change of a booking"
    return f"{change.kind.value:<8} {_span(booking)}"


def _tell_how_to_go_on(console: Console, stage: _Stage) -> None:
    target, control = stage.target, stage.emulator.text("control_url")
    lines = [
        "",
        "Both processes keep running; Ctrl-C ends them. Talk to them from another terminal:",
        f"  exchange-sidecar room list {_TENANT} --target {target}",
        f"  exchange-sidecar booking list {_TENANT}/- --target {target}",
        f"  exchange-sidecar watch {_TENANT} --target {target}",
        f'  buf curl --protocol grpc --http2-prior-knowledge -d \'{{"parent": "tenants/{_TENANT}"}}\' \\',
        f"    http://{target}/ioffice.exchange.v1.RoomService/ListRooms",
        f"  curl {control}/control/openapi.json",
        "",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
