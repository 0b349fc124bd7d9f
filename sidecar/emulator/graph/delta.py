"""calendarView/delta: a first round of everything in a window, then rounds of what changed.

Occurrences are reduced, a changed series is told again whole, what left is `@removed`, items that never were in the window may
be told as `@removed` too, old links are refused, and if control says so a round never ends.

Source: Graph "event: delta" and "Use delta query to track changes" pages; reduced occurrences, re-told series, pages beyond the
size asked for, endless pages and the other refusals are what users have reported.
"""

from datetime import date, datetime, timedelta
from urllib.parse import quote

import msgspec

from sidecar.emulator.asgi import Reply
from sidecar.emulator.errors import GraphError, invalid_request
from sidecar.emulator.exchange.access import READ_ROLES, open_mailbox
from sidecar.emulator.exchange.event import Event, EventKind
from sidecar.emulator.exchange.mailbox import Mailbox
from sidecar.emulator.exchange.series import expand, occurrence_on
from sidecar.emulator.exchange.sync_state import PAGES_MAX, DeltaEntry, DeltaRound
from sidecar.emulator.exchange.world import World
from sidecar.emulator.graph.call import Call, page_body, raw_reply
from sidecar.emulator.graph.paging import LIST_OPTIONS, Pager, parse_window
from sidecar.emulator.ids import format_item_id
from sidecar.emulator.wire.options import Shape, check_options, shape_of, whole_number
from sidecar.emulator.wire.rendering import event_json, reduced_json
from sidecar.emulator.zones import format_seconds

_PAGE_SIZE_DEFAULT = 10
GONE = (410, "SyncStateNotFound")
_ODD_REFUSALS = (
    (410, "syncStateNotFound"),
    (410, "ResyncRequired"),
    (410, "resyncRequired"),
    (410, "SyncStateInvalid"),
    (410, "syncStateInvalid"),
    (400, "SyncStateInvalid"),
    (400, "ResyncRequired"),
    (404, "SyncStateNotFound"),
)
_MESSAGES = {
    "syncstatenotfound": "The sync state generation is not found. The delta token is expired and data must be "
    "synchronized again.",
    "resyncrequired": "Resync required. Replace any local items with the server's version.",
    "syncstateinvalid": "The sync state is not valid. Clear local state and synchronize again.",
}


class DeltaRoutes:
    """The handler of calendarView/delta."""

    def __init__(self, *, world: World, pager: Pager) -> None:
        self._world = world
        self._pager = pager

    def read(self, call: Call) -> Reply:
        """Answer GET /users/{id}/calendarView/delta, first or following."""
        for option in (*LIST_OPTIONS, "$search"):
            if option in call.query:
                raise invalid_request(f"The delta query of calendarView does not support {option}.")
        check_options(call.query, ("startDateTime", "endDateTime", "$deltatoken", "$skiptoken"))
        mailbox = open_mailbox(call.caller, call.values[0], READ_ROLES)
        if call.query.get("$skiptoken"):
            token, _, number = call.query["$skiptoken"].partition(".")
            found = self._find(call, mailbox, token)
            page = whole_number(number)
            if page is None:
                raise _refusal(*GONE, None)
            return self._page(call, mailbox, token, found, page)
        if call.query.get("$deltatoken"):
            token = self._next_round(call, mailbox, self._find(call, mailbox, call.query["$deltatoken"]))
        else:
            token = self._first_round(call, mailbox, *parse_window(call.query))
        return self._page(call, mailbox, token, mailbox.sync.rounds[token], 0)

    def _find(self, call: Call, mailbox: Mailbox, token: str) -> DeltaRound:
        found = mailbox.sync.rounds.get(token)
        if found is None:
            raise _refusal(*GONE, None)
        moods = self._world.moods_of(call.caller.tenant)
        lifetime_s = moods.delta_token_lifetime_s
        if (
            lifetime_s
            and not found.refused_status
            and self._world.now() - found.made_at > timedelta(seconds=lifetime_s)
        ):
            odd = self._world.chance(moods.delta_odd_expiry_share)
            found.refused_status, found.refused_code = self._world.rng.choice(_ODD_REFUSALS) if odd else GONE
        if found.refused_status:
            window = f"startDateTime={format_seconds(found.start_at)}&endDateTime={format_seconds(found.end_at)}"
            start_url = f"{call.request.base_url}{call.request.path}?{window}&$deltatoken="
            raise _refusal(found.refused_status, found.refused_code, start_url)
        return found

    def _first_round(self, call: Call, mailbox: Mailbox, start_at: datetime, end_at: datetime) -> str:
        entries, told = list[DeltaEntry](), set[str]()
        for event in mailbox.calendar.view(start_at, end_at):
            if event.master is not None and event.core not in told:
                told.add(event.core)
                entries.append(DeltaEntry(core=event.core))
            entries.append(DeltaEntry(core=event.core, day=event.day.isoformat() if event.day else ""))
        return self._keep(call, mailbox, start_at, end_at, entries)

    def _next_round(self, call: Call, mailbox: Mailbox, last: DeltaRound) -> str:
        """Find what changed since a round; asked again before anything else changed, give the same round again."""
        calendar = mailbox.calendar
        again = mailbox.sync.rounds.get(last.following)
        if again is not None and not again.refused_status and again.until == calendar.version:
            return last.following
        changes = calendar.changes_since(last.until)
        if changes is None:
            raise _refusal(*GONE, None)
        days, lefts = dict[str, dict[str, None]](), dict[str, dict[str, None]]()  # by core; dicts as sets with an order
        gone = {change.core: change.gone for change in changes if change.gone is not None}
        for change in changes:
            days.setdefault(change.core, {"": None}).update((day.isoformat(), None) for day in change.days)
            if change.left:
                lefts.setdefault(change.core, {})[change.left] = None
        entries = list[DeltaEntry]()
        for core, mine in days.items():
            root = calendar.find_core(core) or gone.get(core)
            if root is not None:
                mine.update((one.day.isoformat(), None) for one in expand(root, last.start_at, last.end_at) if one.day)
            for day in mine:
                entries += [DeltaEntry(core=core, day=day, left=left) for left in lefts.get(core, ())]
                entries.append(DeltaEntry(core=core, day=day))
        last.following = self._keep(call, mailbox, last.start_at, last.end_at, entries)
        return last.following

    def _keep(
        self, call: Call, mailbox: Mailbox, start_at: datetime, end_at: datetime, entries: list[DeltaEntry]
    ) -> str:
        world = self._world
        share = world.moods_of(call.caller.tenant).delta_repeat_share
        repeats = [(world.rng.uniform(at, len(entries)), one) for at, one in enumerate(entries) if world.chance(share)]
        entries = [one for _, one in sorted([*enumerate(entries), *repeats], key=lambda placed: placed[0])]
        token = world.ids.item_core()
        made = DeltaRound(
            start_at=start_at,
            end_at=end_at,
            until=mailbox.calendar.version,
            made_at=world.now(),
            pending=entries,
        )
        mailbox.sync.keep(token, made)
        return token

    def _page(self, call: Call, mailbox: Mailbox, token: str, found: DeltaRound, number: int) -> Reply:
        if number > min(len(found.pages), PAGES_MAX):
            raise _refusal(*GONE, None)
        if number == len(found.pages):
            found.pages.append(self._cut(call, found))
        begin, end = found.pages[number]
        items = [self._item(call, mailbox, found, one) for one in found.pending[begin:end]]
        next_link = delta_link = None
        if end < len(found.pending) or mailbox.sync.endless:
            next_link = _link(call, "$skiptoken", f"{token}.{number + 1}")
        else:
            delta_link = _link(call, "$deltatoken", token)
        context = f"{call.metadata_url}#Collection(event)"
        return raw_reply(200, page_body(context, [one for one in items if one is not None], next_link, delta_link))

    def _cut(self, call: Call, found: DeltaRound) -> tuple[int, int]:
        """Decide what the next page holds; after the last one, as long as the round is endless, the first comes again."""
        moods, entries = self._world.moods_of(call.caller.tenant), found.pending
        begin = found.pages[-1][1] if found.pages else 0
        if begin >= len(entries):
            begin = 0
        was_empty = bool(found.pages) and found.pages[-1][0] == found.pages[-1][1]
        if entries and not was_empty and self._world.chance(moods.delta_empty_page_share):
            return begin, begin
        end = min(len(entries), begin + self._pager.page_size(call, call.preferences.page_size or _PAGE_SIZE_DEFAULT))
        in_series = 0 < end < len(entries) and entries[end].core == entries[end - 1].core and entries[end].day != ""
        if in_series and self._world.chance(moods.delta_whole_series_share):
            while end < len(entries) and entries[end].core == entries[end - 1].core:
                end += 1
        return begin, end

    def _item(self, call: Call, mailbox: Mailbox, found: DeltaRound, entry: DeltaEntry) -> bytes | None:
        shape = shape_of(call.preferences, None)
        if entry.left:
            return None if shape.immutable else _removed(entry.left, entry.day, shape)
        event = _event_in_window(mailbox, entry, found.start_at, found.end_at)
        if event is None:
            root = mailbox.calendar.find_core(entry.core)
            core = (root.mutable_core if root is not None and not shape.immutable else None) or entry.core
            return _removed(core, entry.day, shape)
        if event.kind is EventKind.OCCURRENCE:
            return msgspec.json.encode(reduced_json(event, shape))
        full = {"@odata.type": "#microsoft.graph.event", **event_json(event, shape)}
        return self._pager.dress(call, msgspec.json.encode(full))


def _removed(core: str, day: str, shape: Shape) -> bytes:
    item_id = format_item_id(core, immutable=shape.immutable, day=date.fromisoformat(day) if day else None)
    return msgspec.json.encode(
        {"@odata.type": "#microsoft.graph.event", "id": item_id, "@removed": {"reason": "deleted"}}
    )


def _event_in_window(mailbox: Mailbox, entry: DeltaEntry, start_at: datetime, end_at: datetime) -> Event | None:
    """Give the item as it is now, if it belongs to the window; a master belongs if any of its occurrences does."""
    root = mailbox.calendar.find_core(entry.core)
    if root is None:
        return None
    if root.series is None:
        return root if not entry.day and root.times.overlaps(start_at, end_at) else None
    if not entry.day:
        return root if expand(root, start_at, end_at) else None
    found = occurrence_on(root, date.fromisoformat(entry.day))
    return found if found is not None and found.times.overlaps(start_at, end_at) else None


def _link(call: Call, option: str, token: str) -> str:
    return f"{call.request.base_url}{call.request.path}?{option}={quote(token)}"


def _refusal(status: int, code: str, start_url: str | None) -> GraphError:
    """Build the refusal of a link; only 410 tells where to start over, and only if the window is known."""
    headers = {"location": start_url} if status == 410 and start_url is not None else None
    return GraphError(status, code, _MESSAGES.get(code.lower(), _MESSAGES["syncstatenotfound"]), headers=headers)
