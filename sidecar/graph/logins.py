"""What the login service's answers mean to us, and the HTTP client that MSAL is given.

Nothing here logs, and no answer's text is passed on: only its numbers and ids are.

Source: Microsoft Learn "Microsoft Entra authentication and authorization error codes"; MSAL Python 1.39 as read and run.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi
import httpx
import msgspec

from sidecar.errors import (
    ApplicationDisabled,
    ApplicationNotFound,
    CloudMismatch,
    ConsentMissing,
    CredentialExpired,
    CredentialRejected,
    DirectoryNotFound,
    GraphUnavailable,
    SidecarError,
    SignInBlocked,
    TenantBlocked,
    Throttled,
)
from sidecar.graph.refusals import parse_retry_after
from sidecar.settings import GraphSettings

_ID = re.compile(r"[0-9a-zA-Z.-]{1,64}")
_CLAIM_CHARS_MAX = 200
_THROTTLED = frozenset({90055, 50196})
_TRANSIENT = frozenset({50000, 90000, 90006, 90012, 90024, 90033, 90090, 90091})
_TRANSIENT_ERRORS = frozenset({"temporarily_unavailable", "server_error"})
_FEDERATION = "the directory does not trust the identity that the assertion names"
_NO_GRAPH = "the directory does not know the Graph of this cloud"
_OTHER_CLOUD = "the directory is in another of Microsoft's clouds"
_REFUSALS: dict[int, tuple[type[TenantBlocked], str, str]] = {
    # what it is, the cause that people are told by, and a sentence for the log
    7000215: (CredentialRejected, "SECRET_WRONG", "the client secret is not one of the application's"),
    7000222: (CredentialExpired, "", "the client secret has expired"),
    7000216: (CredentialRejected, "NOT_SENT", "the login service got no credential"),
    7000218: (CredentialRejected, "NOT_SENT", "the login service got no credential"),
    7000219: (CredentialRejected, "FEDERATION", _FEDERATION),
    700211: (CredentialRejected, "FEDERATION", _FEDERATION),
    700212: (CredentialRejected, "FEDERATION", _FEDERATION),
    700213: (CredentialRejected, "FEDERATION", _FEDERATION),
    700229: (CredentialRejected, "FEDERATION", _FEDERATION),
    700027: (CredentialRejected, "CERTIFICATE_UNKNOWN", "the certificate is not registered with the application"),
    700030: (CredentialRejected, "CERTIFICATE_UNKNOWN", "the certificate's subject does not match"),
    700025: (
        CredentialRejected,
        "PUBLIC_CLIENT",
        "the application is a public client, which may not have a credential",
    ),
    700024: (CredentialRejected, "CLOCK", "the assertion lies outside its time: this machine's clock is wrong"),
    700016: (ApplicationNotFound, "", "the application id is not known in this directory"),
    700011: (ApplicationNotFound, "", "the application is not known in this directory"),
    70001: (ApplicationNotFound, "", "the application is not known in this directory"),
    7000112: (ApplicationDisabled, "", "the application is disabled in this directory"),
    53003: (SignInBlocked, "CONDITIONAL_ACCESS", "a conditional access policy blocks the application"),
    530032: (SignInBlocked, "SECURITY_SETTINGS", "a security policy blocks the application"),
    530035: (SignInBlocked, "SECURITY_SETTINGS", "the directory's security defaults block the application"),
    65001: (ConsentMissing, "", "nobody has consented to the application's permissions"),
    90002: (DirectoryNotFound, "", "the directory does not exist in this cloud"),
    900021: (DirectoryNotFound, "", "the directory id names no directory"),
    900023: (DirectoryNotFound, "", "the directory id is neither a GUID nor a domain"),
    90038: (CloudMismatch, "", _OTHER_CLOUD),
    900382: (CloudMismatch, "", _OTHER_CLOUD),
    900432: (CloudMismatch, "", _OTHER_CLOUD),
    500011: (CloudMismatch, "GRAPH_UNKNOWN", _NO_GRAPH),
    50001: (CloudMismatch, "GRAPH_UNKNOWN", _NO_GRAPH),
}
"""By AADSTS number. Numbers may be added by Microsoft; one that is not here is a refused credential all the same."""
_UNKNOWN: tuple[type[TenantBlocked], str, str] = (CredentialRejected, "", "the login service refuses the credential")


def login_error(answer: Mapping[str, object], *, status: int | None, retry_after_s: float | None) -> SidecarError:
    """Name what a refusal by the token endpoint means. Branches on the numbers, then on the OAuth code."""
    code = _first_code(answer)
    error = answer.get("error", "")
    details = {"subject": "login"}
    if code:
        details["aadsts"] = f"AADSTS{code}"
    for name in ("correlation_id", "trace_id"):
        value = answer.get(name)
        if isinstance(value, str) and _ID.fullmatch(value):
            details[name] = value
    if status is not None:
        details["status"] = str(status)
    if code in _THROTTLED or status == 429:
        return Throttled("the login service asks us to slow down", retry_after_s=retry_after_s, details=details)
    if not isinstance(error, str):
        # Not the login service's form: whatever stands in front of it answers in Graph's, or in its own.
        return GraphUnavailable("the login service failed to answer", retry_after_s=retry_after_s, details=details)
    if code in _TRANSIENT or error in _TRANSIENT_ERRORS or status == 408 or (status or 0) >= 500:
        return GraphUnavailable("the login service failed to answer", retry_after_s=retry_after_s, details=details)
    refusal, cause, sentence = _REFUSALS.get(code, _UNKNOWN)
    if cause:
        details["cause"] = cause
    return refusal(sentence, details=details)


def _first_code(answer: Mapping[str, object]) -> int:
    codes = answer.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    # Some answers lack the list; the sentence starts with the number.
    found = re.match(r"AADSTS(\d{4,9})\b", str(answer.get("error_description") or ""))
    return int(found[1]) if found else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """What a token says of itself, as far as people are told; "" for what it does not name.

    Nothing may be refused because of it: Microsoft calls its tokens opaque.
    """

    directory_id: str
    audience: str
    application_id: str
    service_principal_id: str
    roles: tuple[str, ...]


def token_claims(token: str) -> TokenClaims | None:
    """Return what a token names, for diagnosis only; None when the token cannot be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    if not isinstance(claims, dict):
        claims = {}
    roles = claims.get("roles", [])
    return TokenClaims(
        directory_id=_claim(claims, "tid"),
        audience=_claim(claims, "aud"),
        application_id=_claim(claims, "appid") or _claim(claims, "azp"),
        service_principal_id=_claim(claims, "oid"),
        roles=tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else (),
    )


def token_roles(token: str) -> tuple[str, ...] | None:
    """Return the permissions that a token names, for diagnosis only; None when the token cannot be read.

    No roles is not a refusal: Exchange's own RBAC for applications leaves no trace in the token.
    """
    claims = token_claims(token)
    return None if claims is None else claims.roles


def _claim(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    return value[:_CLAIM_CHARS_MAX] if isinstance(value, str) else ""


class LoginReply:
    """An answer, in the form MSAL reads."""

    def __init__(self, status_code: int, text: str, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Do nothing: MSAL looks at the status itself, and asks its own wrapper."""


class LoginHttp:
    """MSAL's `http_client` over httpx, so that MSAL obeys our trust, our time-outs and no environment variable.

    One for each MSAL application. It remembers the last status and Retry-After, which MSAL keeps from its caller; that
    stays right when MSAL answers from its memory of refusals, because it then repeats the last answer.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.last_status: int | None = None
        self.last_retry_after_s: float | None = None

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        **_ignored: object,
    ) -> LoginReply:
        """Send a form."""
        # MSAL gives assertions as bytes, which httpx would send as `b'...'`.
        form = {
            name: value.decode() if isinstance(value, bytes) else str(value)
            for name, value in (data or {}).items()
            if value is not None
        }
        return self._reply(self._http.post(url, params=params, data=form, headers=headers))

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_ignored: object,
    ) -> LoginReply:
        """Fetch a document."""
        return self._reply(self._http.get(url, params=params, headers=headers))

    def close(self) -> None:
        """Do nothing: the connections are shared with other tenants."""

    def _reply(self, response: httpx.Response) -> LoginReply:
        self.last_status = response.status_code
        self.last_retry_after_s = parse_retry_after(response.headers)
        # MSAL logs a body that is not JSON, and half an answer may hold half a token.
        text = response.text if _is_object(response.content) else '{"error": "temporarily_unavailable"}'
        return LoginReply(response.status_code, text, dict(response.headers))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False


def build_login_http(settings: GraphSettings, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Build the client that all tenants' logins share. `transport` is for tests."""
    return httpx.Client(
        verify=build_tls(settings),
        trust_env=False,
        timeout=httpx.Timeout(settings.request_s, connect=settings.connect_s),
        follow_redirects=False,
        transport=transport,
    )


def build_tls(settings: GraphSettings) -> ssl.SSLContext:
    """Build what Microsoft's servers are known by."""
    return trusting(settings.ca_file)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Build what is trusted: the authorities of the file named, else the machine's and, in a bare image, certifi's."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=str(ca_file))
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # A folder of authorities is read on demand and counts as none here; trusting both is right then, too.
        context.load_verify_locations(cafile=certifi.where())
    return context
