"""Microsoft's login and a look at mailboxes, in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.errors import SidecarError
from sidecar.graph.clouds import TenantRef
from sidecar.model.ids import TenantUid


def make_token(**claims: object) -> str:
    """Return something of a token's form that names these claims."""
    packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{packed}.x"


@dataclass
class FakeMicrosoft:
    """Answers as it is told; keeps what it was asked.

    Attributes:
        error: what a token costs instead of one.
        probe_error: what every mailbox answers.
        probe_errors: what single mailboxes answer, by address.
        claims: what tokens name besides the roles.
    """

    error: SidecarError | None = None
    roles: tuple[str, ...] = ("Calendars.ReadWrite",)
    probe_error: SidecarError | None = None
    probe_errors: Mapping[str, SidecarError] = field(default_factory=dict)
    claims: Mapping[str, object] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)

    async def fetch_token(self, tenant: TenantRef) -> str:
        """See `diagnosis.login.Tokens`."""
        if self.error is not None:
            raise self.error
        return make_token(roles=self.roles, **self.claims)

    def forget(self, tenant_uid: TenantUid) -> None:
        """See `diagnosis.verify.Tokens`."""
        self.forgotten.append(tenant_uid)

    async def probe(self, tenant: TenantRef, mailbox: str) -> None:
        """See `diagnosis.reading.Prober`."""
        self.probed.append(mailbox)
        error = self.probe_errors.get(mailbox, self.probe_error)
        if error is not None:
            raise error
