"""What calls ask Microsoft while somebody waits, in memory: an organisation's rooms, and whose mailbox an address leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sidecar.aio.clock import Clock
from sidecar.api.servicers import Inquiries
from sidecar.diagnosis.diagnosis import Diagnosis
from sidecar.errors import SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.graph.wire import GraphEvent
from sidecar.graph.wire_directory import Identity, Place, PlacesPage
from sidecar.graph.wire_schedules import Schedule
from sidecar.model.ids import TenantUid
from sidecar.model.window import Window
from sidecar.store.store import Store
from sidecar.tasks.driving import LaneDriving
from sidecar.tenants.discover import RoomDiscovery
from sidecar.tenants.readdress import RoomEditor
from sidecar.writes.asking import ScheduleAsking
from tests.support.driven import make_driving
from tests.support.fake_calendar import FakeCalendar
from tests.support.fake_writing import make_writing


class FakeDirectory:
    """A directory.

    Attributes:
        places: rooms of the organisation, in Microsoft's order.
        page_size_max: however many are asked for, a page holds no more; 0: it holds as many as are asked for.
        overfull: pages hold one more than was asked for.
        error: raised by every call.
        granted_anew: the next token has the permission that the one before lacked.
        object_ids: of mailboxes, by case-folded address; empty: the directory may not be read.
        events: ids of events, by case-folded address of their mailbox.
        zones: IANA zones of mailboxes, by address or object id.
        queries: what places were asked for with.
        schedules: what is told of calendars, by case-folded address.
        calendar: of every mailbox, for what is written.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.page_size_max = 0
        self.overfull = False
        self.error: SidecarError | None = None
        self.object_ids: dict[str, str] = {}
        self.events: dict[str, set[str]] = {}
        self.zones: dict[str, str] = {}
        self.granted_anew = False
        self.calendar = FakeCalendar()
        self.queries: list[str | None] = []
        self.asked: list[str] = []
        self.schedules: dict[str, Schedule] = {}

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def forget(self, tenant_uid: TenantUid) -> None:
        """See `Forgetter`."""
        self.asked.append("forget")
        if self.granted_anew:
            self.error = None

    async def fetch_places(self, tenant: TenantRef, query: str | None, *, page_size: int) -> PlacesPage:
        """See `PlaceLister`."""
        self.queries.append(query)
        self._note("places")
        start, asked = (0, page_size) if query is None else map(int, query.split("&"))
        size = min(asked, self.page_size_max or asked) + self.overfull
        end = start + size
        return PlacesPage(tuple(self.places[start:end]), f"{end}&{asked}" if end < len(self.places) else None)

    async def fetch_identity(self, tenant: TenantRef, mailbox: str) -> Identity | None:
        """See `MailboxReader`."""
        self._note(f"identity {mailbox}")
        object_id = self.object_ids.get(mailbox.casefold())
        return None if object_id is None else Identity(id=object_id)

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """See `MailboxReader`."""
        self._note(f"event {mailbox}")
        found = event_id in self.events.get(mailbox.casefold(), set())
        return GraphEvent(id=event_id) if found else None  # type: ignore[arg-type]  # an id of the test's

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """See `MailboxReader`."""
        self._note(f"zone {mailbox}")
        return self.object_ids.get(mailbox.casefold()), self.zones.get(mailbox)

    async def fetch_schedules(
        self, tenant: TenantRef, mailbox: str, addresses: Sequence[str], window: Window
    ) -> Mapping[str, Schedule]:
        """See `ScheduleReader`."""
        self._note(f"schedules {mailbox}")
        return {
            address: self.schedules[address] for address in map(str.casefold, addresses) if address in self.schedules
        }

    def inquiries(
        self, store: Store, diagnosis: Diagnosis, *, clock: Clock | None = None, driving: LaneDriving | None = None
    ) -> Inquiries:
        """Return what an API needs to ask this directory."""
        return Inquiries(
            diagnosis=diagnosis,
            discovery=RoomDiscovery(store=store, places=self, tokens=self),
            room_editor=RoomEditor(store=store, reader=self),
            writing=make_writing(store, calendar=self.calendar, clock=clock),
            schedules=ScheduleAsking(tenants=store.tenants, reader=self),
            driving=driving or make_driving(store, clock=clock),
        )
