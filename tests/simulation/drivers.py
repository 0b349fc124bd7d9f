"""Task runners outside, as unreliable as such things are: late, twice at once, away for minutes, hanging up on what they asked.

It sees what any task runner sees, and keeps nothing. Whatever it does, and whenever, has to cost time only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from google.protobuf.duration_pb2 import Duration

from sidecar.errors import SidecarError
from sidecar.gen.ioffice.exchange.v1 import task_service_pb2 as pb
from tests.simulation.life import Life
from tests.simulation.network import PeerGone
from tests.simulation.world import World

_PAUSES_S = (0.0, 0.0, 0.3, 1.7, 7.3, 29.0)
_AWAY_S = (97.0, 311.0)
_AWAY_SHARE = 0.01
_WAITS_S = (0, 13, 60)
_LASTS_S = (1, 30, 300)
_HANG_UP_SHARE = 0.1
_RUN_SHARE = 0.02
_RUN_ENDS_WITHIN_S = 2 * 3_600.0
"""Once everything is healed; what is put off for long is tried at once where a run asks for it."""
_TASKS = ("check-rooms", "compare-rooms", "ensure-subscriptions", "verify-tenants", "prune-log", "audit-subscriptions")


@dataclass(slots=True)
class Drivers:
    """All task runners of a world."""

    world: World
    runs: dict[str, str] = field(default_factory=dict)
    """Names of the runs that were begun, by their request ids."""

    def start(self) -> None:
        """Drive until the world ends."""
        for number in range(self.world.plan.drivers_count):
            self.world.start(self._drive(self.world.plan.rng(f"driver {number}")))

    async def _drive(self, rng: Random) -> None:
        while True:
            await asyncio.sleep(rng.choice(_AWAY_S) if rng.random() < _AWAY_SHARE else rng.choice(_PAUSES_S))
            life = self.world.serving
            if life is None:
                await asyncio.sleep(1.0)
                continue
            try:
                await self._turn(life, rng)
            except (PeerGone, SidecarError):
                await asyncio.sleep(1.0)  # it is asked again; nothing is kept of what failed

    async def _turn(self, life: Life, rng: Random) -> None:
        request = pb.ListDueLanesRequest(wait=Duration(seconds=rng.choice(_WAITS_S)))
        due = await life.call(lambda: life.servicers.tasks.list_due_lanes(request))
        for lane in due.lanes:
            async with asyncio.TaskGroup() as group:
                for _ in range(rng.choice((1, 1, 2))):
                    group.create_task(self._drain(life, lane.name, rng))
        if rng.random() < _RUN_SHARE:
            await self._run(life, rng)

    async def _drain(self, life: Life, lane: str, rng: Random) -> None:
        request = pb.DrainLaneRequest(lane=lane, max_duration=Duration(seconds=rng.choice(_LASTS_S)))
        patience_s = rng.uniform(0.0, 3.0) if rng.random() < _HANG_UP_SHARE else None
        try:
            async with asyncio.timeout(patience_s):
                await life.call(lambda: life.servicers.tasks.drain_lane(request))
        except (TimeoutError, PeerGone, SidecarError):
            return

    async def _run(self, life: Life, rng: Random) -> None:
        """Have something done now, sometimes under an id that was used before: then it has to be the same run."""
        task, number = rng.choice(_TASKS), rng.randrange(4)
        request_id = f"{task}/{number}"
        request = pb.RunTaskRequest(name=f"tasks/{task}", scope=self.world.tenant, request_id=request_id)
        answer = await life.call(lambda: life.servicers.tasks.run_task(request))
        restores_count = self.world.restores_count
        known = self.runs.setdefault(f"{restores_count} {request_id}", answer.run.name)
        assert known == answer.run.name, f"{request_id} gave {known}, and then {answer.run.name}"
        self.world.trace.note("driver", f"runs {request_id}")

    async def finish(self) -> None:
        """Wait until each run has ended; nothing is in its way any more.

        Raises:
            AssertionError: one has not.
        """
        deadline_s = asyncio.get_running_loop().time() + _RUN_ENDS_WITHIN_S
        for key, name in sorted(self.runs.items()):
            if not key.startswith(f"{self.world.restores_count} "):
                continue  # begun in a history that was undone
            request = pb.GetTaskRunRequest(name=name)
            while True:
                answer = await self.world.call(
                    lambda life: life.servicers.tasks.get_task_run(request)  # noqa: B023  (awaited at once)
                )
                run = answer.run
                assert run.done_count + run.failed_count + run.remaining_count == run.total_count, f"{run}"
                if run.HasField("end_time"):
                    break
                assert asyncio.get_running_loop().time() < deadline_s, f"a run does not end: {run}"
                await asyncio.sleep(60.0)
