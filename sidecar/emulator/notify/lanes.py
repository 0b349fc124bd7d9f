"""Notifications on their way: one lane for each URL, from the queue over retries to acceptance or loss.

A lane is looked at when something in it is due, when one of its POSTs has ended, and when room has become free; no task
waits for anything but an answer. Slow peers fill their own share of the POSTs under way and nobody else's.

Source: Graph "Receive change notifications through webhooks" page (3 s for the first attempt, 10 s for each other, exponential
backoff for up to 4 hours).
"""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from sidecar.emulator.exchange.timetable import Timetable
from sidecar.emulator.exchange.world import World
from sidecar.emulator.moods import Moods
from sidecar.emulator.notify.endpoints import PENALTY, end_penalty, host_of, lets_through, note_response
from sidecar.emulator.notify.errands import Errand, ErrandKind
from sidecar.emulator.notify.posting import Attempt, MintValidation, build_body, note_attempt, post
from sidecar.emulator.notify.sender import Sender
from sidecar.emulator.notify.state import (
    NOTIFICATION,
    Batch,
    DeliveryState,
    Endpoint,
    EndpointState,
    Lane,
    Notice,
    lane_key,
)


class EndNotice(Protocol):
    """Hears that a notification has left for good."""

    def __call__(self, notice: Notice, *, is_taken: bool) -> None:
        """Hear of one notification."""


_BATCH_MAX = 100  # notifications in one POST
_GATHER = timedelta(seconds=0.05)  # who is due so soon goes along: busy URLs get 20 POSTs a second, not one per change
_FIRST_TIMEOUT_S = 3.0
_RETRY_TIMEOUT_S = 10.0
_PER_ENDPOINT_MAX = 8  # POSTs at one time to one host
_OVERALL_MAX = 64  # and to all; below the client's own number of connections, so that none waits inside it


class Lanes:
    """The queues of one emulator."""

    def __init__(
        self,
        *,
        world: World,
        state: DeliveryState,
        timetable: Timetable[Errand],
        sender: Sender,
        mint_validation: MintValidation,
        sift: Callable[[Notice], bool],
        end: EndNotice,
        tell_missed: Callable[[str, str], None],
    ) -> None:
        """Build lanes over `state`.

        Args:
            sift: tells whether a notification that is about to be sent is still to be; it puts aside those that are not.
            end: hears of each notification that was taken or given up.
            tell_missed: hears of tenant and subscription ids whose notifications were dropped, once the drop is over.
        """
        self._world = world
        self._state = state
        self._timetable = timetable
        self._sender = sender
        self._mint = mint_validation
        self._sift = sift
        self._end = end
        self._tell_missed = tell_missed
        self._in_flight_count = 0
        self._blocked: dict[str, dict[str, None]] = {}
        """Lanes that wait for room, in the order they began to, by host."""

    def put(self, notice: Notice, *, delay_s: float) -> None:
        """Queue a notification; those for a slow endpoint wait ten minutes longer, those for a dropping one are lost."""
        due_at = self._world.after(delay_s)
        self._count_pending(notice, 1)
        if notice.kind == NOTIFICATION:
            endpoint = self.endpoint(notice.url)
            if endpoint.state is EndpointState.DROP and not endpoint.is_probing:
                self._drop(endpoint, [notice])
                return
            if endpoint.state is EndpointState.SLOW:
                due_at += PENALTY
        lane = self._state.lanes.setdefault(lane_key(notice.kind, notice.url), Lane(kind=notice.kind, url=notice.url))
        heapq.heappush(lane.waiting, (due_at, self._next_number(), notice))
        if lane.look_at is None or due_at < lane.look_at:
            self._look_again(lane, due_at)

    def look(self, key: str) -> None:
        """Send what is due in a lane."""
        lane = self._state.lanes.get(key)
        if lane is not None and lane.look_at is not None and lane.look_at <= self._world.now():
            lane.look_at = None
            self._pump(lane)

    def end_penalty(self, host: str) -> None:
        """Judge an endpoint whose penalty is over."""
        endpoint = self._state.endpoints.get(host)
        if endpoint is not None:
            end_penalty(endpoint, self._world.now())
            self._after_judging(endpoint)

    def endpoint(self, url: str) -> Endpoint:
        """Give the endpoint a URL belongs to."""
        host = host_of(url)
        found = self._state.endpoints.get(host)
        if found is None:
            found = self._state.endpoints[host] = Endpoint(host=host, window_started_at=self._world.now())
        return found

    def resume(self, state: DeliveryState) -> None:
        """Take up what a state holds; a POST that was under way when it was written is made again."""
        self._state = state
        self._in_flight_count = 0
        self._blocked.clear()
        now = self._world.now()
        for endpoint in self._state.endpoints.values():
            endpoint.in_flight_count = 0
            endpoint.look_at = None
            self._after_judging(endpoint)
        for lane in list(self._state.lanes.values()):
            for batch in lane.sending:
                batch.due_at = now
                heapq.heappush(lane.retries, (now, batch.number, batch))
            lane.sending.clear()
            lane.look_at = None
            self._look_again(lane, now)

    def _pump(self, lane: Lane) -> None:
        endpoint = self.endpoint(lane.url)
        now = self._world.now()
        while self._is_due(lane, now):
            if self._is_full(endpoint):
                self._blocked.setdefault(endpoint.host, {})[lane.key] = None
                break
            batch = self._take(lane, now)
            batch.notices = [notice for notice in batch.notices if self._sift_out(notice)]
            if not batch.notices:
                continue
            if lane.kind == NOTIFICATION and not lets_through(endpoint):
                self._drop(endpoint, batch.notices)
                continue
            batch.is_probe = lane.kind == NOTIFICATION and endpoint.is_probing
            self._start(lane, endpoint, batch)
        self._plan(lane, now)

    def _is_due(self, lane: Lane, now: datetime) -> bool:
        return bool(lane.retries and lane.retries[0][0] <= now) or self._is_first_due(lane, now)

    def _is_first_due(self, lane: Lane, now: datetime) -> bool:
        if not lane.waiting or lane.waiting[0][0] > now:
            return False
        moods = self._moods(lane.waiting[0][2].tenant_id)
        is_orderly = moods.notify_shuffle_share == 0
        return not (is_orderly and any(one.attempt == 1 and self._moods_of(one) is moods for one in lane.sending))

    def _take(self, lane: Lane, now: datetime) -> Batch:
        """Take a batch that is due: a retry, else as much of what waits as fits."""
        if lane.retries and lane.retries[0][0] <= now:
            return heapq.heappop(lane.retries)[2]
        notices: list[Notice] = []
        moods = self._moods(lane.waiting[0][2].tenant_id)
        while lane.waiting and lane.waiting[0][0] <= now + _GATHER and len(notices) < _BATCH_MAX:
            if self._moods(lane.waiting[0][2].tenant_id) is not moods:
                break  # tenants in other moods have POSTs of their own, or one's disorder would be another's
            notices.append(heapq.heappop(lane.waiting)[2])
        if self._world.chance(moods.notify_shuffle_share):
            self._world.rng.shuffle(notices)
        return Batch(number=self._next_number(), notices=notices, attempt=1, due_at=now)

    def _sift_out(self, notice: Notice) -> bool:
        if self._sift(notice):
            return True
        self._count_pending(notice, -1)
        return False

    def _start(self, lane: Lane, endpoint: Endpoint, batch: Batch) -> None:
        lane.sending.append(batch)
        endpoint.in_flight_count += 1
        self._in_flight_count += 1

        async def send() -> None:
            is_first = batch.attempt == 1 and not batch.is_probe
            limit_s = _FIRST_TIMEOUT_S if is_first else _RETRY_TIMEOUT_S
            body = build_body(batch.notices, self._world.directory, self._mint)
            attempt = await post(self._sender, lane.url, body, number=batch.attempt, limit_s=limit_s)
            if batch in lane.sending and self._state.lanes.get(lane.key) is lane:  # else another state was taken up
                self._finish(lane, endpoint, batch, attempt)

        self._world.background.spawn(f"post {batch.number} attempt {batch.attempt}", send)

    def _finish(self, lane: Lane, endpoint: Endpoint, batch: Batch, attempt: Attempt) -> None:
        lane.sending.remove(batch)
        endpoint.in_flight_count -= 1
        self._in_flight_count -= 1
        now = self._world.now()
        note_attempt(self._world.directory, batch.notices, attempt, now)
        note_response(
            endpoint,
            took_s=attempt.took_s,
            is_probe=batch.is_probe,
            now=now,
            responses_min=self._moods_of(batch).endpoint_responses_min,
        )
        self._after_judging(endpoint)
        if attempt.is_accepted:
            self._end_all(batch, is_taken=True)
        else:
            self._retry(lane, batch)
        self._pump(lane)
        self._pump_blocked()

    def _retry(self, lane: Lane, batch: Batch) -> None:
        moods = self._moods_of(batch)
        if batch.give_up_at is None:
            batch.give_up_at = self._world.after(moods.retry_for_s)
        batch.wait_s = moods.retry_first_s if batch.attempt == 1 else min(batch.wait_s * 2, moods.retry_max_s)
        batch.attempt += 1
        batch.due_at = self._world.after(batch.wait_s)
        if batch.due_at <= batch.give_up_at:
            heapq.heappush(lane.retries, (batch.due_at, batch.number, batch))
            return
        note_attempt(self._world.directory, batch.notices, Attempt(outcome="given up"), self._world.now())
        self._end_all(batch, is_taken=False)

    def _end_all(self, batch: Batch, *, is_taken: bool) -> None:
        for notice in batch.notices:
            self._count_pending(notice, -1)
            self._end(notice, is_taken=is_taken)

    def _drop(self, endpoint: Endpoint, notices: list[Notice]) -> None:
        note_attempt(self._world.directory, notices, Attempt(outcome="dropped"), self._world.now())
        endpoint.dropped_count += len(notices)
        for notice in notices:
            self._count_pending(notice, -1)
            endpoint.bereft[notice.subscription_id] = notice.tenant_id

    def _after_judging(self, endpoint: Endpoint) -> None:
        """Set a timer for the end of a penalty; tell who lost notifications once a drop is over, or on probation."""
        if endpoint.until is not None and endpoint.until != endpoint.look_at:
            endpoint.look_at = endpoint.until
            self._timetable.add(endpoint.until, Errand(ErrandKind.ENDPOINT, endpoint.host))
        if endpoint.bereft and (endpoint.is_probing or endpoint.state is not EndpointState.DROP):
            bereft, endpoint.bereft = endpoint.bereft, {}
            for subscription_id, tenant_id in bereft.items():
                if self._world.chance(self._moods(tenant_id).drop_missed_share):
                    self._tell_missed(tenant_id, subscription_id)

    def _plan(self, lane: Lane, now: datetime) -> None:
        """Set the timer for what is due later; what is due already waits for a POST to end, which looks here again."""
        later = [heap[0][0] for heap in (lane.waiting, lane.retries) if heap and heap[0][0] > now]
        if later and (lane.look_at is None or min(later) < lane.look_at):
            self._look_again(lane, min(later))
        if not lane.waiting and not lane.retries and not lane.sending:
            self._state.lanes.pop(lane.key, None)

    def _look_again(self, lane: Lane, at: datetime) -> None:
        lane.look_at = at
        self._timetable.add(at, Errand(ErrandKind.LANE, lane.key))

    def _pump_blocked(self) -> None:
        for host in list(self._blocked):
            endpoint, keys = self._state.endpoints[host], self._blocked[host]
            while keys and not self._is_full(endpoint):
                key = next(iter(keys))
                del keys[key]
                lane = self._state.lanes.get(key)
                if lane is not None:
                    self._pump(lane)
            if not keys:
                del self._blocked[host]
            if self._in_flight_count >= _OVERALL_MAX:
                return

    def _is_full(self, endpoint: Endpoint) -> bool:
        return endpoint.in_flight_count >= _PER_ENDPOINT_MAX or self._in_flight_count >= _OVERALL_MAX

    def _moods_of(self, batch: Batch) -> Moods:
        """Give the moods of a batch, which all its tenants shared when it was put together."""
        return self._moods(batch.notices[0].tenant_id)

    def _moods(self, tenant_id: str) -> Moods:
        return self._world.moods_of(self._world.directory.find(tenant_id))

    def _count_pending(self, notice: Notice, change: int) -> None:
        tenant = self._world.directory.find(notice.tenant_id)
        if tenant is not None:
            tenant.deliveries_pending_count += change

    def _next_number(self) -> int:
        self._state.count += 1
        return self._state.count
