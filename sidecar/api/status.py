"""What went wrong, as gRPC tells it: a code, a sentence, and details that machines read.

One table maps every error class. A status never carries SQL, a stack, a URL, a token or what the caller sent; a fault of
ours carries an incident id that stands in the log beside the cause.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from sidecar import errors
from sidecar.errors import CallerLimit, InvalidArgument, SidecarError, Unavailable

DOMAIN = "exchange.ioffice.com"
DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata under which gRPC clients look for google.rpc.Status."""

_VIOLATIONS_MAX = 20
_SENTENCE_CHARS_MAX = 300
_DETAILS_MAX = 8
_DETAIL_CHARS_MAX = 200
_STATUS_BYTES_MAX = 3_500
"""Clients drop the status with everything in it when details exceed 8 KiB on the wire, where base64 adds a third."""

_CODE = grpc.StatusCode
_INTERNAL = (_CODE.INTERNAL, "INTERNAL", "the sidecar failed; its log says more under the incident id")
_STORE = "the sidecar's own database did not answer; nothing was done"

_TABLE: dict[type[SidecarError], tuple[grpc.StatusCode, str, str | None]] = {
    # code, ErrorReason, sentence; None: the error's own sentence, which is ours and quotes nothing
    errors.SidecarError: _INTERNAL,
    errors.InvalidArgument: (_CODE.INVALID_ARGUMENT, "FIELD_INVALID", None),
    errors.ResumeTokenMalformed: (_CODE.INVALID_ARGUMENT, "RESUME_TOKEN_MALFORMED", None),
    errors.ResumeTokenForeign: (_CODE.INVALID_ARGUMENT, "RESUME_TOKEN_SCOPE_MISMATCH", None),
    errors.ResumeTokenExpired: (_CODE.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", None),
    errors.NotFound: _INTERNAL,
    errors.TenantNotFound: (_CODE.NOT_FOUND, "TENANT_NOT_FOUND", None),
    errors.RoomNotFound: (_CODE.NOT_FOUND, "ROOM_NOT_FOUND", None),
    errors.BookingNotFound: (_CODE.NOT_FOUND, "BOOKING_NOT_FOUND", None),
    errors.TaskNotFound: (_CODE.NOT_FOUND, "TASK_NOT_FOUND", None),
    errors.TaskRunNotFound: (_CODE.NOT_FOUND, "TASK_RUN_NOT_FOUND", None),
    errors.TaskRunTooLarge: (_CODE.FAILED_PRECONDITION, "TASK_RUN_TOO_LARGE", None),
    errors.TaskRunLimit: (_CODE.RESOURCE_EXHAUSTED, "TASK_RUN_LIMIT", None),
    errors.DrainLimit: (_CODE.RESOURCE_EXHAUSTED, "DRAIN_LIMIT", None),
    errors.AvailabilityTooLarge: (_CODE.FAILED_PRECONDITION, "AVAILABILITY_TOO_LARGE", None),
    errors.AlreadyExists: _INTERNAL,
    errors.TenantExists: (_CODE.ALREADY_EXISTS, "TENANT_EXISTS", None),
    errors.RoomExists: (_CODE.ALREADY_EXISTS, "ROOM_EXISTS", None),
    errors.MailboxDiffers: (_CODE.FAILED_PRECONDITION, "MAILBOX_DIFFERS", None),
    errors.PlacesDenied: _INTERNAL,  # these two are told as Problems
    errors.PlacesMissing: _INTERNAL,
    errors.EtagMismatch: (_CODE.ABORTED, "ETAG_MISMATCH", None),
    errors.RequestIdReused: (_CODE.ALREADY_EXISTS, "REQUEST_ID_REUSED", None),
    errors.RoomConflict: (_CODE.FAILED_PRECONDITION, "ROOM_CONFLICT", None),
    errors.OrganizerUnreachable: (_CODE.FAILED_PRECONDITION, "ORGANIZER_UNREACHABLE", None),
    errors.BookingNotOurs: (_CODE.FAILED_PRECONDITION, "BOOKING_NOT_OURS", None),
    errors.OccurrenceOutOfPlace: (_CODE.FAILED_PRECONDITION, "OCCURRENCE_OUT_OF_PLACE", None),
    errors.SeriesUnreadable: (_CODE.FAILED_PRECONDITION, "SERIES_UNREADABLE", None),
    errors.OutcomeUnknown: (_CODE.UNAVAILABLE, "OUTCOME_UNKNOWN", None),
    errors.BookingOver: (_CODE.FAILED_PRECONDITION, "BOOKING_OVER", None),
    errors.CheckInClosed: (_CODE.FAILED_PRECONDITION, "CHECK_IN_CLOSED", None),
    errors.TenantBlocked: _INTERNAL,
    errors.CredentialRejected: (_CODE.FAILED_PRECONDITION, "CREDENTIAL_REJECTED", "Microsoft refused the credential"),
    errors.CredentialExpired: (_CODE.FAILED_PRECONDITION, "CREDENTIAL_EXPIRED", "the credential has expired"),
    errors.ApplicationNotFound: (_CODE.FAILED_PRECONDITION, "APPLICATION_NOT_FOUND", "the directory has no such app"),
    errors.SignInBlocked: (_CODE.FAILED_PRECONDITION, "SIGN_IN_BLOCKED", "a policy of the customer blocks the app"),
    errors.ConsentMissing: (_CODE.FAILED_PRECONDITION, "CONSENT_MISSING", "the customer's app has no permission"),
    errors.TokenFileUnusable: (
        _CODE.FAILED_PRECONDITION,
        "TOKEN_FILE_UNUSABLE",
        "the credential's token file cannot be used",
    ),
    errors.TenantSuspended: (_CODE.FAILED_PRECONDITION, "TENANT_SUSPENDED", None),
    errors.TenantPurged: (_CODE.FAILED_PRECONDITION, "TENANT_PURGED", None),
    errors.ApplicationDisabled: (_CODE.FAILED_PRECONDITION, "APPLICATION_DISABLED", "the customer's app is disabled"),
    errors.DirectoryNotFound: (_CODE.FAILED_PRECONDITION, "DIRECTORY_NOT_FOUND", "there is no such directory"),
    errors.CloudMismatch: (_CODE.FAILED_PRECONDITION, "CLOUD_MISMATCH", "the directory is in another cloud"),
    errors.ClockSkewed: _INTERNAL,  # told as a Problem
    errors.RoomBlocked: _INTERNAL,
    errors.MailboxDenied: (_CODE.FAILED_PRECONDITION, "MAILBOX_ACCESS_DENIED", "the app may not read this mailbox"),
    errors.MailboxWriteDenied: (_CODE.FAILED_PRECONDITION, "MAILBOX_WRITE_DENIED", None),
    errors.AccessPending: (_CODE.FAILED_PRECONDITION, "ACCESS_PENDING", "access to this mailbox is not in effect yet"),
    errors.MailboxNotFound: (_CODE.FAILED_PRECONDITION, "MAILBOX_NOT_FOUND", "no mailbox has this address"),
    errors.MailboxNotInCloud: (
        _CODE.FAILED_PRECONDITION,
        "MAILBOX_NOT_IN_CLOUD",
        "the mailbox is not in Exchange Online",
    ),
    errors.SubscriptionProblem: _INTERNAL,
    errors.SubscriptionRefused: _INTERNAL,  # these two are told as Problems
    errors.WebhookUnreachable: _INTERNAL,
    errors.SubscriptionExists: _INTERNAL,
    errors.SubscriptionGone: _INTERNAL,
    errors.Unavailable: _INTERNAL,
    errors.Throttled: (_CODE.UNAVAILABLE, "EXCHANGE_THROTTLED", "Exchange asks the sidecar to slow down"),
    errors.GraphUnavailable: (_CODE.UNAVAILABLE, "EXCHANGE_UNAVAILABLE", "Exchange cannot be reached"),
    errors.TenantPaused: (_CODE.UNAVAILABLE, "EXCHANGE_UNAVAILABLE", "Exchange does not answer this tenant's calls"),
    errors.GraphRefused: (_CODE.FAILED_PRECONDITION, "EXCHANGE_REFUSED", "Exchange refused the request"),
    errors.DeltaUnusable: _INTERNAL,
    errors.NotificationBodyInvalid: _INTERNAL,
    errors.StoreUnavailable: (_CODE.UNAVAILABLE, "STORE_UNAVAILABLE", _STORE),
    errors.ServerDraining: (_CODE.UNAVAILABLE, "SERVER_DRAINING", None),
    errors.StoreConflict: _INTERNAL,
    errors.SecretUnreadable: _INTERNAL,
    errors.CallerRejected: (_CODE.UNAUTHENTICATED, "CALLER_REJECTED", None),
    errors.ScopeMissing: (_CODE.PERMISSION_DENIED, "SCOPE_MISSING", None),
    errors.TenantNotGranted: (_CODE.PERMISSION_DENIED, "TENANT_NOT_GRANTED", None),
    errors.LimitReached: _INTERNAL,
    errors.WatcherTooSlow: (_CODE.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", None),
    errors.WatcherLimit: (_CODE.RESOURCE_EXHAUSTED, "WATCHER_LIMIT", None),
    errors.CallerLimit: (_CODE.RESOURCE_EXHAUSTED, "CALLER_LIMIT", None),
    errors.CallLimit: (_CODE.RESOURCE_EXHAUSTED, "CALL_LIMIT", None),
    errors.SettingsInvalid: _INTERNAL,
    errors.ApiEnded: _INTERNAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it is told. `incident_id` is None unless the fault is ours."""

    code: grpc.StatusCode
    reason: str
    message: str
    details: bytes
    incident_id: str | None


def has_row(error_class: type[SidecarError]) -> bool:
    """Tell whether the table knows a class itself, not only its base."""
    return error_class in _TABLE


def describe(error: Exception) -> Failure:
    """Return how an error is told to the caller."""
    code, reason, sentence = _row(error)
    incident_id: str | None = None
    metadata: dict[str, str] = {}
    if code is _CODE.INTERNAL:
        incident_id = metadata["incident_id"] = secrets.token_hex(8)
    elif isinstance(error, SidecarError):
        metadata = dict(list(error.details.items())[:_DETAILS_MAX])
    if sentence is None:
        sentence = error.message if isinstance(error, SidecarError) else ""
    message = _cut(sentence, _SENTENCE_CHARS_MAX)
    return build_failure(code, reason, message, metadata, _more(error), incident_id=incident_id)


def build_failure(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: dict[str, str],
    more: list[Message],
    *,
    incident_id: str | None = None,
) -> Failure:
    """Put a status together; details that would make it too large are left out, the last first."""
    status = status_pb2.Status(code=code.value[0], message=message)
    short = {key[:64]: _cut(value, _DETAIL_CHARS_MAX) for key, value in metadata.items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=short))
    for detail in more:
        if isinstance(detail, error_details_pb2.BadRequest):
            _trim(detail, _STATUS_BYTES_MAX - status.ByteSize())
        status.details.add().Pack(detail)
        if status.ByteSize() > _STATUS_BYTES_MAX:
            del status.details[-1]
    details = status.SerializeToString()
    return Failure(code=code, reason=reason, message=message, details=details, incident_id=incident_id)


def _row(error: Exception) -> tuple[grpc.StatusCode, str, str | None]:
    for ancestor in type(error).__mro__:
        if ancestor in _TABLE:
            return _TABLE[ancestor]
    return _INTERNAL


def _more(error: Exception) -> list[Message]:
    """Return the details beyond ErrorInfo."""
    if isinstance(error, InvalidArgument):
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:_VIOLATIONS_MAX]:
            description = _cut(violation.description, _SENTENCE_CHARS_MAX)
            bad.field_violations.add(field=_cut(violation.field, 100), description=description)
        return [bad]
    if isinstance(error, Unavailable | CallerLimit) and error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_s * 1_000))
        return [retry]
    return []


def _trim(bad: error_details_pb2.BadRequest, bytes_max: int) -> None:
    """Leave out violations, the last first, until the rest fits with the envelope around it."""
    while bad.field_violations and bad.ByteSize() + 80 > bytes_max:
        del bad.field_violations[-1]


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."
