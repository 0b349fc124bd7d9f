"""Values that no calendar and no clock can hold: each is refused where it comes in, and nothing ends by it later."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sidecar.emulator.clock import LoopClock
from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime
ABSURD_S = 1e18


async def test_clock_does_not_leave_the_years_it_can_count() -> None:
    async with rig() as r:
        now = (await r.told("GET", "/control/health"))["now"]
        for _ in range(40):
            answer = await r.control.post("/control/clock", json={"advance_s": 3.1e9})
            if answer.status_code != 200:
                break
        assert answer.status_code == 400
        assert "cannot move that far" in answer.json()["error"]
        assert (await r.told("GET", "/control/health"))["now"] > now
        assert await r.sign_in()


@pytest.mark.parametrize("year", [1, 1969, 4001, 9999])
async def test_clock_does_not_start_out_of_bounds(year: int) -> None:
    with pytest.raises(ValueError, match="between 1970 and 4000"):
        LoopClock(start_at=datetime(year, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/control/clock", {"advance_s": ABSURD_S}),
        ("POST", "/control/outage", {"for_s": ABSURD_S}),
        ("PATCH", "{t}/app", {"generate_secret": True, "propagation_s": ABSURD_S}),
        ("POST", "{t}/rooms", {"rooms": [{"settings": {"processing_delay_s": ABSURD_S}}]}),
        ("POST", "{t}/rooms", {"rooms": [{"settings": {"processing_delay_s": -1}}]}),
        ("POST", "{t}/subscriptions/x/disturb", {"delay_count": 1, "delay_s": ABSURD_S}),
        *(
            ("PUT", "/control/moods", {name: ABSURD_S})
            for name in ("notify_delay_max_s", "retry_for_s", "access_check_s", "token_lifetime_max_s")
        ),
        ("PUT", "/control/moods", {"retry_first_s": 0}),
        ("PUT", "/control/moods", {"retry_max_s": 0}),
    ],
)
async def test_wait_beyond_all_measure_is_refused(method: str, path: str, body: dict[str, Any]) -> None:
    async with rig() as r:
        answer = await r.control.request(method, path.replace("{t}", r.path("")), json=body)
        assert answer.status_code == 400
        assert "Expected `float`" in answer.json()["error"]
