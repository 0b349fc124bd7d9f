"""Control calls that make reading harder: delta links that expire, rounds that never end, items whose mutable id changes."""

from sidecar.emulator.control.app import ControlCall, ControlError
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.control.types import EndlessDeltaBody, ExpireDeltaBody, RefileAnswer, RefileBody
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.mailroom import Mailroom


class Reading:
    """Handlers for what readers of a calendar have to live with."""

    def __init__(self, *, tenants: TenantControl, mailroom: Mailroom) -> None:
        self._tenants = tenants
        self._mailroom = mailroom

    def expire_delta(self, call: ControlCall[ExpireDeltaBody]) -> dict[str, int]:
        """Let every delta link given out for a mailbox be refused; the answer counts the rounds they belong to."""
        mailbox = self._mailbox(self._tenants.find(call), call.values["address"])
        return {"expired_count": mailbox.sync.expire(call.body.status, call.body.code)}

    def endless_delta(self, call: ControlCall[EndlessDeltaBody]) -> dict[str, bool]:
        """Let delta rounds of a mailbox never come to an end, or let them end again."""
        mailbox = self._mailbox(self._tenants.find(call), call.values["address"])
        mailbox.sync.endless = call.body.on
        return {"on": mailbox.sync.endless}

    def refile(self, call: ControlCall[RefileBody]) -> RefileAnswer:
        """File an item to another folder and back, which changes its mutable id."""
        tenant = self._tenants.find(call)
        mailbox = self._mailbox(tenant, call.body.address)
        event = mailbox.calendar.find(call.body.event)
        if event is None:
            raise ControlError(
                f"There is no event {call.body.event} on the calendar of {call.body.address}.", status=404
            )
        old_id = event_id(event, immutable=False)
        self._mailroom.refile(tenant, mailbox, event)
        return RefileAnswer(
            old_mutable_id=old_id,
            mutable_id=event_id(event, immutable=False),
            id=event_id(event, immutable=True),
        )

    def _mailbox(self, tenant: Tenant, address: str) -> Mailbox:
        mailbox = tenant.mailbox(address)
        if mailbox is None:
            raise ControlError(f"There is no mailbox {address} in this tenant.", status=404)
        return mailbox
