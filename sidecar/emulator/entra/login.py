"""Microsoft's login server: discovery documents, signing keys, and tokens for client credentials.

Source: Entra "OAuth 2.0 client credentials flow" and "Authentication and authorization error codes" pages.
"""

import base64
from datetime import datetime
from urllib.parse import parse_qsl, unquote_plus

from sidecar.emulator.asgi import Reply, Request, json_reply
from sidecar.emulator.entra.tokens import GRAPH_APP_ID, GRAPH_AUDIENCE, AssertionRefused, Tokens, check_assertion
from sidecar.emulator.exchange.directory import App, Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.world import World

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_COMMON = ("common", "organizations", "consumers")


class LoginError(Exception):
    """A refusal of the login server: AADSTS number, OAuth error, status."""

    def __init__(self, number: int, text: str, *, error: str, status: int = 400) -> None:
        super().__init__(text)
        self.number = number
        self.text = text
        self.error = error
        self.status = status


class Login:
    """Answers everything below `login.microsoftonline.com` that a client-credentials client asks for."""

    def __init__(self, *, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens

    def answer(self, request: Request) -> Reply | None:
        """Answer a login request; None if the path is not one of ours."""
        parts = request.segments
        try:
            match (request.method, *parts):
                case ("GET", "common", "discovery", "instance"):
                    return json_reply(200, self._instance(request))
                case ("GET", tenant, "v2.0", ".well-known", "openid-configuration"):
                    return json_reply(200, self._configuration(request, tenant))
                case ("GET", _, "discovery", "v2.0", "keys") | ("GET", _, "discovery", "keys"):
                    return json_reply(200, self._tokens.key_set())
                case ("POST", tenant, "oauth2", "v2.0", "token"):
                    return self._token_reply(request, tenant)
                case (_, _, "oauth2", "v2.0", "token"):
                    raise LoginError(
                        900561,
                        "The endpoint only accepts POST requests. Received a GET request.",
                        error="invalid_request",
                    )
                case _:
                    return None
        except LoginError as error:
            return self._error_reply(request, error)

    def tenant_of(self, request: Request) -> Tenant | None:
        """Tell which tenant a login path names."""
        return self._world.directory.find(request.segments[0])

    def _instance(self, request: Request) -> JsonObject:
        host = request.header("host")
        return {
            "tenant_discovery_endpoint": f"{request.base_url}/common/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }

    def _configuration(self, request: Request, key: str) -> JsonObject:
        if key.lower() in _COMMON:
            tenant_id, issuer_id = key, "{tenantid}"
        else:
            tenant_id = issuer_id = self._find(key, error="invalid_tenant").tenant_id
        base = f"{request.base_url}/{tenant_id}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{request.base_url}/{issuer_id}/v2.0",
            "request_uri_parameter_supported": False,
            "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "http_logout_supported": True,
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        }

    def _token_reply(self, request: Request, key: str) -> Reply:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        _add_basic(form, request.header("authorization"))
        if key.lower() in _COMMON:
            raise LoginError(
                900023, f"Specified tenant identifier '{key}' is not usable here.", error="invalid_request"
            )
        tenant = self._find(key, error="invalid_request")
        grant = _needed(form, "grant_type")
        if grant != "client_credentials":
            raise LoginError(
                70003, f"The app requested an unsupported grant type '{grant}'.", error="unsupported_grant_type"
            )
        client_id, scope = _needed(form, "client_id"), _needed(form, "scope")
        app = tenant.apps.get(client_id.lower())
        if app is None:
            text = f"Application with identifier '{client_id}' was not found in the directory '{tenant.display_name}'."
            raise LoginError(700016, text, error="unauthorized_client")
        if app.disabled:
            text = f"Application '{app.client_id}'({app.display_name}) is disabled."
            raise LoginError(7000112, text, error="unauthorized_client")
        audience = _audience(scope)
        by_certificate = self._check_credential(request, form, app, key)
        token, lifetime_s = self._tokens.mint(tenant, app, by_certificate=by_certificate, audience=audience)
        body = {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token}
        return json_reply(200, body, headers=self._headers())

    def _check_credential(self, request: Request, form: dict[str, str], app: App, key: str) -> bool:
        """Check secret or assertion; tells whether it was an assertion."""
        now = self._world.now()
        if "client_assertion" in form:
            if form.get("client_assertion_type") != _ASSERTION_TYPE:
                raise LoginError(
                    900144, "The request body must contain 'client_assertion_type'.", error="invalid_request"
                )
            endpoint = f"{request.base_url}/{key}/oauth2/v2.0/token"
            try:
                check_assertion(form["client_assertion"], app, endpoint=endpoint, now=now)
            except AssertionRefused as error:
                raise LoginError(error.number, str(error), error="invalid_client", status=401) from None
            return True
        _check_secret(form.get("client_secret"), app, now)
        return False

    def _find(self, key: str, *, error: str) -> Tenant:
        tenant = self._world.directory.find(key)
        if tenant is None:
            text = (
                f"Tenant '{key}' not found. Check to make sure you have the correct tenant ID and are signing into the "
                "correct cloud. Check with your subscription administrator, this may happen if there are no active "
                "subscriptions for the tenant."
            )
            raise LoginError(90002, text, error=error)
        return tenant

    def _error_reply(self, request: Request, error: LoginError) -> Reply:
        stamp = self._world.now().strftime("%Y-%m-%d %H:%M:%SZ")
        trace_id = self._world.ids.guid()
        correlation_id = request.header("client-request-id") or self._world.ids.guid()
        description = (
            f"AADSTS{error.number}: {error.text} Trace ID: {trace_id} "
            f"Correlation ID: {correlation_id} Timestamp: {stamp}"
        )
        body = {
            "error": error.error,
            "error_description": description,
            "error_codes": [error.number],
            "timestamp": stamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
        }
        return json_reply(error.status, body, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {
            "cache-control": "no-store, no-cache",
            "pragma": "no-cache",
            "x-ms-request-id": self._world.ids.guid(),
            "x-ms-ests-server": "2.1.0 - WEULR1 ProdSlices",
        }


def _check_secret(secret: str | None, app: App, now: datetime) -> None:
    if secret is None:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise LoginError(7000218, text, error="invalid_client", status=401)
    if secret not in app.secrets:
        text = (
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{app.client_id}'."
        )
        raise LoginError(7000215, text, error="invalid_client", status=401)
    expires_at = app.secrets[secret]
    if expires_at is not None and expires_at <= now:
        text = f"The provided client secret keys for app '{app.client_id}' are expired."
        raise LoginError(7000222, text, error="invalid_client", status=401)


def _add_basic(form: dict[str, str], authorization: str) -> None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        client_id, _, secret = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return
    form.setdefault("client_id", unquote_plus(client_id))
    form.setdefault("client_secret", unquote_plus(secret))


def _needed(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        text = f"The request body must contain the following parameter: '{name}'."
        raise LoginError(900144, text, error="invalid_request")
    return form[name]


def _audience(scope: str) -> str:
    wanted = [one for one in scope.split() if one not in ("openid", "profile", "offline_access")]
    resources = {one.removesuffix("/.default") for one in wanted}
    if any(not one.endswith("/.default") for one in wanted) or not wanted:
        text = (
            f"The provided value for scope {scope} is not valid. Client credential flows need a scope with /.default."
        )
        raise LoginError(1002012, text, error="invalid_scope")
    if len(resources) > 1:
        raise LoginError(70011, f"The provided value for scope {scope} is not valid.", error="invalid_scope")
    resource = resources.pop()
    return GRAPH_AUDIENCE if resource.lower() in (GRAPH_AUDIENCE, GRAPH_APP_ID) else resource
