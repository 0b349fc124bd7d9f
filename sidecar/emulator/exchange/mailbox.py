"""A mailbox: whose it is, where it is, and what a caller of Graph is told when it is not there.

Source: Exchange "Recipients" and Graph "mailboxSettings resource type" pages; the refusals are what users have reported.
"""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import Enum

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.calendar_index import Calendar
from sidecar.emulator.exchange.event import JsonObject, Person
from sidecar.emulator.exchange.people import Preferences, UserProfile, WorkingHours
from sidecar.emulator.exchange.places import PlaceDetails, PlaceVersion
from sidecar.emulator.exchange.room_settings import RoomSettings
from sidecar.emulator.exchange.sync_state import SyncState
from sidecar.emulator.zones import resolve_zone


class MailboxState(Enum):
    """Where a mailbox is, by its control name."""

    CLOUD = "cloud"
    ON_PREMISES = "onPremises"
    MOVING = "moving"
    UNAVAILABLE = "unavailable"
    """Its database is failing over."""
    UNLICENSED = "unlicensed"
    """The user is there, the mailbox is not."""
    SOFT_DELETED = "softDeleted"
    GONE = "gone"


class MailboxPurpose(Enum):
    """What a mailbox is for, by its wire name in `userPurpose`."""

    USER = "user"
    LINKED = "linked"
    SHARED = "shared"
    ROOM = "room"
    EQUIPMENT = "equipment"
    OTHERS = "others"


_NO_MAIL = frozenset({MailboxState.UNLICENSED, MailboxState.SOFT_DELETED, MailboxState.GONE})
_NO_USER = frozenset({MailboxState.SOFT_DELETED, MailboxState.GONE})


@dataclass(slots=True, kw_only=True, eq=False)
class Mailbox:
    """A room's or a person's mailbox with its default calendar."""

    object_id: str
    address: str
    display_name: str
    time_zone: str
    purpose: MailboxPurpose = MailboxPurpose.USER
    settings: RoomSettings = field(default_factory=RoomSettings)
    state: MailboxState = MailboxState.CLOUD
    calendar: Calendar = field(default_factory=Calendar)
    sync: SyncState = field(default_factory=SyncState)
    proxy_addresses: list[str] = field(default_factory=list)
    """Addresses it had before; mail to them still arrives."""
    profile: UserProfile = field(default_factory=UserProfile)
    working_hours: WorkingHours = field(default_factory=WorkingHours)
    preferences: Preferences = field(default_factory=Preferences)
    place_id: str = ""
    place: PlaceDetails = field(default_factory=PlaceDetails)
    place_versions: list[PlaceVersion] = field(default_factory=list)
    """What the directory of places says and will say, oldest first."""

    @property
    def calendar_id(self) -> str:
        """Give the id of the default calendar."""
        return f"AAMkAGCalendar{self.object_id.replace('-', '')}AAA="

    @property
    def person(self) -> Person:
        """Give the mailbox as an organizer or attendee."""
        return Person(name=self.display_name, address=self.address)

    @property
    def location(self) -> JsonObject:
        """Give the room as Outlook writes it into a meeting."""
        return {
            "displayName": self.display_name,
            "locationUri": self.address,
            "locationType": "conferenceRoom",
            "uniqueId": self.address,
            "uniqueIdType": "directory",
        }

    @property
    def is_room(self) -> bool:
        """Tell whether this is a room's mailbox."""
        return self.purpose is MailboxPurpose.ROOM

    @property
    def is_resource(self) -> bool:
        """Tell whether the mailbox answers invitations by itself, as rooms and equipment do."""
        return self.purpose in (MailboxPurpose.ROOM, MailboxPurpose.EQUIPMENT)

    @property
    def receives_mail(self) -> bool:
        """Tell whether invitations arrive; they do on premises and during a move, where Graph cannot look."""
        return self.state not in _NO_MAIL

    @property
    def is_watched(self) -> bool:
        """Tell whether its changes can reach subscribers."""
        return self.receives_mail and self.state is not MailboxState.ON_PREMISES

    @property
    def is_in_directory(self) -> bool:
        """Tell whether Entra knows the user."""
        return self.state not in _NO_USER

    @property
    def working_zone(self) -> tzinfo:
        """Give the zone its working hours are meant in."""
        return resolve_zone(self.working_hours.zone or self.time_zone)

    def has_address(self, address: str) -> bool:
        """Tell whether mail to an address arrives here."""
        lower = address.lower()
        return self.address.lower() == lower or any(one.lower() == lower for one in self.proxy_addresses)

    def publish_place(self, listed_at: datetime, now: datetime) -> None:
        """Let the directory of places know what the mailbox says now, to be seen from `listed_at` on."""
        version = PlaceVersion(
            listed_at=listed_at,
            is_listed=self.is_room and self.is_in_directory,
            address=self.address,
            display_name=self.display_name,
            booking_type=self.settings.BookingType.lower(),
            details=self.place,
        )
        seen = [one for one in self.place_versions if one.listed_at <= now][-1:]
        self.place_versions = [*seen, *(one for one in self.place_versions if one.listed_at > now), version]


def state_refusal(mailbox: Mailbox) -> GraphError | None:
    """Build what Graph answers to any call on a mailbox that cannot be opened where it is; None if it can."""
    match mailbox.state:
        case MailboxState.CLOUD:
            return None
        case MailboxState.MOVING:
            return GraphError(503, "ErrorMailboxMoveInProgress", "The mailbox is being moved. Try again later.")
        case MailboxState.UNAVAILABLE:
            return GraphError(503, "ErrorMailboxStoreUnavailable", "The mailbox database is temporarily unavailable.")
        case MailboxState.GONE:
            return GraphError(404, "ErrorInvalidUser", f"The requested user '{mailbox.address}' is invalid.")
        case MailboxState.ON_PREMISES | MailboxState.UNLICENSED | MailboxState.SOFT_DELETED:
            return GraphError(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            )
