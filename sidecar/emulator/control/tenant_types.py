"""What the control calls about tenants, apps and mailboxes take and give; checks that need the state are in the handlers."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from sidecar.emulator.bounds import Seconds
from sidecar.emulator.exchange.app import Block, GraphPrincipal

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
    """Where the tenant lives; the login of another cloud refuses it, the global one with 90038."""
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


class SeedBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rooms full of settled bookings, made at once and told to nobody."""

    rooms: Count = 200
    bookings_per_room: Count = 500
    start: datetime | None = None
    """The first day; by default today."""
    seed: int = 1


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
