"""What a caller may do: tenant-wide roles, application access policies, RBAC scopes, and the state of the mailbox.

Source: Graph "permissions reference" page; Exchange "Limit application permissions to specific mailboxes" and "Role based
access control for applications" pages.
"""

from dataclasses import dataclass
from datetime import datetime

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.directory import App, Tenant
from sidecar.emulator.exchange.mailbox import Mailbox, MailboxState

READ_ROLES = frozenset({"Calendars.Read", "Calendars.ReadWrite"})
WRITE_ROLES = frozenset({"Calendars.ReadWrite"})
SETTINGS_ROLES = frozenset({"MailboxSettings.Read", "MailboxSettings.ReadWrite"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a token speaks for."""

    tenant: Tenant
    app: App
    roles: frozenset[str]
    expires_at: datetime


def open_mailbox(caller: Caller, key: str, roles: frozenset[str]) -> Mailbox:
    """Find the mailbox a path names, if the caller may use it in one of the `roles`.

    Raises:
        GraphError: 403 for missing permission or a policy, 404 for no such mailbox, 503 for one that is being moved.
    """
    mailbox = caller.tenant.mailbox(key)
    if mailbox is None or mailbox.state is MailboxState.GONE:
        if not caller.roles & roles and caller.app.rbac_scope is None:
            raise denied()
        raise GraphError(404, "ErrorInvalidUser", f"The requested user '{key}' is invalid.")
    check_mailbox(caller, mailbox, roles)
    return mailbox


def check_mailbox(caller: Caller, mailbox: Mailbox, roles: frozenset[str]) -> None:
    """Check permission and state of a mailbox that is known to exist.

    Raises:
        GraphError: as `open_mailbox`.
    """
    address = mailbox.address.lower()
    by_rbac = caller.app.rbac_scope is not None and address in caller.app.rbac_scope
    if not by_rbac:
        if not caller.roles & roles:
            raise denied()
        if caller.app.access_policy is not None and address not in caller.app.access_policy:
            raise GraphError(
                403,
                "ErrorAccessDenied",
                "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
            )
    if mailbox.state is MailboxState.ON_PREMISES:
        raise GraphError(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )
    if mailbox.state is MailboxState.MOVING:
        raise GraphError(503, "ErrorMailboxMoveInProgress", "The mailbox is being moved. Try again later.")


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
