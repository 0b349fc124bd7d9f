"""Microsoft's login and a look at mailboxes, in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from sidecar.aio.clock import Clock
from sidecar.diagnosis.diagnosis import Diagnosis, build_diagnosis
from sidecar.diagnosis.reserve import ReserveTest
from sidecar.diagnosis.verify import TenantVerifier
from sidecar.errors import SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.graph.webhook_call import Handshake, Shaken
from sidecar.graph.wire import GraphEvent
from sidecar.model.handshake import prove
from sidecar.model.ids import EventId, TenantUid
from sidecar.model.tenant import Cloud
from sidecar.model.window import Window
from sidecar.settings import Settings, SyncSettings
from sidecar.store.store import Store


def make_token(**claims: object) -> str:
    """Return something of a token's form that names these claims."""
    packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{packed}.x"


@dataclass
class FakeMicrosoft:
    """Answers as it is told; keeps what it was asked.

    Attributes:
        error: what a token costs instead of one.
        probe_error: what every mailbox answers.
        probe_errors: what single mailboxes answer, by address.
        claims: what tokens name besides the roles.
        mailbox: every mailbox's object id and time zone.
        view: what every calendar holds, whatever window is asked for.
        placed: test bookings that are there, with their transactions.
        handshake: how every handshake ends; None: rightly, at this very deployment.
        time: what time it is there; None: it does not say.
        errors: what a step of the reserve test answers, by the step's name.
    """

    error: SidecarError | None = None
    roles: tuple[str, ...] = ("Calendars.ReadWrite",)
    probe_error: SidecarError | None = None
    probe_errors: Mapping[str, SidecarError] = field(default_factory=dict)
    claims: Mapping[str, object] = field(default_factory=dict)
    mailbox: tuple[str | None, str | None] = (None, None)
    view: Sequence[GraphEvent] = ()
    placed: dict[EventId, str] = field(default_factory=dict)
    errors: Mapping[str, SidecarError] = field(default_factory=dict)
    handshake: Handshake | None = None
    time: datetime | None = None
    shaken: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    async def fetch_token(self, tenant: TenantRef) -> str:
        """See `diagnosis.login.Tokens`."""
        if self.error is not None:
            raise self.error
        return make_token(roles=self.roles, **self.claims)

    def forget(self, tenant_uid: TenantUid, *, credential: str | None = None) -> None:
        """See `diagnosis.verify.Tokens`."""
        self.forgotten.append(tenant_uid)

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """See `diagnosis.reading.Prober`."""
        self.probed.append(mailbox)
        error = self.probe_errors.get(mailbox, self.probe_error)
        if error is not None:
            raise error

    async def fetch_mailbox(self, tenant: TenantRef, mailbox: str) -> tuple[str | None, str | None]:
        """See `diagnosis.access.MailboxReader`."""
        return self.mailbox

    async def fetch_view(self, tenant: TenantRef, mailbox: str, window: Window) -> list[GraphEvent]:
        """See `diagnosis.reserve.ViewReader`."""
        return list(self.view)

    async def fetch_event(self, tenant: TenantRef, mailbox: str, event_id: str) -> GraphEvent | None:
        """See `diagnosis.rooms.Reader`."""
        return next((event for event in self.view if event.id == event_id), None)

    async def shake(self, url: str, token: str, *, proof_header: str) -> Handshake:
        """See `diagnosis.webhook.Caller`."""
        self.shaken.append(url)
        return self.handshake or Handshake(outcome=Shaken.RIGHT, status=200, proof=prove("store-1", token))

    async def tell_time(self, cloud: Cloud) -> datetime | None:
        """See `diagnosis.reports.TellTime`."""
        return self.time

    async def place(self, tenant: TenantRef, mailbox: str, window: Window, *, transaction_id: str) -> EventId:
        """See `diagnosis.reserve.ReserveCalls`."""
        self._fail("place")
        event_id = EventId(f"event-{len(self.placed)}")
        self.placed[event_id] = transaction_id
        self.windows.append(window)
        self._fail("placed")
        return event_id

    async def is_there(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> bool:
        """See `diagnosis.reserve.ReserveCalls`."""
        self._fail("is_there")
        return event_id in self.placed

    async def find(self, tenant: TenantRef, mailbox: str, *, transaction_id: str) -> Sequence[EventId]:
        """See `diagnosis.reserve.ReserveCalls`."""
        self._fail("find")
        return [event_id for event_id, placed_by in self.placed.items() if placed_by == transaction_id]

    async def remove(self, tenant: TenantRef, mailbox: str, event_id: EventId) -> None:
        """See `diagnosis.reserve.ReserveCalls`."""
        self._fail("remove")
        self.placed.pop(event_id, None)

    def _fail(self, step: str) -> None:
        if step in self.errors:
            raise self.errors[step]


def make_reserve(store: Store, microsoft: FakeMicrosoft, clock: Clock) -> ReserveTest:
    """Build the reserve test over a fake."""
    return ReserveTest(
        store=store, calls=microsoft, reader=microsoft, clock=clock, rng=Random(9), settings=SyncSettings()
    )


def make_diagnosis(
    store: Store, microsoft: FakeMicrosoft, clock: Clock, *, store_id: str = "store-1", settings: Settings | None = None
) -> Diagnosis:
    """Build everything that can be asked over a fake."""
    verifier = TenantVerifier(store=store, tokens=microsoft, prober=microsoft, clock=clock, rng=Random(8))
    return build_diagnosis(
        store=store,
        store_id=store_id,
        verifier=verifier,
        tokens=microsoft,
        reader=microsoft,
        reserve=make_reserve(store, microsoft, clock),
        caller=microsoft,
        tell_time=microsoft.tell_time,
        settings=settings or Settings(),
        clock=clock,
        rng=Random(10),
    )
