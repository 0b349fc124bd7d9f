"""Changes of bookings as Celery tasks, and the sidecar's chores driven by Celery's beat. Needs the extra `celery`.

`ExchangeChanges` goes beside the application's Celery app; `python -m exchange_client.celery bridge` carries the changes to
its queues. See README.md.
"""

from exchange_client.celery.changes import ExchangeChanges, changes_of
from exchange_client.celery.chores import ExchangeChores
from exchange_client.celery.handling import Patience
from exchange_client.celery.inside import run_bridge_in_workers
from exchange_client.celery.running import BridgeOptions, run_bridge
from exchange_client.celery.shape import SCHEMA, Change

__all__ = [
    "SCHEMA",
    "BridgeOptions",
    "Change",
    "ExchangeChanges",
    "ExchangeChores",
    "Patience",
    "changes_of",
    "run_bridge",
    "run_bridge_in_workers",
]
