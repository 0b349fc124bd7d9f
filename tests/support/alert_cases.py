"""For each alert series on which it must fire, and series like them on which it must not.

Series are written as promtool reads them: a value at each minute. `a+bxn` begins with a and adds b, n times.
"""

from __future__ import annotations

from dataclasses import dataclass

Series = dict[str, str]
_MINUTES = 90
AT_MINUTES = 80
"""When it is looked whether an alert fires."""


@dataclass(frozen=True, slots=True)
class Case:
    """`bad` makes an alert fire; with the series of `good` in place of its own of the same names it does not."""

    bad: Series
    good: Series


def _is(value: float) -> str:
    return f"{value}+0x{_MINUTES}"


def _grows(each_minute: float) -> str:
    return f"0+{each_minute}x{_MINUTES}"


def _quantile(name: str, *, slow_s: str, fast_s: str) -> Case:
    """A histogram all of whose values lie beyond a bound, and one in which they lie below."""
    low, high, most = (
        f'{name}_bucket{{le="{fast_s}"}}',
        f'{name}_bucket{{le="{slow_s}"}}',
        f'{name}_bucket{{le="+Inf"}}',
    )
    return Case(
        bad={low: _is(0), high: _grows(60), most: _grows(60)},
        good={low: _grows(60), high: _grows(60), most: _grows(60)},
    )


def _gauge(name: str, bad: float, good: float) -> Case:
    return Case(bad={name: _is(bad)}, good={name: _is(good)})


def _counter(name: str, each_minute: float = 1, good_each_minute: float = 0) -> Case:
    return Case(bad={name: _grows(each_minute)}, good={name: _grows(good_each_minute)})


def _share(name: str, part: str, *, bad: float, rest: float, whole: str = "") -> Case:
    """A counter that is a large part of another, and one that grows as much without being a large part of it."""
    others = whole or name
    return Case(
        bad={name + part: _grows(bad), others: _grows(rest)},
        good={name + part: _grows(bad), others: _grows(rest * 1_000)},
    )


_EXPIRES = 'exchange_credential_expires_seconds{tenant="acme"}'
_DAY = 86_400

CASES: dict[str, Case] = {
    "ExchangeRoomsStale": _gauge('exchange_rooms{state="stale"}', 2, 0),
    "ExchangeDriftFound": _counter("exchange_room_drift_total"),
    "ExchangeChangesUnannounced": _share(
        "exchange_unannounced_changes_total", "", bad=1, rest=2, whole="exchange_changes_total"
    ),
    "ExchangeChangesLate": _quantile("exchange_hint_to_commit_seconds", slow_s="60.0", fast_s="10.0"),
    "ExchangeDeliverySlow": _quantile("exchange_commit_to_watcher_seconds", slow_s="10.0", fast_s="0.5"),
    "ExchangeLogCutShort": _counter("exchange_log_cut_short_total"),
    "ExchangeWritesUncertain": _share(
        "exchange_writes_total", '{outcome="left"}', bad=2, rest=8, whole='exchange_writes_total{outcome="done"}'
    ),
    "ExchangeTenantPaused": _gauge("exchange_tenants_paused", 1, 0),
    "ExchangeThrottling": _share(
        "exchange_graph_requests_total",
        '{outcome="429"}',
        bad=20,
        rest=60,
        whole='exchange_graph_requests_total{outcome="2xx"}',
    ),
    "ExchangeRequestsFailing": _share(
        "exchange_graph_requests_total",
        '{outcome="timeout"}',
        bad=20,
        rest=60,
        whole='exchange_graph_requests_total{outcome="2xx"}',
    ),
    "ExchangeLineLong": _quantile("exchange_graph_line_duration_seconds", slow_s="30.0", fast_s="1.0"),
    "ExchangeTokensFailing": _counter('exchange_token_requests_total{outcome="unavailable"}'),
    "ExchangeTenantsRefused": _gauge('exchange_tenants{state="consent_missing"}', 1, 0),
    "ExchangeCredentialExpiring": _gauge(_EXPIRES, 10 * _DAY, 15 * _DAY),
    "ExchangeCredentialEnding": _gauge(_EXPIRES, -5, 10 * _DAY),
    "ExchangeClockWrong": _gauge("exchange_clock_ahead_seconds", -120, -2),
    "ExchangeSubscriptionsEnding": _gauge('exchange_subscriptions{state="expiring"}', 3, 0),
    "ExchangeSubscriptionsMissing": _gauge('exchange_subscriptions{state="missing"}', 3, 0),
    "ExchangeWebhookUnreachable": _gauge("exchange_webhook_unreachable", 1, 0),
    "ExchangeNotificationsRefused": Case(
        bad={
            "exchange_notifications_not_stored_total": _grows(1),
            "exchange_requests_too_fast_total": _is(0),
            "exchange_requests_too_much_total": _is(0),
        },
        good={"exchange_notifications_not_stored_total": _is(7)},
    ),
    "ExchangeNotificationsUnknown": _share(
        "exchange_notifications_unknown_total", "", bad=30, rest=2, whole="exchange_notifications_marked_total"
    ),
    "ExchangeDown": _gauge("exchange_serving", 0, 1),
    "ExchangeWorkerSilent": _gauge("exchange_runner_silent_seconds", 90, 2),
    "ExchangeWorkLate": _gauge("exchange_intents_oldest_due_seconds", 2_000, 30),
    "ExchangeWorkFailing": _share(
        "exchange_intents_failed_total",
        '{kind="room.check"}',
        bad=6,
        rest=6,
        whole='exchange_intents_done_total{kind="room.check"}',
    ),
    "ExchangeStoreFailing": Case(
        bad={'exchange_store_errors_total{operation="write"}': _grows(1)},
        good={'exchange_store_errors_total{operation="write"}': f"0+0x{AT_MINUTES - 2} 1+0x{_MINUTES}"},  # over at once
    ),
    "ExchangeStoreSlow": _quantile("exchange_store_write_duration_seconds", slow_s="2.5", fast_s="0.05"),
    "ExchangeDiskFull": Case(
        bad={"exchange_store_free_bytes": _is(900e6), "exchange_store_bytes": _is(1e9)},
        good={"exchange_store_free_bytes": _is(4e9)},
    ),
    "ExchangeLoopLate": _gauge("exchange_loop_lag_seconds", 0.9, 0.02),
    "ExchangeFaults": Case(
        bad={'exchange_rpc_errors_total{code="INTERNAL"}': _is(0), "exchange_loop_failures_total": _grows(1)},
        good={"exchange_loop_failures_total": _is(3)},
    ),
    "ExchangeWatchersTooSlow": _counter('exchange_watches_ended_total{reason="too_slow"}'),
    "ExchangeLimitsReached": _counter('exchange_rpc_errors_total{code="RESOURCE_EXHAUSTED"}', 5, 0.1),
    "ExchangeCallersUnknown": _counter("exchange_rpc_rejected_total", 60, 0.5),
    "ExchangeAccessFilesBroken": _gauge("exchange_access_files_unusable", 1, 0),
    "ExchangeKeyRingsDiffer": Case(
        bad={'exchange_key_ring_keys{instance="a"}': _is(2), 'exchange_key_ring_keys{instance="b"}': _is(1)},
        good={'exchange_key_ring_keys{instance="b"}': _is(2)},
    ),
}


def promtool_tests(rule_files: list[str]) -> dict[str, object]:
    """Return the cases as a file for `promtool test rules`: each alert fires on its bad series and not on the good ones."""
    tests = []
    for alert, case in CASES.items():
        for series, fires in ((case.bad, True), (case.bad | case.good, False)):
            firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": firing,
                            "eval_time": f"{AT_MINUTES}m",
                            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                        }
                    ],
                }
            )
    return {"rule_files": rule_files, "evaluation_interval": "2m", "tests": tests}
