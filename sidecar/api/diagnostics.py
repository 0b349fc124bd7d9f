"""DiagnosticsService: why something works or does not."""

from __future__ import annotations

from typing import Final

from sidecar.aio.clock import Clock
from sidecar.api.boundary import answering_s
from sidecar.api.convert import RoomConverter, check_to_proto
from sidecar.api.shown import TenantDisplay
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.diagnosis.reports import Reports
from sidecar.gen.ioffice.exchange.v1 import diagnostics_service_pb2 as pb
from sidecar.model.change import Change, ChangeKind
from sidecar.model.ids import BookingKey
from sidecar.store.intents import PlannedWork

_KINDS: Final = {
    ChangeKind.UPSERTED: pb.RoomStep.KIND_BOOKING_UPSERTED,
    ChangeKind.REMOVED: pb.RoomStep.KIND_BOOKING_REMOVED,
    ChangeKind.LEFT_SCOPE: pb.RoomStep.KIND_BOOKING_LEFT_SCOPE,
    ChangeKind.ROOM_CHANGED: pb.RoomStep.KIND_ROOM_CHANGED,
    ChangeKind.ROOM_SNAPSHOT: pb.RoomStep.KIND_ROOM_SNAPSHOT,
}


class DiagnosticsServicer:
    """Diagnoses tenants and rooms."""

    def __init__(self, *, reports: Reports, display: TenantDisplay, converter: RoomConverter, clock: Clock) -> None:
        self._reports = reports
        self._display = display
        self._converter = converter
        self._clock = clock

    async def diagnose_tenant(self, request: pb.DiagnoseTenantRequest) -> pb.DiagnoseTenantResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        check.finish()
        found = await self._reports.diagnose_tenant(tenant_id, budget_s=answering_s(self._clock))
        return pb.DiagnoseTenantResponse(
            tenant=await self._display.show(found.tenant),
            checks=[check_to_proto(result) for result in found.checks],
        )

    async def diagnose_room(self, request: pb.DiagnoseRoomRequest) -> pb.DiagnoseRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("name", request.name)
        booking_key: BookingKey | None = None
        if request.booking:
            *owner, booking_key = check.booking("booking", request.booking)
            if booking_key and owner != [tenant_id, room_id]:
                check.refuse("booking", "must be a booking of this room")
        check.finish()
        found = await self._reports.diagnose_room(
            tenant_id, room_id, booking_key=booking_key, budget_s=answering_s(self._clock)
        )
        return pb.DiagnoseRoomResponse(
            room=self._converter.room_to_proto(found.room),
            checks=[check_to_proto(result) for result in found.checks],
            steps=[_step_to_proto(step, found.room.name) for step in found.steps],
            planned_work=[_work_to_proto(work) for work in found.planned],
            exchange_ids=found.exchange_ids,
        )


def _step_to_proto(step: Change, room_name: str) -> pb.RoomStep:
    message = pb.RoomStep(
        kind=_KINDS.get(step.kind, pb.RoomStep.KIND_UNSPECIFIED),
        booking="" if step.booking_key is None else f"{room_name}/bookings/{step.booking_key}",
        revision=step.revision,
    )
    set_time(message.time, step.recorded_at)
    return message


def _work_to_proto(work: PlannedWork) -> pb.PlannedWork:
    message = pb.PlannedWork(work=work.kind.value, failures_count=work.attempts, last_reason=work.last_error)
    set_time(message.due_time, work.ready_at)
    return message
