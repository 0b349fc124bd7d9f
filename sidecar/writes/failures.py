"""Refusals that are remembered with a write, or told of a room: from errors to values and back. Pure."""

from __future__ import annotations

from sidecar import errors
from sidecar.errors import MailboxDenied, MailboxWriteDenied, SidecarError
from sidecar.model.room import Room
from sidecar.model.tenant import BLOCKING_REASONS
from sidecar.model.write import Failure

_CLASSES: dict[str, type[SidecarError]] = {
    error.reason: error
    for error in (
        errors.RoomConflict,
        errors.OrganizerUnreachable,
        errors.BookingNotFound,
        errors.BookingOver,
        errors.GraphRefused,
        errors.GraphUnavailable,
        errors.MailboxDenied,
        errors.AccessPending,
        errors.MailboxWriteDenied,
        errors.MailboxNotFound,
        errors.MailboxNotInCloud,
        errors.CredentialRejected,
        errors.CredentialExpired,
        errors.ApplicationNotFound,
        errors.SignInBlocked,
        errors.ConsentMissing,
        errors.ApplicationDisabled,
        errors.DirectoryNotFound,
        errors.TokenFileUnusable,
        errors.CloudMismatch,
        errors.EtagMismatch,
        errors.BookingNotOurs,
        errors.OccurrenceOutOfPlace,
        errors.SeriesUnreadable,
    )
}


def failure_of(error: SidecarError) -> Failure:
    """Return how a refusal is remembered."""
    return Failure(error.reason, error.message, error.details)


def write_denied(error: MailboxDenied) -> MailboxWriteDenied:
    """Say of a refused write what a refusal of reading would not mean: the app may read there, perhaps, but not write."""
    denied = MailboxWriteDenied("the app may not write to this mailbox", details=error.details)
    denied.may_be_done = error.may_be_done
    return denied


def error_of(failure: Failure) -> SidecarError:
    """Return a remembered refusal as it was raised; of a reason that nobody gave a class, as Exchange's refusal."""
    return _CLASSES.get(failure.reason, errors.GraphRefused)(failure.message, details=failure.details)


def refusal_of(room: Room) -> SidecarError | None:
    """Return why nothing can be written for a room; None when nothing is known to stand in the way."""
    if room.suspension is not None:
        return errors.TenantSuspended("the tenant is suspended or deleted")
    problem = room.tenant_problem
    if problem is None or problem.reason not in BLOCKING_REASONS:
        problem = room.problem if room.state.is_blocked else None
    if problem is None:
        return None
    return error_of(Failure(problem.reason, problem.message, problem.metadata))
