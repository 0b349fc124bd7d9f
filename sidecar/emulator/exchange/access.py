"""What a caller may do: tenant-wide roles, application access policies, RBAC scopes, and the state of the mailbox.

Source: Graph "permissions reference" page; Exchange "Limit application permissions to specific mailboxes" and "Role based
access control for applications" pages.
"""

from dataclasses import dataclass
from datetime import datetime

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.app import AccessPolicy, App
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxState, state_refusal

BASIC_ROLE = "Calendars.ReadBasic.All"
SUBSCRIBE_ROLES = frozenset({"Calendars.Read", "Calendars.ReadWrite"})
READ_ROLES = SUBSCRIBE_ROLES | {BASIC_ROLE}  # what a basic reader may not see is taken out of the answer
WRITE_ROLES = frozenset({"Calendars.ReadWrite"})
SETTINGS_ROLES = frozenset({"MailboxSettings.Read", "MailboxSettings.ReadWrite"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a token speaks for."""

    tenant: Tenant
    app: App
    roles: frozenset[str]
    expires_at: datetime
    starts_at: datetime
    generation: int
    """How many revocations the app had seen when the token was made."""


def open_mailbox(caller: Caller, key: str, roles: frozenset[str]) -> Mailbox:
    """Find the mailbox a path names, if the caller may use it in one of the `roles`.

    Raises:
        GraphError: 403 for missing permission or a policy, 404 for no such mailbox, 503 for one that is being moved.
    """
    mailbox = caller.tenant.mailbox(key)
    if mailbox is None or mailbox.state is MailboxState.GONE:
        if not caller.roles & roles and not any(grant.permission in roles for grant in caller.app.grants):
            raise denied()
        raise GraphError(404, "ErrorInvalidUser", f"The requested user '{key}' is invalid.")
    check_mailbox(caller, mailbox, roles)
    return mailbox


def check_mailbox(caller: Caller, mailbox: Mailbox, roles: frozenset[str]) -> None:
    """Check permission and state of a mailbox that is known to exist.

    Either Exchange grants one of the `roles` on the mailbox, or Entra does and no access policy stands in the way.

    Raises:
        GraphError: as `open_mailbox`.
    """
    if not _is_granted(caller.app, mailbox, roles):
        _check_entra(caller, mailbox, roles)
    _check_state(mailbox)


def check_subscriber(caller: Caller, mailbox: Mailbox) -> None:
    """Check what `check_mailbox` does, for a subscription on the mailbox.

    Raises:
        GraphError: as `open_mailbox`.
    """
    if not (caller.app.may_subscribe_by_grant and _is_granted(caller.app, mailbox, SUBSCRIBE_ROLES)):
        _check_entra(caller, mailbox, SUBSCRIBE_ROLES)
    _check_state(mailbox)


def reads_basically(caller: Caller, mailbox: Mailbox) -> bool:
    """Tell whether the caller may see no more of the mailbox's events than their basics."""
    full = caller.roles & SUBSCRIBE_ROLES or _is_granted(caller.app, mailbox, SUBSCRIBE_ROLES)
    return not full and BASIC_ROLE in caller.roles


def _is_granted(app: App, mailbox: Mailbox, roles: frozenset[str]) -> bool:
    address = mailbox.address.lower()
    return any(grant.permission in roles and address in grant.scope for grant in app.grants)


def _check_entra(caller: Caller, mailbox: Mailbox, roles: frozenset[str]) -> None:
    if not caller.roles & roles:
        raise denied()
    if not _is_within(caller.app.policies, mailbox.address.lower()):
        raise GraphError(
            403,
            "ErrorAccessDenied",
            "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
        )


def _is_within(policies: tuple[AccessPolicy, ...], address: str) -> bool:
    """Any policy that denies wins, then any that restricts to this address, then none may restrict at all."""
    matching = [policy for policy in policies if address in policy.members]
    if any(policy.denies for policy in matching):
        return False
    return bool(matching) or all(policy.denies for policy in policies)


def _check_state(mailbox: Mailbox) -> None:
    refusal = state_refusal(mailbox)
    if refusal is not None:
        raise refusal


def denied() -> GraphError:
    """Build the plain 403 of a mailbox."""
    return GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def check_directory_role(caller: Caller, roles: frozenset[str]) -> None:
    """Check permission for directory objects and places.

    Raises:
        GraphError: 403 in the directory's own words.
    """
    if not caller.roles & roles:
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
