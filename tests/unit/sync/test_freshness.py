"""What a dashboard is told of all rooms together."""

from __future__ import annotations

from sidecar.model.room import freshness_limits
from sidecar.sync.freshness import FreshnessGauges
from tests.support.builders import make_problem
from tests.support.desk import Desk


def shown(desk: Desk, name: str) -> dict[str, float]:
    """Return the values of a gauge by the first label."""
    lines = [
        line
        for line in desk.telemetry.render().decode().splitlines()
        if line.startswith((f"exchange_{name}{{", f"exchange_{name} "))
    ]
    return {line.partition('state="')[2].partition('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def test_rooms_are_counted_by_state_and_the_oldest_copy_is_told(desk: Desk) -> None:
    """One query for a scrape, and none for the next within seconds."""
    limits = freshness_limits(desk.settings)
    gauges = FreshnessGauges(store=desk.opened.store, limits=limits, clock=desk.clock, telemetry=desk.telemetry)
    await gauges.look()
    assert shown(desk, "rooms") == {"live": 0, "polling": 0, "initializing": 1, "stale": 0, "paused": 0, "blocked": 0}
    await desk.compare()
    desk.clock.advance(14)
    await gauges.look()
    assert shown(desk, "rooms")["initializing"] == 1
    desk.clock.advance(1)
    await gauges.look()
    assert shown(desk, "rooms")["polling"] == 1
    assert shown(desk, "freshness_oldest_seconds") == {"": 15}
    desk.clock.advance(limits.polling_s)
    await gauges.look()
    assert shown(desk, "rooms")["stale"] == 1


async def test_blocked_room_does_not_hide_how_old_the_others_are(desk: Desk) -> None:
    """It is old until a person acts."""
    gauges = FreshnessGauges(
        store=desk.opened.store, limits=freshness_limits(desk.settings), clock=desk.clock, telemetry=desk.telemetry
    )
    await desk.compare()
    await desk.opened.store.rooms.set_problem(desk.room.uid, make_problem("MAILBOX_NOT_FOUND"), lease=None)
    desk.clock.advance(9_000)
    await gauges.look()
    assert shown(desk, "rooms")["blocked"] == 1
    assert shown(desk, "freshness_oldest_seconds") == {"": 0}
