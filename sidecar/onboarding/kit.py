"""The customer's kit: everything an administrator has to know and to run, made of one tenant's own values.

Both texts are templates beside this file. Into the script go values only, as literals in one table at its top; its code is
the same for everybody, so that it can be checked and signed once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from sidecar.model.tenant import Cloud
from sidecar.onboarding.addresses import AdminAddresses, admin_addresses_of
from sidecar.onboarding.guide import GuideValues, write_guide
from sidecar.onboarding.powershell import powershell_literal

KIT_ROOMS_MAX = 10_000
"""Rooms in one kit; one mail-enabled security group takes many more, but the script should run within an hour or two."""

_ROOMS_BYTES_MAX = 2 * 1024 * 1024
"""Rooms in the script; 10,000 addresses of 200 characters. A letter that is not ASCII takes up to 32 bytes."""
_SLUG_CHARS_MAX = 26
"""Exchange takes names of 64 characters, and adds 14 of its own to a group's; with them the longest one is 63."""
_MARKER = "#@VALUES@"


@dataclass(frozen=True, slots=True, kw_only=True)
class KitValues:
    """What a kit is made of.

    `application_id` is None while no application is known: the script then registers one. `mailboxes` are the rooms'
    addresses, as many as `fits_into_a_kit` allows; doubles are dropped.
    """

    tenant_id: str
    display_name: str
    directory_id: str
    cloud: Cloud
    application_id: str | None
    mailboxes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardingKit:
    """The guide (Markdown), the script (PowerShell, printable ASCII only), and the name the script should have as a file."""

    guide: str
    script: str
    script_name: str
    mailboxes: tuple[str, ...]


def fits_into_a_kit(mailboxes: Sequence[str]) -> bool:
    """Tell whether a kit takes these rooms: so many, and addresses of such a length."""
    if len(mailboxes) > KIT_ROOMS_MAX:
        return False
    ascii_count = sum(map(len, mailboxes))
    other_count = sum(len(mailbox.encode()) for mailbox in mailboxes) - ascii_count
    return ascii_count + 32 * other_count <= _ROOMS_BYTES_MAX


def build_kit(values: KitValues) -> OnboardingKit:
    """Write the guide and the script for one tenant."""
    mailboxes = _without_doubles(values.mailboxes)
    slug = _slug(values.tenant_id)
    addresses = admin_addresses_of(values.cloud)
    script_name = f"exchange-sidecar-{slug}.ps1"
    guide = GuideValues(
        tenant_id=values.tenant_id,
        display_name=values.display_name,
        directory_id=values.directory_id,
        cloud=values.cloud,
        application_id=values.application_id,
        application_name=_application_name(slug),
        group_name=_group_name(slug),
        mailboxes=mailboxes,
        addresses=addresses,
        script_name=script_name,
    )
    return OnboardingKit(
        guide=write_guide(guide),
        script=_write_script(values, mailboxes, slug, addresses),
        script_name=script_name,
        mailboxes=mailboxes,
    )


def _write_script(values: KitValues, mailboxes: Sequence[str], slug: str, addresses: AdminAddresses) -> str:
    template = (files("sidecar.onboarding") / "templates" / "onboard.ps1").read_text("ascii")
    entries = {
        "Tenant": values.tenant_id,
        "DirectoryId": values.directory_id,
        "ApplicationId": values.application_id or "",
        "ApplicationName": _application_name(slug),
        "CredentialName": "Exchange sidecar",
        "GroupName": _group_name(slug),
        "CalendarsAssignment": f"exchange-sidecar-{slug}-calendars",
        "SettingsAssignment": f"exchange-sidecar-{slug}-mailbox-settings",
        "Cloud": values.cloud.value,
        "GraphEnvironment": addresses.graph_environment,
        "ExchangeEnvironment": addresses.exchange_environment,
    }
    lines = [f"    {name} = {powershell_literal(text)}" for name, text in entries.items()]
    rooms = [f"        {powershell_literal(mailbox)}" for mailbox in mailboxes]
    table = "\n".join(["$Kit = @{", *lines, "    Rooms = @(", *rooms, "    )", "}"])
    before, _, after = template.partition(_MARKER)
    return f"{before}{table}{after}"


def _application_name(slug: str) -> str:
    return f"Exchange sidecar {slug}"


def _group_name(slug: str) -> str:
    return f"exchange-sidecar-rooms-{slug}"


def _slug(tenant_id: str) -> str:
    """Return a name for the tenant that Exchange takes inside names and aliases; different tenants get different ones."""
    plain = re.sub("[^a-z0-9]+", "-", tenant_id.lower()).strip("-")
    if plain == tenant_id and len(plain) <= _SLUG_CHARS_MAX:
        return plain
    mark = hashlib.sha256(tenant_id.encode()).hexdigest()[:8]
    return f"{plain[: _SLUG_CHARS_MAX - len(mark) - 1]}-{mark}".lstrip("-")


def _without_doubles(mailboxes: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses in their order; spellings that differ in case only are one mailbox."""
    first: dict[str, str] = {}
    for mailbox in mailboxes:
        first.setdefault(mailbox.lower(), mailbox)
    return tuple(first.values())
