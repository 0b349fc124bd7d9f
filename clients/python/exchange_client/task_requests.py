"""What the calls about background work ask for, and how long they take at most; shared by both clients."""

from __future__ import annotations

from exchange_client import times
from exchange_client.messages import DrainLaneRequest, ListDueLanesRequest, ListTaskRunsRequest, RunTaskRequest

FOLLOW_S = 60.0
"""A stream that follows a run is called anew after this long: each message is the whole run, so nothing has to be resumed, and
a peer that has frozen is noticed."""
DRAIN_S = 30.0
_ANSWER_S = 35.0
"""What a drain may take after it begins nothing more: the service waits half a minute for what was begun."""
_WAIT_MARGIN_S = 10.0
_LANES_MAX = 1_000
ALL_TASKS = "tasks/-"


def due_lanes(wait_s: float, count_max: int) -> ListDueLanesRequest:
    """Ask for lanes that are due."""
    wait = times.to_duration(wait_s) if wait_s > 0 else None
    return ListDueLanesRequest(wait=wait, page_size=min(count_max, _LANES_MAX))


def due_lanes_s(wait_s: float, timeout_s: float | None, default_s: float) -> float:
    """Return the deadline of that call: a wait is answered a little before it, so there must be room."""
    return timeout_s if timeout_s is not None else max(default_s, (wait_s + _WAIT_MARGIN_S) / 0.9)


def drain_lane(lane: str, max_s: float) -> DrainLaneRequest:
    """Ask for a lane to be drained."""
    return DrainLaneRequest(lane=lane, max_duration=times.to_duration(max_s))


def drain_lane_s(max_s: float, timeout_s: float | None) -> float:
    """Return the deadline of that call; the service begins nothing in the last quarter of it."""
    return timeout_s if timeout_s is not None else max_s / 0.7 + _ANSWER_S


def run_task(name: str, scope: str, request_id: str, *, dry_run: bool = False) -> RunTaskRequest:
    """Ask for a run."""
    return RunTaskRequest(name=name, scope=scope, request_id=request_id, dry_run=dry_run)


def list_runs(task: str, scope: str) -> ListTaskRunsRequest:
    """Ask for runs."""
    return ListTaskRunsRequest(parent=task or ALL_TASKS, scope=scope)
