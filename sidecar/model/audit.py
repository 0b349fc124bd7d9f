"""Who did what, and when: one entry for each call that changes something or was refused."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

OK = "OK"
"""Outcome of what was done; any other is the reason of a refusal."""


class CallerKind(enum.StrEnum):
    """How a call came in."""

    UNIX_SOCKET = "unix_socket"
    LOOPBACK = "loopback"
    NETWORK = "network"
    SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who called, as far as the server can tell. `identity` is a name that was proved, empty when none was."""

    kind: CallerKind
    address: str = ""
    identity: str = ""


OURSELVES = Caller(kind=CallerKind.SIDECAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody wants done. Nothing in it is a secret, or about a person.

    Attributes:
        method: such as TenantService/SuspendTenant.
        resource: name of what it is about; empty when it named nothing that could exist.
        fields: paths of the request's fields that were set.
        values: values worth knowing.
    """

    method: str
    resource: str
    caller: Caller
    fields: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An act, when it was, and how it ended."""

    id: str
    act: Act
    outcome: str
    recorded_at: datetime
