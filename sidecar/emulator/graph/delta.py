"""calendarView/delta: a first round of everything in a window, then rounds of what changed.

Honest in form, not in every oddity: occurrences are reduced, a changed series is told again whole, what left is `@removed`,
items that never were in the window may be told as `@removed` too, and old links answer 410.

Source: Graph "event: delta" page; reduced occurrences and re-told series are what users have reported.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, invalid_request
from sidecar.emulator.exchange.access import READ_ROLES, open_mailbox
from sidecar.emulator.exchange.event import Event, EventKind, JsonObject, expand, occurrence_on
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, page_body, raw_reply
from sidecar.emulator.graph.paging import Pager, parse_window
from sidecar.emulator.ids import format_item_id
from sidecar.emulator.wire.options import Shape, check_options, shape_of
from sidecar.emulator.wire.rendering import event_json, reduced_json

_PAGE_SIZE_DEFAULT = 10
_TOKENS_KEPT_MAX = 20_000  # the oldest are forgotten, and answer 410


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    """What a token stands for."""

    mailbox: Mailbox
    start_at: datetime
    end_at: datetime
    version: int
    pending: tuple[tuple[str, str], ...] = ()
    """What this round has still to tell: core of the item and ISO day of an occurrence, or "" for the item itself."""
    round_end: int = 0


class DeltaRoutes:
    """The handler of calendarView/delta and the tokens it has given out."""

    def __init__(self, *, world: World, pager: Pager) -> None:
        self._world = world
        self._pager = pager
        self._positions: OrderedDict[str, _Position] = OrderedDict()

    def read(self, call: Call) -> Reply:
        """Answer GET /users/{id}/calendarView/delta, first or following."""
        if "$top" in call.query or "$select" in call.query:
            raise invalid_request("The delta query of calendarView supports neither $top nor $select.")
        check_options(call.query, ("startDateTime", "endDateTime", "$deltatoken", "$skiptoken"))
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        token = call.query.get("$skiptoken") or call.query.get("$deltatoken")
        if token is None:
            position = self._first(mailbox, *parse_window(call.query))
        else:
            position = self._resume(mailbox, token)
            if "$deltatoken" in call.query:
                position = self._next_round(position)
        return self._page(call, position)

    def _first(self, mailbox: Mailbox, start_at: datetime, end_at: datetime) -> _Position:
        pending, told = list[tuple[str, str]](), set[str]()
        for event in mailbox.calendar.view(start_at, end_at):
            if event.master is not None and event.core not in told:
                told.add(event.core)
                pending.append((event.core, ""))
            pending.append((event.core, event.day.isoformat() if event.day else ""))
        version = mailbox.calendar.version
        return _Position(
            mailbox=mailbox,
            start_at=start_at,
            end_at=end_at,
            version=version,
            pending=tuple(pending),
            round_end=version,
        )

    def _resume(self, mailbox: Mailbox, token: str) -> _Position:
        position = self._positions.get(token)
        if position is None or position.mailbox is not mailbox:
            raise _sync_state_gone()
        return position

    def _next_round(self, position: _Position) -> _Position:
        calendar = position.mailbox.calendar
        changes = calendar.changes_since(position.version)
        if changes is None:
            raise _sync_state_gone()
        pending: dict[tuple[str, str], None] = {}
        for change in changes:
            pending[change.core, ""] = None
            pending.update({(change.core, day.isoformat()): None for day in change.days})
            root = calendar.find_core(change.core)
            if root is not None and root.series is not None:
                for one in expand(root, position.start_at, position.end_at):
                    if one.day is not None:
                        pending[change.core, one.day.isoformat()] = None
        return _Position(
            mailbox=position.mailbox,
            start_at=position.start_at,
            end_at=position.end_at,
            version=position.version,
            pending=tuple(pending),
            round_end=calendar.version,
        )

    def _page(self, call: Call, position: _Position) -> Reply:
        size = self._pager.page_size(call.preferences.page_size or _PAGE_SIZE_DEFAULT)
        shape = shape_of(call.preferences, None)
        items = [msgspec.json.encode(self._item(position, core, day, shape)) for core, day in position.pending[:size]]
        rest = position.pending[size:]
        following = _Position(
            mailbox=position.mailbox,
            start_at=position.start_at,
            end_at=position.end_at,
            version=position.version if rest else position.round_end,
            pending=rest,
            round_end=position.round_end,
        )
        link = f"{call.request.base_url}{call.request.path}?${'skip' if rest else 'delta'}token={self._keep(following)}"
        context = f"{call.metadata_url}#Collection(event)"
        return raw_reply(200, page_body(context, items, link if rest else None, None if rest else link))

    def _item(self, position: _Position, core: str, day: str, shape: Shape) -> JsonObject:
        event = self._event(position, core, day)
        if event is None:
            the_day = date.fromisoformat(day) if day else None
            item_id = format_item_id(core, immutable=shape.immutable, day=the_day)
            return {"@odata.type": "#microsoft.graph.event", "id": item_id, "@removed": {"reason": "deleted"}}
        if event.kind is EventKind.OCCURRENCE:
            return reduced_json(event, shape)
        return {"@odata.type": "#microsoft.graph.event", **event_json(event, shape)}

    def _event(self, position: _Position, core: str, day: str) -> Event | None:
        """Give the item as it is now, if it belongs to the window; a master belongs if any of its occurrences does."""
        root = position.mailbox.calendar.find_core(core)
        if root is None:
            return None
        if root.series is None:
            return root if not day and root.times.overlaps(position.start_at, position.end_at) else None
        if not day:
            return root if expand(root, position.start_at, position.end_at) else None
        found = occurrence_on(root, date.fromisoformat(day))
        return found if found is not None and found.times.overlaps(position.start_at, position.end_at) else None

    def _keep(self, position: _Position) -> str:
        token = self._world.ids.item_core()
        self._positions[token] = position
        while len(self._positions) > _TOKENS_KEPT_MAX:
            self._positions.popitem(last=False)
        return token


def _sync_state_gone() -> GraphError:
    return GraphError(
        410,
        "SyncStateNotFound",
        "The sync state generation is not found. The delta token is expired and data must be synchronized again.",
    )
