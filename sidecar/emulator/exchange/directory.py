"""Tenants, their app registrations, mailboxes and meetings: the emulator's state, apart from what is on its way."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from sidecar.emulator.exchange.app import App, SignIn
from sidecar.emulator.exchange.event import Event, JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.pending import PendingAct
from sidecar.emulator.exchange.places import RoomList
from sidecar.emulator.exchange.subscription import Subscription

_RECORDS_KEPT_MAX = 20_000  # requests and deliveries remembered per tenant
_BODIES_KEPT_MAX = 200  # of deliveries; they are a thousand times longer than their records
_BODY_CHARS_MAX = 65_536


@dataclass(slots=True, kw_only=True, eq=False)
class Meeting:
    """An organizer's item and its copies in the attendees' mailboxes."""

    meeting_id: str
    organizer: Mailbox
    event: Event
    copies: dict[str, tuple[Mailbox, Event]] = field(default_factory=dict)
    """By object id of the mailbox: an address may change."""
    cancel_kept: bool | None = None
    """Whether rooms keep the meeting when it is cancelled; None leaves it to each room's settings."""


class DeliveryMode(Enum):
    """What happens to a tenant's notifications, by its control name."""

    SEND = "resume"
    HOLD = "pause"
    LOSE = "drop"


@dataclass(slots=True, kw_only=True, eq=False)
class Tenant:
    """One customer's directory."""

    tenant_id: str
    domain: str
    display_name: str
    apps: dict[str, App] = field(default_factory=dict)
    sign_in: SignIn = field(default_factory=SignIn)
    own_moods: dict[str, Any] = field(default_factory=dict)  # Any: numbers and flags
    """Moods in which it differs from the emulator, by name; a change puts another dict in its place."""
    own_limits: dict[str, int] = field(default_factory=dict)
    """Limits in which it differs from the emulator, by name; 0 is no limit."""
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    """By object id."""
    addresses: dict[str, Mailbox] = field(default_factory=dict)
    """By lower-case address."""
    former_addresses: dict[str, Mailbox] = field(default_factory=dict)
    """By lower-case address that a mailbox had before."""
    meetings: dict[str, Meeting] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    watchers: dict[str, dict[str, Subscription]] = field(default_factory=dict)
    """Subscriptions by mailbox object id, then by their own."""
    delivery_mode: DeliveryMode = DeliveryMode.SEND
    pending_acts: dict[int, PendingAct] = field(default_factory=dict)
    """What mailboxes have still to do about meetings, by number."""
    acts_count: int = 0
    outsiders: dict[str, Mailbox] = field(default_factory=dict)
    """Organizers from outside the organization, by lower-case address; no path of Graph leads to them."""
    room_lists: dict[str, RoomList] = field(default_factory=dict)
    """By lower-case address."""
    deliveries_pending_count: int = 0
    requests: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT_MAX))
    requests_count: int = 0
    deliveries: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT_MAX))
    deliveries_count: int = 0
    delivery_bodies: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_BODIES_KEPT_MAX))
    """What the last deliveries sent, by their numbers; of a long body only the beginning."""

    def mailbox(self, key: str) -> Mailbox | None:
        """Find a mailbox by object id or address, in any case."""
        lower = key.lower()
        return self.mailboxes.get(lower) or self.addresses.get(lower)

    @property
    def room_processing_count(self) -> int:
        """Count what mailboxes have still to do about meetings."""
        return len(self.pending_acts)

    def recipient(self, address: str) -> Mailbox | None:
        """Find the mailbox that mail to an address arrives in, former addresses included."""
        lower = address.lower()
        return self.addresses.get(lower) or self.former_addresses.get(lower)

    def add_mailbox(self, mailbox: Mailbox) -> None:
        """Make a mailbox known by its id and its address."""
        self.mailboxes[mailbox.object_id] = mailbox
        self.addresses[mailbox.address.lower()] = mailbox

    def readdress(self, mailbox: Mailbox, address: str) -> None:
        """Give a mailbox another address; mail to the one it had still arrives."""
        del self.addresses[mailbox.address.lower()]
        self.former_addresses[mailbox.address.lower()] = mailbox
        former = [one for one in mailbox.proxy_addresses if one.lower() != address.lower()]
        mailbox.proxy_addresses = [*former, mailbox.address]
        mailbox.address = address
        self.former_addresses.pop(address.lower(), None)
        self.addresses[address.lower()] = mailbox

    def watching(self, mailbox: Mailbox, now: datetime) -> list[Subscription]:
        """Give the live subscriptions on a mailbox; there is none to tell where Graph cannot look."""
        if not mailbox.is_watched:
            return []
        mine = self.watchers.get(mailbox.object_id, {}).values()
        return [subscription for subscription in mine if subscription.expires_at > now]

    def add_subscription(self, subscription: Subscription) -> None:
        """Make a subscription known."""
        self.subscriptions[subscription.subscription_id] = subscription
        mine = self.watchers.setdefault(subscription.mailbox.object_id, {})
        mine[subscription.subscription_id] = subscription

    def remove_subscription(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self.subscriptions.pop(subscription.subscription_id, None)
        self.watchers.get(subscription.mailbox.object_id, {}).pop(subscription.subscription_id, None)

    def note_request(self, record: JsonObject) -> None:
        """Append to the bounded record of requests."""
        self.requests_count += 1
        self.requests.append({"number": self.requests_count, **record})

    def note_delivery(self, record: JsonObject, body: bytes | None = None) -> None:
        """Append to the bounded record of deliveries, and keep what was sent for a while."""
        self.deliveries_count += 1
        if body is not None:
            self.delivery_bodies.append((self.deliveries_count, body[:_BODY_CHARS_MAX].decode(errors="replace")))
        self.deliveries.append({"number": self.deliveries_count, **record})


class Directory:
    """Every tenant, by id or domain."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self._domains: dict[str, Tenant] = {}

    def add(self, tenant: Tenant) -> None:
        """Make a tenant known."""
        self.tenants[tenant.tenant_id] = tenant
        self._domains[tenant.domain.lower()] = tenant

    def replace(self, tenants: Iterable[Tenant]) -> None:
        """Know these tenants and no others."""
        self.tenants.clear()
        self._domains.clear()
        for tenant in tenants:
            self.add(tenant)

    def find(self, key: str) -> Tenant | None:
        """Find a tenant by id or verified domain, in any case."""
        lower = key.lower()
        return self.tenants.get(lower) or self._domains.get(lower)
