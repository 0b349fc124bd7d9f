"""The writes put together: what callers of the API begin, and what background work goes on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sidecar.aio.clock import Clock
from sidecar.model.room import FreshnessLimits
from sidecar.model.write import WriteKind
from sidecar.store.store import Store
from sidecar.sync.reading import RoomReader
from sidecar.telemetry.metrics import Telemetry
from sidecar.writes.canceller import CancelCalls, Canceller
from sidecar.writes.changer import Changer
from sidecar.writes.creator import RoomCreator
from sidecar.writes.driver import Driver, Steps
from sidecar.writes.inviter import Inviter
from sidecar.writes.making import EventCalls
from sidecar.writes.planning import ChangeReader, Planner
from sidecar.writes.recaller import Recaller
from sidecar.writes.reinviter import Reinviter
from sidecar.writes.releaser import ReleaseCalls, Releaser
from sidecar.writes.rewriting import ChangeCalls, Rewriter
from sidecar.writes.single_days import SingleDays
from sidecar.writes.steps import Endings


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What writes, whatever the kind. `driver.run` has to run for as long as anything is to be written."""

    driver: Driver
    room_creator: RoomCreator
    inviter: Inviter
    changer: Changer
    canceller: Canceller
    reinviter: Reinviter


class WriteCalls(EventCalls, ReleaseCalls, ChangeCalls, CancelCalls, Protocol):
    """All that is written at Microsoft; `graph.event_writer.EventWriter` is one."""


def build_writing(
    *,
    store: Store,
    calls: WriteCalls,
    reader: ChangeReader,
    limits: FreshnessLimits,
    telemetry: Telemetry,
    clock: Clock,
) -> Writing:
    """Build what writes, over one store and one way to Microsoft; each kind of write gets its steps here."""
    reading = RoomReader(reader=reader, keys=store.tenants, telemetry=telemetry)
    room_creator = RoomCreator(store=store, calls=calls, reading=reading, limits=limits, clock=clock)
    inviter = Inviter(store=store, calls=calls, reader=reader, reading=reading, clock=clock)
    days = SingleDays(reader=reader, writer=calls)
    planner = Planner(store=store, graph=reader, days=days, reading=reading, clock=clock)
    endings = Endings(store=store, reading=reading, clock=clock)
    rewriter = Rewriter(calls=calls, reader=reader, days=days, reading=reading, endings=endings)
    changer = Changer(planner=planner, rewriter=rewriter, endings=endings, clock=clock)
    canceller = Canceller(planner=planner, rewriter=rewriter, endings=endings, calls=calls, clock=clock)
    reinviter = Reinviter(
        store=store,
        planner=planner,
        rewriter=rewriter,
        inviter=inviter,
        endings=endings,
        reader=reader,
        reading=reading,
        clock=clock,
    )
    steps: dict[WriteKind, Steps] = {
        WriteKind.CREATE: room_creator,
        WriteKind.INVITE: inviter,
        WriteKind.UPDATE: changer,
        WriteKind.CANCEL: canceller,
        WriteKind.RECALL: Recaller(store=store, calls=calls, reader=reader, endings=endings, clock=clock),
        WriteKind.REINVITE: reinviter,
        WriteKind.RELEASE: Releaser(store=store, calls=calls, reader=reader, reading=reading),
    }
    return Writing(
        driver=Driver(writes=store.writes, steps=steps, clock=clock, telemetry=telemetry),
        room_creator=room_creator,
        inviter=inviter,
        changer=changer,
        canceller=canceller,
        reinviter=reinviter,
    )
