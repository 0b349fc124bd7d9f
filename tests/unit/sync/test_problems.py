"""What people are told: a sentence of its own for each cause, and none of Microsoft's words."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from sidecar import errors
from sidecar.errors import SidecarError
from sidecar.gen.ioffice.exchange.v1.errors_pb2 import ErrorReason
from sidecar.graph.logins import login_error
from sidecar.model.problem import Actor
from sidecar.model.tenant import CredentialInfo, CredentialKind
from sidecar.sync.problem_texts import TEXTS, text_of
from sidecar.sync.problems import problem_of, tenant_problem_of
from tests.support.builders import CANARY, NOW


def refused(number: int) -> SidecarError:
    """Make a refusal of the login service."""
    answer = {"error": "invalid_client", "error_codes": [number], "error_description": CANARY}
    return login_error(answer, status=401, retry_after_s=None)


SECRET, CERTIFICATE = CredentialKind.CLIENT_SECRET, CredentialKind.CERTIFICATE
YESTERDAY, TOMORROW = NOW - timedelta(days=1), NOW + timedelta(days=1)


def test_every_cause_has_sentences_of_its_own_and_a_reason_of_the_api() -> None:
    """Two causes with one message would be one cause to whoever reads it."""
    assert len({text.message for text in TEXTS.values()}) == len(TEXTS)
    for (reason, _), text in TEXTS.items():
        assert f"ERROR_REASON_{reason}" in ErrorReason.keys()  # noqa: SIM118  (an enum wrapper, not a dict)
        assert text.message.endswith(".")
        assert text.action.endswith(".")
        assert text_of(reason).message, "a cause without sentences of its own falls back to its reason"


@pytest.mark.parametrize(
    ("number", "reason", "cause"),
    [
        (7000215, "CREDENTIAL_REJECTED", "SECRET_WRONG"),
        (7000222, "CREDENTIAL_EXPIRED", ""),
        (700027, "CREDENTIAL_REJECTED", "CERTIFICATE_UNKNOWN"),
        (700024, "CREDENTIAL_REJECTED", "CLOCK"),
        (700016, "APPLICATION_NOT_FOUND", ""),
        (7000112, "APPLICATION_DISABLED", ""),
        (53003, "SIGN_IN_BLOCKED", "CONDITIONAL_ACCESS"),
        (530035, "SIGN_IN_BLOCKED", "SECURITY_SETTINGS"),
        (90002, "DIRECTORY_NOT_FOUND", ""),
        (90038, "CLOUD_MISMATCH", ""),
        (500011, "CLOUD_MISMATCH", "GRAPH_UNKNOWN"),
        (700213, "CREDENTIAL_REJECTED", "FEDERATION"),
        (123456, "CREDENTIAL_REJECTED", ""),
    ],
)
def test_refusal_by_the_login_service_is_told_by_its_cause(number: int, reason: str, cause: str) -> None:
    problem = problem_of(refused(number), now=NOW, next_check_at=None)
    assert (problem.reason, problem.message) == (reason, TEXTS[reason, cause].message)
    assert problem.metadata["aadsts"] == f"AADSTS{number}"
    assert CANARY not in repr(problem)


@pytest.mark.parametrize(
    ("kind", "number", "expires_at", "message"),
    [
        (SECRET, 7000222, YESTERDAY, f"The client secret has expired, on {YESTERDAY:%Y-%m-%d at %H:%M} UTC."),
        (SECRET, 7000222, None, "The client secret has expired."),
        (SECRET, 7000222, TOMORROW, "The client secret has expired."),
        (CERTIFICATE, 700027, YESTERDAY, f"The certificate has expired, on {YESTERDAY:%Y-%m-%d at %H:%M} UTC."),
        (CERTIFICATE, 700027, TOMORROW, TEXTS["CREDENTIAL_REJECTED", "CERTIFICATE_UNKNOWN"].message),
        (SECRET, 7000215, YESTERDAY, TEXTS["CREDENTIAL_REJECTED", "SECRET_WRONG"].message),
    ],
)
def test_expired_credential_is_told_with_the_day_that_is_known(
    kind: CredentialKind, number: int, expires_at: datetime | None, message: str
) -> None:
    """Microsoft says when only to whoever may read the registration, and calls an expired certificate's key unknown."""
    credential = CredentialInfo(application_id="a", kind=kind, fingerprint="f", expires_at=expires_at, proven_at=None)
    assert tenant_problem_of(refused(number), credential, now=NOW, next_check_at=None).message == message


def test_login_that_is_away_is_not_called_exchange() -> None:
    error = errors.GraphUnavailable("x", details={"subject": "login", "cause": "ConnectError"})
    problem = problem_of(error, now=NOW, next_check_at=None)
    assert (problem.reason, problem.actor) == ("EXCHANGE_UNAVAILABLE", Actor.MICROSOFT)
    assert problem.message == TEXTS["EXCHANGE_UNAVAILABLE", "LOGIN"].message
