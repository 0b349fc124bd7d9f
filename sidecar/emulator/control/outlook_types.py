"""What the control calls about people in Outlook take and give."""

from typing import Annotated, Any, Literal

import msgspec


class BookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person books in Outlook; times without an offset are local to `time_zone`."""

    organizer: str
    outside: bool = False
    """Whether the organizer is from outside the organization; such a one is not a mailbox of the tenant."""
    organizer_name: str | None = None
    """Of an outside organizer."""
    rooms: list[str] = []
    subject: str = ""
    start: str
    end: str
    time_zone: str = "UTC"
    all_day: bool = False
    sensitivity: str = "normal"
    show_as: str = "busy"
    attendees: list[str] = []
    optional_attendees: list[str] = []
    hide_attendees: bool = False
    body: str = ""
    recurrence: dict[str, Any] | None = None  # Any: Graph's recurrence JSON
    cancel_kept: bool | None = None
    """Whether rooms keep the meeting once it is cancelled; null leaves it to each room."""


class MoveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer moves a meeting, or the one occurrence whose original start or date is given."""

    meeting: str
    start: str
    end: str
    time_zone: str = "UTC"
    occurrence: str | None = None


class EditBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer edits a meeting, or one occurrence; what is left out stays."""

    meeting: str
    occurrence: str | None = None
    subject: str | None = None
    body: str | None = None
    sensitivity: str | None = None
    hide_attendees: bool | None = None
    rooms: list[str] | None = None
    attendees: list[str] | None = None
    """With `rooms`, the whole new list of people and rooms."""


class CancelBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The organizer cancels a meeting, or one occurrence."""

    meeting: str
    occurrence: str | None = None


class RespondBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody answers an invitation, to a meeting or to one occurrence."""

    meeting: str
    address: str
    answer: Literal["accept", "tentative", "decline"]
    occurrence: str | None = None
    send_response: bool = True
    """Whether the organizer is told."""


class DecideBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A delegate decides what a room has left to its delegates."""

    meeting: str
    room: str
    delegate: str
    answer: Literal["accept", "decline"]
    occurrence: str | None = None


class DeleteCopyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody deletes their own copy of a meeting, or of one occurrence; the organizer hears nothing."""

    meeting: str
    address: str
    occurrence: str | None = None


class ForwardBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody invited, or the organizer, forwards a meeting; the organizer's list gets the new people."""

    meeting: str
    address: str
    """Who forwards."""
    to: Annotated[list[str], msgspec.Meta(min_length=1)]


class DeleteFromRoomBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody with rights on a room's calendar deletes an item there; the organizer hears nothing."""

    address: str
    event: str


class MeetingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A meeting and the immutable ids of its items, by address."""

    meeting: str
    ical_uid: str
    events: dict[str, str]
