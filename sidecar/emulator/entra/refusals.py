"""Every refusal of the login server that the emulator knows: one row per AADSTS number.

A row says which HTTP status and OAuth error a number travels with, what else its body carries, and what a caller can do about
it. The texts say what the real ones say, in other words: programs must read the number.

Source: Entra "Microsoft Entra authentication and authorization error codes" page; statuses and OAuth errors as users have
reported them. For the numbers of the 5300 family, 90055, 50196 and the transient ones they are not documented.
"""

from dataclasses import dataclass
from enum import Enum

_POLICY_CLAIMS = '{"access_token":{"capolids":{"essential":true,"values":["9c4f1a52-6f0e-4b39-8a55-1f2f6a3c7d10"]}}}'
_RETRY_AFTER_S = 60


class Cure(Enum):
    """What ends a refusal."""

    CHANGE = "change"
    """Somebody must change the registration, the tenant or the request."""
    RETRY = "retry"
    """Time alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One row: how a number is told."""

    status: int
    error: str
    text: str
    """Filled by `str.format`; what is not known is left as an ellipsis."""
    cure: Cure = Cure.CHANGE
    suberror: str | None = None
    claims: str | None = None
    retry_after_s: int | None = None


def _client(text: str, *, status: int = 401) -> Refusal:
    return Refusal(status=status, error="invalid_client", text=text)


def _request(text: str) -> Refusal:
    return Refusal(status=400, error="invalid_request", text=text)


def _app(text: str) -> Refusal:
    return Refusal(status=400, error="unauthorized_client", text=text)


def _scope(text: str) -> Refusal:
    return Refusal(status=400, error="invalid_scope", text=text)


def _resource(text: str) -> Refusal:
    return Refusal(status=400, error="invalid_resource", text=text)


def _blocked(text: str) -> Refusal:
    return Refusal(status=400, error="invalid_grant", text=text, suberror="message_only", claims=_POLICY_CLAIMS)


def _transient(text: str, *, status: int = 503, error: str = "temporarily_unavailable") -> Refusal:
    return Refusal(status=status, error=error, text=text, cure=Cure.RETRY)


REFUSALS: dict[int, Refusal] = {
    # the credential
    7000215: _client(
        "The client secret is not valid. Send the value of the secret, not its ID, for a secret added to app '{app}'."
    ),
    7000222: _client("The client secret keys of app '{app}' are expired. Add new ones to the app registration."),
    7000216: _client("The 'client_credentials' grant type needs a 'client_assertion' or a 'client_secret'."),
    7000218: _client("The request body must hold a value for 'client_assertion' or 'client_secret'."),
    7000219: _client("The client assertion's audience, issuer or subject is not the expected one."),
    700027: _client("The client assertion failed its signature check. {detail} Thumbprint of the key: '{thumbprint}'."),
    700024: _client("The client assertion is not within its valid time range. Check the clock of the caller."),
    700030: _client("The certificate is not valid here: its subject name '{subject}' is not authorized for the app."),
    700025: _client("Client '{app}' is public: present neither 'client_assertion' nor 'client_secret'.", status=400),
    700211: _client("No federated identity record of the app has the assertion's issuer '{value}'."),
    700212: _client("No federated identity record of the app has the assertion's audience '{value}'."),
    700213: _client("No federated identity record of the app has the assertion's subject '{value}'."),
    700229: _client("Of this directory's own tokens only app-only ones can serve as federated credentials."),
    # the application
    700016: _app("The application '{app}' was not found in the directory '{tenant}'. Wrong tenant, or not consented?"),
    7000112: _app("The application '{app}' is disabled."),
    700011: _app("The application '{app}' was not found in the directory '{tenant}'."),
    70001: _app("The application '{app}' is not supported here: not found, or disabled."),
    65001: Refusal(
        status=400,
        error="invalid_grant",
        text="Nobody has consented to the use of the application '{app}'.",
        suberror="consent_required",
    ),
    # the tenant
    90002: _request(
        "Tenant '{tenant}' was not found. Check the tenant id and the cloud; a tenant without any active subscription "
        "is not found either."
    ),
    900023: _request("The tenant identifier '{tenant}' is neither a GUID nor a valid domain name."),
    900021: _request("The tenant identifier '{tenant}' is not valid; an empty GUID names no tenant."),
    90038: _request("Tenant '{tenant}' lives in the national cloud '{value}'; this request belongs there."),
    900382: _request("A confidential client is not supported in this cross-cloud request."),
    900432: _request("A confidential client is not supported in a cross-cloud request."),
    # the form of the request
    90013: _request("The input is not valid: {detail}."),
    90014: _request("The required field '{value}' has no value."),
    900144: _request("The request body must contain the parameter '{value}'."),
    9002313: _request("The request is malformed or not valid: {detail}."),
    900561: _request("This endpoint accepts POST requests only. Received a {value} request."),
    50011: _request("The redirect URI '{value}' is not registered for the application '{app}'."),
    50049: Refusal(status=400, error="invalid_instance", text="Unknown or invalid instance '{value}'."),
    70003: Refusal(status=400, error="unsupported_grant_type", text="The grant type '{value}' is not supported."),
    # scope and resource
    70011: _scope("The scope '{value}' is not valid."),
    1002012: _scope("The scope '{value}' is not valid: client credentials need a resource followed by '/.default'."),
    700022: _scope("The scope '{value}' is not valid: it names more than one resource."),
    500011: _resource("The resource principal '{value}' was not found in the tenant '{tenant}'. Wrong cloud?"),
    50001: _resource("The resource '{value}' is disabled or does not exist in the tenant '{tenant}'."),
    # policies
    53003: _blocked("Access is blocked by a Conditional Access policy; no token is issued."),
    530032: _blocked("Access is blocked by a security policy of the tenant."),
    530035: _blocked("Access is blocked by the tenant's security defaults."),
    # faults of the service
    90006: _transient("An external server failed; the request can be made again."),
    90012: _transient("The request has timed out.", status=408),
    90024: _transient("The request used up its budget; the service is overloaded."),
    90033: _transient("A service that this request needs is not available for the moment."),
    90090: _transient("The service cannot answer now; the request can be made again.", error="server_error"),
    90091: _transient("The service met an error it can recover from.", status=500, error="server_error"),
    50000: _transient(
        "The token could not be issued because of an error of the service.", status=500, error="server_error"
    ),
    90000: _transient("The service met an internal error.", status=500, error="server_error"),
    # throttling
    90055: Refusal(
        status=429,
        error="temporarily_unavailable",
        text="The tenant sends too many requests.",
        cure=Cure.RETRY,
        retry_after_s=_RETRY_AFTER_S,
    ),
    50196: Refusal(
        status=400,
        error="invalid_request",
        text="The client asks for the same thing in a loop; its requests are refused for a while.",
        cure=Cure.RETRY,
        retry_after_s=_RETRY_AFTER_S,
    ),
}


class LoginError(Exception):
    """A refusal of the login server; `error` and `retry_after_s` overrule the row's."""

    def __init__(
        self, number: int, *, error: str | None = None, retry_after_s: float | None = None, **facts: str
    ) -> None:
        self.number = number
        self.row = REFUSALS[number]
        self.error = error or self.row.error
        self.retry_after_s = self.row.retry_after_s if retry_after_s is None else retry_after_s
        self.text = self.row.text.format_map(_Facts(facts))
        super().__init__(f"AADSTS{number}: {self.text}")


class _Facts(dict[str, str]):
    """What fills a text; a scripted refusal knows nothing of the request's details."""

    def __missing__(self, name: str) -> str:
        return "..."
