"""supportedTimeZones: the zone names the service takes, as Windows or as IANA has them.

Source: Graph "outlookUser: supportedTimeZones" page.
"""

import re
from datetime import datetime, timedelta
from zoneinfo import available_timezones

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.access import READ_ROLES, SETTINGS_ROLES, open_mailbox
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, graph_reply
from sidecar.emulator.windows_zones import WINDOWS_TO_IANA
from sidecar.emulator.wire.options import check_options
from sidecar.emulator.zones import resolve_zone

_FUNCTION = re.compile(
    r"supportedTimeZones(?:\((?:TimeZoneStandard=microsoft\.graph\.timeZoneStandard'(?P<standard>\w+)')?\))?",
    re.IGNORECASE,
)
_NOT_NAMES = frozenset({"Factory", "localtime", "posixrules"})  # in the database, and no zones


class TimeZoneRoutes:
    """The handler of everything below `/users/{id}/outlook`."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    def read(self, call: Call) -> Reply:
        """Answer GET /users/{id}/outlook/supportedTimeZones, with or without a standard."""
        check_options(call.query, ())
        match = _FUNCTION.fullmatch(call.values[1])
        if match is None:
            raise NotEmulated(f"GET /users/{{id}}/outlook/{call.values[1]}")
        open_mailbox(call.caller, call.values[0], READ_ROLES | SETTINGS_ROLES)
        standard = (match["standard"] or "windows").lower()
        if standard not in ("windows", "iana"):
            raise GraphError(400, "BadRequest", f"'{match['standard']}' is not a member of timeZoneStandard.")
        now = self._world.now()
        if standard == "iana":
            found = [{"alias": name, "displayName": name} for name in sorted(available_timezones() - _NOT_NAMES)]
        else:
            found = [{"alias": name, "displayName": f"({_offset(name, now)}) {name}"} for name in WINDOWS_TO_IANA]
        context = f"{call.metadata_url}#Collection(microsoft.graph.timeZoneInformation)"
        return graph_reply(200, {"@odata.context": context, "value": found})


def _offset(name: str, now: datetime) -> str:
    """Write a zone's standard offset, as Windows shows it."""
    local = now.astimezone(resolve_zone(name))
    minutes = ((local.utcoffset() or timedelta()) - (local.dst() or timedelta())) // timedelta(minutes=1)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "UTC"
