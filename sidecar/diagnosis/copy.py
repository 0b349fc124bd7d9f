"""Checks of copies: what is known of rooms without asking anybody. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sidecar.diagnosis.results import judged, passed, skipped, warned
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.problem import Actor, Problem
from sidecar.model.room import FreshnessLimits, Room, SyncState, sync_state

SUBSCRIPTION = "subscription"
ROOM_FRESHNESS = "room.freshness"
ROOM_DRIFT = "room.drift"

_GOOD = frozenset({SyncState.LIVE, SyncState.POLLING})
_NAMED_ROOMS_MAX = 10
"""Rooms that stand out are named up to this many; the count tells the rest."""


def judge_subscription(rooms: Sequence[Room], *, has_url: bool, now: datetime) -> CheckResult:
    """Check that Exchange announces changes, of one room or of all."""
    if not rooms:
        return skipped(SUBSCRIPTION, message="no room is mapped")
    if not has_url:
        return skipped(SUBSCRIPTION, message="no webhook address is set: rooms are read at intervals instead")
    silent = [room for room in rooms if not room.is_announced]
    facts = _counted("announced_count", len(rooms) - len(silent), rooms, silent)
    told = f"Exchange announces the changes of {_of(len(rooms) - len(silent), rooms)}."
    if len(rooms) == len(silent) == 1:
        told = "Exchange does not announce the changes of the room."
    if not silent:
        ends = [room.subscribed_until_at for room in rooms if room.subscribed_until_at is not None]
        if ends:
            facts["until_time"] = min(ends).strftime("%Y-%m-%d %H:%MZ")
        return passed(SUBSCRIPTION, told, facts=facts)
    # What keeps a room from being read keeps it from being announced, too.
    known = _commonest([room.subscription_problem or next(iter(room.problems), None) for room in silent])
    if known is None:
        return warned(
            SUBSCRIPTION,
            told,
            reason="SUBSCRIPTION_PENDING",
            action="Wait: subscriptions are being made; the rooms are read at intervals until then.",
            actor=Actor.NOBODY,
            now=now,
            facts=facts,
        )
    return _as_known(SUBSCRIPTION, CheckOutcome.WARNING, told, known, now, {**known.metadata, **facts})


def judge_freshness(rooms: Sequence[Room], *, limits: FreshnessLimits, now: datetime) -> CheckResult:
    """Check that copies are as fresh as is promised, of one room or of all."""
    if not rooms:
        return skipped(ROOM_FRESHNESS, message="no room is mapped")
    states = {room.uid: sync_state(room, now=now, limits=limits) for room in rooms}
    counts = Counter(states.values())
    bad = [room for room in rooms if states[room.uid] not in _GOOD]
    facts = _counted("fresh_count", len(rooms) - len(bad), rooms, bad)
    facts |= {f"{state.value}_count": str(count) for state, count in sorted(counts.items()) if len(rooms) > 1}
    fresh = [room.fresh_as_of_at for room in rooms if room.fresh_as_of_at is not None]
    if fresh:
        facts["oldest_fresh_as_of_time"] = min(fresh).strftime("%Y-%m-%d %H:%M:%SZ")
    if not bad:
        how = f", all of what Exchange held at {facts['oldest_fresh_as_of_time']} is in it" if fresh else ""
        return passed(ROOM_FRESHNESS, f"The copy of {_of(len(rooms), rooms)} is fresh{how}.", facts=facts)
    worst = max((states[room.uid] for room in bad), key=list(SyncState).index)
    told = f"The copy of {_of(len(bad), rooms)} is not fresh: {_states(counts)}."
    known = _commonest([room.problems[0] if room.problems else None for room in bad])
    # A first read takes its time, and who suspends a tenant wants its copies to age.
    is_meant = all(states[room.uid] in (SyncState.INITIALIZING, SyncState.PAUSED) for room in bad)
    outcome = CheckOutcome.WARNING if is_meant else CheckOutcome.FAILED
    if known is not None:
        return _as_known(ROOM_FRESHNESS, outcome, told, known, now, {**known.metadata, **facts})
    is_new = worst is SyncState.INITIALIZING
    return judged(
        ROOM_FRESHNESS,
        outcome,
        told,
        reason="ROOM_IMPORTING" if is_new else "ROOM_STALE",
        action="Wait: the first read is under way." if is_new else "See that a worker runs, and what its log says.",
        actor=Actor.NOBODY if is_new else Actor.OPERATOR,
        now=now,
        facts=facts,
    )


def judge_drift(rooms: Sequence[Room], *, now: datetime) -> CheckResult:
    """Check that full reads found nothing which neither a notification nor a delta check had named."""
    if not rooms:
        return skipped(ROOM_DRIFT, message="no room is mapped")
    drifted = [room for room in rooms if room.drift_count]
    count = sum(room.drift_count for room in drifted)
    facts = {**_counted("sound_count", len(rooms) - len(drifted), rooms, drifted), "drift_count": str(count)}
    if not drifted:
        return passed(ROOM_DRIFT, "Full reads found nothing that had not been heard of before: drift 0.", facts=facts)
    return warned(
        ROOM_DRIFT,
        f"Full reads found {count} changes that nothing had named, in {_of(len(drifted), rooms)}. They are in the copy now.",
        reason="ROOM_DRIFT",
        action="Report it with the log of the day: the way changes are learned of has a hole.",
        actor=Actor.OPERATOR,
        now=now,
        facts=facts,
    )


def _of(count: int, rooms: Sequence[Room]) -> str:
    return (
        "the room"
        if len(rooms) == 1 and count == 1
        else f"{count} of {len(rooms)} {'room' if len(rooms) == 1 else 'rooms'}"
    )


def _states(counts: Counter[SyncState]) -> str:
    return ", ".join(f"{counts[state]} {state.value}" for state in SyncState if counts[state])


def _counted(name: str, count: int, rooms: Sequence[Room], bad: Sequence[Room]) -> dict[str, str]:
    if len(rooms) == 1:
        return {}
    facts = {name: str(count), "rooms_count": str(len(rooms))}
    if bad:
        facts["rooms"] = ", ".join(room.room_id for room in bad[:_NAMED_ROOMS_MAX])
    return facts


def _commonest(problems: Sequence[Problem | None]) -> Problem | None:
    """Return a problem of the commonest reason; None when most have none."""
    reasons = Counter(None if problem is None else problem.reason for problem in problems)
    wanted = reasons.most_common(1)[0][0]
    return next((problem for problem in problems if problem is not None and problem.reason == wanted), None)


def _as_known(
    check_id: str, outcome: CheckOutcome, message: str, known: Problem, now: datetime, facts: dict[str, str]
) -> CheckResult:
    """Tell a cause that is stored, in the words that it is told in elsewhere."""
    return judged(
        check_id,
        outcome,
        f"{message} {known.message}",
        reason=known.reason,
        action=known.action,
        actor=known.actor,
        now=now,
        facts=facts,
    )
