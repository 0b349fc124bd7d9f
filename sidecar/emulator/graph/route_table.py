"""Graph's whole route table: which path and method has which handler."""

from sidecar.emulator.exchange.mailroom import Mailroom
from sidecar.emulator.exchange.meetings import Meetings
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.calendars import by_calendar_id, get_calendar, list_calendars
from sidecar.emulator.graph.delta import DeltaRoutes
from sidecar.emulator.graph.events import EventRoutes
from sidecar.emulator.graph.exchange_ids import translate_ids
from sidecar.emulator.graph.extensions import ExtensionRoutes
from sidecar.emulator.graph.mailbox_settings import MailboxSettingRoutes
from sidecar.emulator.graph.paging import Pager
from sidecar.emulator.graph.places import PlaceRoutes
from sidecar.emulator.graph.routes import Route, Routes
from sidecar.emulator.graph.schedule import get_schedule
from sidecar.emulator.graph.subscriptions import SubscriptionRoutes
from sidecar.emulator.graph.time_zones import TimeZoneRoutes
from sidecar.emulator.graph.users import count_users, get_user, list_users
from sidecar.emulator.notify.subscribing import Subscribing


def graph_routes(*, world: World, mailroom: Mailroom, meetings: Meetings, subscribing: Subscribing) -> Routes:
    """Build the handlers of every path below `/v1.0`."""
    pager = Pager(world=world)
    events = EventRoutes(world=world, mailroom=mailroom, meetings=meetings, pager=pager)
    delta = DeltaRoutes(world=world, pager=pager)
    extensions = ExtensionRoutes(mailroom=mailroom)
    calendar = (*_extension_routes(extensions), *_event_routes(events, delta))  # an action's name fits /extensions too
    return Routes(
        [
            *_calendar_routes(calendar),
            *_mailbox_routes(MailboxSettingRoutes(world=world), TimeZoneRoutes(world=world)),
            ("GET", "/users", list_users),
            ("GET", "/users/$count", count_users),
            ("GET", "/users/{user}", get_user),
            *_place_routes(PlaceRoutes(world=world)),
            *_subscription_routes(SubscriptionRoutes(pager=pager, subscribing=subscribing)),
        ]
    )


def _calendar_routes(calendar: tuple[Route, ...]) -> tuple[Route, ...]:
    """Put the paths of a calendar below the mailbox, its default calendar and its calendars by id."""
    by_id = (*calendar, ("GET", "", get_calendar), ("POST", "/getSchedule", get_schedule))
    return (
        *((method, f"/users/{{user}}{path}", handler) for method, path, handler in calendar),
        *((method, f"/users/{{user}}/calendar{path}", handler) for method, path, handler in calendar),
        *(
            (method, f"/users/{{user}}/calendars/{{calendar}}{path}", by_calendar_id(handler))
            for method, path, handler in by_id
        ),
        ("GET", "/users/{user}/calendars", list_calendars),
        ("GET", "/users/{user}/calendar", get_calendar),
        ("POST", "/users/{user}/calendar/getSchedule", get_schedule),
    )


def _event_routes(events: EventRoutes, delta: DeltaRoutes) -> tuple[Route, ...]:
    return (
        ("GET", "/events", events.list_events),
        ("POST", "/events", events.create),
        ("GET", "/events/{event}", events.get),
        ("PATCH", "/events/{event}", events.update),
        ("DELETE", "/events/{event}", events.delete),
        ("GET", "/events/{event}/instances", events.instances),
        ("POST", "/events/{event}/{action}", events.act),
        ("GET", "/calendarView", events.view),
        ("GET", "/calendarView/delta", delta.read),
    )


def _extension_routes(extensions: ExtensionRoutes) -> tuple[Route, ...]:
    return (
        ("GET", "/events/{event}/extensions", extensions.list),
        ("POST", "/events/{event}/extensions", extensions.create),
        ("GET", "/events/{event}/extensions/{extension}", extensions.get),
        ("PATCH", "/events/{event}/extensions/{extension}", extensions.update),
        ("DELETE", "/events/{event}/extensions/{extension}", extensions.delete),
    )


def _mailbox_routes(settings: MailboxSettingRoutes, time_zones: TimeZoneRoutes) -> tuple[Route, ...]:
    return (
        ("GET", "/users/{user}/mailboxSettings", settings.get),
        ("PATCH", "/users/{user}/mailboxSettings", settings.update),
        ("GET", "/users/{user}/mailboxSettings/{name}", settings.get_one),
        ("GET", "/users/{user}/outlook/{function}", time_zones.read),
        ("POST", "/users/{user}/translateExchangeIds", translate_ids),
    )


def _place_routes(places: PlaceRoutes) -> tuple[Route, ...]:
    return (
        ("GET", "/places/microsoft.graph.room", places.list_rooms),
        ("GET", "/places/microsoft.graph.room/$count", places.count_rooms),
        ("GET", "/places/microsoft.graph.roomList", places.list_room_lists),
        ("GET", "/places/microsoft.graph.roomList/$count", places.count_room_lists),
        ("GET", "/places/{place}", places.get),
        ("GET", "/places/{place}/microsoft.graph.roomlist/rooms", places.list_rooms_of_list),
    )


def _subscription_routes(subscriptions: SubscriptionRoutes) -> tuple[Route, ...]:
    return (
        ("POST", "/subscriptions", subscriptions.create),
        ("GET", "/subscriptions", subscriptions.list),
        ("GET", "/subscriptions/{id}", subscriptions.get),
        ("PATCH", "/subscriptions/{id}", subscriptions.update),
        ("DELETE", "/subscriptions/{id}", subscriptions.delete),
        ("POST", "/subscriptions/{id}/reauthorize", subscriptions.reauthorize),
    )
