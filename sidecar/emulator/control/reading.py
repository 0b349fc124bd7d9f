"""Control calls that make reading harder: delta links that expire, rounds that never end, items whose mutable id changes."""

from typing import Any, Literal

import msgspec

from sidecar.emulator.control.app import TENANT, ControlCall, ControlRoute, control_route
from sidecar.emulator.control.finding import find_item, find_mailbox
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.event import event_id
from sidecar.emulator.exchange.mailroom import Mailroom


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


class Reading:
    """Handlers for what readers of a calendar have to live with."""

    def __init__(self, *, tenants: TenantControl, mailroom: Mailroom) -> None:
        self._tenants = tenants
        self._mailroom = mailroom

    def expire_delta(self, call: ControlCall[ExpireDeltaBody]) -> dict[str, int]:
        """Let every delta link given out for a mailbox be refused; the answer counts the rounds they belong to."""
        mailbox = find_mailbox(self._tenants.find(call), call.values["address"])
        return {"expired_count": mailbox.sync.expire(call.body.status, call.body.code)}

    def endless_delta(self, call: ControlCall[EndlessDeltaBody]) -> dict[str, bool]:
        """Let delta rounds of a mailbox never come to an end, or let them end again."""
        mailbox = find_mailbox(self._tenants.find(call), call.values["address"])
        mailbox.sync.endless = call.body.on
        return {"on": mailbox.sync.endless}

    def refile(self, call: ControlCall[RefileBody]) -> RefileAnswer:
        """File an item to another folder and back, which changes its mutable id."""
        tenant = self._tenants.find(call)
        mailbox = find_mailbox(tenant, call.body.address)
        event = find_item(mailbox, call.body.event)
        old_id = event_id(event, immutable=False)
        self._mailroom.refile(tenant, mailbox, event)
        return RefileAnswer(
            old_mutable_id=old_id,
            mutable_id=event_id(event, immutable=False),
            id=event_id(event, immutable=True),
        )


def reading_routes(on: Reading) -> list[ControlRoute[Any]]:  # Any: each route has its own body type
    """Build the routes about reading."""
    calendar = f"{TENANT}/calendars/{{address}}"
    return [
        control_route("POST", f"{calendar}/expire_delta", "Expire delta links.", on.expire_delta, ExpireDeltaBody),
        control_route("POST", f"{calendar}/endless_delta", "Let delta never end.", on.endless_delta, EndlessDeltaBody),
        control_route("POST", f"{TENANT}/outlook/refile", "Change a mutable id.", on.refile, RefileBody, RefileAnswer),
    ]
