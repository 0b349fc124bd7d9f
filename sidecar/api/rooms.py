"""RoomService: the caller's ids tied to room mailboxes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.aio.clock import Clock
from sidecar.api.boundary import answering_s
from sidecar.api.convert import RoomConverter, check_to_proto, discovered_to_proto, problem_to_proto
from sidecar.api.page_tokens import PageTokens
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.diagnosis.rooms import RoomAsking
from sidecar.errors import RoomNotFound, SidecarError
from sidecar.gen.ioffice.exchange.v1 import common_pb2 as common_pb
from sidecar.gen.ioffice.exchange.v1 import room_service_pb2 as pb
from sidecar.model.ids import Mailbox, RoomId, TenantId
from sidecar.model.problem import Actor, Problem
from sidecar.model.room import Room
from sidecar.store.room_edits import RoomEdit
from sidecar.store.rooms import RoomMapping, Rooms
from sidecar.sync.problems import problem_of
from sidecar.tenants.discover import DiscoveryPlace, RoomDiscovery, Wanted
from sidecar.tenants.readdress import RoomEditor

_PAGE_DEFAULT, _PAGE_MAX = 100, 1_000
_BATCH_MAX = 200
_RESPONSE_BYTES_MAX = 3 * 1024 * 1024
"""gRPC clients take 4 MiB unless told otherwise."""
_DISCOVERY_TOKEN_CHARS_MAX = 8_192
"""Microsoft's own place in its list stands in the token, and may be long."""
_QUERY_CHARS_MAX = 100
_MASK_PATHS = frozenset({"display_name", "time_zone", "capacity", "annotations", "mailbox"})
_READS_MAX = 10
"""A filter that few rooms pass may read so many pages of the store for one page; then a shorter one is answered."""
_SYNC_STATES = frozenset(common_pb.SyncState.values()) - {common_pb.SYNC_STATE_UNSPECIFIED}


class _Place(msgspec.Struct, array_like=True, frozen=True):
    room_id: str


class _DiscoveryPlace(msgspec.Struct, array_like=True, frozen=True):
    query: str | None
    offset: int
    is_known: bool
    after: str


class RoomServicer:
    """Maps, shows, changes, discovers and unmaps rooms."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        asking: RoomAsking,
        discovery: RoomDiscovery,
        editor: RoomEditor,
        converter: RoomConverter,
        clock: Clock,
    ) -> None:
        self._rooms = rooms
        self._asking = asking
        self._discovery = discovery
        self._editor = editor
        self._converter = converter
        self._clock = clock
        self._page_tokens = PageTokens(_Place, free_fields=("page_size",))
        self._discovery_tokens = PageTokens(
            _DiscoveryPlace, free_fields=("page_size",), chars_max=_DISCOVERY_TOKEN_CHARS_MAX
        )

    async def map_room(self, request: pb.MapRoomRequest) -> pb.MapRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("parent", request.parent)
        mapping = _read_mapping(check, request)
        check.finish()
        (outcome,) = await self._rooms.map_all(tenant_id, [mapping])
        if isinstance(outcome, SidecarError):
            raise outcome
        return pb.MapRoomResponse(room=self._converter.room_to_proto(outcome))

    async def batch_map_rooms(self, request: pb.BatchMapRoomsRequest) -> pb.BatchMapRoomsResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("parent", request.parent)
        mappings = _read_mappings(check, request)
        check.finish()
        outcomes = await self._rooms.map_all(tenant_id, mappings)
        return pb.BatchMapRoomsResponse(items=[self._item(outcome) for outcome in outcomes])

    def _item(self, outcome: Room | SidecarError) -> pb.BatchMapRoomsResponse.Item:
        if isinstance(outcome, Room):
            return pb.BatchMapRoomsResponse.Item(room=self._converter.room_to_proto(outcome))
        now = self._clock.now()
        problem = Problem(
            reason=outcome.reason,
            message=outcome.message,
            action="Update the room if its mailbox was renamed; else unmap the other room, or send another id or mailbox.",
            actor=Actor.OPERATOR,
            first_seen_at=now,
            last_seen_at=now,
            metadata=outcome.details,
        )
        return pb.BatchMapRoomsResponse.Item(problem=problem_to_proto(problem))

    async def get_room(self, request: pb.GetRoomRequest) -> pb.GetRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("name", request.name)
        check.finish()
        return pb.GetRoomResponse(room=self._converter.room_to_proto(await self._rooms.load(tenant_id, room_id)))

    async def list_rooms(self, request: pb.ListRoomsRequest) -> pb.ListRoomsResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("parent", request.parent)
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        place = self._page_tokens.decode(check, request, request.page_token)
        if not _SYNC_STATES.issuperset(request.sync_states):
            check.refuse("sync_states", "holds a state that this version does not know")
        check.finish()
        after = RoomId("" if place is None else place.room_id)
        rooms, last = await self._page(tenant_id, after, count_max, frozenset(request.sync_states))
        more = "" if last is None else self._page_tokens.encode(request, _Place(last))
        return pb.ListRoomsResponse(rooms=rooms, next_page_token=more)

    async def _page(
        self, tenant_id: TenantId, after: RoomId, count_max: int, states: frozenset[int]
    ) -> tuple[Sequence[pb.Room], RoomId | None]:
        """Return a page of rooms in some states (none: all), and the id it ends with unless it is the last page."""
        shown: list[pb.Room] = []
        bytes_count = 0
        for _ in range(_READS_MAX):
            found = await self._rooms.page(tenant_id, after=after, count_max=count_max + 1)
            for room in found[:count_max]:
                if not states or self._converter.sync_state(room) in states:
                    message = self._converter.room_to_proto(room)
                    bytes_count += message.ByteSize() + 8
                    if shown and (len(shown) == count_max or bytes_count > _RESPONSE_BYTES_MAX):
                        return shown, after
                    shown.append(message)
                after = room.room_id
            if len(found) <= count_max:
                return shown, None
        return shown, after

    async def update_room(self, request: pb.UpdateRoomRequest) -> pb.UpdateRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("room.name", request.room.name)
        etag = check.etag("etag", request.etag)
        edit, mailbox = _read_edit(check, request)
        check.finish()
        changed = await self._editor.edit(
            tenant_id,
            room_id,
            edit,
            mailbox=mailbox,
            allow_other_mailbox=request.allow_other_mailbox,
            etag=etag,
        )
        return pb.UpdateRoomResponse(room=self._converter.room_to_proto(changed))

    async def discover_rooms(self, request: pb.DiscoverRoomsRequest) -> pb.DiscoverRoomsResponse:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("parent", request.parent)
        count_max = check.page_size("page_size", request.page_size, default=_PAGE_DEFAULT, most=_PAGE_MAX)
        text = check.text("query", request.query, _QUERY_CHARS_MAX)
        place = self._discovery_tokens.decode(check, request, request.page_token)
        check.finish()
        wanted = Wanted(unmapped_only=request.unmapped_only, text=text.casefold())
        page = await self._discovery.page(tenant_id, wanted, _place_from_token(place), count_max=count_max)
        response = pb.DiscoverRoomsResponse(discovered_rooms=map(discovered_to_proto, page.rooms))
        if page.next is not None:
            following = _DiscoveryPlace(page.next.query, page.next.offset, page.next.is_known, page.next.after)
            response.next_page_token = self._discovery_tokens.encode(request, following)
        if page.refusal is not None:
            problem = problem_of(page.refusal, now=self._clock.now(), next_check_at=None)
            response.problem.CopyFrom(problem_to_proto(problem))
        return response

    async def unmap_room(self, request: pb.UnmapRoomRequest) -> pb.UnmapRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("name", request.name)
        etag = check.etag("etag", request.etag)
        check.choice("bookings", request.bookings, pb.UnmapRoomRequest.Bookings.values())
        check.finish()
        response = pb.UnmapRoomResponse()
        tells_each = request.bookings != pb.UnmapRoomRequest.BOOKINGS_UNTOLD
        try:
            runs_out_at = await self._rooms.unmap(tenant_id, room_id, etag=etag, tells_each=tells_each)
        except RoomNotFound:
            if not request.allow_missing:
                raise
        else:
            if runs_out_at is not None:
                set_time(response.subscription_expire_time, runs_out_at)
        return response

    async def resync_room(self, request: pb.ResyncRoomRequest) -> pb.ResyncRoomResponse:
        """See the proto."""
        check = Check()
        tenant_id, room_id = check.room("name", request.name)
        check.finish()
        return pb.ResyncRoomResponse(room=self._converter.room_to_proto(await self._rooms.resync(tenant_id, room_id)))

    async def check_room_access(self, request: pb.CheckRoomAccessRequest) -> pb.CheckRoomAccessResponse:
        """See the proto."""
        check = Check()
        is_writing, budget_s = request.include_write, answering_s(self._clock)
        if request.name:
            tenant_id, room_id = check.room("name", request.name)
            for field in ("parent", "mailbox"):
                if getattr(request, field):
                    check.refuse(field, "must be empty beside a name")
            check.finish()
            found = await self._asking.check_room(tenant_id, room_id, include_write=is_writing, budget_s=budget_s)
        else:
            tenant_id, mailbox = check.tenant("parent", request.parent), check.mailbox("mailbox", request.mailbox)
            check.finish()
            found = await self._asking.check_mailbox(tenant_id, mailbox, include_write=is_writing, budget_s=budget_s)
        return pb.CheckRoomAccessResponse(
            room=None if found.room is None else self._converter.room_to_proto(found.room),
            mailbox=found.mailbox,
            mailbox_object_id=found.object_id or "",
            checks=[check_to_proto(result) for result in found.checks],
        )


def _read_mapping(check: Check, request: pb.MapRoomRequest) -> RoomMapping:
    room = request.room
    return RoomMapping(
        room_id=RoomId(check.new_id("room_id", request.room_id)),
        mailbox=check.mailbox("room.mailbox", room.mailbox),
        display_name=check.display_name("room.display_name", room.display_name),
        time_zone=check.time_zone("room.time_zone", room.time_zone),
        capacity=check.capacity("room.capacity", room.capacity),
        annotations=check.annotations("room.annotations", room.annotations),
    )


def _read_edit(check: Check, request: pb.UpdateRoomRequest) -> tuple[RoomEdit, Mailbox | None]:
    """Read what an update changes, and the address if it is among that."""
    room, paths = request.room, set(request.update_mask.paths)
    if not paths:
        check.refuse("update_mask", "must name what to change")
    elif not paths <= _MASK_PATHS:
        check.refuse("update_mask", f"must hold nothing but {', '.join(sorted(_MASK_PATHS))}")
    edit = RoomEdit(
        display_name=check.display_name("room.display_name", room.display_name) if "display_name" in paths else None,
        time_zone=check.time_zone("room.time_zone", room.time_zone) if "time_zone" in paths else None,
        capacity=check.capacity("room.capacity", room.capacity) if "capacity" in paths else None,
        annotations=check.annotations("room.annotations", room.annotations) if "annotations" in paths else None,
    )
    return edit, check.mailbox("room.mailbox", room.mailbox) if "mailbox" in paths else None


def _place_from_token(place: _DiscoveryPlace | None) -> DiscoveryPlace:
    if place is None:
        return DiscoveryPlace()
    return DiscoveryPlace(query=place.query, offset=place.offset, is_known=place.is_known, after=RoomId(place.after))


def _read_mappings(check: Check, request: pb.BatchMapRoomsRequest) -> list[RoomMapping]:
    if not 1 <= len(request.requests) <= _BATCH_MAX:
        check.refuse("requests", f"must hold 1 to {_BATCH_MAX} requests")
        return []
    mappings: list[RoomMapping] = []
    seen: set[str] = set()
    for place, item in enumerate(request.requests):
        check.prefix = f"requests[{place}]."
        if item.parent not in ("", request.parent):
            check.refuse("parent", "must be empty or the parent of the batch")
        if item.room_id in seen:
            check.refuse("room_id", "stands twice in the batch")
        seen.add(item.room_id)
        mappings.append(_read_mapping(check, item))
    check.prefix = ""
    return mappings
