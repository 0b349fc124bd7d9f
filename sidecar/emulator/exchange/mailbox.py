"""A mailbox: where it is, and if it is a room's, how the room answers.

Room settings carry the names an Exchange administrator knows from `Set-CalendarProcessing`.

Source: Exchange "Set-CalendarProcessing" page (defaults for room mailboxes).
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import msgspec

from sidecar.emulator.exchange.calendar_index import Calendar
from sidecar.emulator.exchange.event import Person
from sidecar.emulator.exchange.sync_state import SyncState


class MailboxState(Enum):
    """Where a mailbox is, by its control name."""

    CLOUD = "cloud"
    ON_PREMISES = "onPremises"
    GONE = "gone"
    MOVING = "moving"


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a room answers invitations; names and defaults of `Set-CalendarProcessing`, and one of our own."""

    AutomateProcessing: Literal["AutoAccept", "AutoUpdate", "None"] = "AutoAccept"
    """AutoAccept answers; AutoUpdate leaves invitations tentative; None lets nothing appear."""
    AllowConflicts: bool = False
    ConflictPercentageAllowed: int = 0
    MaximumConflictInstances: int = 0
    AllowRecurringMeetings: bool = True
    BookingWindowInDays: int = 180
    EnforceSchedulingHorizon: bool = True
    MaximumDurationInMinutes: int = 1440
    MinimumDurationInMinutes: int = 0
    AddNewRequestsTentatively: bool = True
    DeleteSubject: bool = True
    AddOrganizerToSubject: bool = True
    DeleteComments: bool = True
    RemovePrivateProperty: bool = True
    RemoveCanceledMeetings: bool = False
    DisableReminders: bool = True
    processing_delay_s: float | None = None
    """Seconds until the room answers; None takes the mood's delay, 0 answers within the call."""


@dataclass(slots=True, kw_only=True, eq=False)
class Mailbox:
    """A room's or a person's mailbox with its default calendar."""

    object_id: str
    address: str
    display_name: str
    time_zone: str
    is_room: bool
    settings: RoomSettings = field(default_factory=RoomSettings)
    state: MailboxState = MailboxState.CLOUD
    calendar: Calendar = field(default_factory=Calendar)
    sync: SyncState = field(default_factory=SyncState)
    place_id: str = ""

    @property
    def calendar_id(self) -> str:
        """Give the id of the default calendar."""
        return f"AAMkAGCalendar{self.object_id.replace('-', '')}AAA="

    @property
    def person(self) -> Person:
        """Give the mailbox as an organizer or attendee."""
        return Person(name=self.display_name, address=self.address)
