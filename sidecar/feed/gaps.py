"""How a gap is told: a token that cannot be honoured."""

from __future__ import annotations

from sidecar.errors import ResumeTokenExpired
from sidecar.model.change import SnapshotReason


def expired(gap: SnapshotReason) -> ResumeTokenExpired:
    """Return the error for a reader that wants to hear of gaps instead of getting a snapshot."""
    why = "the store was restored" if gap is SnapshotReason.EPOCH_CHANGED else "the changes after it are no longer kept"
    return ResumeTokenExpired(f"the resume token cannot be honoured because {why}; list again, then watch")
