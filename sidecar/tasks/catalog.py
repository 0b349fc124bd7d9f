"""The chores by the names that people and task runners outside know them by: what each is for, and how often it is done.

One table. What is not in it nobody has to ask for: it follows something that has a call of its own (`EXCUSED`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar.model.intent import IntentKind, Priority
from sidecar.model.task_run import Subject
from sidecar.settings import Settings
from sidecar.tasks.chores import AUDIT_INTERVAL, PRUNE_INTERVAL, VERIFY_INTERVAL
from sidecar.tasks.tenant_health import QUIET_S

Interval = Callable[[Settings], float | None]
"""Seconds between two runs for one room or tenant; None: something causes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A chore as people know it.

    Attributes:
        priority: of a run that somebody asks for.
    """

    name: str
    kind: IntentKind
    subject: Subject
    description: str
    interval: Interval
    priority: Priority


def _when_caused(_: Settings) -> float | None:
    return None


def _always(interval_s: float) -> Interval:
    return lambda _: interval_s


_TASKS = (
    Task(
        name="audit-subscriptions",
        kind=IntentKind.SUBSCRIPTION_AUDIT,
        subject=Subject.TENANT,
        description="Compare a tenant's subscriptions with those that Microsoft has, and delete strays.",
        interval=_always(AUDIT_INTERVAL.total_seconds()),
        priority=Priority.COMPARE,
    ),
    Task(
        name="check-credentials",
        kind=IntentKind.TENANT_CREDENTIALS,
        subject=Subject.TENANT,
        description="Prove a tenant's next credential, and warn when the current one is about to run out.",
        interval=_when_caused,
        priority=Priority.REPAIR,
    ),
    Task(
        name="check-rooms",
        kind=IntentKind.ROOM_CHECK,
        subject=Subject.ROOM,
        description="Ask which events of a room changed (a delta check), and read them.",
        interval=lambda settings: settings.sync.check_interval_s,
        priority=Priority.CHECK,
    ),
    Task(
        name="compare-rooms",
        kind=IntentKind.ROOM_COMPARE,
        subject=Subject.ROOM,
        description="Read a room's whole calendar, repair differences and count them as drift.",
        interval=lambda settings: settings.sync.compare_interval_s,
        priority=Priority.COMPARE,
    ),
    Task(
        name="ensure-subscriptions",
        kind=IntentKind.ROOM_SUBSCRIBE,
        subject=Subject.ROOM,
        description="Make sure that Microsoft will call about a room: make, renew or repair its subscription.",
        interval=lambda settings: settings.sync.subscription_minutes * 60.0 / 2,
        priority=Priority.REPAIR,
    ),
    Task(
        name="feel-pulse",
        kind=IntentKind.TENANT_PULSE,
        subject=Subject.TENANT,
        description="Notice when Microsoft has answered nothing for a tenant for a while, or has not called.",
        interval=_always(QUIET_S),
        priority=Priority.REPAIR,
    ),
    Task(
        name="look-for-access",
        kind=IntentKind.TENANT_PROPAGATION,
        subject=Subject.TENANT,
        description="Ask rooms again that refuse the app since access was granted; a grant takes up to two days to apply.",
        interval=_when_caused,
        priority=Priority.CHECK,
    ),
    Task(
        name="prune-log",
        kind=IntentKind.LOG_PRUNE,
        subject=Subject.TENANT,
        description="Drop changes, requests and audit entries that are older than they are kept for.",
        interval=_always(PRUNE_INTERVAL.total_seconds()),
        priority=Priority.IMPORT,
    ),
    Task(
        name="read-announced",
        kind=IntentKind.ROOM_SYNC,
        subject=Subject.ROOM,
        description="Read the events that notifications named; a room of which none were named is read as a whole.",
        interval=_when_caused,
        priority=Priority.HINT,
    ),
    Task(
        name="remove-subscriptions",
        kind=IntentKind.SUBSCRIPTION_REMOVE,
        subject=Subject.PLANNED,
        description="Delete subscriptions at Microsoft that nothing uses any more.",
        interval=_when_caused,
        priority=Priority.REPAIR,
    ),
    Task(
        name="remove-test-bookings",
        kind=IntentKind.TEST_BOOKING_REMOVE,
        subject=Subject.PLANNED,
        description="Remove test bookings that could not be removed at once.",
        interval=_when_caused,
        priority=Priority.REPAIR,
    ),
    Task(
        name="settle-writes",
        kind=IntentKind.BOOKING_WRITE,
        subject=Subject.PLANNED,
        description="Bring writes to their end that nobody works on any more.",
        interval=_when_caused,
        priority=Priority.HINT,
    ),
    Task(
        name="verify-tenants",
        kind=IntentKind.TENANT_VERIFY,
        subject=Subject.TENANT,
        description="Find out whether Microsoft accepts a tenant's credential.",
        interval=_always(VERIFY_INTERVAL.total_seconds()),
        priority=Priority.HINT,
    ),
)

TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
"""By name, in its order."""
EXCUSED = frozenset({IntentKind.TENANT_ERASE, IntentKind.TENANT_SCRUB, IntentKind.TENANT_REMOVE})
"""Follow a change of settings, a replaced credential, or DeleteTenant; they are drained with the lane like all the rest."""
