"""What must hold when everything is at rest. Each function has one promise and raises AssertionError with what breaks it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from exchange_client import times
from exchange_client.messages import Booking

from sidecar.model.room import Room, RoomState, SyncState, freshness_limits, sync_state
from sidecar.model.window import Window
from tests.simulation.plan import HARMLESS, SAID, Plan
from tests.simulation.watchers import Watcher
from tests.simulation.world import World
from tests.support.truth import Stay, expected, stay_of


async def check_at_rest(world: World) -> None:
    """Check everything that is to hold once nothing moves any more."""
    rooms = await world.stored_rooms()
    assert {room.name for room in rooms} == set(world.rooms), "other rooms are mapped than were asked for"
    check_states(world, rooms)
    for room in rooms:
        await check_copy(world, room)
    for watcher in world.watchers:
        check_mirror(world, watcher, rooms)
    check_log(world)
    check_no_mark_lost(world)
    await check_subscriptions(world)


def check_states(world: World, rooms: Iterable[Room]) -> None:
    """Every room is up and live: Exchange can be reached, and nothing is in the way."""
    for room in rooms:
        assert room.problems == [], f"{room.name} still tells of {[one.reason for one in room.problems]}"
        assert room.state is RoomState.UP, f"{room.name} is {room.state}"
        state = sync_state(room, now=world.clock.now(), limits=freshness_limits(world.plan.settings.sync))
        assert state is SyncState.LIVE, f"{room.name} is {state}"


async def check_copy(world: World, room: Room) -> None:
    """The copy of a room equals its calendar, over all that the copy covers."""
    assert room.horizon is not None, f"{room.name} was never read"
    bodies = world.fetch("SELECT body FROM bookings WHERE room_uid = ? AND takes_room = 1", room.uid)
    bookings = [Booking.FromString(body) for (body,) in bodies]
    wanted = await truth_of(world, world.rooms[room.name], room.horizon)
    compare(f"the copy of {room.name}", bookings, wanted)


async def truth_of(world: World, mailbox: str, horizon: Window) -> list[Stay]:
    """Return what a calendar holds within a horizon, as watchers have to see it."""
    day = timedelta(days=2)
    items = await world.directory.truth(mailbox, horizon.start_at - day, horizon.end_at + day)
    return [stay for stay in expected(items) if horizon.overlaps(stay.start_at, stay.end_at)]


def compare(what: str, bookings: Iterable[Booking], wanted: list[Stay]) -> None:
    """Compare bookings with what has to be there."""
    shown = sorted(map(stay_of, bookings), key=str)
    missing, extra = set(wanted) - set(shown), set(shown) - set(wanted)
    assert shown == wanted, f"{what}: missing {sorted(missing, key=str)}, too many {sorted(extra, key=str)}"


def check_mirror(world: World, watcher: Watcher, rooms: Iterable[Room]) -> None:
    """A watcher's mirror equals the copy: the very same bytes, revisions included, within the horizon."""
    for room in rooms:
        if watcher.room not in (None, room.name):
            continue
        assert watcher.mirror.is_complete(room.name), f"{room.name} is unknown to {watcher.name}"
        assert room.horizon is not None
        bodies = world.fetch("SELECT body FROM bookings WHERE room_uid = ? AND takes_room = 1", room.uid)
        copy = {booking.name: booking for booking in (Booking.FromString(body) for (body,) in bodies)}
        mirror = {b.name: b for b in watcher.mirror.bookings(room.name) if overlaps(room.horizon, b)}
        who = f"the mirror of {watcher.name}, {room.name}"
        assert copy.keys() - mirror.keys() == set(), f"{who} lacks {[copy[n] for n in copy.keys() - mirror.keys()]}"
        assert mirror.keys() - copy.keys() == set(), f"{who} shows {[mirror[n] for n in mirror.keys() - copy.keys()]}"
        for name, booking in mirror.items():
            assert booking == copy[name], f"{who} shows an old version of {name}"


def overlaps(horizon: Window, booking: Booking) -> bool:
    """Tell whether a booking touches a window."""
    return horizon.overlaps(times.to_datetime(booking.time.start_time), times.to_datetime(booking.time.end_time))


def check_log(world: World) -> None:
    """The log has no hole, and ends where the tenant says."""
    head, floor = world.fetch("SELECT revision, floor FROM tenants")[0]
    revisions = [row[0] for row in world.fetch("SELECT revision FROM changes ORDER BY revision")]
    assert revisions == list(range(floor + 1, head + 1)), "the log has a hole"


def check_no_mark_lost(world: World) -> None:
    """Nothing that was announced waits, nothing is overdue, and every room has its next read and its next renewal planned."""
    assert world.fetch("SELECT room_uid FROM hints") == [], "hints were left"
    kinds = world.fetch("SELECT kind, key, attempts, last_error FROM intents WHERE kind = 'room.sync'")
    assert kinds == [], f"hinted reads were left: {kinds}"
    left = world.fetch("SELECT kind, attempts, last_error FROM intents WHERE attempts > 0")
    assert left == [], f"work fails although nothing is in its way: {left}"
    for kind in ("room.check", "room.compare", "room.subscribe"):
        missing = world.fetch(
            "SELECT room_id FROM rooms WHERE NOT EXISTS"
            " (SELECT 1 FROM intents WHERE intents.key = rooms.uid AND intents.kind = ?)",
            kind,
        )
        assert missing == [], f"{kind} is not planned for {missing}"


async def check_subscriptions(world: World) -> None:
    """Each mapped room has exactly one live subscription at Exchange and here, the same one, and nothing else has any."""
    live, wanted = await world.directory.subscribed(), sorted(world.rooms.values())
    assert live == wanted, f"Exchange has subscriptions for {live}, where {wanted} are mapped"
    here = world.fetch(
        "SELECT r.mailbox, s.graph_id FROM subscriptions s LEFT JOIN rooms r ON r.uid = s.room_uid"
        " WHERE s.sealed_state IS NULL OR s.graph_id IS NULL ORDER BY r.mailbox"
    )
    there = (await world.directory.call("GET", "subscriptions"))["subscriptions"]
    assert here == sorted((str(one["mailbox"]), str(one["id"])) for one in there), "other subscriptions are known here"


_LASTING = frozenset({"graph_weather", "login_outage", "outage"})
"""Troubles in which a subscription that lives for an hour or two runs out, and then there is nobody to announce to."""
_LONG_LIFE_MINUTES = 2_000
_LOSING = ("lost", "given up", "dropped")
_ENDED = "subscription ended"


def may_announce_everything(plan: Plan) -> bool:
    """Tell whether a plan has no trouble that keeps a change from being announced within minutes."""
    return _runs_on(plan) and _kinds(plan) <= set(HARMLESS)


def may_tell_everything(plan: Plan) -> bool:
    """The same, but that the service may also be told that it was not told."""
    return _runs_on(plan) and _kinds(plan) <= {*HARMLESS, *SAID}


def _runs_on(plan: Plan) -> bool:
    return plan.settings.sync.subscription_minutes >= _LONG_LIFE_MINUTES or not _kinds(plan) & _LASTING


def _kinds(plan: Plan) -> set[str]:
    return {kind for _, kind in plan.troubles}


async def everything_is_announced(world: World) -> bool:
    """Tell whether Microsoft announced each change within minutes; what it lost, it tells us here."""
    return may_announce_everything(world.plan) and not await _outcomes(world, (*_LOSING, _ENDED))


async def everything_is_told(world: World) -> bool:
    """Tell whether the service knows of each change within minutes, or that it does not know and has to read."""
    return may_tell_everything(world.plan) and not await _outcomes(world, _LOSING)


async def _outcomes(world: World, kinds: tuple[str, ...]) -> list[str]:
    """Return how deliveries ended, those that ended in one of these ways."""
    return [found for one in await world.directory.deliveries() if (found := str(one["outcome"])).startswith(kinds)]


async def check_drift(world: World) -> None:
    """No full read found a change that had not been announced: where all are, hints alone kept the copy equal."""
    if await everything_is_announced(world):
        drift = world.fetch("SELECT room_id, drift_count FROM rooms WHERE drift_count > 0")
        assert drift == [], f"a full read found what no announcement had brought: {drift}"
