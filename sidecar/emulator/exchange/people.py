"""What the directory tells of a mailbox's owner, and what owners set for themselves: hours, formats, automatic replies.

Source: Graph "user resource type" and "mailboxSettings resource type" pages, and the v1.0 metadata.
"""

from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from typing import Literal

import msgspec

from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.recurrence import WEEKDAYS


class UserProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Directory properties of a user; None for a name or state is worked out from the mailbox."""

    given_name: str | None = None
    surname: str | None = None
    job_title: str | None = None
    department: str | None = None
    company_name: str | None = None
    office_location: str | None = None
    city: str | None = None
    country: str | None = None
    mobile_phone: str | None = None
    business_phones: tuple[str, ...] = ()
    preferred_language: str | None = None
    usage_location: str | None = None
    account_enabled: bool | None = None
    """None: enabled for people, disabled for rooms, equipment and shared mailboxes, as Exchange makes them."""
    user_type: Literal["Member", "Guest"] = "Member"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingHours:
    """When somebody works, or a room may be booked if it keeps hours."""

    days: tuple[str, ...] = WEEKDAYS[:5]
    start: time = time(8)
    end: time = time(17)
    zone: str | None = None
    """None is the mailbox's own zone."""

    def cover(self, start_at: datetime, end_at: datetime, zone: tzinfo) -> bool:
        """Tell whether a meeting lies within one working day."""
        start, end = start_at.astimezone(zone), end_at.astimezone(zone)
        same_day = start.date() == end.date() and WEEKDAYS[start.weekday()] in self.days
        return same_day and self.start <= start.time() and end.time() <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticReplies:
    """The out-of-office setting; `scheduled` holds start and end as they were written, or nothing."""

    status: str = "disabled"
    external_audience: str = "all"
    internal_message: str = ""
    external_message: str = ""
    scheduled: tuple[JsonObject, JsonObject] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """The rest of a mailbox's settings."""

    locale: str = "en-US"
    language: str = "English (United States)"
    date_format: str = "M/d/yyyy"
    time_format: str = "h:mm tt"
    delegate_delivery: str = "sendToDelegateOnly"
    automatic_replies: AutomaticReplies = AutomaticReplies()
