"""FindAvailability: when rooms are free, from the copy or from Exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sidecar.aio.clock import Clock
from sidecar.api import frames
from sidecar.api.boundary import answering_s
from sidecar.api.convert import RoomConverter, problem_to_proto
from sidecar.api.validate import Check
from sidecar.api.written_tokens import WrittenTokens
from sidecar.errors import AvailabilityTooLarge, SidecarError
from sidecar.gen.ioffice.exchange.v1 import booking_service_pb2 as pb
from sidecar.model.ids import RoomId, RoomUid, TenantId
from sidecar.model.room import FreshnessLimits, Room
from sidecar.model.window import Window
from sidecar.store.occupancy import Occupancies, Occupancy
from sidecar.writes.asking import ScheduleAsking
from sidecar.writes.availability import Needs, RoomAvailability, from_copy, from_exchange, is_too_small, unmapped

_ROOMS_MAX = 500
_WINDOW_MAX = timedelta(days=60)
"""With a day at both ends what Exchange takes in one question, 62; the same for the copy, so that either can be asked."""
_BUFFER_S_MAX = 8 * 3600.0
"""A working day. It lies within the day more that Exchange is asked about, beside what a zone differs from UTC."""
_BOOKINGS_MAX = 300_000
"""A room of ten bookings a day has 600 in the longest window; 500 of them fit exactly."""
_SPANS_MAX = 100_000
"""A span takes some 25 bytes, and gRPC clients take 4 MiB unless told otherwise."""
_ROOMS_PER_TURN = 25
"""So many rooms are worked out before others have their turn: they take about a millisecond."""
_TOLD_MAX = 20_000
"""States of copies kept in memory, some hundred bytes each."""

Judge = Callable[[Room], RoomAvailability]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """A request, checked. `room_ids` None: all rooms."""

    tenant_id: TenantId
    room_ids: Sequence[RoomId] | None
    window: Window
    needs: Needs


class AvailabilityCalls:
    """Finds out when rooms are free."""

    def __init__(
        self,
        *,
        occupancies: Occupancies,
        schedules: ScheduleAsking,
        converter: RoomConverter,
        tokens: WrittenTokens,
        limits: FreshnessLimits,
        clock: Clock,
    ) -> None:
        self._occupancies = occupancies
        self._schedules = schedules
        self._converter = converter
        self._tokens = tokens
        self._limits = limits
        self._clock = clock
        self._told: dict[RoomUid, tuple[Room, int, bytes]] = {}

    async def find_availability(self, request: pb.FindAvailabilityRequest) -> bytes:
        """See the proto."""
        query = _read_query(request)
        await self._tokens.check(query.tenant_id, request.read_after_token)
        occupancy = await self._occupancies.load(
            query.tenant_id,
            query.room_ids,
            query.needs.around(query.window),
            rooms_max=_ROOMS_MAX,
            bookings_max=_BOOKINGS_MAX,
        )
        if occupancy.is_cut:
            raise _too_large("ROOMS" if len(occupancy.rooms) > _ROOMS_MAX else "BOOKINGS")
        fitting = [room for room in occupancy.rooms if not is_too_small(room, query.needs)]
        now = self._clock.now()
        judge = await self._exchange(query, fitting, now) if request.bypass_cache else self._copy(query, occupancy, now)
        parts: list[bytes] = []
        spans_count = 0
        for number, entry in enumerate(_entries(query, occupancy.rooms, fitting, judge, now), 1):
            spans_count += len(entry.free)
            if spans_count > _SPANS_MAX:
                raise _too_large("SPANS")
            parts.append(self._tell(query, entry))
            if number % _ROOMS_PER_TURN == 0:
                await self._clock.sleep(0)
        return b"".join(parts)

    def _copy(self, query: _Query, occupancy: Occupancy, now: datetime) -> Judge:
        def judge(room: Room) -> RoomAvailability:
            busy = occupancy.busy[room.uid]
            return from_copy(room, busy, query.window, query.needs, limits=self._limits, now=now)

        return judge

    async def _exchange(self, query: _Query, rooms: Sequence[Room], now: datetime) -> Judge:
        # What rests is asked nothing about; all rooms of a tenant rest together.
        asked = [room for room in rooms if room.suspension is None]
        told = await self._schedules.ask(asked, query.window, budget_s=answering_s(self._clock)) if asked else {}
        unsettled = await self._occupancies.load_unsettled([room.uid for room in asked])

        def judge(room: Room) -> RoomAvailability:
            if room.uid not in told:
                return RoomAvailability(room_id=room.room_id, room=room, problem=room.problems[0])
            busy = told[room.uid]
            if not isinstance(busy, SidecarError):
                busy = [*busy, *unsettled.get(room.uid, ())]
            return from_exchange(room, busy, query.window, query.needs, now=now)

        return judge

    def _tell(self, query: _Query, entry: RoomAvailability) -> bytes:
        name = f"tenants/{query.tenant_id}/rooms/{entry.room_id}"
        problem = None if entry.problem is None else problem_to_proto(entry.problem).SerializeToString()
        sync = None if entry.room is None else self._sync(entry.room)
        return frames.room_availability(name, entry.free, problem=problem, sync=sync)

    def _sync(self, room: Room) -> bytes:
        """Return the encoded state of a room's copy: as it was told last, while room and state are the same."""
        state = self._converter.sync_state(room)
        before = self._told.get(room.uid)
        if before is not None and before[0] is room and before[1] == state:
            return before[2]
        if len(self._told) >= _TOLD_MAX:
            self._told.clear()
        told = self._converter.sync_to_proto(room).SerializeToString()
        self._told[room.uid] = (room, state, told)
        return told


def _entries(
    query: _Query, rooms: Sequence[Room], fitting: Sequence[Room], judge: Judge, now: datetime
) -> Iterator[RoomAvailability]:
    """Yield what is told, in the order asked for; rooms that are too small are left out."""
    if query.room_ids is None:
        yield from map(judge, fitting)
        return
    known, shown = {room.room_id for room in rooms}, {room.room_id: room for room in fitting}
    for room_id in query.room_ids:
        if room_id in shown:
            yield judge(shown[room_id])
        elif room_id not in known:
            yield unmapped(room_id, now=now)


def _read_query(request: pb.FindAvailabilityRequest) -> _Query:
    check = Check()
    tenant_id = check.tenant("parent", request.parent)
    room_ids = _read_rooms(check, request, tenant_id)
    window = check.window("window", request.window)
    if window.end_at - window.start_at > _WINDOW_MAX:
        check.refuse("window", f"must span {_WINDOW_MAX.days} days at most")
    least_s = check.duration_s("min_duration", request.min_duration, least_s=0, most_s=_WINDOW_MAX.total_seconds())
    before_s, after_s = (
        check.duration_s(field, getattr(request, field), least_s=0, most_s=_BUFFER_S_MAX)
        for field in ("buffer_before", "buffer_after")
    )
    seats = check.capacity("min_capacity", request.min_capacity)
    check.finish()
    return _Query(
        tenant_id=tenant_id,
        room_ids=room_ids,
        window=window,
        needs=Needs(
            least=timedelta(seconds=least_s),
            before=timedelta(seconds=before_s),
            after=timedelta(seconds=after_s),
            seats=seats,
        ),
    )


def _read_rooms(check: Check, request: pb.FindAvailabilityRequest, tenant_id: TenantId) -> Sequence[RoomId] | None:
    if not request.rooms:
        return None
    if len(request.rooms) > _ROOMS_MAX:
        check.refuse("rooms", f"must name {_ROOMS_MAX} rooms at most")
        return None
    room_ids: list[RoomId] = []
    for number, name in enumerate(request.rooms):
        owner, room_id = check.room(f"rooms[{number}]", name)
        if owner and tenant_id and owner != tenant_id:
            check.refuse(f"rooms[{number}]", "must be a room of the parent")
        room_ids.append(room_id)
    if len(set(request.rooms)) < len(request.rooms):
        check.refuse("rooms", "must name each room once")
    return room_ids


def _too_large(cause: str) -> AvailabilityTooLarge:
    message = {
        "ROOMS": f"the tenant has more than {_ROOMS_MAX} rooms; name those that are to be looked at",
        "BOOKINGS": "there are too many bookings; ask about a shorter window, or fewer rooms",
        "SPANS": "there are too many free spans; ask about a shorter window, fewer rooms, or a longer min_duration",
    }[cause]
    return AvailabilityTooLarge(message, details={"cause": cause})
