"""WatchTenant: where a tenant stands, as messages that are each the whole of it."""

from __future__ import annotations

from typing import Final

from cachetools import LRUCache

from sidecar.api.boundary import Send
from sidecar.api.convert import ROOM_STATES, SYNC_STATES, tenant_to_proto
from sidecar.api.streaming import Streams, closing_to_proto, read_heartbeat_s, read_watcher_id
from sidecar.api.times import set_time
from sidecar.api.validate import Check
from sidecar.feed.events import Closing
from sidecar.feed.feed import Feed
from sidecar.feed.steps import NextStep, StepKind
from sidecar.feed.tenants import TenantStanding
from sidecar.gen.ioffice.exchange.v1 import tenant_service_pb2 as pb
from sidecar.model.ids import TenantUid
from sidecar.settings import WatchSettings

_TOLD_MAX = 1_000
"""Messages remembered, one for each watched tenant, a kilobyte each."""
_KINDS: Final = {
    StepKind.VERIFY: pb.NextStep.KIND_VERIFY,
    StepKind.IMPORT: pb.NextStep.KIND_IMPORT,
    StepKind.PURGE: pb.NextStep.KIND_PURGE,
}


class TenantWatching:
    """Streams of tenants' standings."""

    def __init__(self, *, feed: Feed, settings: WatchSettings, streams: Streams) -> None:
        self._feed = feed
        self._streams = streams
        self._settings = settings
        # Of a thousand watchers of one tenant each is told the very same standing, so it is written once.
        self._told: LRUCache[TenantUid, tuple[TenantStanding, bytes]] = LRUCache(_TOLD_MAX)

    async def watch(self, request: pb.WatchTenantRequest, send: Send) -> None:
        """See the proto."""
        check = Check()
        tenant_id = check.tenant("name", request.name)
        read_watcher_id(check, "watcher_id", request.watcher_id)
        wanted = request.heartbeat_interval if request.HasField("heartbeat_interval") else None
        heartbeat_s = read_heartbeat_s(check, "heartbeat_interval", wanted, default_s=self._settings.heartbeat_s)
        check.finish()
        events = self._feed.watch_tenant(tenant_id, heartbeat_s=heartbeat_s)
        await self._streams.send_events(events, encode=self._frame, send=send, send_s=self._settings.send_s)

    def _frame(self, event: TenantStanding | Closing) -> bytes:
        if isinstance(event, Closing):
            return pb.WatchTenantResponse(closing=closing_to_proto(event)).SerializeToString()
        known = self._told.get(event.tenant.uid)
        if known is not None and known[0] is event:
            return known[1]
        encoded = _standing_to_proto(event).SerializeToString()
        self._told[event.tenant.uid] = (event, encoded)
        return encoded


def _standing_to_proto(standing: TenantStanding) -> pb.WatchTenantResponse:
    message = pb.WatchTenantResponse(
        tenant=tenant_to_proto(standing.tenant, standing.propagation, now=standing.seen_at),
        rooms=pb.RoomCounts(total_count=standing.rooms_count),
    )
    for number, count in sorted((ROOM_STATES[state], count) for state, count in standing.states.items()):
        message.rooms.states.add(state=number, count=count)
    for copy, count in sorted((SYNC_STATES[state], count) for state, count in standing.sync_states.items()):
        message.rooms.sync_states.add(state=copy, count=count)
    if standing.next_step is not None:
        _set_step(message.next, standing.next_step)
    return message


def _set_step(message: pb.NextStep, step: NextStep) -> None:
    message.kind = _KINDS[step.kind]
    if step.at is not None:
        set_time(message.time, step.at)
