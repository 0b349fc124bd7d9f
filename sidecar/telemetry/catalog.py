"""Every metric the service has: its name, its meaning, its labels and all of their values.

Labels have a fixed set of values, so a metric has as many series as this file says, however many rooms there are. One gauge
has a series for each tenant instead, and says how many at most. Ids are never labels otherwise.

`cli/metrics_table.py` makes the table for people from this file, and a test compares it with what a process shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

PREFIX = "exchange"

COUNTERS: Mapping[str, str] = {
    "changes": "Changes of bookings told to watchers.",
    "room_drift": "Differences older than 5 minutes that a full read found and nothing had named. 0 when nothing is lost.",
    "unannounced_changes": "Changes older than 5 minutes that a check or a full read found and no notification had announced.",
    "delta_checks": "Delta rounds that were read to their end and named what changed in a room.",
    "delta_resets": "Delta links given up, because Exchange had forgotten them or their rounds did not work.",
    "deletions_held": "Bookings that a full read lacked in large number, kept until a second one agrees.",
    "events_broken": "Events of Exchange without a usable start and end.",
    "subscriptions_lost": "Subscriptions that Exchange had dropped by itself.",
    "subscriptions_stray": "Subscriptions at Exchange that call us and that nothing here knew; deleted.",
    "graph_requests": "Requests sent to Graph, by what they are about and how they ended; each try counts.",
    "graph_put_off": "Calls not sent: Exchange named a time that is not over, the line is too long, or the tenant is paused.",
    "token_requests": "Tokens asked of Microsoft's login; kept: it gave none and the one before is still good.",
    "intents_done": "Pieces of background work done.",
    "intents_put_off": "Pieces of background work that Exchange or a state does not allow now; looked at again later.",
    "intents_failed": "Pieces of background work that failed and are tried again.",
    "lanes_lost": "Drains that ended because another process had taken their tenant over.",
    "log_cut_short": "Prunings of a log that dropped changes younger than the days that readers are promised.",
    "writes": "Writes by how they ended; refused: nothing of it is left; left: not known yet, gone on with later.",
    "watches_begun": "Watches begun: resumed at a token, new without one, or with a token that is not honoured any more.",
    "watches_ended": "Watches ended; left: by the reader; failed: refused, or by a fault.",
    "snapshots": "Snapshots of rooms that watches began to send, by their reason.",
    "notifications.marked": "Notifications that marked a room.",
    "notifications.unknown": "Notifications of no subscription of ours, or with a wrong client state; dropped.",
    "notifications.unwanted": "Notifications about tenants that are suspended or deleted; dropped.",
    "notifications.dropped": "Notifications without usable contents; dropped.",
    "notifications.lifecycle_other": "Lifecycle notifications of a kind that this version does not know.",
    "notifications.not_stored": "Notifications refused because the store failed; Graph sends them again.",
    "handshakes.answered": "Validation requests of Graph that were answered.",
    "requests.taken": "Webhook requests whose notifications were taken (202).",
    "requests.misdirected": "Webhook requests to a path without the secret word (404).",
    "requests.malformed": "Webhook requests that could not be read.",
    "requests.too_large": "Webhook requests with too large a body.",
    "requests.too_slow": "Webhook requests whose body took too long.",
    "requests.too_fast": "Webhook requests refused because too many came in one second; Graph sends its own again.",
    "requests.too_much": "Webhook requests refused because all bodies under way were too large; Graph sends its own again.",
    "requests.broken_off": "Webhook requests that ended before their body did.",
    "rpc_calls": "Calls of the API.",
    "rpc_errors": "Calls of the API that failed, by the code that the caller got.",
    "rpc_rejected": "Calls of callers that are not known.",
    "rpc_limited": "Calls refused because one caller was over its own limits.",
    "spans_sent": "Spans that the collector of traces took.",
    "spans_lost": "Spans that the collector of traces did not take, in spite of new tries.",
    "spans_dropped": "Spans that were not kept because too many waited for the collector of traces.",
    "store_errors": "Transactions that the database did not do.",
    "loop_failures": "Parts of the process that ended by a fault and were started again.",
}
"""Name and meaning. In Prometheus: exchange_<name with _ for .>_total."""

DURATIONS: Mapping[str, str] = {
    "mark_duration": "Seconds from the arrival of a webhook body to its marks being durable.",
    "hint_to_commit": "Seconds from when an announced change was due to be read until it was in the copy.",
    "commit_to_watcher": "Seconds from the commit of a change until a watcher that waited for it was sent it; sampled.",
    "graph_request_duration": "Seconds from sending a request to Graph until its whole answer was there.",
    "graph_line_duration": "Seconds that a call to Graph waited for its turn.",
    "write_duration": "Seconds from the request of a write until it was known how it ended, the room's answer included.",
    "rpc_duration": "Seconds a unary call of the API took.",
    "store_read_duration": "Seconds a reading transaction took; sampled.",
    "store_write_duration": "Seconds a writing transaction took, with the wait for its turn.",
}
"""Name and meaning. In Prometheus: exchange_<name>_seconds, a histogram."""

GAUGES: Mapping[str, str] = {
    "rooms": "Rooms of the whole store by the state of their copy.",
    "freshness_oldest_seconds": "Age of the oldest copy, of rooms that are not blocked or paused.",
    "tenants": "Tenants of the whole store by state.",
    "credential_expires_seconds": "Seconds until a tenant's credential runs out, of the 1,000 that run out first.",
    "subscriptions": "Rooms to be announced: by a subscription that lives, that ends within a day unrenewed, or by none.",
    "webhook_unreachable": "1 while Microsoft does not reach the webhook address.",
    "intents_due": "Pieces of background work that are due and not done; counted up to 10,000.",
    "intents_oldest_due_seconds": "How long the oldest of them has been due.",
    "lanes_due": "Tenants that have such work.",
    "store_bytes": "Size of the SQLite database with its write-ahead log. A PostgreSQL tells its own.",
    "store_free_bytes": "Room left on the disk that the SQLite database lies on.",
    "watches_open": "Watches open now.",
    "watches_stalled": "Watches of which a message has not been taken for more than a second.",
    "tenants_paused": "Tenants that Exchange does not answer; one request at a time finds out when it does.",
    "requests_under_way": "Requests to Exchange under way.",
    "requests_waiting": "Requests to Exchange that wait for their turn.",
    "writes_under_way": "Writes that this process carries out now.",
    "clock_ahead_seconds": "How far this machine's clock is ahead of Microsoft's, as dates of its answers tell; to a second.",
    "lanes_draining": "Tenants that this process works for now.",
    "runner_silent_seconds": "How long ago the process last managed to look for background work. 0 without the role worker.",
    "access_files_unusable": "Files that say who may call (callers, TLS) that are broken now; what they said before holds.",
    "key_ring_keys": "Keys of the key ring as this process has read it; compare processes before a new key is promoted.",
    "loop_lag_seconds": "Longest time in the last 15 s that the event loop was late: everything in the process waits as long.",
    "serving": "1 from the end of the start until the process is told to stop.",
    "build_info": "Always 1; the revision is unknown outside an image.",
}
"""Name and meaning. In Prometheus: exchange_<name>."""

OF_STORE = frozenset(
    {
        "rooms",
        "freshness_oldest_seconds",
        "tenants",
        "credential_expires_seconds",
        "subscriptions",
        "webhook_unreachable",
        "intents_due",
        "intents_oldest_due_seconds",
        "lanes_due",
        "store_bytes",
        "store_free_bytes",
    }
)
"""Gauges about the whole store, which each process on it tells alike: take their maximum, not their sum. They are counted when
asked, every 15 seconds at most."""

OPEN: tuple[str, ...] = ()
"""In place of a label's values: they are not known here."""
SERIES_MAX = {"credential_expires_seconds": 1_000}
"""Of metrics with an open label, how many series they have at most: those that matter first."""

_KINDS_OF_WORK = (
    "room.sync",
    "room.check",
    "room.compare",
    "room.subscribe",
    "subscription.remove",
    "subscription.audit",
    "booking.write",
    "tenant.verify",
    "tenant.credentials",
    "tenant.pulse",
    "tenant.erase",
    "tenant.scrub",
    "tenant.propagation",
    "test_booking.remove",
    "tenant.remove",
    "log.prune",
)
_CODES = (
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
)

LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "graph_requests": {
        "about": ("mailbox", "event", "directory", "places", "subscription_create", "subscription"),
        "outcome": ("2xx", "4xx", "429", "5xx", "other", "timeout", "unreachable"),
    },
    "graph_put_off": {"cause": ("named", "line", "paused")},
    "token_requests": {"outcome": ("granted", "kept", "refused", "unavailable")},
    "intents_done": {"kind": _KINDS_OF_WORK},
    "intents_put_off": {"kind": _KINDS_OF_WORK},
    "intents_failed": {"kind": _KINDS_OF_WORK},
    "writes": {
        "kind": ("create", "invite", "release", "update", "cancel", "recall", "reinvite"),
        "outcome": ("done", "refused", "left"),
    },
    "watches_begun": {"how": ("new", "resumed", "gap")},
    "watches_ended": {"reason": ("draining", "max_age", "scope_gone", "too_slow", "failed", "left")},
    "snapshots": {"reason": ("requested", "token_expired", "epoch_changed", "room_added", "resynced")},
    "rpc_errors": {"code": _CODES},
    "store_errors": {"operation": ("read", "write")},
    "rooms": {"state": ("live", "polling", "initializing", "stale", "paused", "blocked")},
    "tenants": {"state": ("verifying", "active", "degraded", "credential_rejected", "consent_missing", "suspended")},
    "credential_expires_seconds": {"tenant": OPEN},
    "subscriptions": {"state": ("alive", "expiring", "missing")},
    "build_info": {"version": OPEN, "revision": OPEN},
}
"""The labels of each metric that has any, in their order, with all of their values."""

PROCESS: Mapping[str, tuple[str, str]] = {
    "process_cpu_seconds_total": ("counter", "Processor time used."),
    "process_resident_memory_bytes": ("gauge", "Memory in use."),
    "process_virtual_memory_bytes": ("gauge", "Address space in use."),
    "process_open_fds": ("gauge", "Open files and connections."),
    "process_max_fds": ("gauge", "How many may be open."),
    "process_start_time_seconds": ("gauge", "When the process began, in seconds since 1970."),
}
"""What Prometheus' own client tells of the process, under its own names: type and meaning."""


def series_of(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the label values of each series of a metric without an open label; () for one without labels."""
    return product(*LABELS.get(name, {}).values())


def shown_name(name: str) -> str:
    """Return a metric's name as Prometheus shows it: of a histogram without _bucket, _sum and _count."""
    shown = f"{PREFIX}_{name.replace('.', '_')}"
    if name in COUNTERS:
        return f"{shown}_total"
    return f"{shown}_seconds" if name in DURATIONS else shown
