"""Every error of ours has a row, and a status says neither too little nor too much."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from sidecar import errors
from sidecar.api.status import describe, has_row
from sidecar.errors import FieldViolation, InvalidArgument, SidecarError
from sidecar.gen.ioffice.exchange.v1.errors_pb2 import ErrorReason
from tests.support.builders import CANARY


def _family(error_class: type[SidecarError]) -> Iterator[type[SidecarError]]:
    yield error_class
    for child in error_class.__subclasses__():
        yield from _family(child)


def _make(error_class: type[SidecarError]) -> SidecarError:
    if issubclass(error_class, InvalidArgument):
        return error_class([FieldViolation("name", "is wrong")])
    if issubclass(error_class, errors.SubscriptionExists):
        return error_class("a sentence", subscription_id=None)
    return error_class("a sentence")


FAMILY = sorted(
    {item for item in _family(SidecarError) if item.__module__ == "sidecar.errors"}, key=lambda item: item.__name__
)


@pytest.mark.parametrize("error_class", FAMILY, ids=lambda item: item.__name__)
def test_every_error_class_has_a_row_with_a_reason_of_the_api(error_class: type[SidecarError]) -> None:
    failure = describe(_make(error_class))
    assert has_row(error_class)
    assert f"ERROR_REASON_{failure.reason}" in ErrorReason.keys()  # noqa: SIM118  (an enum wrapper, not a dict)
    if failure.code is grpc.StatusCode.INTERNAL:
        assert failure.reason == "INTERNAL"
        assert failure.incident_id is not None
    else:
        assert failure.reason == error_class.reason
        assert failure.incident_id is None


def test_code_of_every_reason_is_the_one_its_comment_in_the_protos_says() -> None:
    told = {describe(_make(item)).reason: describe(_make(item)).code.name for item in FAMILY}
    assert told == {
        "FIELD_INVALID": "INVALID_ARGUMENT",
        "RESUME_TOKEN_MALFORMED": "INVALID_ARGUMENT",
        "RESUME_TOKEN_SCOPE_MISMATCH": "INVALID_ARGUMENT",
        "RESUME_TOKEN_EXPIRED": "OUT_OF_RANGE",
        "WATCHER_TOO_SLOW": "RESOURCE_EXHAUSTED",
        "WATCHER_LIMIT": "RESOURCE_EXHAUSTED",
        "CALL_LIMIT": "RESOURCE_EXHAUSTED",
        "BOOKING_NOT_OURS": "FAILED_PRECONDITION",
        "OCCURRENCE_OUT_OF_PLACE": "FAILED_PRECONDITION",
        "SERIES_UNREADABLE": "FAILED_PRECONDITION",
        "CALLER_LIMIT": "RESOURCE_EXHAUSTED",
        "CALLER_REJECTED": "UNAUTHENTICATED",
        "SCOPE_MISSING": "PERMISSION_DENIED",
        "TENANT_NOT_GRANTED": "PERMISSION_DENIED",
        "SERVER_DRAINING": "UNAVAILABLE",
        "ETAG_MISMATCH": "ABORTED",
        "CONSENT_MISSING": "FAILED_PRECONDITION",
        "APPLICATION_DISABLED": "FAILED_PRECONDITION",
        "CREDENTIAL_REJECTED": "FAILED_PRECONDITION",
        "CREDENTIAL_EXPIRED": "FAILED_PRECONDITION",
        "APPLICATION_NOT_FOUND": "FAILED_PRECONDITION",
        "SIGN_IN_BLOCKED": "FAILED_PRECONDITION",
        "EXCHANGE_THROTTLED": "UNAVAILABLE",
        "EXCHANGE_UNAVAILABLE": "UNAVAILABLE",
        "TENANT_NOT_FOUND": "NOT_FOUND",
        "ROOM_NOT_FOUND": "NOT_FOUND",
        "BOOKING_NOT_FOUND": "NOT_FOUND",
        "TASK_NOT_FOUND": "NOT_FOUND",
        "TASK_RUN_NOT_FOUND": "NOT_FOUND",
        "TASK_RUN_TOO_LARGE": "FAILED_PRECONDITION",
        "TASK_RUN_LIMIT": "RESOURCE_EXHAUSTED",
        "DRAIN_LIMIT": "RESOURCE_EXHAUSTED",
        "TENANT_EXISTS": "ALREADY_EXISTS",
        "ROOM_EXISTS": "ALREADY_EXISTS",
        "TENANT_SUSPENDED": "FAILED_PRECONDITION",
        "TENANT_PURGED": "FAILED_PRECONDITION",
        "MAILBOX_DIFFERS": "FAILED_PRECONDITION",
        "AVAILABILITY_TOO_LARGE": "FAILED_PRECONDITION",
        "BOOKING_OVER": "FAILED_PRECONDITION",
        "CHECK_IN_CLOSED": "FAILED_PRECONDITION",
        "STORE_UNAVAILABLE": "UNAVAILABLE",
        "REQUEST_ID_REUSED": "ALREADY_EXISTS",
        "ROOM_CONFLICT": "FAILED_PRECONDITION",
        "ORGANIZER_UNREACHABLE": "FAILED_PRECONDITION",
        "OUTCOME_UNKNOWN": "UNAVAILABLE",
        "MAILBOX_ACCESS_DENIED": "FAILED_PRECONDITION",
        "MAILBOX_WRITE_DENIED": "FAILED_PRECONDITION",
        "MAILBOX_NOT_FOUND": "FAILED_PRECONDITION",
        "MAILBOX_NOT_IN_CLOUD": "FAILED_PRECONDITION",
        "ACCESS_PENDING": "FAILED_PRECONDITION",
        "DIRECTORY_NOT_FOUND": "FAILED_PRECONDITION",
        "CLOUD_MISMATCH": "FAILED_PRECONDITION",
        "TOKEN_FILE_UNUSABLE": "FAILED_PRECONDITION",
        "EXCHANGE_REFUSED": "FAILED_PRECONDITION",
        "INTERNAL": "INTERNAL",
    }


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"SELECT * FROM credentials {CANARY}"),
        errors.SecretUnreadable(CANARY, details={"key": CANARY}),
        errors.StoreConflict(CANARY),
        errors.StoreUnavailable(f'near "SELECT": {CANARY}'),
        errors.GraphUnavailable(f"https://graph.microsoft.com/{CANARY}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_sentence_of_an_error_from_below_is_not_passed_on(error: Exception) -> None:
    failure = describe(error)
    assert CANARY not in failure.message
    assert CANARY.encode() not in failure.details


def test_unknown_error_is_internal_with_a_new_incident_id_each_time() -> None:
    first, second = describe(ValueError("x")), describe(ValueError("x"))
    assert (first.code, first.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert first.incident_id != second.incident_id
    assert (first.incident_id or "?").encode() in first.details


def test_many_long_violations_are_trimmed_to_what_fits() -> None:
    error = InvalidArgument([FieldViolation(f"field{place}" * 30, "é" * 1_000) for place in range(100)])
    failure = describe(error)
    status = status_pb2.Status.FromString(failure.details)
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert 1 <= len(bad.field_violations) <= 20
    assert len(failure.details) < 4096


def test_twenty_violations_are_told_and_not_more() -> None:
    failure = describe(InvalidArgument([FieldViolation(f"f{place}", "is wrong") for place in range(30)]))
    bad = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(failure.details).details[1].Unpack(bad)
    assert [item.field for item in bad.field_violations] == [f"f{place}" for place in range(20)]


def test_details_of_any_size_fit() -> None:
    error = errors.RoomExists("taken", details={f"key{place}" * 50: "x" * 5_000 for place in range(50)})
    assert len(describe(error).details) < 4096


def test_unavailable_says_when_to_come_back() -> None:
    failure = describe(errors.Throttled("slow down", retry_after_s=2.5))
    retry = error_details_pb2.RetryInfo()
    status_pb2.Status.FromString(failure.details).details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 2_500
