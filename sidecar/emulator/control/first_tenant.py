"""The tenant that is there when the emulator starts, so that the first request needs no control call before it."""

from sidecar.emulator.control.app import ControlCall
from sidecar.emulator.control.tenant_types import RoomsBody, TenantBody, UsersBody
from sidecar.emulator.control.tenants import TenantControl
from sidecar.emulator.exchange.event import JsonObject

ROOMS_COUNT = 4
_PEOPLE_COUNT = 4
_DOMAIN = "fabrikam.example"


def make_first_tenant(tenants: TenantControl, *, rooms_count: int) -> JsonObject | None:
    """Make a tenant with an app registration, rooms and people, and give what a caller needs to use it; None for no rooms."""
    if rooms_count == 0:
        return None
    made = tenants.create(
        ControlCall(values={}, query={}, body=TenantBody(domain=_DOMAIN, display_name="Fabrikam", roles=_ROLES))
    )
    at = {"tenant": made.tenant_id}
    rooms = tenants.create_rooms(ControlCall(values=at, query={}, body=RoomsBody(count=rooms_count)))["rooms"]
    people = tenants.create_users(ControlCall(values=at, query={}, body=UsersBody(count=_PEOPLE_COUNT)))["users"]
    return {
        "tenant_id": made.tenant_id,
        "domain": made.domain,
        "client_id": made.client_id,
        "client_secret": made.client_secret,
        "authority": made.authority,
        "rooms": [room.address for room in rooms],
        "people": [person.address for person in people],
    }


_ROLES = ["Calendars.ReadWrite", "Place.Read.All", "User.Read.All", "MailboxSettings.Read"]
