"""The login server's documents about itself: what a client library reads before it asks for a token.

Source: OpenID Connect discovery documents and instance discovery as Microsoft serves them to MSAL.
"""

from urllib.parse import urlsplit

from sidecar.emulator.asgi import Request
from sidecar.emulator.entra.refusals import LoginError
from sidecar.emulator.exchange.app import SignIn
from sidecar.emulator.exchange.event import JsonObject

COMMON = ("common", "organizations", "consumers")
_ANY_TENANT = "{tenantid}"
# The hosts that MSAL takes for Microsoft's own.
_KNOWN_HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoft.com",
        "login.windows.net",
        "sts.windows.net",
        "login.chinacloudapi.cn",
        "login.partner.microsoftonline.cn",
        "login.microsoftonline.de",
        "login-us.microsoftonline.com",
        "login.microsoftonline.us",
        "login.usgovcloudapi.net",
        "login.sovcloud-identity.fr",
        "login.sovcloud-identity.de",
        "login.sovcloud-identity.sg",
    }
)
CLOUDS: dict[str, JsonObject] = {
    "global": {
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
    },
    "usGov": {
        "tenant_region_scope": "USGov",
        "cloud_instance_name": "microsoftonline.us",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.us",
    },
    "usGovDod": {
        "tenant_region_scope": "USGov",
        "cloud_instance_name": "microsoftonline.us",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "dod-graph.microsoft.us",
    },
    "china": {
        "tenant_region_scope": "AS",
        "cloud_instance_name": "partner.microsoftonline.cn",
        "cloud_graph_host_name": "graph.chinacloudapi.cn",
        "msgraph_host": "microsoftgraph.chinacloudapi.cn",
    },
}


def instance_document(request: Request) -> JsonObject:
    """Tell where a host's tenant is configured, and from version 1.1 on, which hosts are the same.

    Raises:
        LoginError: 50049 for a host that is neither this one nor Microsoft's.
    """
    endpoint, own = request.query.get("authorization_endpoint", ""), request.header("host")
    try:
        asked, own_name = urlsplit(endpoint), urlsplit(f"//{own}").hostname
    except ValueError:
        raise LoginError(50049, value=endpoint) from None
    host, tenant = own, "common"
    if asked.hostname:
        if asked.hostname not in _KNOWN_HOSTS and asked.hostname != own_name:
            raise LoginError(50049, value=asked.hostname)
        host, tenant = asked.netloc, asked.path.strip("/").split("/")[0] or "common"
    document: JsonObject = {
        "tenant_discovery_endpoint": f"https://{host}/{tenant}/v2.0/.well-known/openid-configuration"
    }
    if request.query.get("api-version", "1.1") != "1.0":
        document["api-version"] = "1.1"
        document["metadata"] = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
    return document


def configuration_document(base_url: str, tenant_id: str | None, sign_in: SignIn, *, version_1: bool) -> JsonObject:
    """Describe the login server for one tenant, or with the tenant left open.

    Args:
        tenant_id: None leaves it open, as below `common`.
        version_1: the older document, whose issuer is the one in tokens for Graph.
    """
    issuer_id, base = tenant_id or _ANY_TENANT, f"{base_url}/{tenant_id or 'common'}"
    oauth2, keys = ("oauth2", "discovery") if version_1 else ("oauth2/v2.0", "discovery/v2.0")
    issuer = f"https://sts.windows.net/{issuer_id}/" if version_1 else f"{base_url}/{issuer_id}/v2.0"
    return {
        "token_endpoint": f"{base}/{oauth2}/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/{keys}/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
        "authorization_endpoint": f"{base}/{oauth2}/authorize",
        "device_authorization_endpoint": f"{base}/{oauth2}/devicecode",
        "http_logout_supported": True,
        "end_session_endpoint": f"{base}/{oauth2}/logout",
        **CLOUDS[sign_in.cloud],
        "rbac_url": "https://pas.windows.net",
    }
