"""What a seed decides before anything happens: how large the world is, how unkind, and what goes wrong when. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

from sidecar.emulator.moods import Moods, calm_moods
from sidecar.settings import (
    GraphSettings,
    GrpcSettings,
    Settings,
    StoreSettings,
    SyncSettings,
    TasksSettings,
    WatchSettings,
    WebhookSettings,
)

HOOKS_URL = "https://hooks.example.com"

_STARTS = (
    datetime(2026, 11, 23, 6, 0, tzinfo=UTC),
    datetime(2027, 3, 26, 6, 0, tzinfo=UTC),  # the clocks of Berlin go forward on the 28th
    datetime(2026, 10, 23, 6, 0, tzinfo=UTC),  # and back on the 25th
    datetime(2026, 12, 31, 20, 0, tzinfo=UTC),
    datetime(2028, 2, 28, 22, 0, tzinfo=UTC),
)

_SELDOM_S = 20_000.0

TROUBLES = (
    "crash",
    "webhook_weather",
    "graph_weather",
    "outage",
    "login_outage",
    "subscription_removed",
    "subscription_expired",
    "lifecycle",
    "access_revoked",
    "deliveries_lost",
    "deliveries_held",
    "tokens_revoked",
    "store_fails",
    "clock_set",
    "pause",
    "resync",
    "remap",
    "restart",
    "restore",
    "log_pruned",
    "delta_forgotten",
    "delta_endless",
    "calendar_empty",
)
"""Everything that can go wrong, by the name of the method of `faults.Troubles` that brings it about."""
HARMLESS = (
    "crash",
    "restart",
    "graph_weather",
    "login_outage",
    "tokens_revoked",
    "resync",
    "store_fails",
    "outage",
    "log_pruned",
    "delta_forgotten",
    "delta_endless",
)
"""Troubles in which every change is announced within minutes all the same: Microsoft tries again until it is heard."""
SAID = ("lifecycle",)
"""Troubles in which changes are announced to nobody, and the service is told so: it reads the room at once."""


_NEEDS_ITS_ROOMS = frozenset({"resync", "remap", "restore", "calendar_empty"})
"""Troubles in which somebody asks for something of a room, which a deleted tenant has not, or undoes what an operator did."""


_FORGETS_WRITES = frozenset({"restore", "remap"})
"""Troubles after which the service cannot know any more what it was asked: a promise about repeated requests ends there."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The tenant is at rest for a while, seconds from the start of work: suspended, or deleted and brought back."""

    at_s: float
    lasts_s: float
    is_deletion: bool


@dataclass(frozen=True, slots=True)
class Habits:
    """How a watcher behaves; shares are of messages."""

    cut_share: float = 0.0
    stall_share: float = 0.0
    crash_share: float = 0.0
    """The watcher's process dies, and goes on from what it saved."""
    old_token_share: float = 0.0
    """It reconnects with a token older than its rows, of any age."""
    away_share: float = 0.0
    """Share of its disconnections after which it stays away for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run.

    `troubles` are (when, seconds from the start of work; what), in order of time. `habits` are those of the watchers. `rests`
    follow each other. `calls_count` is how often other programs want to write in rooms' calendars through the API,
    `invites_count` in people's. `drivers_count` is of task runners outside; without any the service's own schedule drives.
    """

    seed: int
    start_at: datetime
    rooms_count: int
    people_count: int
    watchers_count: int
    heartbeat_s: int
    actions_count: int
    duration_s: float
    habits: Habits
    moods: Moods
    settings: Settings
    troubles: tuple[tuple[float, str], ...]
    rests: tuple[Rest, ...] = ()
    calls_count: int = 0
    invites_count: int = 0
    drivers_count: int = 0

    def rng(self, name: str) -> Random:
        """Return the randomness of one part of the world; parts do not disturb each other."""
        return Random(f"{self.seed}/{name}")


def calm_plan(seed: int, *, rooms: int = 1, actions: int = 30, hours: float = 4.0) -> Plan:
    """Return a plan in which nothing goes wrong."""
    return Plan(
        seed=seed,
        start_at=_STARTS[0],
        rooms_count=rooms,
        people_count=2,
        watchers_count=2,
        heartbeat_s=60,
        actions_count=actions,
        duration_s=hours * 3600.0,
        habits=Habits(),
        moods=calm_moods(),
        settings=make_settings(),
        troubles=(),
    )


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed: about half of the seeds have few kinds of trouble, so that each is met alone, too.

    A third of them has only troubles in which nothing need be lost: then everything has to be right again soon.
    """
    rng = Random(f"plan {seed}")
    hours = rng.choice((1.0, 1.0, 3.0, 6.0, 24.0))
    pool = rng.choice((TROUBLES, TROUBLES, HARMLESS + SAID))
    kinds = rng.sample(pool, min(len(pool), rng.choice((0, 1, 2, 3, 5, len(TROUBLES)))))
    count = rng.randint(1, 10) if kinds else 0
    duration_s = hours * 3600.0
    troubles = sorted((rng.uniform(0.0, duration_s), rng.choice(kinds)) for _ in range(count))
    calm = rng.random() < 0.4
    compare_interval_s = rng.choice((900.0, 3_600.0, 6 * 3_600.0))
    return replace(
        calm_plan(seed),
        start_at=rng.choice(_STARTS),
        rooms_count=rng.choice((1, 1, 2, 3, 5)),
        people_count=rng.choice((2, 3)),
        watchers_count=rng.choice((1, 2, 3)),
        heartbeat_s=15 if hours * compare_interval_s <= 3_600.0 else 60,
        actions_count=rng.choice((10, 20, 40)),
        duration_s=duration_s,
        habits=rng.choice((Habits(), Habits(0.05, 0.02, 0.03, 0.03, 0.05))),
        moods=calm_moods() if calm else Moods(),
        settings=make_settings(
            past_days=rng.choice((0, 1, 7)),
            future_days=rng.choice((3, 14, 40)),
            compare_interval_s=compare_interval_s,
            # Where full reads are seldom, checks are as well: then only announcements bring what people wait for.
            check_interval_s=compare_interval_s if compare_interval_s > _SELDOM_S else 900.0,
            subscription_minutes=rng.choice((45, 120, 10_000)),
            settle_s=rng.choice((0.0, 1.0)),
            hints_max=rng.choice((1, 8)),
            confirm_max=rng.choice((0, 20)),
            batch_count_max=rng.choice((1, 3, 100)),
            page_size=rng.choice((10, 500)),
        ),
        troubles=tuple(troubles),
    )


def resting_plan(seed: int) -> Plan:
    """Return the plan of a seed with rests of the tenant in it; what the seed means without them stays as it is."""
    plan = plan_of(seed)
    rng = Random(f"rests {seed}")
    count = rng.choice((1, 1, 2, 3))
    span_s = plan.duration_s / count
    rests = tuple(
        Rest(
            at_s=number * span_s + rng.uniform(0.0, span_s / 2),
            lasts_s=rng.choice((0.0, 0.5, 60.0, span_s / 3)),
            is_deletion=rng.random() < 0.4,
        )
        for number in range(count)
    )
    troubles = tuple(trouble for trouble in plan.troubles if trouble[1] not in _NEEDS_ITS_ROOMS)
    return replace(plan, troubles=troubles, rests=rests)


def writing_plan(seed: int) -> Plan:
    """Return the plan of a seed with programs in it that write; what the seed means without them stays as it is."""
    plan = plan_of(seed)
    troubles = tuple(trouble for trouble in plan.troubles if trouble[1] not in _FORGETS_WRITES)
    return replace(plan, troubles=troubles, calls_count=Random(f"writing {seed}").choice((5, 15, 40)))


def inviting_plan(seed: int) -> Plan:
    """Return the plan of a seed with programs in it that write, also in people's calendars; else it stays as it is."""
    return replace(writing_plan(seed), invites_count=Random(f"inviting {seed}").choice((5, 15, 40)))


def driven(plan: Plan) -> Plan:
    """Return a plan in which nothing but task runners outside drives the service; else it stays as it is."""
    settings = plan.settings.model_copy(update={"tasks": plan.settings.tasks.model_copy(update={"runner": "outside"})})
    return replace(plan, settings=settings, drivers_count=Random(f"drivers {plan.seed}").choice((1, 2, 3)))


def outside_plan(seed: int) -> Plan:
    """Return the plan of a seed, driven from outside."""
    return driven(plan_of(seed))


def make_settings(
    *,
    past_days: int = 1,
    future_days: int = 30,
    compare_interval_s: float = 6 * 3_600.0,
    check_interval_s: float = 900.0,
    subscription_minutes: int = 10_000,
    settle_s: float = 1.0,
    hints_max: int = 8,
    confirm_max: int = 20,
    batch_count_max: int = 100,
    page_size: int = 500,
) -> Settings:
    """Return the service's settings; what only costs time here (looks for work that nobody announced) is seldom."""
    return Settings(
        grpc=GrpcSettings(socket=None),
        store=StoreSettings(retention_days=14),
        webhook=WebhookSettings(public_url=HOOKS_URL),
        graph=GraphSettings(page_size=page_size),
        sync=SyncSettings(
            past_days=past_days,
            future_days=future_days,
            settle_s=settle_s,
            hints_max=hints_max,
            confirm_max=confirm_max,
            compare_interval_s=compare_interval_s,
            check_interval_s=check_interval_s,
            subscription_minutes=subscription_minutes,
        ),
        tasks=TasksSettings(sweep_s=60.0),
        watch=WatchSettings(batch_count_max=batch_count_max, tail_count=100),
    )
