"""Series that are changed and cancelled again and again, at random, beside a model of what was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest

from sidecar.gen.ioffice.exchange.v1.booking_service_pb2 import Booking
from sidecar.gen.ioffice.exchange.v1.common_pb2 import SERIES_SCOPE_FOLLOWING, SERIES_SCOPE_SERIES
from tests.contract.writes.test_creating import desk_set
from tests.support.truth import ZONE
from tests.support.write_desk import WriteDesk

pytestmark = pytest.mark.looptime

_RULES = (
    "FREQ=WEEKLY;COUNT=9",
    "FREQ=WEEKLY;BYDAY=TU,TH;COUNT=12",
    "FREQ=DAILY;INTERVAL=3;UNTIL=20261224",
    "FREQ=WEEKLY;INTERVAL=2",
    "FREQ=MONTHLY;BYDAY=4TU",
    "FREQ=DAILY;COUNT=8",
)
_ACTS_COUNT = 8
_SEEDS_COUNT = 24


@dataclass(frozen=True)
class Day:
    """A booking as it is to be.

    `series` says which it belongs to, `hour` when that takes place, `is_renamed` that it says something else.
    """

    series: int
    start: datetime
    subject: str
    hour: int
    is_renamed: bool = False

    @property
    def is_moved(self) -> bool:
        return self.start.hour != self.hour

    @property
    def day(self) -> datetime:
        return self.start.replace(hour=0)


class Model:
    """What was asked for."""

    def __init__(self, days: list[Day], rng: Random) -> None:
        self.days = days
        self._rng = rng
        self._names = 0
        self._series = 0

    def name(self) -> str:
        self._names += 1
        return f"Talk {self._names}"

    async def act(self, desk: WriteDesk) -> str:
        """Do something to some booking, at Exchange and here; return what."""
        rng, listed = self._rng, await desk.listed()
        at = rng.randrange(len(listed))
        named, booking = self.days[at], listed[at]
        kind = rng.choice(["move", "rename", "cancel", "move all", "rename all", "cancel following"])
        scope = rng.choice([SERIES_SCOPE_FOLLOWING, SERIES_SCOPE_SERIES])
        request_id, hour = f"r{rng.getrandbits(64)}", rng.randrange(7, 20)
        start, subject = named.start.replace(hour=hour), self.name()
        meant = [one for one in self.days if one.series == named.series]
        if scope == SERIES_SCOPE_FOLLOWING or kind == "cancel following":
            meant = [one for one in meant if one.day >= named.day]
        told = f"{kind} {scope} {named.day:%d.%m.} {hour}"
        match kind:
            case "move":
                await desk.change(booking.name, start_at=start, request_id=request_id)
                self._replace({named: replace(named, start=start)})
            case "rename":
                await desk.change(booking.name, booking_subject=subject, request_id=request_id)
                self._replace({named: replace(named, subject=subject, is_renamed=True)})
            case "cancel":
                await desk.cancel(booking.name, request_id=request_id)
                self._replace({named: None})
            case "cancel following":
                await desk.cancel(booking.name, scope=SERIES_SCOPE_FOLLOWING, request_id=request_id)
                self._replace(dict.fromkeys(meant))
            case "move all":
                answer = await desk.change(booking.name, start_at=start, scope=scope, request_id=request_id)
                assert not answer.lost_exceptions
                self._change_all(meant, named, hour=hour, is_cut=scope == SERIES_SCOPE_FOLLOWING)
            case _:
                answer = await desk.change(booking.name, booking_subject=subject, scope=scope, request_id=request_id)
                assert not answer.lost_exceptions
                self._change_all(meant, named, subject=subject, is_cut=scope == SERIES_SCOPE_FOLLOWING)
        return told

    def _change_all(
        self, meant: list[Day], named: Day, *, is_cut: bool, hour: int | None = None, subject: str | None = None
    ) -> None:
        self._series += is_cut
        changes: dict[Day, Day | None] = {}
        for one in meant:
            after = replace(one, series=self._series) if is_cut else one
            if hour is not None:
                is_following = one == named or not one.is_moved
                after = replace(after, hour=hour, start=one.start.replace(hour=hour) if is_following else one.start)
            if subject is not None and (one == named or not one.is_renamed):
                after = replace(after, subject=subject, is_renamed=False)
            changes[one] = after
        self._replace(changes)

    def _replace(self, changes: dict[Day, Day | None]) -> None:
        after = [changes.get(one, one) for one in self.days]
        self.days = sorted((one for one in after if one is not None), key=lambda one: one.start)


def _of(booking: Booking) -> tuple[datetime, str]:
    start = booking.time.start_time.ToDatetime(tzinfo=UTC)
    return start.astimezone(ZoneInfo(ZONE)), booking.subject


@pytest.mark.parametrize("seed", range(_SEEDS_COUNT))
async def test_series_takes_place_as_was_asked_for_last(tmp_path: Path, seed: int) -> None:
    """In the calendar and in the copy, after each of many changes of one, of all that follow, and of all."""
    print(f"seed={seed}")
    rng = Random(seed)
    async with desk_set(tmp_path) as desk:
        await desk.create(rrule=_RULES[seed % len(_RULES)])
        model = Model([Day(0, *_of(one), _of(one)[0].hour) for one in await desk.listed()], rng)
        for _ in range(_ACTS_COUNT):
            if not model.days:
                break
            told = await model.act(desk)
            shown = [_of(one) for one in await desk.listed()]
            assert shown == [(one.start, one.subject) for one in model.days], told
            await desk.mirror.check_equal()
