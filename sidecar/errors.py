"""The one exception tree of the service.

A class is named by what its catcher can do. `reason` is what callers and operators see (an ErrorReason of the API without
its prefix); `api/status.py` maps every class to a gRPC code. Library exceptions never leave the package that calls the
library: they are caught at the call and raised again as one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class SidecarError(Exception):
    """Root. `details` are values for machines and people; never a secret, a token, a subject or a URL with a query.

    `may_be_done`: of a request to Exchange; False when what was asked for certainly did not happen.
    """

    reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    may_be_done = False

    def __init__(self, message: str, *, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule: the path of the field as the proto names it, and a sentence."""

    field: str
    description: str


class InvalidArgument(SidecarError):
    """The caller's input breaks rules; all of them are told together."""

    reason = "FIELD_INVALID"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in violations[:3]))
        self.violations = tuple(violations)


class ResumeTokenMalformed(SidecarError):
    """The resume token cannot be read."""

    reason = "RESUME_TOKEN_MALFORMED"


class ResumeTokenForeign(SidecarError):
    """The resume token was given out for another tenant or room."""

    reason = "RESUME_TOKEN_SCOPE_MISMATCH"


class ResumeTokenExpired(SidecarError):
    """The log no longer reaches back to the token: list again, then watch."""

    reason = "RESUME_TOKEN_EXPIRED"


class NotFound(SidecarError):
    """Something named does not exist."""


class TenantNotFound(NotFound):
    """No tenant has this name."""

    reason = "TENANT_NOT_FOUND"


class RoomNotFound(NotFound):
    """No room has this name."""

    reason = "ROOM_NOT_FOUND"


class BookingNotFound(NotFound):
    """No booking has this name."""

    reason = "BOOKING_NOT_FOUND"


class TaskNotFound(NotFound):
    """No chore has this name."""

    reason = "TASK_NOT_FOUND"


class TaskRunNotFound(NotFound):
    """No run of a chore has this name, or it is forgotten, or it is about tenants that its reader may not name."""

    reason = "TASK_RUN_NOT_FOUND"


class TaskRunTooLarge(SidecarError):
    """A run would be about too much at once."""

    reason = "TASK_RUN_TOO_LARGE"


class AvailabilityTooLarge(SidecarError):
    """An answer about when rooms are free would be too large; `details["cause"]` says what there is too much of."""

    reason = "AVAILABILITY_TOO_LARGE"


class AlreadyExists(SidecarError):
    """An id is in use for something else."""


class TenantExists(AlreadyExists):
    """The tenant id is in use for another directory, or the tenant is being deleted."""

    reason = "TENANT_EXISTS"


class RoomExists(AlreadyExists):
    """The room id is in use for another mailbox, or the mailbox for another room."""

    reason = "ROOM_EXISTS"


class MailboxDiffers(SidecarError):
    """An address leads to another mailbox than the room's, or cannot be shown to lead to the same."""

    reason = "MAILBOX_DIFFERS"


class EtagMismatch(SidecarError):
    """The caller's version is not the current one."""

    reason = "ETAG_MISMATCH"


class TenantBlocked(SidecarError):
    """Microsoft refuses the tenant as a whole; a person must act, nothing is gained by hurrying."""


class CredentialRejected(TenantBlocked):
    """Microsoft refused the credential."""

    reason = "CREDENTIAL_REJECTED"


class CredentialExpired(CredentialRejected):
    """The credential's time is over."""

    reason = "CREDENTIAL_EXPIRED"


class ApplicationNotFound(CredentialRejected):
    """The directory has no application with this id."""

    reason = "APPLICATION_NOT_FOUND"


class SignInBlocked(CredentialRejected):
    """A policy of the directory keeps the application from signing in."""

    reason = "SIGN_IN_BLOCKED"


class ConsentMissing(TenantBlocked):
    """The app has no permission, or it was withdrawn."""

    reason = "CONSENT_MISSING"


class ApplicationDisabled(ConsentMissing):
    """Somebody has switched the application off in the directory."""

    reason = "APPLICATION_DISABLED"


class DirectoryNotFound(TenantBlocked):
    """The directory does not exist in this cloud."""

    reason = "DIRECTORY_NOT_FOUND"


class TokenFileUnusable(TenantBlocked):
    """The token file of a federated credential cannot be used; `details["cause"]` says why. Whoever runs us must act."""

    reason = "TOKEN_FILE_UNUSABLE"


class TenantSuspended(SidecarError):
    """Nothing may be asked of Microsoft for the tenant: an operator suspended or deleted it."""

    reason = "TENANT_SUSPENDED"


class TenantPurged(SidecarError):
    """The tenant is being erased; nothing brings it back."""

    reason = "TENANT_PURGED"


class CloudMismatch(DirectoryNotFound):
    """The directory is in another cloud than the tenant was registered for."""

    reason = "CLOUD_MISMATCH"


class ClockSkewed(SidecarError):
    """Our clock and Microsoft's differ by more than it allows; what is read is right, and the times that are told are not."""

    reason = "CLOCK_SKEWED"


class RoomBlocked(SidecarError):
    """Exchange refuses one mailbox; the tenant's other rooms may be well."""


class MailboxDenied(RoomBlocked):
    """The app may not read this mailbox."""

    reason = "MAILBOX_ACCESS_DENIED"


class AccessPending(MailboxDenied):
    """The app may not read this mailbox yet; access was granted not long ago, and that takes its time."""

    reason = "ACCESS_PENDING"


class MailboxWriteDenied(MailboxDenied):
    """The app may read this mailbox, and not write to it."""

    reason = "MAILBOX_WRITE_DENIED"


class MailboxNotFound(RoomBlocked):
    """No mailbox has this address."""

    reason = "MAILBOX_NOT_FOUND"


class MailboxNotInCloud(RoomBlocked):
    """The mailbox is not in Exchange Online."""

    reason = "MAILBOX_NOT_IN_CLOUD"


class SubscriptionProblem(SidecarError):
    """Exchange will not notify us of this room's changes; reading it still works."""


class SubscriptionRefused(SubscriptionProblem):
    """Exchange refuses a subscription for this mailbox."""

    reason = "SUBSCRIPTION_REFUSED"


class WebhookUnreachable(SubscriptionProblem):
    """Exchange could not reach our webhook address, or did not get the right answer there."""

    reason = "WEBHOOK_UNREACHABLE"


class SubscriptionExists(SubscriptionProblem):
    """Inner: an equal subscription exists already; `subscription_id` names it when Exchange told."""

    reason = "SUBSCRIPTION_REFUSED"

    def __init__(self, message: str, *, subscription_id: str | None) -> None:
        super().__init__(message)
        self.subscription_id = subscription_id


class SubscriptionGone(SubscriptionProblem):
    """Inner: the subscription does not exist at Exchange any more."""

    reason = "SUBSCRIPTION_REFUSED"


class Unavailable(SidecarError):
    """It may work later; `retry_after_s` says when, if that is known."""

    retryable = True
    may_be_done = True

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class Throttled(Unavailable):
    """Exchange asks us to slow down."""

    reason = "EXCHANGE_THROTTLED"


class GraphUnavailable(Unavailable):
    """Exchange or Microsoft's login cannot be reached, or answers nonsense."""

    reason = "EXCHANGE_UNAVAILABLE"


class TenantPaused(GraphUnavailable):
    """Inner: the tenant's calls go unanswered, so this one was not sent; see `graph.breaker`."""


class GraphRefused(SidecarError):
    """Exchange refused a request for a reason we have no better name for; `details` holds its status and code.

    Asking again without a change gains nothing.
    """

    reason = "EXCHANGE_REFUSED"


class PlacesDenied(SidecarError):
    """The app may not read the organisation's list of rooms; nothing else depends on it."""

    reason = "PLACES_DENIED"


class PlacesMissing(SidecarError):
    """There is no list of rooms, as in some national clouds."""

    reason = "PLACES_UNAVAILABLE"


class DeltaUnusable(SidecarError):
    """Inner: what changed since a delta link cannot be learned from it; read everything and begin with another link.

    `is_endless`: the pages had no end. Another link would most likely not help, so this one mailbox does without for a while.
    """

    reason = "EXCHANGE_REFUSED"

    def __init__(self, message: str, *, is_endless: bool = False, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message, details=details)
        self.is_endless = is_endless


class RequestIdReused(AlreadyExists):
    """The request id was used for a request with other contents."""

    reason = "REQUEST_ID_REUSED"


class RoomConflict(SidecarError):
    """The room is taken at the time asked for; `details` hold the other's window, and nothing else of it."""

    reason = "ROOM_CONFLICT"


class OrganizerUnreachable(SidecarError):
    """The application may not write to the organizer's calendar, or there is none; `details["cause"]` says which."""

    reason = "ORGANIZER_UNREACHABLE"


class BookingNotOurs(SidecarError):
    """The meeting lies in somebody's calendar and is not ours; or all that follow in a series there were meant."""

    reason = "BOOKING_NOT_OURS"


class OccurrenceOutOfPlace(SidecarError):
    """Exchange does not move an occurrence past, or onto, another one of its series."""

    reason = "OCCURRENCE_OUT_OF_PLACE"


class SeriesUnreadable(SidecarError):
    """Exchange tells a pattern, a zone or times of a series that this version cannot work with."""

    reason = "SERIES_UNREADABLE"


class OutcomeUnknown(Unavailable):
    """Whether Exchange did it is not known yet; the same request, sent again, gets the answer."""

    reason = "OUTCOME_UNKNOWN"


class BookingOver(SidecarError):
    """The booking does not take the room any more."""

    reason = "BOOKING_OVER"


class CheckInClosed(SidecarError):
    """Nobody can have come to the booking then; `details` hold open_time and close_time."""

    reason = "CHECK_IN_CLOSED"


class NotificationBodyInvalid(SidecarError):
    """Inner: what came to the webhook is not a body of notifications, or holds too many."""

    reason = "FIELD_INVALID"


class StoreUnavailable(Unavailable):
    """Our own database did not do it; nothing was changed."""

    reason = "STORE_UNAVAILABLE"


class ServerDraining(Unavailable):
    """The server is shutting down."""

    reason = "SERVER_DRAINING"


class StoreConflict(SidecarError):
    """Inner: what was read before has changed, or our lease is lost; do it again from the start."""

    reason = "STORE_CONFLICT"


class SecretUnreadable(SidecarError):
    """A sealed secret cannot be opened: its key is not in the key ring, or the record was tampered with."""

    reason = "SECRET_UNREADABLE"


class LimitReached(SidecarError):
    """A limit of this server."""


class CallerRejected(SidecarError):
    """Whoever calls is not known; `details["cause"]` says in which way."""

    reason = "CALLER_REJECTED"


class ScopeMissing(SidecarError):
    """Whoever calls is known, and not allowed to do this."""

    reason = "SCOPE_MISSING"


class TenantNotGranted(SidecarError):
    """Whoever calls may not make a tenant with this id, whether or not there is one."""

    reason = "TENANT_NOT_GRANTED"


class WatcherTooSlow(LimitReached):
    """A reader did not take messages for too long."""

    reason = "WATCHER_TOO_SLOW"


class WatcherLimit(LimitReached):
    """Too many watches are open."""

    reason = "WATCHER_LIMIT"


class CallLimit(LimitReached):
    """Too many calls are under way."""

    reason = "CALL_LIMIT"


class DrainLimit(LimitReached):
    """This process drains as many lanes on request as it may: call again, or another process."""

    reason = "DRAIN_LIMIT"


class TaskRunLimit(LimitReached):
    """Too many runs are under way already."""

    reason = "TASK_RUN_LIMIT"


class CallerLimit(LimitReached):
    """One caller asks for more than its share; `retry_after_s` says when it may ask again."""

    reason = "CALLER_LIMIT"
    retryable = True

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class ApiEnded(SidecarError):
    """Inner: the gRPC server is gone though nobody stopped it; only a new process helps."""

    reason = "INTERNAL"


class SettingsInvalid(SidecarError):
    """The configuration breaks rules; `details` holds one sentence for each setting."""

    reason = "SETTINGS_INVALID"
