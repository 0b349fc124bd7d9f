"""App registrations: their credentials, what they were granted, and how the tenant lets them sign in.

A change of what Exchange grants or forbids may take a while to be known; until it is due, the old rule holds.

Source: Entra "OAuth 2.0 client credentials flow" page; Exchange "New-ApplicationAccessPolicy" and "Role based access control
for applications" pages.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

ROLES = frozenset(
    {
        "Calendars.Read",
        "Calendars.ReadBasic.All",
        "Calendars.ReadWrite",
        "Place.Read.All",
        "User.Read.All",
        "MailboxSettings.Read",
        "MailboxSettings.ReadWrite",
    }
)
FEDERATED_CREDENTIALS_MAX = 20  # per app, as Entra allows
_EXCHANGE_PREFIX = "Application "  # what Exchange calls a role that Entra calls by the rest of the name
EXCHANGE_ROLES = frozenset(
    f"{_EXCHANGE_PREFIX}{role}"
    for role in ("Calendars.Read", "Calendars.ReadWrite", "MailboxSettings.Read", "MailboxSettings.ReadWrite")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What is known about a client secret; its value is the key it is kept by."""

    expires_at: datetime | None = None
    known_at: datetime | None = None
    """Since when the login server knows it; None is since ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedCredential:
    """Whose assertions may stand in for a secret."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    keys: tuple[dict[str, Any], ...]  # Any: JSON Web Keys
    """The issuer's public keys; the real login server fetches them from the issuer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """An application access policy of Exchange; it narrows what Entra granted."""

    denies: bool
    """DenyAccess; else RestrictAccess."""
    members: frozenset[str]
    """Lower-case addresses of the policy's group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeGrant:
    """A role assigned to the app by Exchange's RBAC for applications, which no token shows."""

    role: str
    """As Exchange calls it, "Application Calendars.Read" for instance."""
    scope: frozenset[str]
    """Lower-case addresses."""

    @property
    def permission(self) -> str:
        """Give the Graph permission the role stands for."""
        return self.role.removeprefix(_EXCHANGE_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAccess:
    """A change of policies or grants that is not known everywhere yet; None leaves that part as it is."""

    due_at: datetime
    policies: tuple[AccessPolicy, ...] | None = None
    grants: tuple[ExchangeGrant, ...] | None = None


class GraphPrincipal(Enum):
    """Whether Graph itself is known in a tenant, by its control name."""

    PRESENT = "present"
    MISSING = "missing"
    DISABLED = "disabled"


class Block(Enum):
    """What keeps a tenant's apps from signing in, by its control name."""

    NONE = "none"
    CONDITIONAL_ACCESS = "conditionalAccess"
    SECURITY_POLICY = "securityPolicy"
    SECURITY_DEFAULTS = "securityDefaults"


@dataclass(slots=True, kw_only=True, eq=False)
class SignIn:
    """How a tenant lets its apps sign in."""

    block: Block = Block.NONE
    graph_principal: GraphPrincipal = GraphPrincipal.PRESENT
    cloud: str = "global"
    """The cloud the tenant lives in."""
    refuses_consent: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class App:
    """One app registration and its service principal."""

    client_id: str
    principal_id: str
    display_name: str
    roles: frozenset[str]
    secrets: dict[str, Secret]
    """By value."""
    secret_id: str
    certificates: dict[str, bytes] = field(default_factory=dict)
    """Registered certificates, DER, by both thumbprints in base64url (x5t and x5t#S256)."""
    certificate_subject: str | None = None
    """A common name: certificates that come along with an assertion are trusted if they bear it."""
    federated_credentials: tuple[FederatedCredential, ...] = ()
    disabled: bool = False
    is_public: bool = False
    """A public client, which must not present a credential."""
    cae: bool = False
    """Under continuous access evaluation: refusals of revoked tokens carry a claims challenge."""
    tells_refresh: bool = False
    """Its tokens come with `refresh_in`."""
    revocations_count: int = 0
    """How often its tokens have been revoked; a token of an earlier count is refused."""
    requested_roles: frozenset[str] = frozenset()
    """What the registration asks for, and an administrator's consent grants."""
    redirect_uris: tuple[str, ...] = ()
    policies: tuple[AccessPolicy, ...] = ()
    grants: tuple[ExchangeGrant, ...] = ()
    pending_access: list[PendingAccess] = field(default_factory=list)
    """By the moment they are due."""
    may_subscribe_by_grant: bool = True
    """Whether a grant of Exchange alone opens subscriptions too; nobody documents it."""

    def change_access(self, change: PendingAccess, now: datetime) -> None:
        """Change policies or grants, at once or when the change is due."""
        self.pending_access.append(change)
        self.pending_access.sort(key=lambda one: one.due_at)
        self.settle(now)

    def settle(self, now: datetime) -> None:
        """Take what is due."""
        while self.pending_access and self.pending_access[0].due_at <= now:
            due = self.pending_access.pop(0)
            self.policies = self.policies if due.policies is None else due.policies
            self.grants = self.grants if due.grants is None else due.grants
