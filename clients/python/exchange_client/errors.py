"""The one exception tree of the client. Subclasses are named by what the catcher can do; no gRPC type is needed.

`from_rpc` is the only place that knows how a failed call looks in gRPC: the service's `google.rpc.Status` travels in the
trailing metadata, with ErrorInfo (reason), BadRequest (violations) and RetryInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DOMAIN = "exchange.ioffice.com"
"""Only reasons of this domain are the service's own."""


class Violation(NamedTuple):
    """One field of a request that breaks a rule."""

    field: str
    description: str


class ExchangeError(Exception):
    """Root of all errors of a call.

    Attributes:
        message: one English sentence for a person.
        code: name of the gRPC status, such as "NOT_FOUND".
        reason: name of an ErrorReason without its prefix, such as "ROOM_NOT_FOUND"; empty when the service itself did not
            answer (no connection, a proxy in between).
        metadata: the values that appear in the message; `incident_id` for a fault of the service.
        retry_after_s: seconds the service asks to wait before calling again; None when it does not say.
        violations: which fields of the request break a rule.
        retryable: the same call may succeed later without anybody acting. All calls of this client are safe to repeat.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        code: str = "UNKNOWN",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: tuple[Violation, ...] = (),
    ) -> None:
        # All of it goes to the base class, so that an error survives pickling on its way through a task queue.
        super().__init__(message, code, reason, dict(metadata or {}), retry_after_s, violations)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.violations = violations

    def __str__(self) -> str:
        fields = "".join(f"; {field}: {description}" for field, description in self.violations)
        return f"{self.reason or self.code}: {self.message}{fields}"


class InvalidRequest(ExchangeError):
    """The request breaks a rule; `violations` name the fields. Mend the call."""


class ResumeTokenInvalid(InvalidRequest):
    """The resume token is garbled, or was given out for another tenant or room. Forget it and start without one."""


class NotFound(ExchangeError):
    """There is no such tenant, room or booking."""


class AlreadyExists(ExchangeError):
    """The id is in use for something else."""


class NotReady(ExchangeError):
    """Somebody has to act first: `reason` and the tenant's problems say who (CREDENTIAL_REJECTED, CONSENT_MISSING)."""


class Conflict(ExchangeError):
    """It changed since it was read (the etag differs). Read it again, then decide."""


class RoomConflict(NotReady):
    """The room is taken at that time. `windows` says by what: of the first three when, and nothing else of them."""

    @property
    def windows(self) -> tuple[tuple[datetime, datetime], ...]:
        """Return starts and ends, aware."""
        pairs = [(self.metadata.get(f"start_time{n}"), self.metadata.get(f"end_time{n}")) for n in ("", "_2", "_3")]
        return tuple(
            (datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in pairs if start and end
        )


class RequestIdReused(AlreadyExists):
    """The request id names another wish already. Use a new one."""


class GapError(ExchangeError):
    """The resume token is too old to be honoured. List the bookings, then go on from the token of the listing."""


class AccessDenied(ExchangeError):
    """The service does not accept who is calling."""


class Unsupported(ExchangeError):
    """This server has no such method; it is older than the client."""


class ClientClosed(ExchangeError):
    """The client was closed while the call was under way, or before."""


class InternalError(ExchangeError):
    """A fault of the service or of something in between; `metadata["incident_id"]` is also in the service's log."""


class Unavailable(ExchangeError):
    """The service, or Exchange behind it, does not answer now. Call again later."""

    retryable = True


class DeadlineExceeded(Unavailable):
    """No answer in time. What was asked for may have been done all the same; repeating is safe."""


class OutcomeUnknown(Unavailable):
    """Nobody knows yet whether a write was done. Send the same request again; `metadata["request_id"]` is its id."""


class LimitReached(ExchangeError):
    """A limit of the server is reached. Call again later, and with less at once."""

    retryable = True


class WatcherTooSlow(LimitReached):
    """The watch did not take its messages for too long and was ended. Watches resume by themselves."""


_BY_REASON: dict[str, type[ExchangeError]] = {
    "RESUME_TOKEN_MALFORMED": ResumeTokenInvalid,
    "RESUME_TOKEN_SCOPE_MISMATCH": ResumeTokenInvalid,
    "WATCHER_TOO_SLOW": WatcherTooSlow,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "REQUEST_ID_REUSED": RequestIdReused,
    "ROOM_CONFLICT": RoomConflict,
}
_BY_CODE: dict[str, type[ExchangeError]] = {
    "CANCELLED": Unavailable,  # by the other side: a cancellation of the caller never becomes an error of this tree
    "INVALID_ARGUMENT": InvalidRequest,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "PERMISSION_DENIED": AccessDenied,
    "UNAUTHENTICATED": AccessDenied,
    "RESOURCE_EXHAUSTED": LimitReached,
    "FAILED_PRECONDITION": NotReady,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": GapError,
    "UNIMPLEMENTED": Unsupported,
    "UNAVAILABLE": Unavailable,
}


def from_rpc(error: grpc.RpcError) -> ExchangeError:
    """Make the error that stands for a failed gRPC call, sync or async.

    Details that are missing, garbled or from another domain are left out; the code alone then decides the class.
    """
    code = error.code().name
    info, retry, bad_request = _read_details(error)
    return (_BY_REASON.get(info.reason) or _BY_CODE.get(code, InternalError))(
        error.details() or f"the call failed with {code}",
        code,
        info.reason,
        dict(info.metadata),
        retry.retry_delay.ToNanoseconds() / 1_000_000_000 if retry.HasField("retry_delay") else None,
        tuple(Violation(item.field, item.description) for item in bad_request.field_violations),
    )


def _read_details(
    error: grpc.RpcError,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest]:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad_request, candidate = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            if detail.Unpack(candidate):
                if candidate.domain == DOMAIN:
                    info.CopyFrom(candidate)
            elif not detail.Unpack(retry):
                detail.Unpack(bad_request)
    except (DecodeError, ValueError):  # garbled, or at odds with the status it came with
        pass
    return info, retry, bad_request
