"""A kit to look at."""

from __future__ import annotations

from sidecar.model.tenant import Cloud
from sidecar.onboarding.kit import KitValues, OnboardingKit, build_kit

DIRECTORY = "7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c"
APPLICATION = "6f1c2b1a-0000-4000-8000-0000000000aa"

NASTY = (
    "it's",
    'say "hi"',
    "$(Remove-Item -Recurse /)",
    "$env:USERNAME",
    "`n`0`$x",
    "line\nbreak\r\nanother",
    "‘typographic’ ‚quotes‛",
    "“double” „quotes‟",
    "'; Remove-Item x; '",
    "'@\n'@ + \"@",
    "#> <# comment",
    "-Confirm",
    "@{a=1}",
    "[char] 0x27",
    "\x00\x1b[31m\x07",
    "\u202egnp.exe\u200b",
    "Вход Büro 会議室 🏢",
    "%PATH% & | > <",
    "",
    " ",
    "#@VALUES@",
    "@{rooms}",
)
"""What must stay a value."""


def make_kit(
    *,
    tenant_id: str = "acme",
    display_name: str = "Acme",
    application_id: str | None = None,
    cloud: Cloud = Cloud.GLOBAL,
    mailboxes: tuple[str, ...] = ("room1@contoso.example", "room2@contoso.example"),
) -> OnboardingKit:
    """Build a kit."""
    return build_kit(
        KitValues(
            tenant_id=tenant_id,
            display_name=display_name,
            directory_id=DIRECTORY,
            cloud=cloud,
            application_id=application_id,
            mailboxes=mailboxes,
        )
    )
