"""Control calls that make and change tenants, apps and mailboxes, and read the truth about calendars."""

from datetime import datetime, timedelta
from typing import Any

from sidecar.emulator.bounds import PRESENT_MAX, PRESENT_MIN
from sidecar.emulator.control.app import ControlCall, ControlError
from sidecar.emulator.control.finding import find_mailbox, find_tenant
from sidecar.emulator.control.mailbox_input import (
    parse_details,
    parse_hours,
    parse_profile,
    parse_purpose,
    parse_settings,
    parse_state,
    parse_zone,
)
from sidecar.emulator.control.naming import Naming
from sidecar.emulator.control.registering import change_app, parse_roles
from sidecar.emulator.control.seeding import first_day, settled_bookings
from sidecar.emulator.control.tenant_types import (
    AppBody,
    ItemAnswer,
    MailboxAnswer,
    MailboxBody,
    MailboxChange,
    RoomListAnswer,
    RoomListBody,
    RoomsBody,
    SeedBody,
    TenantAnswer,
    TenantBody,
    UsersBody,
)
from sidecar.emulator.entra.login import DOMAIN, GUID
from sidecar.emulator.exchange.app import App, Secret
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import Event, event_id
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.people import UserProfile, WorkingHours
from sidecar.emulator.exchange.places import PlaceDetails, RoomList
from sidecar.emulator.exchange.room_settings import RoomSettings
from sidecar.emulator.exchange.series import times_on
from sidecar.emulator.parts import Parts
from sidecar.emulator.zones import format_seconds, parse_instant

_TRUTH_DAYS = 730  # either side of now, when a reader of the truth names no window
_TRUTH_MAX = timedelta(days=36_525)  # a series without an end has an occurrence for every day of it
_SEEDED_MAX = 2_000_000  # bookings, in about two gigabytes


class TenantControl:
    """Handlers that need nothing but the directory."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._world = parts.world

    def find(self, call: ControlCall[Any]) -> Tenant:  # Any: whatever the call's body is
        """Find the tenant a path names, by id or domain."""
        return find_tenant(self._world.directory, call.values["tenant"])

    def create(self, call: ControlCall[TenantBody]) -> TenantAnswer:
        """Make a tenant with one app registration."""
        body, ids = call.body, self._world.ids
        tenant_id = (body.tenant_id or ids.guid()).lower()
        domain = body.domain or f"contoso-{tenant_id[:8]}.example"
        for key, form in ((tenant_id, GUID), (domain, DOMAIN), (body.client_id, GUID)):
            if key and not form.fullmatch(key):
                raise ControlError(f"{key!r} is not a {'GUID' if form is GUID else 'domain'}.")
        for key in (tenant_id, domain):
            if self._world.directory.find(key) is not None:
                raise ControlError(f"There already is a tenant {key}.", status=409)
        secret = body.client_secret or ids.secret()
        app = App(
            client_id=(body.client_id or ids.guid()).lower(),
            principal_id=ids.guid(),
            display_name="Rooms connector",
            roles=parse_roles(["Calendars.ReadWrite"] if body.roles is None else body.roles),
            secrets={secret: Secret()},
            secret_id=ids.guid(),
        )
        tenant = Tenant(tenant_id=tenant_id, domain=domain, display_name=body.display_name, apps={app.client_id: app})
        self._world.directory.add(tenant)
        return self._answer(tenant, app, secret)

    def change_app(self, call: ControlCall[AppBody]) -> TenantAnswer:
        """Change a tenant's app registration."""
        tenant = self.find(call)
        app = next(iter(tenant.apps.values()))
        added = change_app(self._world, tenant, app, call.body)
        return self._answer(tenant, app, added or next(iter(app.secrets), ""))

    def create_rooms(self, call: ControlCall[RoomsBody]) -> dict[str, list[MailboxAnswer]]:
        """Make rooms."""
        tenant, body = self.find(call), call.body
        wanted = [MailboxBody()] * body.count if body.rooms is None else body.rooms
        naming = Naming(tenant, is_room=True)
        return {"rooms": [_mailbox_answer(self._create(tenant, one, naming, is_room=True)) for one in wanted]}

    def create_users(self, call: ControlCall[UsersBody]) -> dict[str, list[MailboxAnswer]]:
        """Make users."""
        tenant, body = self.find(call), call.body
        wanted = [MailboxBody()] * body.count if body.users is None else body.users
        naming = Naming(tenant, is_room=False)
        return {"users": [_mailbox_answer(self._create(tenant, one, naming, is_room=False)) for one in wanted]}

    def change_mailbox(self, call: ControlCall[MailboxChange]) -> MailboxAnswer:
        """Change a mailbox: where it is, what it is called, how its room answers."""
        tenant, body = self.find(call), call.body
        mailbox = find_mailbox(tenant, call.values["address"])
        state = mailbox.state if body.kind is None else parse_state(body.kind)
        settings = parse_settings(body.settings or {}, mailbox.settings)
        place = parse_details(body.place or {}, mailbox.place)
        profile = parse_profile(body.profile or {}, mailbox.profile)
        zone = mailbox.time_zone if body.time_zone is None else parse_zone(body.time_zone)
        hours = mailbox.working_hours if body.working_hours is None else parse_hours(body.working_hours)
        if body.address is not None:
            self._rename(tenant, mailbox, body.address)
        mailbox.state, mailbox.settings, mailbox.place, mailbox.profile = state, settings, place, profile
        mailbox.time_zone, mailbox.working_hours = zone, hours
        mailbox.display_name = body.display_name or mailbox.display_name
        self._publish(tenant, mailbox)
        return _mailbox_answer(mailbox)

    def create_room_list(self, call: ControlCall[RoomListBody]) -> RoomListAnswer:
        """Make a room list."""
        tenant, body = self.find(call), call.body
        made = f"roomlist{len(tenant.room_lists) + 1}@{tenant.domain}"
        address = body.address or made
        self._check_free(tenant, address)
        rooms = [find_mailbox(tenant, one) for one in body.rooms]
        strangers = [one.address for one in rooms if not one.is_room]
        if strangers:
            raise ControlError(f"A room list holds rooms only; {', '.join(strangers)} is none.")
        found = RoomList(
            place_id=self._world.ids.guid(),
            address=address,
            display_name=body.display_name,
            listed_at=self._world.after(self._world.moods_of(tenant).places_propagation_s),
            details=parse_details(body.place, PlaceDetails()),
            room_ids=[one.object_id for one in rooms],
        )
        tenant.room_lists[address.lower()] = found
        return RoomListAnswer(
            place_id=found.place_id,
            address=address,
            display_name=found.display_name,
            rooms=[one.address for one in rooms],
        )

    def seed(self, call: ControlCall[SeedBody]) -> dict[str, list[MailboxAnswer]]:
        """Make rooms full of settled bookings; nobody is notified."""
        tenant, body, now = self.find(call), call.body, self._world.now()
        if body.rooms * body.bookings_per_room > _SEEDED_MAX:
            raise ControlError(f"At most {_SEEDED_MAX} bookings can be made at once.")
        if not PRESENT_MIN <= first_day(body, now) <= PRESENT_MAX:
            raise ControlError(f"`start` must be between {PRESENT_MIN:%Y} and {PRESENT_MAX:%Y}.")
        naming = Naming(tenant, is_room=True)
        rooms = [self._create(tenant, MailboxBody(), naming, is_room=True) for _ in range(body.rooms)]
        for room in rooms:
            order = self._parts.mailroom.reserve_order(body.bookings_per_room)
            room.calendar.add_many(settled_bookings(room, tenant.domain, body, self._world.ids, now, order))
        return {"rooms": [_mailbox_answer(room) for room in rooms]}

    def truth(self, call: ControlCall[None]) -> dict[str, list[ItemAnswer]]:
        """Tell what is on a mailbox's calendar, series expanded, whatever any reader was told."""
        mailbox = find_mailbox(self.find(call), call.values["address"])
        now = self._world.now()
        try:
            start_at = _moment(call.query.get("start"), now - timedelta(days=_TRUTH_DAYS))
            end_at = _moment(call.query.get("end"), now + timedelta(days=_TRUTH_DAYS))
        except ValueError:
            raise ControlError("`start` and `end` must be dates and times.") from None
        if end_at - start_at > _TRUTH_MAX:
            raise ControlError(f"`start` and `end` can be at most {_TRUTH_MAX.days} days apart.")
        return {"items": [_item_answer(event) for event in mailbox.calendar.view(start_at, end_at)]}

    def _create(self, tenant: Tenant, body: MailboxBody, naming: Naming, *, is_room: bool) -> Mailbox:
        name, address = naming.next(body.address)
        self._check_free(tenant, address)
        mailbox = Mailbox(
            object_id=self._world.ids.guid(),
            address=address,
            display_name=body.display_name or name,
            time_zone=parse_zone(body.time_zone),
            purpose=parse_purpose(body.purpose, is_resource=is_room),
            state=parse_state(body.kind),
            settings=parse_settings(body.settings, RoomSettings()),
            profile=parse_profile(body.profile, UserProfile()),
            working_hours=parse_hours(body.working_hours) if body.working_hours else WorkingHours(),
            place_id=self._world.ids.guid(),
            place=parse_details(body.place, PlaceDetails()),
        )
        tenant.add_mailbox(mailbox)
        self._publish(tenant, mailbox)
        return mailbox

    def _rename(self, tenant: Tenant, mailbox: Mailbox, address: str) -> None:
        """Give a mailbox another address; mail to the old one still arrives, Graph's paths no longer know it."""
        if address.lower() == mailbox.address.lower():
            return
        if not mailbox.has_address(address):
            self._check_free(tenant, address)
        tenant.readdress(mailbox, address)

    def _publish(self, tenant: Tenant, mailbox: Mailbox) -> None:
        if mailbox.is_room:
            delay_s = self._world.moods_of(tenant).places_propagation_s
            mailbox.publish_place(self._world.after(delay_s), self._world.now())

    def _check_free(self, tenant: Tenant, address: str) -> None:
        if "@" not in address:
            raise ControlError(f"{address!r} is not a mailbox address.")
        if tenant.recipient(address) is not None or address.lower() in tenant.room_lists:
            raise ControlError(f"There already is a mailbox {address} in this tenant.", status=409)

    def _answer(self, tenant: Tenant, app: App, secret: str) -> TenantAnswer:
        return TenantAnswer(
            tenant_id=tenant.tenant_id,
            domain=tenant.domain,
            client_id=app.client_id,
            client_secret=secret,
            client_secret_id=app.secret_id,
            authority=f"{self._parts.graph_url}/{tenant.tenant_id}",
            graph_url=self._parts.graph_url,
        )


def _moment(text: str | None, default: datetime) -> datetime:
    return default if text is None else parse_instant(text.replace(" ", "+"))


def _mailbox_answer(mailbox: Mailbox) -> MailboxAnswer:
    return MailboxAnswer(
        id=mailbox.object_id,
        address=mailbox.address,
        display_name=mailbox.display_name,
        time_zone=mailbox.time_zone,
        kind=mailbox.state.value,
        purpose=mailbox.purpose.value,
        place_id=mailbox.place_id,
    )


def _item_answer(event: Event) -> ItemAnswer:
    original = None
    if event.master is not None and event.day is not None:
        original = format_seconds(times_on(event.master, event.day).start_at)
    return ItemAnswer(
        id=event_id(event, immutable=True),
        mutable_id=event_id(event, immutable=False),
        ical_uid=event.ical_uid,
        start=format_seconds(event.times.start_at),
        end=format_seconds(event.times.end_at),
        subject=event.content.subject,
        is_cancelled=event.is_cancelled,
        is_all_day=event.times.is_all_day,
        show_as=event.content.show_as,
        sensitivity=event.content.sensitivity,
        response=event.response,
        type=event.kind.value,
        organizer=event.organizer.address,
        change_key=event.change_key,
        series_master_id=event_id(event.master, immutable=True) if event.master else None,
        original_start=original,
    )
