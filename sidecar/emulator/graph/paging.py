"""Pages of events: the window, the page size, the next link.

Source: Graph "List calendarView" and "Paging Microsoft Graph data in your app" pages.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, invalid_request
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, page_body, raw_reply
from sidecar.emulator.wire.options import parse_select, parse_skip, parse_top, shape_of
from sidecar.emulator.wire.rendering import EVENT_PROPERTIES, render_event
from sidecar.emulator.zones import parse_instant

_WINDOW_DAYS_MAX = 1825


class Pager:
    """Cuts lists into pages; in an unkind mood some come back smaller than asked."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    def page(self, call: Call, mailbox: Mailbox, found: list[Event], path: str, *, descending: bool) -> Reply:
        """Answer with one page of events.

        Args:
            found: the whole list, by start.
            path: what follows the mailbox in `@odata.context`.
        """
        if descending:
            found = found[::-1]
        shape = shape_of(call.preferences, parse_select(call.query.get("$select"), EVENT_PROPERTIES))
        top, skip = parse_top(call.query, call.preferences), parse_skip(call.query)
        size = self.page_size(top)
        items = [render_event(event, shape) for event in found[skip : skip + size]]
        more = skip + size < len(found)
        context = f"{call.metadata_url}#users('{mailbox.object_id}')/{path}"
        return raw_reply(200, page_body(context, items, next_link(call, {"$skip": str(skip + size)}) if more else None))

    def page_size(self, top: int) -> int:
        """Give how many items this page really holds."""
        if top > 1 and self._world.chance(self._world.moods.small_page_share):
            return self._world.rng.randint(1, top - 1)
        return top


def next_link(call: Call, changes: Mapping[str, str]) -> str:
    """Write the link to the next page: this request's URL with some options changed."""
    query = {**call.query, **changes}
    text = "&".join(f"{quote(name, safe='$')}={quote(value, safe=':/,')}" for name, value in query.items())
    return f"{call.request.base_url}{call.request.path}?{text}"


def parse_window(query: Mapping[str, str]) -> tuple[datetime, datetime]:
    """Read the window of a view; without an offset a moment is UTC, whatever Prefer says.

    Raises:
        GraphError: 400 for a missing or odd moment, an end before the start, or more than 1,825 days.
    """
    moments = []
    for name in ("startDateTime", "endDateTime"):
        if not query.get(name):
            message = (
                "This request requires a time window specified by the query string parameters StartDateTime and "
                f"EndDateTime; {name} is missing."
            )
            raise GraphError(400, "ErrorInvalidParameter", message)
        try:
            moments.append(parse_instant(query[name].replace(" ", "+")))  # an offset's plus arrives as a blank
        except ValueError:
            raise GraphError(400, "ErrorInvalidParameter", f"The value of {name} is not a date and time.") from None
    start_at, end_at = moments
    if end_at < start_at:
        raise invalid_request("The end of the time window is before its start.")
    if end_at - start_at > timedelta(days=_WINDOW_DAYS_MAX):
        raise invalid_request(
            f"Your request can't be completed. The time range exceeds the maximum of {_WINDOW_DAYS_MAX} days."
        )
    return start_at, end_at
