"""A calendar at Microsoft, in memory: what `sync` reads in its unit tests. The emulator is the honest one; this is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sidecar.errors import SidecarError, SubscriptionExists, SubscriptionGone
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import DeltaItem, DeltaRemoval, DeltaRound, GraphEvent
from sidecar.graph.wire_directory import Identity
from sidecar.graph.wire_series import GraphSeries
from sidecar.graph.wire_subscriptions import GraphSubscription, SubscriptionPage
from sidecar.model.ids import EventId
from sidecar.model.window import Window
from tests.unit.graph.kit import make_event


def event(event_id: str, start_at: datetime, **changes: object) -> GraphEvent:
    """Build an event of one hour as Graph tells it; `changes` are Graph's own names."""
    fields: dict[str, object] = {
        "id": event_id,
        "iCalUId": f"uid-{event_id}",
        "changeKey": "ck1",
        "start": _wall(start_at),
        "end": _wall(start_at + timedelta(hours=1)),
        **changes,
    }
    return make_event(**fields)


def occurrence(master_id: str, number: int, start_at: datetime, **changes: object) -> GraphEvent:
    """Build an occurrence of a series."""
    fields: dict[str, object] = {
        "type": "occurrence",
        "seriesMasterId": master_id,
        "iCalUId": f"uid-{master_id}-{number}",
        "originalStart": f"{start_at:%Y-%m-%dT%H:%M:%S}Z",
        **changes,
    }
    return event(f"{master_id}-{number}", start_at, **fields)


def master(master_id: str, start_at: datetime) -> GraphEvent:
    """Build the master of a series."""
    return event(master_id, start_at, type="seriesMaster")


def _wall(at: datetime) -> dict[str, str]:
    return {"dateTime": f"{at:%Y-%m-%dT%H:%M:%S}.0000000", "timeZone": "UTC"}


def _told(item: GraphEvent) -> DeltaItem:
    """Return what delta tells of an event."""
    return DeltaItem(
        id=item.id,
        type=item.type,
        series_master_id=item.series_master_id,
        etag=f'W/"{item.change_key}"',
        start=item.start,
        end=item.end,
        is_all_day=None if item.type == "occurrence" else item.is_all_day,
    )


class FakeCalendar:
    """One mailbox. `hidden` events are missing from windows though they exist; `error` is raised by every read.

    Attributes:
        delta_error: raised by the next delta rounds that go on from a link, until it is taken away.
        first_round_error: the same for first rounds.
        identity: what the directory says of the mailbox.
        untold: ids of which delta does not speak, though something about them changed.
    """

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.delta_error: SidecarError | None = None
        self.first_round_error: SidecarError | None = None
        self.untold: set[str] = set()
        self._log: list[str] = []
        self.events: dict[str, GraphEvent] = {}
        self.hidden: set[str] = set()
        self.error: SidecarError | None = None
        self.calls: list[str] = []
        self.on_read: Callable[[], None] = lambda: None

    def put(self, *events: GraphEvent) -> None:
        """Add events, or replace those with the same id."""
        self.events.update((item.id, item) for item in events)
        self._log += [item.series_master_id or item.id for item in events]

    def drop(self, *event_ids: str) -> None:
        """Remove events."""
        for event_id in event_ids:
            gone = self.events.pop(event_id)
            self._log += [gone.series_master_id or gone.id, gone.id]

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        self.on_read()

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """See `CalendarReader`."""
        self._note("probe")

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """See `CalendarReader`."""
        self._note("view")
        return [item for item in self.events.values() if item.type != "seriesMaster" and item.id not in self.hidden]

    async def fetch_delta(self, tenant: TenantRef, mailbox: str, window: Window, *, link: str | None) -> DeltaRound:
        """See `CalendarReader`. Changed events, each whole series, and what is gone; a link is a place in the log."""
        self._note("delta" if link else "delta first")
        error = self.delta_error if link else self.first_round_error
        if error is not None:
            raise error
        changed = self._log[int(link.removeprefix("link-")) :] if link else list(self.events)
        told: dict[str, DeltaItem] = {}
        for event_id in dict.fromkeys(changed):
            if event_id in self.untold:
                continue
            parts = [item for item in self.events.values() if item.series_master_id == event_id]
            for item in [self.events.get(event_id), *parts]:
                if item is not None:
                    told[item.id] = _told(item)
            if event_id not in self.events:
                told[event_id] = DeltaItem(id=EventId(event_id), removed=DeltaRemoval(reason="deleted"))
        return DeltaRound(list(told.values()), f"link-{len(self._log)}")

    async def fetch_instances(
        self, tenant: TenantRef, mailbox: str, master_id: str, window: Window
    ) -> list[GraphEvent] | None:
        """See `CalendarReader`."""
        self._note(f"instances {master_id}")
        if master_id not in self.events:
            return None
        return [item for item in self.events.values() if item.series_master_id == master_id]

    async def fetch_series(self, tenant: TenantRef, mailbox: str, master_id: str) -> GraphSeries | None:
        """See `SeriesReader`; series are the emulator's business."""
        raise NotImplementedError

    async def fetch_contents(self, tenant: TenantRef, mailbox: str, event_id: str) -> dict[str, Any] | None:
        """See `SeriesReader`."""
        raise NotImplementedError

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """See `CalendarReader`."""
        self._note(f"event {event_id}")
        return self.events.get(event_id)

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """See `CalendarReader`."""
        self.calls.append("mailbox")
        return "object-1", "America/Chicago"

    async def fetch_identity(self, tenant: TenantRef, mailbox: str) -> Identity | None:
        """See `CalendarReader`. It is not among `calls`: what is asked about bookings does not depend on it."""
        return self.identity


class FakeSubscriptions:
    """Subscriptions at Microsoft, at most one for each spelling of a mailbox.

    `errors` are raised by the next calls, in order; None lets one pass. `lost` is raised by the next creation after it was
    carried out. `calls` are the names of the calls.
    """

    def __init__(self) -> None:
        self.live: dict[str, GraphSubscription] = {}
        self.states: list[str] = []
        self.errors: list[SidecarError | None] = []
        self.lost: SidecarError | None = None
        self.calls: list[str] = []
        self.on_create: Callable[[], None] = lambda: None

    def _note(self, call: str) -> None:
        self.calls.append(call)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    async def create_subscription(
        self,
        tenant: TenantRef,
        mailbox: str,
        *,
        notification_url: str,
        lifecycle_url: str,
        client_state: str,
        expires_at: datetime,
    ) -> GraphSubscription:
        """See `Subscriber`."""
        self._note("create")
        resource = f"/users/{mailbox}/events"
        for other in self.live.values():
            if other.resource == resource:
                raise SubscriptionExists("exists", subscription_id=other.id)
        self.states.append(client_state)
        made = GraphSubscription(
            id=f"s{len(self.states)}",
            expires_at=expires_at,
            resource=resource,
            notification_url=notification_url,
            lifecycle_url=lifecycle_url,
            client_state=client_state,
        )
        self.live[made.id] = made
        self.on_create()
        if self.lost is not None:
            lost, self.lost = self.lost, None
            raise lost
        return made

    async def renew_subscription(self, tenant: TenantRef, graph_id: str, *, expires_at: datetime) -> GraphSubscription:
        """See `Subscriber`."""
        self._note("renew")
        self.live[graph_id] = replace(self._find(graph_id), expires_at=expires_at)
        return self.live[graph_id]

    async def repoint_subscription(self, tenant: TenantRef, graph_id: str, *, notification_url: str) -> None:
        """See `Subscriber`."""
        self._note("repoint")
        self.live[graph_id] = replace(self._find(graph_id), notification_url=notification_url)

    async def call_webhook(self, tenant: TenantRef, graph_id: str, *, notification_url: str, ending: str) -> None:
        """See `WebhookCaller`."""
        self._note("call")
        self._find(graph_id)

    async def fetch_subscription(self, tenant: TenantRef, graph_id: str) -> GraphSubscription | None:
        """See `Subscriber`."""
        self._note("fetch")
        return self.live.get(graph_id)

    async def fetch_subscription_page(self, tenant: TenantRef, link: str | None) -> SubscriptionPage:
        """See `SubscriptionLister`; two to a page."""
        self._note("list")
        start = int(link or 0)
        withheld = [replace(one, client_state=None) for one in self.live.values()]
        is_last = start + 2 >= len(withheld)
        return SubscriptionPage(tuple(withheld[start : start + 2]), None if is_last else str(start + 2))

    async def delete_subscription(self, tenant: TenantRef, graph_id: str) -> None:
        """See `Subscriber`."""
        self._note("delete")
        self.live.pop(graph_id, None)

    def _find(self, graph_id: str) -> GraphSubscription:
        if graph_id not in self.live:
            raise SubscriptionGone("gone")
        return self.live[graph_id]
