"""When a position means nothing any more, and how that is told."""

from __future__ import annotations

from sidecar.errors import ResumeTokenExpired
from sidecar.model.change import SnapshotReason
from sidecar.model.cursor import Cursor
from sidecar.model.ids import TenantUid
from sidecar.store.changes import LogHead


def log_epoch(tenant_uid: TenantUid, head: LogHead) -> str:
    """Return what tells one log from every other within a store.

    A tenant registered anew begins at revision 1 again, under another uid; a restored log goes on under another epoch.
    """
    return f"{head.epoch}.{tenant_uid}" if head.epoch else tenant_uid


def epoch_of(cursor: Cursor) -> str:
    """Return the epoch of a position as callers see it: revisions are comparable within it only."""
    return f"{cursor.store_id}.{cursor.epoch}"


def expired(gap: SnapshotReason) -> ResumeTokenExpired:
    """Return the error for a reader that wants to hear of gaps instead of getting a snapshot."""
    why = "the store was restored" if gap is SnapshotReason.EPOCH_CHANGED else "the changes after it are no longer kept"
    return ResumeTokenExpired(f"the resume token cannot be honoured because {why}; list again, then watch")
