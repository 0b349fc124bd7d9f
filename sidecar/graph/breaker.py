"""Whether Microsoft answers a tenant at all; while it does not, nothing is asked but one probe at a time.

A thousand rooms that each try four times to reach what cannot be reached help nobody, and keep Exchange from recovering. A
breaker opens when a tenant's calls fail for a while, one after the other and on different mailboxes, without a single answer
between them. Then every call is refused here, at once, but for a probe; the first answer closes it. A refusal is an answer:
Exchange that denies one mailbox can be reached. One mailbox's trouble never opens a tenant's breaker, and a tenant's
breaker concerns no other tenant.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from random import Random

import structlog

from sidecar.aio.backoff import backoff_s
from sidecar.aio.clock import INSTANT_S, Clock
from sidecar.errors import GraphUnavailable, TenantPaused, Throttled, Unavailable
from sidecar.model.ids import TenantUid

log = structlog.get_logger(__name__)

_FAILURES_MIN = 8
"""Two calls of four tries each; a mailbox and its neighbour that fail once more are no outage."""
_FAILING_MIN_S = 5.0
"""A short blip fails many calls at once; what lasts longer than a call waits in place is an outage."""
_PROBE_BASE_S = 2.0
_PROBE_CAP_S = 120.0
_TENANTS_MAX = 20_000
"""Tenants remembered; beyond that the one not heard of for longest is forgotten, and counts as well."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a tenant's calls are refused here.

    Attributes:
        error: what the last call met.
        since_at: when the first of the calls failed that opened the breaker.
        wait_s: until the next probe may go; 0 when one may, or is under way.
    """

    error: Unavailable
    since_at: datetime
    wait_s: float


class _State(enum.Enum):
    CLOSED = enum.auto()
    OPEN = enum.auto()
    PROBING = enum.auto()


class _Record:
    __slots__ = (
        "answered_s",
        "error",
        "failing_since_at",
        "failing_since_s",
        "failures_count",
        "good_s",
        "is_opening_told",
        "mailbox",
        "probe_s",
        "probes_count",
        "spreads",
        "state",
    )

    def __init__(self) -> None:
        self.state = _State.CLOSED
        self.answered_s: float | None = None
        self.good_s: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the failures in a row."""
        self.failures_count = 0
        self.failing_since_s = 0.0
        self.failing_since_at: datetime | None = None
        self.error: Unavailable | None = None
        self.mailbox: str | None = None
        self.spreads = False
        self.probes_count = 0
        self.probe_s = 0.0
        self.is_opening_told = False


class Passage:
    """One call on its way. Its end is to be told; a call that was cut off says nothing about Microsoft."""

    def __init__(self, breaker: Breaker, tenant_uid: TenantUid, *, is_probe: bool) -> None:
        self._breaker = breaker
        self._tenant_uid = tenant_uid
        self.is_probe = is_probe
        self.is_told = False

    def proceed(self) -> None:
        """Look again, after standing in line.

        Raises:
            TenantPaused: the breaker has opened meanwhile.
        """
        if not self.is_probe:
            self._breaker.refuse_if_open(self._tenant_uid)

    def answered(self, *, is_good: bool = True, is_about_calendars: bool = True) -> None:
        """Note an answer, good or bad: Microsoft can be reached.

        Args:
            is_about_calendars: else it proves nothing about reading them, and does not end the silence.
        """
        self.is_told = True
        self._breaker.note_answer(self._tenant_uid, is_good=is_good, is_about_calendars=is_about_calendars)

    def failed(self, error: Unavailable, *, mailbox: str | None) -> None:
        """Note that there was no answer worth the name.

        Args:
            mailbox: whose trouble it may be; None when it cannot be one mailbox's.
        """
        self.is_told = True
        self._breaker.note_failure(self._tenant_uid, error, mailbox=mailbox, is_probe=self.is_probe)


class Breaker:
    """The breakers of all tenants, for one process."""

    def __init__(self, *, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._records: OrderedDict[TenantUid, _Record] = OrderedDict()

    @property
    def open_count(self) -> int:
        """Tenants whose calls are refused here now."""
        return sum(record.state is not _State.CLOSED for record in tuple(self._records.values()))

    def outage(self, tenant_uid: TenantUid) -> Outage | None:
        """Tell why a tenant's calls are refused; None when they are not."""
        record = self._records.get(tenant_uid)
        if record is None or record.state is _State.CLOSED:
            return None
        assert record.error is not None, "it opened for a reason"
        assert record.failing_since_at is not None, "and at some time"
        return Outage(record.error, record.failing_since_at, max(0.0, record.probe_s - self._clock.monotonic()))

    def take_opening(self, tenant_uid: TenantUid) -> bool:
        """Return True once for each time a breaker opens: somebody is to look into it."""
        record = self._records.get(tenant_uid)
        if record is None or record.state is _State.CLOSED or record.is_opening_told:
            return False
        record.is_opening_told = True
        return True

    def silence_s(self, tenant_uid: TenantUid) -> float | None:
        """Return for how long Microsoft has answered nothing for a tenant, in seconds; None: never since the start."""
        record = self._records.get(tenant_uid)
        if record is None or record.answered_s is None:
            return None
        return self._clock.monotonic() - record.answered_s

    def is_proven(self, tenant_uid: TenantUid, *, within_s: float) -> bool:
        """Tell whether Microsoft has lately done for a tenant what it was asked."""
        record = self._records.get(tenant_uid)
        return record is not None and record.good_s is not None and self._clock.monotonic() - record.good_s < within_s

    @contextmanager
    def passing(self, tenant_uid: TenantUid) -> Iterator[Passage]:
        """Let a call through, and while the breaker is open one probe at a time.

        Raises:
            TenantPaused: it may not go.
        """
        record = self._record(tenant_uid)
        is_probe = record.state is _State.OPEN and record.probe_s - self._clock.monotonic() <= INSTANT_S
        if is_probe:
            record.state = _State.PROBING
        else:
            self.refuse_if_open(tenant_uid)
        passage = Passage(self, tenant_uid, is_probe=is_probe)
        try:
            yield passage
        finally:
            if is_probe and not passage.is_told and record.state is _State.PROBING:
                record.state = _State.OPEN  # cut off, or not sent: the next one may try
                self._schedule_probe(record)

    def refuse_if_open(self, tenant_uid: TenantUid) -> None:
        """Return when calls of the tenant go out.

        Raises:
            TenantPaused: they do not.
        """
        outage = self.outage(tenant_uid)
        if outage is not None:
            raise TenantPaused(
                "Exchange does not answer this tenant's calls; one at a time finds out when it does",
                retry_after_s=max(1.0, outage.wait_s),
                details=outage.error.details,
            )

    def note_answer(self, tenant_uid: TenantUid, *, is_good: bool, is_about_calendars: bool = True) -> None:
        """Note that Microsoft can be reached; see `Passage.answered`."""
        record = self._record(tenant_uid)
        now_s = self._clock.monotonic()
        if is_about_calendars:
            record.answered_s = now_s
        if is_about_calendars and is_good:
            record.good_s = now_s
        if record.state is not _State.CLOSED:
            record.state = _State.CLOSED
            log.info(
                "tenant.resumed",
                tenant_uid=tenant_uid,
                lasted_s=round(now_s - record.failing_since_s, 1),
                probes_count=record.probes_count,
            )
        if record.failures_count:
            record.reset()

    def forget(self, tenant_uid: TenantUid) -> None:
        """Drop what is remembered of a tenant that is gone."""
        self._records.pop(tenant_uid, None)

    def note_failure(self, tenant_uid: TenantUid, error: Unavailable, *, mailbox: str | None, is_probe: bool) -> None:
        """Note a failure; see `Passage.failed`. Only what Microsoft did counts, not trouble of our own."""
        if isinstance(error, TenantPaused) or not isinstance(error, GraphUnavailable | Throttled):
            return
        record = self._record(tenant_uid)
        now_s = self._clock.monotonic()
        if not record.failures_count:
            record.failing_since_s, record.failing_since_at, record.mailbox = now_s, self._clock.now(), mailbox
        record.failures_count += 1
        record.error = error
        record.spreads = record.spreads or mailbox is None or mailbox != record.mailbox
        if is_probe and record.state is _State.PROBING:
            record.state = _State.OPEN
            self._schedule_probe(record)
        elif record.state is _State.CLOSED and self._is_outage(record, now_s):
            record.state = _State.OPEN
            record.probe_s = now_s  # at once: whether it is an outage is found out by asking somebody else
            log.warning(
                "tenant.paused",
                tenant_uid=tenant_uid,
                reason=error.reason,
                failures_count=record.failures_count,
                failing_s=round(now_s - record.failing_since_s, 1),
                **error.details,
            )

    def _is_outage(self, record: _Record, now_s: float) -> bool:
        has_lasted = now_s - record.failing_since_s >= _FAILING_MIN_S
        return record.spreads and record.failures_count >= _FAILURES_MIN and has_lasted

    def _schedule_probe(self, record: _Record) -> None:
        record.probes_count += 1
        wait_s = backoff_s(record.probes_count, base_s=_PROBE_BASE_S, cap_s=_PROBE_CAP_S, rng=self._rng)
        asked_s = record.error.retry_after_s if record.error is not None else None
        record.probe_s = self._clock.monotonic() + max(wait_s, min(asked_s or 0.0, _PROBE_CAP_S))

    def _record(self, tenant_uid: TenantUid) -> _Record:
        record = self._records.get(tenant_uid)
        if record is None:
            record = self._records[tenant_uid] = _Record()
            if len(self._records) > _TENANTS_MAX:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(tenant_uid)
        return record
