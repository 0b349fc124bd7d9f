"""Where an administrator signs in, cloud by cloud: names of environments in Microsoft's modules, and admin centres."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.model.tenant import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAddresses:
    """`graph_environment` is for Connect-MgGraph, `exchange_environment` for Connect-ExchangeOnline; the rest is for people."""

    graph_environment: str
    exchange_environment: str
    entra_url: str
    login_host: str
    graph_host: str


_ADDRESSES = {
    Cloud.GLOBAL: AdminAddresses(
        graph_environment="Global",
        exchange_environment="O365Default",
        entra_url="https://entra.microsoft.com",
        login_host="login.microsoftonline.com",
        graph_host="graph.microsoft.com",
    ),
    Cloud.US_GOVERNMENT: AdminAddresses(
        graph_environment="USGov",
        exchange_environment="O365USGovGCCHigh",
        entra_url="https://entra.microsoft.us",
        login_host="login.microsoftonline.us",
        graph_host="graph.microsoft.us",
    ),
    Cloud.US_GOVERNMENT_DOD: AdminAddresses(
        graph_environment="USGovDoD",
        exchange_environment="O365USGovDoD",
        entra_url="https://entra.microsoft.us",
        login_host="login.microsoftonline.us",
        graph_host="dod-graph.microsoft.us",
    ),
    Cloud.CHINA: AdminAddresses(
        graph_environment="China",
        exchange_environment="O365China",
        entra_url="https://entra.microsoftonline.cn",
        login_host="login.partner.microsoftonline.cn",
        graph_host="microsoftgraph.chinacloudapi.cn",
    ),
}


def admin_addresses_of(cloud: Cloud) -> AdminAddresses:
    """Tell where the administrators of a cloud's organisations work.

    Source: Microsoft Learn "Connect-ExchangeOnline" (ExchangeEnvironmentName), "Get-MgEnvironment", "National cloud
    deployments".
    """
    return _ADDRESSES[cloud]
