"""The bodies and answers of the control API. Checks that need the emulator's state are in the handlers."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from sidecar.emulator.bounds import Seconds
from sidecar.emulator.exchange.app import Block, GraphPrincipal
from sidecar.emulator.faults import FaultEffect, FaultMatch, Service

Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class TenantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new tenant with one app registration; what is left out is made up."""

    tenant_id: str | None = None
    domain: str | None = None
    display_name: str = "Contoso"
    client_id: str | None = None
    client_secret: str | None = None
    roles: list[str] | None = None
    """Application permissions with admin consent; by default Calendars.ReadWrite, [] is none."""


class FederatedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose assertions may stand in for a secret, and the issuer's public keys in one of two forms."""

    issuer: str
    subject: str
    audiences: tuple[str, ...] = ("api://AzureADTokenExchange",)
    public_key_pem: str | None = None
    jwks: dict[str, Any] | None = None  # Any: a JSON Web Key Set


class PolicyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application access policy on the members of a group."""

    right: Literal["RestrictAccess", "DenyAccess"] = "RestrictAccess"
    members: list[str]
    """Addresses."""


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role that Exchange's RBAC for applications grants on some mailboxes."""

    role: str = "Application Calendars.ReadWrite"
    scope: list[str]
    """Addresses."""


class SignInBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes about how the tenant lets apps sign in; what is left out stays."""

    block: Block | None = None
    graph_principal: GraphPrincipal | None = None
    """Whether the tenant knows Graph: missing is refused with 500011, disabled with 50001."""
    cloud: Literal["global", "usGov", "usGovDod", "china"] | None = None
    """Where the tenant lives; anything but global is refused with 90038."""
    refuses_consent: bool | None = None
    """What an administrator answers when asked for consent."""


class AppBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes about a tenant's app registration; what is left out stays."""

    roles: list[str] | None = None
    requested_roles: list[str] | None = None
    """What the registration asks for; an administrator's consent grants it."""
    redirect_uris: list[str] | None = None
    """Where an administrator's consent may lead back to."""
    disabled: bool | None = None
    is_public: bool | None = None
    """A public client, which must not present a credential."""
    cae: bool | None = None
    """Continuous access evaluation: refusals of revoked tokens carry a claims challenge, and disabling revokes at once."""
    tells_refresh: bool | None = None
    """Whether tokens come with `refresh_in`."""
    revoke_tokens: bool = False
    """Makes every token given out so far useless."""
    client_secret: str | None = None
    """Adds a secret; the older ones stay good, as in Entra."""
    generate_secret: bool = False
    """Adds a made-up secret, which the answer tells."""
    remove_client_secret: str | None = None
    secret_expires_at: datetime | None = None
    """When the secret added by this call expires, or if it adds none, every secret."""
    certificate_pem: str | None = None
    """Registers one more certificate for client assertions."""
    certificate_subject: str | msgspec.UnsetType | None = msgspec.UNSET
    """A common name: a certificate that comes along with an assertion is good if it bears it; null ends that."""
    federated_credentials: list[FederatedBody] | None = None
    """The whole new list."""
    access_policy: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    """Addresses an application access policy restricts the app to; null removes every policy."""
    access_policies: list[PolicyBody] | None = None
    """The whole new list of application access policies."""
    rbac_scope: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    """Addresses granted to read and write by Exchange's RBAC, without roles in the token; null removes every grant."""
    rbac_grants: list[GrantBody] | None = None
    """The whole new list of what Exchange's RBAC grants."""
    rbac_opens_subscriptions: bool | None = None
    """Whether a grant of Exchange alone is enough to subscribe."""
    propagation_s: Seconds | None = None
    """How long a new secret, policies and grants of this call are not known yet; by default at once, secrets by the mood."""
    sign_in: SignInBody | None = None


class ThrottleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes about the limits; what is left out stays."""

    limits: dict[str, Annotated[int, msgspec.Meta(ge=0)] | None]
    """Requests or bytes in a window by limit; 0 is no limit, null takes back what was set."""


class LimitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and what is allowed at present."""

    limit: str
    per: str
    max: int | None
    """null while nothing is refused."""
    documented_max: int
    window_s: float


class CountAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What has been counted against a limit."""

    limit: str
    client_id: str
    mailbox: str | None
    count: int
    """In the present window."""
    max: int | None
    """null while nothing is refused."""
    refused_count: int
    """Since the emulator began."""
    window_ends_at: str | None


class TenantThrottleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's apps are allowed, and what they have used."""

    limits: list[LimitAnswer]
    own: dict[str, int]
    """In which limits the tenant differs from the emulator; 0 is no limit."""
    counts: list[CountAnswer]


class OutageBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time in which a service refuses everything, or with a `for_s` of 0, its end."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = 503
    """null cuts every connection."""
    for_s: Seconds
    service: Service = Service.ALL
    tenant: str | None = None
    """Whose requests; null is everybody's."""
    body: str | None = None
    """Replaces Graph's error JSON."""


class HoursBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Working hours, whole, as `08:00`; `time_zone` null is the mailbox's own."""

    days: list[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]]
    start: str
    end: str
    time_zone: str | None = None


class MailboxBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room or a user; what is left out is made up."""

    address: str | None = None
    display_name: str | None = None
    time_zone: str = "UTC"
    kind: str = "cloud"
    """As in `MailboxChange`."""
    purpose: str | None = None
    """room or equipment among rooms; user, shared, linked or others among users."""
    settings: dict[str, Any] = {}  # Any: checked against RoomSettings
    place: dict[str, Any] = {}  # Any: checked against PlaceDetails
    profile: dict[str, Any] = {}  # Any: checked against UserProfile
    working_hours: HoursBody | None = None


class RoomsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New rooms: as many as `count`, or the listed ones."""

    count: Count = 8
    rooms: list[MailboxBody] | None = None


class UsersBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New users: as many as `count`, or the listed ones."""

    count: Count = 8
    users: list[MailboxBody] | None = None


class MailboxChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes about a mailbox; what is left out stays."""

    kind: str | None = None
    """cloud, onPremises, moving, unavailable, unlicensed, softDeleted or gone."""
    address: str | None = None
    display_name: str | None = None
    time_zone: str | None = None
    settings: dict[str, Any] | None = None  # Any: checked against RoomSettings
    """Room settings to change, by their Set-CalendarProcessing names, and `processing_delay_s`."""
    place: dict[str, Any] | None = None  # Any: checked against PlaceDetails
    """Properties of the room in /places to change, by their names in Graph."""
    profile: dict[str, Any] | None = None  # Any: checked against UserProfile
    """Properties of the user to change, by their names in Graph."""
    working_hours: HoursBody | None = None


class RoomListBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new room list; what is left out is made up."""

    display_name: str
    address: str | None = None
    rooms: list[str] = []
    """Addresses of its rooms."""
    place: dict[str, Any] = {}  # Any: checked against PlaceDetails


class BookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person books in Outlook; times without an offset are local to `time_zone`."""

    organizer: str
    outside: bool = False
    """Whether the organizer is from outside the organization; such a one is not a mailbox of the tenant."""
    organizer_name: str | None = None
    """Of an outside organizer."""
    rooms: list[str] = []
    subject: str = ""
    start: str
    end: str
    time_zone: str = "UTC"
    all_day: bool = False
    sensitivity: str = "normal"
    show_as: str = "busy"
    attendees: list[str] = []
    optional_attendees: list[str] = []
    hide_attendees: bool = False
    body: str = ""
    recurrence: dict[str, Any] | None = None  # Any: Graph's recurrence JSON
    cancel_kept: bool | None = None
    """Whether rooms keep the meeting once it is cancelled; null leaves it to each room."""


class MoveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer moves a meeting, or the one occurrence whose original start or date is given."""

    meeting: str
    start: str
    end: str
    time_zone: str = "UTC"
    occurrence: str | None = None


class EditBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer edits a meeting, or one occurrence; what is left out stays."""

    meeting: str
    occurrence: str | None = None
    subject: str | None = None
    body: str | None = None
    sensitivity: str | None = None
    hide_attendees: bool | None = None
    rooms: list[str] | None = None
    attendees: list[str] | None = None
    """With `rooms`, the whole new list of people and rooms."""


class CancelBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer cancels a meeting, or one occurrence."""

    meeting: str
    occurrence: str | None = None


class RespondBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody answers an invitation, to a meeting or to one occurrence."""

    meeting: str
    address: str
    answer: Literal["accept", "tentative", "decline"]
    occurrence: str | None = None
    send_response: bool = True
    """Whether the organizer is told."""


class DecideBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A delegate decides what a room has left to its delegates."""

    meeting: str
    room: str
    delegate: str
    answer: Literal["accept", "decline"]
    occurrence: str | None = None


class DeleteCopyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody deletes their own copy of a meeting, or of one occurrence; the organizer hears nothing."""

    meeting: str
    address: str
    occurrence: str | None = None


class ForwardBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody invited, or the organizer, forwards a meeting; the organizer's list gets the new people."""

    meeting: str
    address: str
    """Who forwards."""
    to: Annotated[list[str], msgspec.Meta(min_length=1)]


class DeleteFromRoomBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody with rights on a room's calendar deletes an item there; the organizer hears nothing."""

    address: str
    event: str


class RefileBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item, of which series as a whole, is filed to another folder and back."""

    address: str
    event: str


class RefileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of an item before and after it was filed elsewhere; the immutable one is the same."""

    old_mutable_id: str
    mutable_id: str
    id: str


class ExpireDeltaBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the delta links of a mailbox are refused from now on."""

    status: Literal[400, 404, 410] = 410
    code: str = "SyncStateNotFound"
    """Microsoft is known to use SyncStateNotFound, ResyncRequired and SyncStateInvalid, in either case."""


class EndlessDeltaBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether delta rounds of a mailbox never end."""

    on: bool = True


class SeedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rooms full of settled bookings, made at once and told to nobody."""

    rooms: Count = 200
    bookings_per_room: Count = 500
    start: datetime | None = None
    """The first day; by default today."""
    seed: int = 1


class LifecycleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lifecycle notification: reauthorizationRequired, subscriptionRemoved (removes it) or missed."""

    subscription_id: str
    event: str


class ClockBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the present moves forward."""

    advance_s: Seconds


class FaultBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to script; see `FaultMatch` and `FaultEffect`."""

    match: FaultMatch = FaultMatch()
    effect: FaultEffect = FaultEffect()


class TenantAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A new tenant and what its operator would type into a connector."""

    tenant_id: str
    domain: str
    client_id: str
    client_secret: str
    client_secret_id: str
    authority: str
    graph_url: str


class MailboxAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A mailbox."""

    id: str
    address: str
    display_name: str
    time_zone: str
    kind: str
    purpose: str
    place_id: str


class RoomListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A room list."""

    place_id: str
    address: str
    display_name: str
    rooms: list[str]


class MeetingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A meeting and the immutable ids of its items, by address."""

    meeting: str
    ical_uid: str
    events: dict[str, str]


class ItemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One item as it is in truth; instants in UTC, ids immutable."""

    id: str
    mutable_id: str
    ical_uid: str
    start: str
    end: str
    subject: str
    is_cancelled: bool
    is_all_day: bool
    show_as: str
    sensitivity: str
    response: str
    type: str
    organizer: str
    change_key: str
    series_master_id: str | None
    original_start: str | None
