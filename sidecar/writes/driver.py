"""Drives writes to their end, whoever asks and whoever hangs up: the part that all kinds of writes share.

A write is a row before anything is sent (`store.writes`). Whoever holds the row's claim carries it out, in a task of the
service and not of the call: a caller that goes away changes nothing, and callers who ask for the same write wait for the same
task. What the process does not bring to its end, because Exchange does not answer or the process dies, is found by its intent
and goes on from the state that the row is in (`tasks` calls `resume`).

A new kind of write is a value of `WriteKind` and a `Steps` for it, given to the driver where it is built.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

import structlog

from sidecar.aio.clock import Clock
from sidecar.aio.supervise import contain
from sidecar.aio.wakeup import Broadcast
from sidecar.errors import (
    CallLimit,
    GraphUnavailable,
    OutcomeUnknown,
    ServerDraining,
    SidecarError,
    StoreConflict,
    StoreUnavailable,
    Unavailable,
)
from sidecar.graph.urgency import Urgency, acting_with
from sidecar.model.ids import TenantUid
from sidecar.model.write import Write, WriteKind, WriteState, WriteUid
from sidecar.store.write_steps import Step
from sidecar.store.writes import NewWrite, Writes
from sidecar.telemetry.metrics import Telemetry
from sidecar.writes.failures import error_of

log = structlog.get_logger(__name__)

T = TypeVar("T")

CLAIM_S = 15.0
"""How long a write may go on without a word before others take it over; whoever works on it says so in time."""
_TRY_S = 60.0
"""How long one try takes at most, with all that is sent again in it."""
_UNDER_WAY_MAX = 1_000
"""Callers who do not wait for the end could begin more than Exchange takes."""
_ASK_AGAIN_S = 2.0
"""When a caller who was told nothing certain is advised to ask again."""
_ANSWERED_BY_ROOMS = frozenset({WriteKind.INVITE, WriteKind.REINVITE})
"""The end of these is a room's answer, which may take any time; of the others it is Exchange's, and soon."""
_LOOK_S = 1.0
"""Time between looks at a write that another process carries out and whose news may have been missed."""


class Lapsed(Exception):
    """A step has found out that nothing of a write exists at Exchange, and that it is too late to begin it now."""


class Goal(enum.Enum):
    """How far a caller wants to wait."""

    TAKEN = "taken"
    """Until Exchange has done it."""
    ENDED = "ended"
    """Until it is known what came of it."""


class Work:
    """A write that this process carries out now.

    Attributes:
        write: as far as it has come.
        again_at: when to look at it again, if it was left without an end.
        error: why it was left, or forgotten.
        is_over: nobody here works on it any more.
        callers_count: how many wait for it here.
        news: rung for steps that wait: by them, when something may have come for this write, and with `must_leave`.
        must_leave: the process stops, so its steps wait for nobody any more, and leave it for later.
        is_made: Exchange has done something of it, so whatever fails from then on does not undo it. Set by its steps.
    """

    def __init__(self, write: Write, writes: Writes) -> None:
        self.write = write
        self.bell = Broadcast()
        self.news = Broadcast()
        self.must_leave = False
        self.again_at: datetime | None = None
        self.error: Exception | None = None
        self.is_over = False
        self.callers_count = 0
        self.is_made = False
        self._writes = writes

    async def note(self, **changes: Any) -> None:
        """Note how far the write has come, in a transaction of its own (Any: fields of `Write`).

        Raises:
            StoreConflict: somebody else works on it now.
        """
        await self.note_with(self._writes.note, **changes)

    async def note_with(self, commit: Callable[[Step], Awaitable[T]], **changes: Any) -> T:
        """Note how far the write has come as part of a transaction that `commit` makes with the given step."""
        after = replace(self.write, **changes)
        if after.state.is_ended:
            after = replace(after, payload=None)
        result = await commit(self._writes.step_to(self.write, after, claim_s=CLAIM_S))
        self.write = after
        self.bell.ring()
        return result

    def end(self, error: Exception | None) -> None:
        """Tell whoever waits that nobody here works on it any more, and what it failed with."""
        self.error, self.is_over = error, True
        self.bell.ring()


class Steps(Protocol):
    """Carries out one kind of write."""

    async def carry_out(self, work: Work) -> datetime | None:
        """Bring a write to its end, from whatever state it was left in; each step may have been made before.

        It notes what it has done with `work.note` or `work.note_with`; the last note has a state that is an end.

        Returns:
            None when the write has ended; else when to look at it again, because something outside has to happen first.
        Raises:
            SidecarError: whether it may have done something is said by `may_be_done`, as long as nothing was noted and
                `Work.is_made` was not set. If it certainly did nothing the write is forgotten, and the caller is told this
                error; if not, the write is tried again later, and the caller is told that the outcome is not known.
            Lapsed: the write is forgotten; whoever asks again begins it anew.
        """


@dataclass(slots=True)
class _Bells:
    """Who waits for writes that other processes carry out."""

    by_uid: dict[WriteUid, tuple[Broadcast, int]] = field(default_factory=dict)

    def take(self, uid: WriteUid) -> Broadcast:
        bell, count = self.by_uid.get(uid, (Broadcast(), 0))
        self.by_uid[uid] = bell, count + 1
        return bell

    def give_back(self, uid: WriteUid) -> None:
        bell, count = self.by_uid.pop(uid)
        if count > 1:
            self.by_uid[uid] = bell, count - 1

    def ring(self, uid: WriteUid) -> None:
        bells = list(self.by_uid.values()) if not uid else [self.by_uid[uid]] if uid in self.by_uid else []
        for bell, _ in bells:
            bell.ring()


class Driver:
    """Begins writes, finds them again, and carries them out."""

    def __init__(self, *, writes: Writes, steps: Mapping[WriteKind, Steps], clock: Clock, telemetry: Telemetry) -> None:
        self._writes = writes
        self._steps = steps
        self._clock = clock
        self._telemetry = telemetry
        self._group: asyncio.TaskGroup | None = None
        self._under_way: dict[WriteUid, Work] = {}
        self._bells = _Bells()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_draining = False

    @property
    def under_way_count(self) -> int:
        """How many writes this process carries out now."""
        return len(self._under_way)

    async def run(self) -> None:
        """Carry out what is submitted and resumed, until cancelled; what is under way then is left to whoever finds it."""
        stop = self._writes.on_news(self._bells.ring)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._group = None  # before the group ends its tasks: what is asked for from now on is not begun
        finally:
            self._leave_all()
            stop()

    def _leave_all(self) -> None:
        """Tell whoever waits for a write that was cancelled before its first step."""
        for work in self._under_way.values():
            work.end(OutcomeUnknown("the process stops", retry_after_s=_ASK_AGAIN_S))
        self._under_way.clear()
        self._idle.set()

    def drain(self) -> None:
        """Wait for no room's answer from now on: whoever waits is told as soon as Exchange has done it.

        Writes are still begun.
        """
        self._is_draining = True
        for work in self._under_way.values():
            work.must_leave = True
            work.bell.ring()
            work.news.ring()
        self._bells.ring(WriteUid(""))

    def _has_reached(self, write: Write, goal: Goal) -> bool:
        is_enough = goal is Goal.TAKEN or (self._is_draining and write.kind in _ANSWERED_BY_ROOMS)
        return write.state.is_answered or (is_enough and write.state.is_taken)

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no write is under way here; say whether that came before the time was over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def submit(self, new: NewWrite, *, goal: Goal, wait_s: float) -> Write:
        """Carry out a write, or wait for the equal one that was begun before.

        Returns:
            The write, as far as it has come when the goal is reached or the time is over; Exchange has done it.
        Raises:
            RequestIdReused, RoomNotFound: it was not begun.
            CallLimit: the same, because too many are under way.
            OutcomeUnknown: the time is over, or Exchange did not answer; the same request, sent again, gets the answer.
            SidecarError: why it failed; nothing of it is left at Exchange.
        """
        self._working()
        if len(self._under_way) >= _UNDER_WAY_MAX:
            raise CallLimit("too many writes are under way", details={"writes_max": str(_UNDER_WAY_MAX)})
        ends_s = self._clock.monotonic() + wait_s
        try:
            begun = await self._writes.begin(new, claim_s=CLAIM_S)
        except StoreUnavailable as error:  # a commit whose answer was lost may have begun it
            raise OutcomeUnknown(
                "whether it was begun is not known; send it again",
                retry_after_s=_ASK_AGAIN_S,
                details={"cause": error.reason},
            ) from error
        work = self._start(begun.write) if begun.is_ours else await self._join(begun.write)
        return await self._await(begun.write, work, goal, ends_s)

    async def repeat(
        self, tenant_uid: TenantUid, request_id: str, digest: bytes, *, goal: Goal, wait_s: float
    ) -> Write | None:
        """Wait for a write that was begun before, whether or not the same could be begun now; None: there is none.

        Returns, and raises, what `submit` does.
        """
        self._working()
        ends_s = self._clock.monotonic() + wait_s
        write = await self._writes.find_equal(tenant_uid, request_id, digest)
        if write is None:
            return None
        return await self._await(write, await self._join(write), goal, ends_s)

    async def _await(self, write: Write, work: Work | None, goal: Goal, ends_s: float) -> Write:
        """Wait for a write, by the work on it if that goes on here."""
        if work is None:
            return _answer(await self._await_other(write, goal, ends_s))
        work.callers_count += 1
        try:
            while not self._has_reached(work.write, goal) and not work.is_over:
                if not await work.bell.wait(work.bell.version, self._left_s(ends_s)):
                    break
        finally:
            work.callers_count -= 1
        if work.error is not None and not self._has_reached(work.write, goal):
            raise work.error
        if work.is_over and not self._has_reached(work.write, goal):
            return _answer(await self._await_other(work.write, goal, ends_s))
        return _answer(work.write)

    async def resume(self, uid: WriteUid) -> datetime | None:
        """Go on with a write that nobody works on.

        Returns:
            When to look at it again; None when it has ended.
        Raises:
            OutcomeUnknown: it could not be brought to its end now.
        """
        write = await self._writes.claim(uid, claim_s=CLAIM_S)
        if write is None:
            found = await self._writes.load(uid)
            return None if found is None or found.state.is_ended else found.claimed_until_at
        work = self._start(write)
        while not work.is_over:
            await work.bell.wait(work.bell.version, None)
        if work.error is not None:
            raise work.error
        return work.again_at

    def _working(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise ServerDraining("the server is shutting down", retry_after_s=1.0)
        return self._group

    async def _join(self, write: Write) -> Work | None:
        """Return the work on a write that was begun before, begun again here if nobody works on it."""
        if write.state.is_ended or write.uid in self._under_way:
            return self._under_way.get(write.uid)
        claimed = await self._writes.claim(write.uid, claim_s=CLAIM_S)
        return self._under_way.get(write.uid) if claimed is None else self._start(claimed)

    async def _await_other(self, write: Write, goal: Goal, ends_s: float) -> Write:
        """Wait for a write that is another process's, or nobody's for now; return it as far as it has come."""
        bell = self._bells.take(write.uid)
        try:
            while not self._has_reached(write, goal):
                version = bell.version
                found = await self._writes.load(write.uid)
                if found is None:
                    raise OutcomeUnknown("it could not be done just now; send it again", retry_after_s=_ASK_AGAIN_S)
                write = found
                left_s = self._left_s(ends_s)
                if self._has_reached(write, goal) or left_s <= 0.0:
                    break
                await bell.wait(version, min(left_s, _LOOK_S))
        finally:
            self._bells.give_back(write.uid)
        return write

    def _left_s(self, ends_s: float) -> float:
        return max(0.0, ends_s - self._clock.monotonic())

    def _start(self, write: Write) -> Work:
        group = self._working()
        work = Work(write, self._writes)
        work.must_leave = self._is_draining
        self._under_way[write.uid] = work
        self._idle.clear()
        group.create_task(self._carry_out(work, group), name=f"write {write.uid}")
        return work

    async def _carry_out(self, work: Work, group: asyncio.TaskGroup) -> None:
        error: Exception | None = OutcomeUnknown("the process stops", retry_after_s=_ASK_AGAIN_S)
        holding = group.create_task(self._hold(work), name=f"hold {work.write.uid}")
        try:
            with acting_with(Urgency.WRITE):
                error = await contain(self._try(work))
        finally:
            holding.cancel()
            del self._under_way[work.write.uid]
            self._note_end(work.write, error)
            work.end(error)
            if not self._under_way:
                self._idle.set()

    def _note_end(self, write: Write, error: Exception | None) -> None:
        """Count how a try ended; one that waits for the room's answer, or for its time, has not."""
        if isinstance(error, OutcomeUnknown) and not write.state.is_ended:
            self._telemetry.count("writes", 1, write.kind.value, "left")
        elif write.state.is_ended or error is not None:
            outcome = "done" if write.state is WriteState.DONE else "refused"
            self._telemetry.count("writes", 1, write.kind.value, outcome)
            took_s = (self._clock.now() - write.created_at).total_seconds()
            self._telemetry.measure("write_duration", max(0.0, took_s))

    async def _hold(self, work: Work) -> None:
        """Keep others from a write that takes long; if the store is away, they take it over in the end."""
        while True:
            await self._clock.sleep(CLAIM_S / 3)
            await contain(self._writes.hold(work.write, claim_s=CLAIM_S))

    async def _try(self, work: Work) -> None:
        started = work.write
        error = await contain(self._step(work))
        if error is None:
            return
        if isinstance(error, Lapsed) and await contain(self._writes.forget(work.write)) is None:
            raise GraphUnavailable("Exchange did not take it in time, and nothing was done") from error
        may_be_done = work.is_made or not isinstance(error, SidecarError) or error.may_be_done
        if started.state.is_fresh and work.write is started and not may_be_done:
            if await contain(self._writes.forget(started)) is None:
                raise error
        elif not isinstance(error, StoreConflict):
            reason = error.reason if isinstance(error, SidecarError) else type(error).__name__
            log.warning("write.left", kind=started.kind.value, state=work.write.state.value, reason=reason)
            if not isinstance(error, SidecarError | TimeoutError | Lapsed):
                log.error("write.broken", exc_info=error)
            await contain(self._writes.leave(work.write))  # if the store is away, the claim runs out
        retry_s = error.retry_after_s if isinstance(error, Unavailable) else None
        raise OutcomeUnknown(
            "whether it was done is not known yet; send it again to learn what came of it",
            retry_after_s=max(_ASK_AGAIN_S, retry_s or 0.0),
            details={"cause": error.reason} if isinstance(error, SidecarError) else None,
        ) from error

    async def _step(self, work: Work) -> None:
        async with asyncio.timeout(_TRY_S):
            work.again_at = await self._steps[work.write.kind].carry_out(work)
        if work.again_at is not None:
            await self._writes.leave(work.write, until=work.again_at)


def _answer(write: Write) -> Write:
    """Return a write as the answer to whoever asked for it; see `Driver.submit`."""
    if write.state.is_ended:
        if write.failure is not None:
            raise error_of(write.failure)
    elif not write.state.is_taken:
        raise OutcomeUnknown("it is under way; send it again to learn what came of it", retry_after_s=_ASK_AGAIN_S)
    return write
