"""The client-credentials grant: reading the form, checking app and credential, making the token's answer.

The first thing wrong decides which refusal is told; the order of the checks below is the order of refusals.

Source: Entra "OAuth 2.0 client credentials flow" page; which number a malformed request gets is not documented.
"""

import base64
import json
from datetime import datetime
from urllib.parse import parse_qsl, unquote_plus

from sidecar.emulator.asgi import Request
from sidecar.emulator.entra.assertions import check_assertion
from sidecar.emulator.entra.clouds import GLOBAL, audience_of, clouds_at_login, is_any_graph
from sidecar.emulator.entra.discovery import CLOUDS
from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.entra.tokens import GRAPH_APP_ID, Tokens
from sidecar.emulator.exchange.app import App, Block, GraphPrincipal, SignIn
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.metering import Charge
from sidecar.emulator.exchange.world import World

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEFAULT_SCOPE = "/.default"
# Resources of Microsoft that every tenant knows besides Graph; their tokens open nothing here.
_OTHER_RESOURCES = frozenset(
    {"https://outlook.office365.com", "https://outlook.office.com", "https://management.azure.com"}
)
_IDENTITY_SCOPES = ("openid", "profile", "offline_access")
_BLOCKS = {Block.CONDITIONAL_ACCESS: 53003, Block.SECURITY_POLICY: 530032, Block.SECURITY_DEFAULTS: 530035}
Form = dict[str, str]


class Granting:
    """Grants tokens to those who may have them."""

    def __init__(self, *, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens

    def grant(self, request: Request, tenant: Tenant, key: str) -> JsonObject:
        """Answer a token request.

        Args:
            key: how the path names the tenant.
        Raises:
            LoginError: the first thing that is wrong.
        """
        clouds = clouds_at_login(request.base_url)
        if tenant.sign_in.cloud not in clouds:
            if GLOBAL not in clouds:
                raise LoginError(90002, tenant=key)
            raise LoginError(90038, tenant=key, value=str(CLOUDS[tenant.sign_in.cloud]["cloud_instance_name"]))
        form = _read_form(request)
        grant = _needed(form, "grant_type")
        if grant != "client_credentials":
            raise LoginError(70003, value=grant)
        client_id, scope = _filled(form, "client_id"), _filled(form, "scope")
        app = self._find_app(tenant, client_id)
        self._slow_down(tenant, app)
        audience = _audience(scope, tenant)
        by_assertion = self._check_credential(request, form, app, (key, tenant.tenant_id))
        if tenant.sign_in.block is not Block.NONE:
            raise LoginError(_BLOCKS[tenant.sign_in.block])
        capable = _is_capable(form.get("claims"))
        token, lifetime_s = self._tokens.mint(
            tenant, app, by_assertion=by_assertion, audience=audience, capable=capable
        )
        answer: JsonObject = {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s}
        if app.tells_refresh:
            answer["refresh_in"] = lifetime_s // 2
        return {**answer, "access_token": token}

    def _find_app(self, tenant: Tenant, client_id: str) -> App:
        app = tenant.apps.get(client_id.lower())
        if app is None:
            raise LoginError(700016, app=client_id, tenant=tenant.display_name)
        if app.disabled:
            raise LoginError(7000112, app=app.client_id)
        return app

    def _slow_down(self, tenant: Tenant, app: App) -> None:
        charge = Charge("token_requests", f"{app.client_id}/{tenant.tenant_id}")
        reached = self._world.admit(tenant, (charge,))
        if reached is not None:
            raise LoginError(50196, retry_after_s=reached[1])

    def _check_credential(self, request: Request, form: Form, app: App, keys: tuple[str, ...]) -> bool:
        """Check secret or assertion; tells whether it was an assertion."""
        now = self._world.now()
        presented = [name for name in ("client_assertion", "client_secret") if name in form]
        if not presented:
            raise LoginError(7000216)
        if app.is_public:
            raise LoginError(700025, app=app.client_id)
        if not form[presented[0]]:
            raise LoginError(7000218)
        if presented[0] == "client_secret":
            _check_secret(form["client_secret"], app, now)
            return False
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise LoginError(900144, value="client_assertion_type")
        endpoints = [f"{request.base_url}/{key}/oauth2/v2.0/token" for key in keys]
        check_assertion(form["client_assertion"], app, endpoints=endpoints, now=now)
        return True


def _check_secret(value: str, app: App, now: datetime) -> None:
    secret = app.secrets.get(value)
    if secret is None or (secret.known_at is not None and secret.known_at > now):
        raise LoginError(7000215, app=app.client_id)
    if secret.expires_at is not None and secret.expires_at <= now:
        raise LoginError(7000222, app=app.client_id)


def _read_form(request: Request) -> Form:
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if request.body and kind != "application/x-www-form-urlencoded":
        raise LoginError(9002313, detail=f"its content type is '{kind}'")
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise LoginError(90013, detail="it is not UTF-8") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise LoginError(9002313, detail="a parameter is there more than once")
    _add_basic(form, request.header("authorization"))
    return form


def _add_basic(form: Form, authorization: str) -> None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        raise LoginError(90013, detail="the Authorization header is not Basic") from None
    form.setdefault("client_id", unquote_plus(client_id))
    form.setdefault("client_secret", unquote_plus(secret))


def _needed(form: Form, name: str) -> str:
    if not form.get(name):
        raise LoginError(900144, value=name)
    return form[name]


def _filled(form: Form, name: str) -> str:
    if name in form and not form[name].strip():
        raise LoginError(90014, value=name)
    return _needed(form, name)


def _audience(scope: str, tenant: Tenant) -> str:
    wanted = [one for one in scope.split() if one not in _IDENTITY_SCOPES]
    resources = {one.removesuffix(_DEFAULT_SCOPE).rstrip("/") for one in wanted}
    if not wanted or any(not one.endswith(_DEFAULT_SCOPE) for one in wanted):
        raise LoginError(1002012, value=scope)
    if len(resources) > 1:
        known = all(_is_graph(one) or one.lower() in _OTHER_RESOURCES for one in resources)
        raise LoginError(700022 if known else 70011, value=scope)
    resource = resources.pop()
    if resource.lower() in (audience_of(tenant.sign_in.cloud), GRAPH_APP_ID):
        _check_principal(resource, tenant.sign_in, tenant)
        return audience_of(tenant.sign_in.cloud)
    if resource.lower() not in _OTHER_RESOURCES:
        raise LoginError(500011, value=resource, tenant=tenant.display_name)
    return resource


def _is_graph(resource: str) -> bool:
    return is_any_graph(resource.lower()) or resource.lower() == GRAPH_APP_ID


def _check_principal(resource: str, sign_in: SignIn, tenant: Tenant) -> None:
    if sign_in.graph_principal is GraphPrincipal.MISSING:
        raise LoginError(500011, value=resource, tenant=tenant.display_name)
    if sign_in.graph_principal is GraphPrincipal.DISABLED:
        raise LoginError(50001, value=resource, tenant=tenant.display_name)


def _is_capable(claims: str | None) -> bool:
    """Tell whether the client says that it can handle claims challenges.

    Raises:
        LoginError: 9002313 when `claims` is not JSON.
    """
    if not claims:
        return False
    try:
        wanted = json.loads(claims)
        values = wanted.get("access_token", {}).get("xms_cc", {}).get("values", [])
    except (ValueError, AttributeError, RecursionError):
        raise LoginError(9002313, detail="the claims are not JSON") from None
    return isinstance(values, list) and "cp1" in {str(value).lower() for value in values}
