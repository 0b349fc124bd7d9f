"""The servicers put together: what `app.py` calls, so that it need not know which of them wants what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sidecar.aio.clock import Clock
from sidecar.api.attendance import AttendanceCalls
from sidecar.api.audits import AuditServicer
from sidecar.api.availability import AvailabilityCalls
from sidecar.api.booking_changes import BookingChanger
from sidecar.api.booking_writes import BookingWriter
from sidecar.api.bookings import BookingServicer
from sidecar.api.boundary import Metrics
from sidecar.api.convert import RoomConverter
from sidecar.api.credentials import CredentialCalls
from sidecar.api.deliveries import Deliveries
from sidecar.api.diagnostics import DiagnosticsServicer
from sidecar.api.listings import RoomAnswers
from sidecar.api.rooms import RoomServicer
from sidecar.api.shown import TenantDisplay
from sidecar.api.streaming import Streams
from sidecar.api.task_runs import TaskRunCalls
from sidecar.api.tasks import TaskServicer
from sidecar.api.tenant_watch import TenantWatching
from sidecar.api.tenants import TenantServicer
from sidecar.api.watch import WatchServicer
from sidecar.api.written_tokens import WrittenTokens
from sidecar.diagnosis.diagnosis import Diagnosis
from sidecar.feed.feed import Feed
from sidecar.model.room import freshness_limits
from sidecar.settings import Settings
from sidecar.store.store import Store
from sidecar.tasks.driving import LaneDriving
from sidecar.telemetry.tracing import Tracing
from sidecar.tenants.discover import RoomDiscovery
from sidecar.tenants.readdress import RoomEditor
from sidecar.writes.asking import ScheduleAsking
from sidecar.writes.writing import Writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiries:
    """What asks Microsoft while a caller waits; all else is answered by the store."""

    diagnosis: Diagnosis
    discovery: RoomDiscovery
    room_editor: RoomEditor
    writing: Writing
    schedules: ScheduleAsking
    driving: LaneDriving


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicers:
    """One object for each service of the protos."""

    tenants: TenantServicer
    rooms: RoomServicer
    bookings: BookingServicer
    watch: WatchServicer
    audit: AuditServicer
    diagnostics: DiagnosticsServicer
    tasks: TaskServicer


def build_servicers(
    *,
    store: Store,
    feed: Feed,
    inquiries: Inquiries,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    streams: Streams,
    tracing: Tracing,
) -> Servicers:
    """Build all servicers over one store and one feed."""
    limits = freshness_limits(settings.sync)
    converter = RoomConverter(clock=clock, limits=limits)
    display = TenantDisplay(propagations=store.propagations, clock=clock)
    credential_calls = CredentialCalls(
        tenants=store.tenants,
        credentials=store.credentials,
        display=display,
        settings=settings.credentials,
        clock=clock,
    )
    tokens = WrittenTokens(store=store, feed=feed)
    writer = BookingWriter(store=store, writing=inquiries.writing, tokens=tokens, clock=clock)
    return Servicers(
        tenants=TenantServicer(
            tenants=store.tenants,
            lifecycle=store.lifecycle,
            rooms=store.rooms,
            display=display,
            credential_calls=credential_calls,
            asking=inquiries.diagnosis.tenants,
            watching=TenantWatching(feed=feed, settings=settings.watch, streams=streams),
            clock=clock,
            grace=timedelta(days=settings.store.grace_days),
        ),
        rooms=RoomServicer(
            rooms=store.rooms,
            asking=inquiries.diagnosis.rooms,
            discovery=inquiries.discovery,
            editor=inquiries.room_editor,
            converter=converter,
            clock=clock,
        ),
        bookings=BookingServicer(
            store=store,
            answers=RoomAnswers(store=store, clock=clock),
            feed=feed,
            converter=converter,
            tokens=tokens,
            writer=writer,
            availability=AvailabilityCalls(
                occupancies=store.occupancies,
                schedules=inquiries.schedules,
                converter=converter,
                tokens=tokens,
                limits=limits,
                clock=clock,
            ),
            attendance=AttendanceCalls(
                store=store, writing=inquiries.writing, writer=writer, tokens=tokens, clock=clock
            ),
            changer=BookingChanger(store=store, writing=inquiries.writing, writer=writer, tokens=tokens, clock=clock),
        ),
        diagnostics=DiagnosticsServicer(
            reports=inquiries.diagnosis.reports, display=display, converter=converter, clock=clock
        ),
        watch=WatchServicer(
            feed=feed,
            converter=converter,
            settings=settings.watch,
            clock=clock,
            metrics=metrics,
            streams=streams,
            deliveries=Deliveries(tracing=tracing, clock=clock),
        ),
        audit=AuditServicer(audit=store.audit),
        tasks=TaskServicer(
            driving=inquiries.driving,
            lanes=store.lanes,
            runs=TaskRunCalls(runs=store.task_runs, feed=feed, send_s=settings.watch.send_s, clock=clock),
            settings=settings,
            clock=clock,
        ),
    )
