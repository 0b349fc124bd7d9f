"""Where Microsoft's separate clouds are reached, and whom a call is for."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.errors import TenantSuspended
from sidecar.model.ids import TenantUid
from sidecar.model.tenant import Cloud, CredentialInfo, Tenant
from sidecar.settings import GraphSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRef:
    """As much of a tenant as a call to Microsoft needs. `directory_id` is a GUID or a verified domain.

    `credential` is the identity of the credential to call with (`CredentialInfo.identity`): a process that loads a tenant
    after a rotation thereby has another one, and does not go on with what it remembers of the former. Empty: the current one.
    """

    tenant_uid: TenantUid
    directory_id: str
    cloud: Cloud
    credential: str = ""


def ref_of(tenant: Tenant, credential: CredentialInfo | None = None) -> TenantRef:
    """Return whom calls to Microsoft are for, with the credential given, or else the current one.

    Raises:
        TenantSuspended: nothing may be asked for the tenant.
    """
    if tenant.is_at_rest:
        raise TenantSuspended("the tenant is suspended or deleted; nothing is asked of Microsoft for it")
    return TenantRef(
        tenant_uid=tenant.uid,
        directory_id=tenant.directory_id,
        cloud=tenant.cloud,
        credential=(credential or tenant.credential).identity,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Base URLs without a trailing slash. `scope` names the resource a token is for."""

    login_url: str
    graph_url: str
    scope: str


_LOGIN_HOSTS = {
    Cloud.GLOBAL: "login.microsoftonline.com",
    Cloud.US_GOVERNMENT: "login.microsoftonline.us",
    Cloud.US_GOVERNMENT_DOD: "login.microsoftonline.us",
    Cloud.CHINA: "login.partner.microsoftonline.cn",
}
_GRAPH_HOSTS = {
    Cloud.GLOBAL: "graph.microsoft.com",
    Cloud.US_GOVERNMENT: "graph.microsoft.us",
    Cloud.US_GOVERNMENT_DOD: "dod-graph.microsoft.us",
    Cloud.CHINA: "microsoftgraph.chinacloudapi.cn",
}


_GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
"""Graph's own application id, the same in every cloud."""


def endpoints_of(cloud: Cloud, settings: GraphSettings) -> Endpoints:
    """Tell where a cloud is reached.

    The settings replace addresses only: the scope stays the cloud's own, because a stand-in (the emulator, a forward
    proxy) issues and checks tokens for the resource it stands in for.

    Source: Microsoft Learn "National cloud deployments".
    """
    graph_url = (settings.graph_url or f"https://{_GRAPH_HOSTS[cloud]}").rstrip("/").removesuffix("/v1.0")
    return Endpoints(
        login_url=(settings.login_url or f"https://{_LOGIN_HOSTS[cloud]}").rstrip("/"),
        graph_url=f"{graph_url}/v1.0",
        scope=f"https://{_GRAPH_HOSTS[cloud]}/.default",
    )


def audiences_of(cloud: Cloud) -> frozenset[str]:
    """Return the names that a token for a cloud's Graph may carry; without a slash at the end.

    Source: Microsoft Learn "Access token claims reference".
    """
    return frozenset({f"https://{_GRAPH_HOSTS[cloud]}", _GRAPH_APP_ID})
