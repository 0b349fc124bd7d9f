"""An event of ours that lies in a person's calendar, with the room invited to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.model.ids import EventId, RoomUid, TenantUid
from sidecar.model.write import WriteUid

_CLASS = "040000008200E00074C5B7101A82E008"
"""With this the uids begin that Exchange gives. Source: MS-OXOCAL, PidLidGlobalObjectId."""
_DATE_CHARS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizerEvent:
    """Where an event is, and what of it only its organizer's calendar holds.

    Attributes:
        meeting_uid: see `meeting_uid_of`.
        write_uid: of the write that made it.
        mailbox: the address of the person whose calendar it is in; personal, so it is kept sealed and shown to nobody.
        event_id: in that calendar; of a series, the master's.
        annotations: the caller's own data.
        over_at: when its last time is over; None: never.
    """

    tenant_uid: TenantUid
    room_uid: RoomUid
    meeting_uid: str
    write_uid: WriteUid
    mailbox: str = field(repr=False)
    event_id: EventId
    annotations: Mapping[str, str] = field(default_factory=dict, repr=False)
    over_at: datetime | None


def meeting_uid_of(calendar_uid: str) -> str:
    """Return what the calendar uids of all occurrences of a meeting, and of the series itself, have in common.

    Exchange writes the day of an occurrence into its uid. A uid of another form is its meeting's.
    """
    end = len(_CLASS) + _DATE_CHARS
    if len(calendar_uid) <= end or not calendar_uid.upper().startswith(_CLASS):
        return calendar_uid
    return calendar_uid[: len(_CLASS)] + "0" * _DATE_CHARS + calendar_uid[end:]
