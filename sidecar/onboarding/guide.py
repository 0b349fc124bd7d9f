"""The guide: what the customer's administrators do, in Markdown, with their own values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from sidecar.model.tenant import Cloud
from sidecar.onboarding.addresses import AdminAddresses
from sidecar.onboarding.markdown import markdown_text

_ROOMS_SHOWN_MAX = 200
"""A longer list is no help to a reader; the script holds all of them."""
_PLACE = re.compile(r"@\{([a-z_]+)\}")

_SIGN_IN_CHINA = """\
4. **An application to sign in with.** Microsoft's own for Graph PowerShell does not exist in this cloud. Register one in the
   Entra admin center as a public client (*Mobile and desktop applications*, redirect URI `http://localhost`) with the
   *delegated* permissions `Application.ReadWrite.All` and `AppRoleAssignment.ReadWrite.All`, and give it to part Entra each
   time: `-SignInApplicationId ID`.

"""
"""Source: Microsoft Learn "Use Microsoft Graph PowerShell authentication commands": global apps do not reach Azure China."""

_CLOUD_NAMES = {
    Cloud.GLOBAL: "global (GCC included)",
    Cloud.US_GOVERNMENT: "GCC High",
    Cloud.US_GOVERNMENT_DOD: "DoD",
    Cloud.CHINA: "China (21Vianet)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideValues:
    """What the guide tells. `display_name` and `mailboxes` may hold any character; the rest is made of plain ones."""

    tenant_id: str
    display_name: str
    directory_id: str
    cloud: Cloud
    application_id: str | None
    application_name: str
    group_name: str
    mailboxes: Sequence[str]
    addresses: AdminAddresses
    script_name: str


def write_guide(values: GuideValues) -> str:
    """Fill the template in. Each place is filled once, so that a value that looks like a place stays as it is."""
    template = (files("sidecar.onboarding") / "templates" / "guide.md").read_text("utf-8")
    filling = {
        "organisation": markdown_text(values.display_name) or f"`{values.tenant_id}`",
        "tenant_id": values.tenant_id,
        "directory_id": values.directory_id,
        "cloud": _CLOUD_NAMES[values.cloud],
        "login_host": values.addresses.login_host,
        "graph_host": values.addresses.graph_host,
        "application": _application(values),
        "application_step": _application_step(values),
        "script_name": values.script_name,
        "group_name": values.group_name,
        "rooms_count": str(len(values.mailboxes)),
        "rooms": _rooms(values.mailboxes),
        "entra_url": values.addresses.entra_url,
        "sign_in": _SIGN_IN_CHINA if values.cloud is Cloud.CHINA else "",
    }
    return _PLACE.sub(lambda place: filling[place[1]], template)


def _application(values: GuideValues) -> str:
    return f"`{values.application_id}`" if values.application_id else f"made by the script: `{values.application_name}`"


def _application_step(values: GuideValues) -> str:
    if values.application_id:
        return (
            f"The application `{values.application_id}` is taken as it is. A secret is made only if it has no valid one;\n"
            "`-NewSecret` makes one in any case."
        )
    return (
        f"The application `{values.application_name}` is registered, unless one of that name exists, and gets a secret for a\n"
        "year (`-SecretMonths`). An application that you have registered already: `-ApplicationId ID`."
    )


def _rooms(mailboxes: Sequence[str]) -> str:
    if not mailboxes:
        return "No room is known yet. Name them to part Exchange: `-Room 'room1@example.com', 'room2@example.com'`.\n"
    shown = [f"- {markdown_text(mailbox)}" for mailbox in mailboxes[:_ROOMS_SHOWN_MAX]]
    if len(mailboxes) > _ROOMS_SHOWN_MAX:
        shown.append(f"- and {len(mailboxes) - _ROOMS_SHOWN_MAX} more, all of them in the script")
    return "\n".join(shown) + "\n"
