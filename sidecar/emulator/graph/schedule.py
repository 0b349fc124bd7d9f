"""getSchedule: when mailboxes are free or busy, without saying which events make them so.

Source: Graph "calendar: getSchedule", "scheduleInformation", "scheduleItem" and "freeBusyError resource type" pages; the limits
and the numbers of the errors inside an answer are what users have reported.
"""

from datetime import UTC, datetime, timedelta

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated, invalid_request
from sidecar.emulator.exchange.access import READ_ROLES, open_mailbox
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import Event, JsonObject
from sidecar.emulator.exchange.mailbox import MailboxState
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.graph.mailbox_settings import working_hours_json
from sidecar.emulator.wire.event_input import parse_json, parse_moment
from sidecar.emulator.wire.members import read_list, read_whole_number
from sidecar.emulator.wire.options import check_options
from sidecar.emulator.zones import format_local, resolve_zone

_SCHEDULES_MAX = 20
_DAYS_MAX = 62
_INTERVAL_MINUTES_MIN, _INTERVAL_MINUTES_MAX, _INTERVAL_MINUTES_DEFAULT = 5, 1440, 30
_ITEMS_MAX = 1000  # of one schedule
_DIGITS = {"free": "0", "tentative": "1", "busy": "2", "oof": "3", "workingElsewhere": "4", "unknown": "0"}
_PRECEDENCE = "04123"  # where several items meet, the last of these shows


def get_schedule(call: Call) -> Reply:
    """Answer POST /users/{id}/calendar/getSchedule; an address nobody knows is told in its own entry."""
    check_options(call.query, ())
    open_mailbox(call.caller, call.values[0], READ_ROLES)
    wire = {name.lower(): value for name, value in parse_json(call.request.body).items()}
    addresses = read_list({"schedules": wire.get("schedules")}, "schedules")
    if not 1 <= len(addresses) <= _SCHEDULES_MAX or not all(isinstance(one, str) for one in addresses):
        raise invalid_request(f"The number of schedules must be from 1 to {_SCHEDULES_MAX}.")
    start_at, end_at = _window(wire)
    step = timedelta(minutes=_interval_minutes(wire))
    found = [_schedule(call, call.caller.tenant, one, start_at, end_at, step) for one in addresses]
    context = f"{call.metadata_url}#Collection(microsoft.graph.scheduleInformation)"
    return graph_reply(200, {"@odata.context": context, "value": found})


def _window(wire: JsonObject) -> tuple[datetime, datetime]:
    start_at, _ = parse_moment(wire.get("starttime"), is_all_day=False)
    end_at, _ = parse_moment(wire.get("endtime"), is_all_day=False)
    if end_at <= start_at:
        raise GraphError(400, "ErrorInvalidTimeInterval", "The end of the time window must be after its start.")
    if end_at - start_at > timedelta(days=_DAYS_MAX):
        days = -((start_at - end_at) // timedelta(days=1))
        message = (
            "The requested time duration specified for FreeBusyViewOptions.TimeWindow is too long. "
            f"The allowed limit = {_DAYS_MAX} days; the actual limit = {days} days."
        )
        raise GraphError(400, "ErrorTimeIntervalTooBig", message)
    return start_at, end_at


def _interval_minutes(wire: JsonObject) -> int:
    if wire.get("availabilityviewinterval") is None:
        return _INTERVAL_MINUTES_DEFAULT
    found = read_whole_number(wire, "availabilityviewinterval")
    if not _INTERVAL_MINUTES_MIN <= found <= _INTERVAL_MINUTES_MAX:
        message = f"availabilityViewInterval must be from {_INTERVAL_MINUTES_MIN} to {_INTERVAL_MINUTES_MAX} minutes."
        raise GraphError(400, "ErrorInvalidMergedFreeBusyInterval", message)
    return found


def _schedule(
    call: Call, tenant: Tenant, address: str, start_at: datetime, end_at: datetime, step: timedelta
) -> JsonObject:
    mailbox = tenant.recipient(address)
    if mailbox is None or not mailbox.is_in_directory:
        return _failed(address, "5016", f"Unable to resolve e-mail address {address} to an Active Directory object.")
    if mailbox.state is not MailboxState.CLOUD:
        raise NotEmulated(f"getSchedule of a mailbox that is {mailbox.state.value}")
    events = mailbox.calendar.view(start_at, end_at)
    if len(events) > _ITEMS_MAX:
        message = (
            "The result set contains too many calendar entries. "
            f"The allowed size = {_ITEMS_MAX}; the actual size = {len(events)}."
        )
        return _failed(address, "5006", message)
    return {
        "scheduleId": address,
        "availabilityView": _availability(events, start_at, end_at, step),
        "scheduleItems": [_item(call, event) for event in events],
        "workingHours": working_hours_json(mailbox),
    }


def _failed(address: str, code: str, message: str) -> JsonObject:
    error = {"message": message, "responseCode": code}
    return {"scheduleId": address, "availabilityView": "", "scheduleItems": None, "workingHours": None, "error": error}


def _availability(events: list[Event], start_at: datetime, end_at: datetime, step: timedelta) -> str:
    """Write one digit per interval; one an item only touches shows it, too."""
    digits = ["0"] * -((start_at - end_at) // step)
    for event in events:
        digit = _DIGITS[_status(event)]
        first = max(0, (event.times.start_at - start_at) // step)
        last = min(len(digits), -((start_at - event.times.end_at) // step))
        for at in range(first, last):
            digits[at] = max(digits[at], digit, key=_PRECEDENCE.index)
    return "".join(digits)


def _status(event: Event) -> str:
    return "free" if event.is_cancelled else event.content.show_as


def _item(call: Call, event: Event) -> JsonObject:
    is_private = event.content.sensitivity in ("private", "confidential")
    zone = UTC if event.times.is_all_day else resolve_zone(call.preferences.zone)  # all-day items float, as in views
    moments = {
        name: {"dateTime": format_local(at, zone), "timeZone": call.preferences.zone}
        for name, at in (("start", event.times.start_at), ("end", event.times.end_at))
    }
    return {
        "isPrivate": is_private,
        "status": _status(event),
        "subject": "" if is_private else event.content.subject,
        "location": "" if is_private else event.content.location["displayName"],
        **moments,
    }
