"""Microsoft's login server: which path gets what, and how a refusal is written.

Source: Entra "OAuth 2.0 client credentials flow" and "Microsoft Entra authentication and authorization
error codes" pages.
"""

import math
import re
from urllib.parse import urlencode

from sidecar.emulator.asgi import Reply, Request, json_reply
from sidecar.emulator.entra.discovery import COMMON, configuration_document, instance_document
from sidecar.emulator.entra.granting import Granting
from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.entra.tokens import Tokens
from sidecar.emulator.exchange.app import SignIn
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.exchange.world import World

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*", re.IGNORECASE)
_EMPTY_GUID = "00000000-0000-0000-0000-000000000000"


class Login:
    """Answers everything below `login.microsoftonline.com` that a client-credentials client asks for."""

    def __init__(self, *, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._granting = Granting(world=world, tokens=tokens)

    def answer(self, request: Request) -> Reply | None:
        """Answer a login request; None if the path is not one of ours."""
        try:
            return self._answer(request)
        except LoginError as error:
            return self.refuse(request, error)

    def tenant_of(self, request: Request) -> Tenant | None:
        """Tell which tenant a login path names."""
        return self._world.directory.find(request.segments[0])

    def refuse(self, request: Request, error: LoginError) -> Reply:
        """Write a refusal."""
        stamp = self._world.now().strftime("%Y-%m-%d %H:%M:%SZ")
        trace_id = self._world.ids.guid()
        correlation_id = request.header("client-request-id") or self._world.ids.guid()
        parts = (f"AADSTS{error.number}: {error.text}", f"Trace ID: {trace_id}", f"Correlation ID: {correlation_id}")
        share = self._world.moods_of(self.tenant_of(request)).login_line_break_share
        between = "\r\n" if self._world.chance(share) else " "
        description = between.join((*parts, f"Timestamp: {stamp}"))
        body: JsonObject = {
            "error": error.error,
            "error_description": description,
            "error_codes": [error.number],
            "timestamp": stamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
        }
        if error.row.suberror is not None:
            body["suberror"] = error.row.suberror
        if error.row.claims is not None:
            body["claims"] = error.row.claims
        headers = self._headers()
        if error.retry_after_s is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after_s))
        return json_reply(error.row.status, body, headers=headers)

    def _answer(self, request: Request) -> Reply | None:
        match (request.method, *request.segments):
            case ("GET", "common", "discovery", "instance"):
                return json_reply(200, instance_document(request))
            case ("GET", key, "v2.0", ".well-known", "openid-configuration"):
                return json_reply(200, self._configuration(request, key, version_1=False))
            case ("GET", key, ".well-known", "openid-configuration"):
                return json_reply(200, self._configuration(request, key, version_1=True))
            case ("GET", key, "discovery", "v2.0", "keys") | ("GET", key, "discovery", "keys"):
                if key.lower() not in COMMON:
                    self._find(key, error="invalid_tenant")
                return json_reply(200, self._tokens.key_set())
            case ("GET", key, "adminconsent"):
                return self._consent(request, key)
            case ("POST", key, "oauth2", "v2.0", "token"):
                if key.lower() in COMMON:
                    raise LoginError(900023, tenant=key)
                tenant = self._find(key, error="invalid_request")
                return json_reply(200, self._granting.grant(request, tenant, key), headers=self._headers())
            case (method, _, "oauth2", "v2.0", "token"):
                raise LoginError(900561, value=method)
            case _:
                return None

    def _configuration(self, request: Request, key: str, *, version_1: bool) -> JsonObject:
        if key.lower() in COMMON:
            return configuration_document(request.base_url, None, SignIn(), version_1=version_1)
        tenant = self._find(key, error="invalid_tenant")
        return configuration_document(request.base_url, tenant.tenant_id, tenant.sign_in, version_1=version_1)

    def _consent(self, request: Request, key: str) -> Reply:
        """Answer an administrator's consent, given or refused at once as the tenant is set.

        Raises:
            LoginError: 700016 for an unknown app, 50011 for a redirect URI that is not registered.
        """
        tenant, query = self._find(key, error="invalid_request"), request.query
        client_id, target = query.get("client_id", ""), query.get("redirect_uri", "")
        app = tenant.apps.get(client_id.lower())
        if app is None:
            raise LoginError(700016, app=client_id, tenant=tenant.display_name)
        if target not in app.redirect_uris:
            raise LoginError(50011, app=client_id, value=target)
        told = {"tenant": tenant.tenant_id, "state": query.get("state", ""), "admin_consent": "True"}
        if tenant.sign_in.refuses_consent:
            told = {"error": "permission_denied", "error_description": "The administrator did not consent."}
        else:
            app.roles |= app.requested_roles
        return Reply(status=302, headers={"location": f"{target}{'&' if '?' in target else '?'}{urlencode(told)}"})

    def _find(self, key: str, *, error: str) -> Tenant:
        tenant = self._world.directory.find(key)
        if tenant is not None:
            return tenant
        if key == _EMPTY_GUID:
            raise LoginError(900021, error=error, tenant=key)
        if not GUID.fullmatch(key) and not DOMAIN.fullmatch(key):
            raise LoginError(900023, error=error, tenant=key)
        raise LoginError(90002, error=error, tenant=key)

    def _headers(self) -> dict[str, str]:
        return {
            "cache-control": "no-store, no-cache",
            "pragma": "no-cache",
            "x-ms-request-id": self._world.ids.guid(),
            "x-ms-ests-server": "2.1.0 - WEULR1 ProdSlices",
        }
