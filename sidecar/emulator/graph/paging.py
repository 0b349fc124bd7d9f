"""Pages of events: the window, the query options of lists, the page size, the next link.

Source: Graph "List calendarView", "Use query parameters" and "Paging Microsoft Graph data in your app" pages.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import quote

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, NotEmulated, invalid_request, item_not_found
from sidecar.emulator.exchange.event import Event
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, page_body, raw_reply
from sidecar.emulator.ids import parse_item_id
from sidecar.emulator.wire.event_fields import event_question, sort_events
from sidecar.emulator.wire.expand import parse_expand
from sidecar.emulator.wire.options import Shape, parse_count, parse_skip, parse_top, shape_of
from sidecar.emulator.wire.properties import EVENT_PROPERTIES, parse_select
from sidecar.emulator.wire.rendering import render_event
from sidecar.emulator.zones import parse_instant

_WINDOW_DAYS_MAX = 1825
LIST_OPTIONS = ("$select", "$filter", "$orderby", "$top", "$skip", "$count", "$expand")
_NOVELTY = b',"emulatorNovelty":{"since":"tomorrow","kind":"unknownFutureValue"}}'


class Pager:
    """Cuts lists into pages; in an unkind mood some come back smaller than asked."""

    def __init__(self, *, world: World) -> None:
        self._world = world

    def page(self, call: Call, mailbox: Mailbox, found: list[Event], path: str) -> Reply:
        """Answer with one page of events, picked, sorted and shaped by the call's options.

        Args:
            found: the whole list, by start.
            path: what follows the mailbox in `@odata.context`.
        Raises:
            GraphError: 400 for options Graph would refuse, 501 for those the emulator does not play.
        """
        shape = event_shape(call, of_one_event=False)
        top, skip, counts = parse_top(call.query, call.preferences), parse_skip(call.query), parse_count(call.query)
        if call.query.get("$filter"):
            question = event_question(call.query["$filter"])
            found = [event for event in found if question(event)]
        if call.query.get("$orderby"):
            found = sort_events(found, call.query["$orderby"])
        size = self.page_size(call, top)
        share = self._world.moods_of(call.caller.tenant).novelty_share
        items = [self._dressed(render_event(event, shape), share) for event in found[skip : skip + size]]
        link = next_link(call, {"$skip": str(skip + size)}) if skip + size < len(found) else None
        context = f"{call.metadata_url}#users('{mailbox.object_id}')/{path}"
        return raw_reply(200, page_body(context, items, link, count=len(found) if counts else None))

    def dress(self, call: Call, written: bytes) -> bytes:
        """Give a written event, by chance with a property no client knows yet; it is in this answer only."""
        return self._dressed(written, self._world.moods_of(call.caller.tenant).novelty_share)

    def page_size(self, call: Call, top: int) -> int:
        """Give how many items this page really holds."""
        if top > 1 and self._world.chance(self._world.moods_of(call.caller.tenant).small_page_share):
            return self._world.rng.randint(1, top - 1)
        return top

    def _dressed(self, written: bytes, share: float) -> bytes:
        return written[:-1] + _NOVELTY if self._world.chance(share) else written


def find_event(mailbox: Mailbox, item_id: str) -> Event:
    """Find an event by an id of either format.

    Raises:
        GraphError: 400 for what is no id, 404 for one that is not there, 501 for what else Graph has in an id's place.
    """
    if item_id.lower() in ("$count", "delta"):
        raise NotEmulated(f"the path segment {item_id!r} of events")
    found = mailbox.calendar.find(item_id)
    if found is None:
        if parse_item_id(item_id) is None:
            raise GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.")
        raise item_not_found()
    return found


def event_shape(call: Call, *, of_one_event: bool) -> Shape:
    """Read how a call wants its events written."""
    return shape_of(
        call.preferences,
        parse_select(call.query.get("$select"), EVENT_PROPERTIES),
        parse_expand(call.query.get("$expand"), of_one_event=of_one_event),
    )


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
