"""How a room answers invitations: the settings an Exchange administrator gives with `Set-CalendarProcessing`.

Names, defaults and limits are that cmdlet's. Only settings whose effect Graph shows are here; `INVISIBLE_SETTINGS` names the
others, so that a call that gives one is told why it is refused.

Source: Exchange "Set-CalendarProcessing" page (defaults for room mailboxes).
"""

from typing import Annotated, Literal

import msgspec

from sidecar.emulator.bounds import Seconds

Percentage = Annotated[int, msgspec.Meta(ge=0, le=100)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2_147_483_647)]
WindowDays = Annotated[int, msgspec.Meta(ge=0, le=1080)]
INVISIBLE_SETTINGS = frozenset(
    """AddAdditionalResponse AdditionalResponse DeleteNonCalendarItems EnableAutoRelease EnableResponseDetails OrganizerInfo
    PostReservationMaxClaimTimeInMinutes RemoveForwardedMeetingNotifications RemoveOldMeetingMessages""".split()  # noqa: SIM905  (a list of names is easier to read)
)


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one room, and one of our own."""

    AutomateProcessing: Literal["AutoAccept", "AutoUpdate", "None"] = "AutoAccept"
    """AutoAccept answers; AutoUpdate leaves invitations tentative; None lets nothing appear or change."""
    BookingType: Literal["Standard", "Reserved"] = "Standard"
    """Reserved: nobody can book the room."""
    AllowConflicts: bool = False
    ConflictPercentageAllowed: Percentage = 0
    MaximumConflictInstances: Number = 0
    AllowRecurringMeetings: bool = True
    BookingWindowInDays: WindowDays = 180
    """How many days ahead of today, in the room's zone, a meeting may start; 0 is today only."""
    EnforceSchedulingHorizon: bool = True
    """Whether a series that goes on beyond the window is declined; false cuts it off there."""
    MaximumDurationInMinutes: Number = 1440
    """0 is no limit."""
    MinimumDurationInMinutes: Number = 0
    ScheduleOnlyDuringWorkHours: bool = False
    EnforceCapacity: bool = False
    AllBookInPolicy: bool = True
    BookInPolicy: tuple[str, ...] = ()
    """Addresses whose requests within the rules are accepted at once."""
    AllRequestInPolicy: bool = False
    RequestInPolicy: tuple[str, ...] = ()
    """Addresses whose requests within the rules go to a delegate."""
    AllRequestOutOfPolicy: bool = False
    RequestOutOfPolicy: tuple[str, ...] = ()
    """Addresses whose requests against the rules go to a delegate."""
    ResourceDelegates: tuple[str, ...] = ()
    ForwardRequestsToDelegates: bool = True
    TentativePendingApproval: bool = True
    """Whether what waits for a delegate shows as tentative; false shows it as free."""
    ProcessExternalMeetingMessages: bool = False
    """Whether organizers from outside the organization are heard at all."""
    AddNewRequestsTentatively: bool = True
    """Whether a request shows before the room has answered it."""
    DeleteSubject: bool = True
    AddOrganizerToSubject: bool = True
    DeleteComments: bool = True
    DeleteAttachments: bool = True
    RemovePrivateProperty: bool = True
    RemoveCanceledMeetings: bool = False
    DisableReminders: bool = True
    processing_delay_s: Seconds | None = None
    """Seconds until the room answers; None takes the mood's delay, 0 answers within the call."""
