"""A Celery app as a user would have it: the example's handler, which here also writes down what it was told.

celery -A tests.support.celery_app worker ...    BROKER_URL and ROOMS_DB as for the example
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from celery import Celery
from example_celery import apply, opened
from exchange_client.celery import BridgeOptions, ExchangeChanges, ExchangeChores, Patience, run_bridge_in_workers

QUEUES_COUNT = 2
POISONED = "T03:33"
"""A booking that begins at this time is one that the handler cannot take."""
PATIENCE = Patience(attempts_max=3, pause_s=0.05)
BEGUN = ".begun"
"""After the name of the table's file: a file with a line for each change that was begun, the number of the process."""
TOLD = "CREATE TABLE IF NOT EXISTS told (place INTEGER PRIMARY KEY, kind TEXT, room TEXT, epoch TEXT, revision INT, name TEXT)"
CALLS = "CREATE TABLE IF NOT EXISTS calls (place INTEGER PRIMARY KEY, id TEXT, failed INTEGER)"

app = Celery("rooms", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.broker_connection_retry_on_startup = True
changes = ExchangeChanges(app, queues=QUEUES_COUNT)
if target := os.environ.get("BRIDGE_TARGET"):
    run_bridge_in_workers(
        changes,
        BridgeOptions(target=target, tenant=os.environ["BRIDGE_TENANT"], cursor=Path(os.environ["BRIDGE_CURSOR"])),
    )
if target := os.environ.get("CHORES_TARGET"):
    chores = ExchangeChores(app, target=target, interval_s=1.0, wait_s=1.0)
    chores.beat()
    chores.run_each("compare-rooms", 2.0)


@changes.handler(patience=PATIENCE)
def on_change(change: dict[str, Any]) -> None:
    """Take a change and write it down, in one transaction; now and then fail at first, and always for POISONED times."""
    with closing(opened(os.environ["ROOMS_DB"])) as db, db:
        db.execute(TOLD)
        db.execute(CALLS)
        known = db.execute("SELECT count(*) FROM calls WHERE id = ?", (change["id"],)).fetchone()[0]
        is_failing = (not known and change["id"][0] in "01") or POISONED in change.get("start_at", "")
        db.execute("INSERT INTO calls (id, failed) VALUES (?, ?)", (change["id"], is_failing))
        if not is_failing:
            with Path(os.environ["ROOMS_DB"] + BEGUN).open("a") as begun:
                print(os.getpid(), file=begun)
            time.sleep(float(os.environ.get("HANDLER_S", "0.01")))  # so that a kill meets it at work
            if apply(db, change):
                values = [change[key] for key in ("kind", "room", "epoch", "revision")]
                told = "INSERT INTO told (kind, room, epoch, revision, name) VALUES (?, ?, ?, ?, ?)"
                db.execute(told, [*values, change["booking"]["name"]])
    if is_failing:
        raise RuntimeError("this one fails")
