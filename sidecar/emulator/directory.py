"""Tenants, their app registrations and their mailboxes: the emulator's state, apart from what is on its way.

Room settings carry the names an Exchange administrator knows from `Set-CalendarProcessing`.

Source: Exchange "Set-CalendarProcessing" page (defaults for room mailboxes).
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Literal

import msgspec

from sidecar.emulator.calendar_index import Calendar
from sidecar.emulator.event import Event, JsonObject, Person

if TYPE_CHECKING:
    from sidecar.emulator.subscription import Subscription

_RECORDS_KEPT_MAX = 20_000  # requests and deliveries remembered per tenant
ROLES = frozenset(
    {
        "Calendars.Read",
        "Calendars.ReadWrite",
        "Place.Read.All",
        "User.Read.All",
        "MailboxSettings.Read",
        "MailboxSettings.ReadWrite",
    }
)


class MailboxState(Enum):
    """Where a mailbox is, by its control name."""

    CLOUD = "cloud"
    ON_PREMISES = "onPremises"
    GONE = "gone"
    MOVING = "moving"


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a room answers invitations; names and defaults of `Set-CalendarProcessing`, and one of our own."""

    AutomateProcessing: Literal["AutoAccept", "AutoUpdate", "None"] = "AutoAccept"
    """AutoAccept answers; AutoUpdate leaves invitations tentative; None lets nothing appear."""
    AllowConflicts: bool = False
    ConflictPercentageAllowed: int = 0
    MaximumConflictInstances: int = 0
    AllowRecurringMeetings: bool = True
    BookingWindowInDays: int = 180
    EnforceSchedulingHorizon: bool = True
    MaximumDurationInMinutes: int = 1440
    MinimumDurationInMinutes: int = 0
    AddNewRequestsTentatively: bool = True
    DeleteSubject: bool = True
    AddOrganizerToSubject: bool = True
    DeleteComments: bool = True
    RemovePrivateProperty: bool = True
    RemoveCanceledMeetings: bool = False
    DisableReminders: bool = True
    processing_delay_s: float | None = None
    """Seconds until the room answers; None takes the mood's delay, 0 answers within the call."""


@dataclass(slots=True, kw_only=True, eq=False)
class Mailbox:
    """A room's or a person's mailbox with its default calendar."""

    object_id: str
    address: str
    display_name: str
    time_zone: str
    is_room: bool
    settings: RoomSettings = field(default_factory=RoomSettings)
    state: MailboxState = MailboxState.CLOUD
    calendar: Calendar = field(default_factory=Calendar)
    place_id: str = ""

    @property
    def person(self) -> Person:
        """Give the mailbox as an organizer or attendee."""
        return Person(name=self.display_name, address=self.address)


@dataclass(slots=True, kw_only=True, eq=False)
class App:
    """One app registration and its service principal."""

    client_id: str
    principal_id: str
    display_name: str
    roles: frozenset[str]
    secrets: dict[str, datetime | None]
    """Secret values and when each expires."""
    secret_id: str
    certificates: dict[str, bytes] = field(default_factory=dict)
    """Registered certificates, DER, by both thumbprints in base64url (x5t and x5t#S256)."""
    disabled: bool = False
    access_policy: frozenset[str] | None = None
    """Addresses an application access policy restricts the app to; None is no policy."""
    rbac_scope: frozenset[str] | None = None
    """Addresses granted through Exchange's RBAC for applications, which no token shows."""


@dataclass(slots=True, kw_only=True, eq=False)
class Meeting:
    """An organizer's item and its copies in the attendees' mailboxes, by lower-case address."""

    meeting_id: str
    organizer: Mailbox
    event: Event
    copies: dict[str, tuple[Mailbox, Event]] = field(default_factory=dict)
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
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    """By object id."""
    addresses: dict[str, Mailbox] = field(default_factory=dict)
    """By lower-case address."""
    meetings: dict[str, Meeting] = field(default_factory=dict)
    subscriptions: dict[str, "Subscription"] = field(default_factory=dict)
    watchers: dict[str, dict[str, "Subscription"]] = field(default_factory=dict)
    """Subscriptions by mailbox object id, then by their own."""
    delivery_mode: DeliveryMode = DeliveryMode.SEND
    room_processing_count: int = 0
    deliveries_pending_count: int = 0
    requests: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT_MAX))
    requests_count: int = 0
    deliveries: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT_MAX))
    deliveries_count: int = 0

    def mailbox(self, key: str) -> Mailbox | None:
        """Find a mailbox by object id or address, in any case."""
        lower = key.lower()
        return self.mailboxes.get(lower) or self.addresses.get(lower)

    def add_mailbox(self, mailbox: Mailbox) -> None:
        """Make a mailbox known by its id and its address."""
        self.mailboxes[mailbox.object_id] = mailbox
        self.addresses[mailbox.address.lower()] = mailbox

    def watching(self, mailbox: Mailbox, now: datetime) -> list["Subscription"]:
        """Give the live subscriptions on a mailbox."""
        mine = self.watchers.get(mailbox.object_id, {}).values()
        return [subscription for subscription in mine if subscription.expires_at > now]

    def add_subscription(self, subscription: "Subscription") -> None:
        """Make a subscription known."""
        self.subscriptions[subscription.subscription_id] = subscription
        mine = self.watchers.setdefault(subscription.mailbox.object_id, {})
        mine[subscription.subscription_id] = subscription

    def remove_subscription(self, subscription: "Subscription") -> None:
        """Forget a subscription."""
        self.subscriptions.pop(subscription.subscription_id, None)
        self.watchers.get(subscription.mailbox.object_id, {}).pop(subscription.subscription_id, None)

    def note_request(self, record: JsonObject) -> None:
        """Append to the bounded record of requests."""
        self.requests_count += 1
        self.requests.append({"number": self.requests_count, **record})

    def note_delivery(self, record: JsonObject) -> None:
        """Append to the bounded record of deliveries."""
        self.deliveries_count += 1
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

    def find(self, key: str) -> Tenant | None:
        """Find a tenant by id or verified domain, in any case."""
        lower = key.lower()
        return self.tenants.get(lower) or self._domains.get(lower)
