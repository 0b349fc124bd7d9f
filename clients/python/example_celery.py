"""Keep a table of bookings by Celery tasks: the sidecar's bridge sends one for each change, this handler takes them.

    python -m exchange_client.celery bridge --app example_celery --target 127.0.0.1:50551 --tenant demo --cursor ./cursor
    celery -A example_celery worker -c 1 -Q exchange.changes.0,exchange.changes.1

`BROKER_URL` names the broker, `ROOMS_DB` the file of the table.

A change may come again, and, behind a repeat, older ones with it. So a row is kept with its epoch and revision, and only what
is newer counts; a removed booking stays as a row, for the same reason. Every change is one transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import Any

from celery import Celery
from exchange_client.celery import ExchangeChanges

TABLE = """CREATE TABLE IF NOT EXISTS bookings (
    name TEXT PRIMARY KEY, room TEXT NOT NULL, epoch TEXT NOT NULL, revision INTEGER NOT NULL, takes_room INTEGER NOT NULL,
    start_at TEXT NOT NULL, end_at TEXT NOT NULL, snapshot TEXT, body TEXT NOT NULL)"""
BEGUN = """CREATE TABLE IF NOT EXISTS snapshots (
    room TEXT PRIMARY KEY, id TEXT NOT NULL, epoch TEXT NOT NULL, start_at TEXT NOT NULL, end_at TEXT NOT NULL)"""

app = Celery("rooms", broker=os.environ.get("BROKER_URL", "amqp://127.0.0.1:5672//"))
changes = ExchangeChanges(app, queues=2)


@changes.handler
def on_change(change: dict[str, Any]) -> None:
    """Take one change into the table."""
    with closing(opened(os.environ.get("ROOMS_DB", "rooms.sqlite3"))) as db, db:
        apply(db, change)


def opened(path: str) -> sqlite3.Connection:
    """Open the file and make its tables."""
    db = sqlite3.connect(path, timeout=30.0)
    db.execute(TABLE)
    db.execute(BEGUN)
    return db


def apply(db: sqlite3.Connection, change: dict[str, Any]) -> bool:
    """Do what a change says, inside a transaction; tell whether a booking is another than before."""
    room, snapshot = change["room"], change.get("snapshot") or {}
    match change["kind"]:
        case "SNAPSHOT_BEGIN":
            begun = (room, snapshot["id"], change["epoch"], snapshot["start_at"], snapshot["end_at"])
            db.execute("REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)", begun)
        case "SNAPSHOT_ITEM" | "UPSERTED" | "REMOVED" | "LEFT_SCOPE":
            return upsert(db, change)
        case "SNAPSHOT_END":
            sweep(db, room, snapshot)
        case "ROOM_UNMAPPED":
            db.execute("UPDATE bookings SET takes_room = 0 WHERE room = ?", (room,))
        case "TENANT_GONE":
            prefix = change["tenant"] + "/"
            db.execute("DELETE FROM bookings WHERE substr(room, 1, ?) = ?", (len(prefix), prefix))
    return False


def upsert(db: sqlite3.Connection, change: dict[str, Any]) -> bool:
    """Take a booking if it is newer than the row; in a snapshot mark the row in any case."""
    name, mark = change["booking"]["name"], change["takes_room"] and (change["snapshot"] or {}).get("id")
    row = db.execute("SELECT epoch, revision FROM bookings WHERE name = ?", (name,)).fetchone()
    if row is not None and mark:
        db.execute("UPDATE bookings SET snapshot = ? WHERE name = ?", (mark, name))
    if row is not None and row[0] == change["epoch"] and row[1] >= change["revision"]:
        return False
    place = (
        change["room"],
        change["epoch"],
        change["revision"],
        change["takes_room"],
        change["start_at"],
        change["end_at"],
    )
    db.execute(
        "REPLACE INTO bookings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, *place, mark or None, json.dumps(change["booking"])),
    )
    return True


def sweep(db: sqlite3.Connection, room: str, snapshot: dict[str, Any]) -> None:
    """End a snapshot: what it covers and did not name is gone, and so is what is left of an older epoch."""
    begun = db.execute(
        "SELECT epoch, start_at, end_at FROM snapshots WHERE room = ? AND id = ?", (room, snapshot["id"])
    )
    found = begun.fetchone()
    if found is None:
        return  # another one has begun since, and will end
    named = "SELECT count(*) FROM bookings WHERE room = ? AND snapshot = ?"
    if db.execute(named, (room, snapshot["id"])).fetchone()[0] < snapshot["items_count"]:
        return  # something it named went to the dead changes: a row too many is better than one too few
    db.execute(
        "UPDATE bookings SET takes_room = 0 WHERE room = ? AND takes_room AND snapshot IS NOT ?"
        " AND (epoch <> ? OR (start_at < ? AND end_at > ?))",
        (room, snapshot["id"], found[0], found[2], found[1]),
    )
