"""Finding what a control call names, or refusing it with a sentence."""

from sidecar.emulator.control.app import ControlError
from sidecar.emulator.exchange.directory import Directory, Tenant
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.exchange.mailbox import Mailbox


def find_tenant(directory: Directory, key: str) -> Tenant:
    """Find a tenant by id or domain.

    Raises:
        ControlError: 404.
    """
    tenant = directory.find(key)
    if tenant is None:
        raise ControlError(f"There is no tenant {key}.", status=404)
    return tenant


def find_mailbox(tenant: Tenant, address: str) -> Mailbox:
    """Find a mailbox by address or object id.

    Raises:
        ControlError: 404.
    """
    mailbox = tenant.mailbox(address)
    if mailbox is None:
        raise ControlError(f"There is no mailbox {address} in this tenant.", status=404)
    return mailbox


def find_item(mailbox: Mailbox, event_id: str) -> Event:
    """Find an item by an id of either format.

    Raises:
        ControlError: 404.
    """
    event = mailbox.calendar.find(event_id)
    if event is None:
        raise ControlError(f"There is no event {event_id} on the calendar of {mailbox.address}.", status=404)
    return event
