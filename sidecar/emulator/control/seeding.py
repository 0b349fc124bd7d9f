"""Filling rooms with settled bookings, quickly and quietly, for benchmarks and first imports."""

import random
from datetime import UTC, datetime, timedelta

from sidecar.emulator.control.tenant_types import SeedBody
from sidecar.emulator.exchange.event import Attendee, Content, Event, EventKind, Person, Times
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.room_settings import RoomSettings
from sidecar.emulator.ids import IdMaker

PEOPLE = (
    "Ada Lovelace",
    "Grace Hopper",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald Knuth",
    "Radia Perlman",
    "Tony Hoare",
    "Frances Allen",
    "Ken Thompson",
    "Shafi Goldwasser",
)
_FIRST_HOUR, _HOURS_PER_DAY = 7, 11
_LENGTHS_MINUTES = (30, 30, 60, 60, 90)
_GAPS_MINUTES = (0, 0, 30, 30, 60)


def settled_bookings(
    room: Mailbox, domain: str, body: SeedBody, ids: IdMaker, now: datetime, order: int
) -> list[Event]:
    """Make one room's bookings: weekdays, working hours, never two at once, accepted as the room's settings have it.

    Args:
        order: the first tie-breaking number free to use.
    """
    rng = random.Random(f"{body.seed}:{room.address}")
    day = first_day(body, now)
    at, events, made_at = day, list[Event](), now - timedelta(hours=1)
    contents: dict[tuple[str, str], tuple[Person, Content]] = {}  # shared: a million bookings must fit into memory
    while len(events) < body.bookings_per_room:
        if at >= day + timedelta(hours=_HOURS_PER_DAY) or day.weekday() > 4:
            day += timedelta(days=1)
            at = day
            continue
        length = timedelta(minutes=rng.choice(_LENGTHS_MINUTES))
        times = Times(start_at=at, end_at=at + length, start_zone=room.time_zone, end_zone=room.time_zone)
        name, guest = rng.sample(PEOPLE, 2)
        if (name, guest) not in contents:
            contents[name, guest] = _content(room, domain, name, guest, made_at)
        organizer, content = contents[name, guest]
        events.append(_booking(ids, organizer, content, times, made_at, order + len(events)))
        at += length + timedelta(minutes=rng.choice(_GAPS_MINUTES))
    return events


def first_day(body: SeedBody, now: datetime) -> datetime:
    """Give the moment of the first booking; a start without an offset is UTC."""
    start = body.start or now
    at = start.replace(tzinfo=UTC) if start.tzinfo is None else start
    return at.replace(hour=_FIRST_HOUR, minute=0, second=0, microsecond=0)


def _content(room: Mailbox, domain: str, name: str, guest: str, made_at: datetime) -> tuple[Person, Content]:
    content = Content(
        subject=_subject(room.settings, name),
        is_reminder_on=False,
        locations=(room.location,),
        attendees=(
            Attendee(person=Person(name=guest, address=_address(guest, domain))),
            Attendee(person=room.person, kind="resource", response="accepted", responded_at=made_at),
        ),
    )
    return Person(name=name, address=_address(name, domain)), content


def _booking(ids: IdMaker, organizer: Person, content: Content, times: Times, made_at: datetime, order: int) -> Event:
    return Event(
        core=ids.item_core(),
        ical_uid=ids.ical_uid(),
        kind=EventKind.SINGLE,
        times=times,
        content=content,
        organizer=organizer,
        created_at=made_at,
        modified_at=made_at,
        change_key=ids.change_key(),
        order=order,
        is_organizer=False,
        response="accepted",
        responded_at=made_at,
    )


def _subject(settings: RoomSettings, name: str) -> str:
    subject = "" if settings.DeleteSubject else "Project review"
    return f"{name} {subject}" if settings.AddOrganizerToSubject else subject


def _address(name: str, domain: str) -> str:
    return f"{name.lower().replace(' ', '.')}@{domain}"
