"""Graph's paths about a mailbox's settings: zone, hours, formats, automatic replies, and what the mailbox is for.

Source: Graph "Get user mailbox settings" and "Update user mailbox settings" pages and the v1.0 metadata.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated, zone_not_supported
from sidecar.emulator.exchange.access import SETTINGS_ROLES, open_mailbox
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.people import AutomaticReplies, WorkingHours
from sidecar.emulator.exchange.recurrence import WEEKDAYS
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.graph.entities import entity_reply
from sidecar.emulator.wire.event_input import parse_json, parse_moment
from sidecar.emulator.wire.options import check_options
from sidecar.emulator.zones import UnknownZone, format_local, resolve_zone

_WRITE_ROLES = frozenset({"MailboxSettings.ReadWrite"})
_STATUSES = ("disabled", "alwaysEnabled", "scheduled")
_AUDIENCES = ("none", "contactsOnly", "all")
_DELEGATE_DELIVERIES = (
    "sendToDelegateAndInformationToPrincipal",
    "sendToDelegateAndPrincipal",
    "sendToDelegateOnly",
)
Value = Any  # Any: a JSON value, checked by whoever reads it


class MailboxSettingRoutes:
    """Handlers of everything below `/users/{id}/mailboxSettings`."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    def get(self, call: Call) -> Reply:
        """Answer GET /users/{id}/mailboxSettings."""
        check_options(call.query, ("$select",))
        mailbox = open_mailbox(call.caller, call.values[0], SETTINGS_ROLES)
        return entity_reply(_context(call, mailbox), call, self._settings(mailbox))

    def get_one(self, call: Call) -> Reply:
        """Answer GET /users/{id}/mailboxSettings/{name}: a value in `value`, an object as itself."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], SETTINGS_ROLES)
        settings = self._settings(mailbox)
        name = next((one for one in settings if one.lower() == call.values[1].lower()), None)
        if name is None:
            raise NotEmulated(f"the mailbox setting {call.values[1]!r}")
        value = settings[name]
        shown = value if isinstance(value, dict) else {"value": value}
        return graph_reply(200, {"@odata.context": f"{_context(call, mailbox)}/{name}", **shown})

    def update(self, call: Call) -> Reply:
        """Answer PATCH /users/{id}/mailboxSettings with the settings that were given."""
        check_options(call.query, ())
        mailbox = open_mailbox(call.caller, call.values[0], _WRITE_ROLES)
        given = {name: value for name, value in parse_json(call.request.body).items() if not name.startswith("@")}
        for name in given:
            if name not in _CHANGES:
                raise NotEmulated(f"changing the mailbox setting {name!r}")
        before = (mailbox.time_zone, mailbox.working_hours, mailbox.preferences)
        try:
            for name, value in given.items():
                _CHANGES[name](mailbox, value)
        except GraphError:
            mailbox.time_zone, mailbox.working_hours, mailbox.preferences = before
            raise
        settings = self._settings(mailbox)
        return graph_reply(200, {"@odata.context": _context(call, mailbox), **{name: settings[name] for name in given}})

    def _settings(self, mailbox: Mailbox) -> JsonObject:
        preferences = mailbox.preferences
        return {
            "archiveFolder": f"AAMkAGArchive{mailbox.object_id.replace('-', '')}AAA=",
            "timeZone": mailbox.time_zone,
            "delegateMeetingMessageDeliveryOptions": preferences.delegate_delivery,
            "dateFormat": preferences.date_format,
            "timeFormat": preferences.time_format,
            "userPurpose": mailbox.purpose.value,
            "automaticRepliesSetting": _replies_json(preferences.automatic_replies, self._world.now()),
            "language": {"locale": preferences.locale, "displayName": preferences.language},
            "workingHours": working_hours_json(mailbox),
        }


def working_hours_json(mailbox: Mailbox) -> JsonObject:
    """Write a mailbox's working hours as Graph does, in settings and in schedules."""
    hours = mailbox.working_hours
    return {
        "daysOfWeek": list(hours.days),
        "startTime": _clock_time(hours.start),
        "endTime": _clock_time(hours.end),
        "timeZone": {"name": hours.zone or mailbox.time_zone},
    }


def _context(call: Call, mailbox: Mailbox) -> str:
    return f"{call.metadata_url}#users('{mailbox.object_id}')/mailboxSettings"


def _clock_time(at: time) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond:06d}0"


def _replies_json(replies: AutomaticReplies, now: datetime) -> JsonObject:
    start_at = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)  # what Outlook would propose
    proposed = [
        {"dateTime": format_local(at, resolve_zone("UTC")), "timeZone": "UTC"}
        for at in (start_at, start_at + timedelta(days=1))
    ]
    start, end = replies.scheduled or proposed
    return {
        "status": replies.status,
        "externalAudience": replies.external_audience,
        "internalReplyMessage": replies.internal_message,
        "externalReplyMessage": replies.external_message,
        "scheduledStartDateTime": start,
        "scheduledEndDateTime": end,
    }


def _change_zone(mailbox: Mailbox, value: Value) -> None:
    mailbox.time_zone = _zone(value)


def _change_hours(mailbox: Mailbox, value: Value) -> None:
    hours = mailbox.working_hours
    try:
        days = tuple(str(one).lower() for one in value.get("daysOfWeek", hours.days))
        start, end = (
            _time_of_day(value[name]) if name in value else old
            for name, old in (("startTime", hours.start), ("endTime", hours.end))
        )
        zone = _zone(value["timeZone"]["name"]) if "timeZone" in value else hours.zone
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _invalid("workingHours") from None
    if not set(days) <= set(WEEKDAYS) or end <= start:
        raise _invalid("workingHours")
    mailbox.working_hours = WorkingHours(days=days, start=start, end=end, zone=zone)


def _change_language(mailbox: Mailbox, value: Value) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("locale"), str):
        raise _invalid("language")
    name = str(value.get("displayName") or value["locale"])
    mailbox.preferences = replace(mailbox.preferences, locale=value["locale"], language=name)


def _change_date_format(mailbox: Mailbox, value: Value) -> None:
    mailbox.preferences = replace(mailbox.preferences, date_format=_text(value, "dateFormat"))


def _change_time_format(mailbox: Mailbox, value: Value) -> None:
    mailbox.preferences = replace(mailbox.preferences, time_format=_text(value, "timeFormat"))


def _change_delivery(mailbox: Mailbox, value: Value) -> None:
    if value not in _DELEGATE_DELIVERIES:
        raise _invalid("delegateMeetingMessageDeliveryOptions")
    mailbox.preferences = replace(mailbox.preferences, delegate_delivery=value)


def _change_replies(mailbox: Mailbox, value: Value) -> None:
    old = mailbox.preferences.automatic_replies
    if not isinstance(value, dict):
        raise _invalid("automaticRepliesSetting")
    status, audience = value.get("status", old.status), value.get("externalAudience", old.external_audience)
    if status not in _STATUSES or audience not in _AUDIENCES:
        raise _invalid("automaticRepliesSetting")
    start, end, scheduled = value.get("scheduledStartDateTime"), value.get("scheduledEndDateTime"), old.scheduled
    if start is not None and end is not None:
        if parse_moment(end, is_all_day=False)[0] <= parse_moment(start, is_all_day=False)[0]:
            raise _invalid("automaticRepliesSetting")
        scheduled = (start, end)
    if status == "scheduled" and scheduled is None:
        raise _invalid("automaticRepliesSetting")
    mailbox.preferences = replace(
        mailbox.preferences,
        automatic_replies=AutomaticReplies(
            status=status,
            external_audience=audience,
            internal_message=_message(value, "internalReplyMessage", old.internal_message),
            external_message=_message(value, "externalReplyMessage", old.external_message),
            scheduled=scheduled,
        ),
    )


_CHANGES: dict[str, Callable[[Mailbox, Value], None]] = {
    "timeZone": _change_zone,
    "workingHours": _change_hours,
    "language": _change_language,
    "dateFormat": _change_date_format,
    "timeFormat": _change_time_format,
    "delegateMeetingMessageDeliveryOptions": _change_delivery,
    "automaticRepliesSetting": _change_replies,
}


def _zone(name: object) -> str:
    try:
        resolve_zone(str(name))
    except UnknownZone:
        raise zone_not_supported(str(name)) from None
    return str(name)


def _time_of_day(value: Value) -> time:
    """Read a clock time with any number of fractional digits; it is local to the zone beside it.

    Raises:
        ValueError: not a clock time, or one with an offset.
    """
    head, _, digits = value.partition(".")
    found = time.fromisoformat(f"{head}.{digits[:6].ljust(6, '0')}" if digits.isdecimal() else value)
    if found.tzinfo is not None:
        raise ValueError(value)
    return found


def _message(value: Value, name: str, old: str) -> str:
    found = value.get(name, old)
    if found is not None and not isinstance(found, str):
        raise _invalid(name)
    return found or ""


def _text(value: Value, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid(name)
    return value


def _invalid(name: str) -> GraphError:
    return GraphError(400, "ErrorInvalidPropertyValue", f"The value of {name} is not valid.")
