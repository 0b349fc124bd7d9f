"""Which of Microsoft's clouds a request has come to, by the host that it names; any other host is the global cloud's.

Source: Graph "National cloud deployments" page.
"""

from urllib.parse import urlsplit

GLOBAL = "global"
_GRAPH_HOSTS = {
    GLOBAL: "graph.microsoft.com",
    "usGov": "graph.microsoft.us",
    "usGovDod": "dod-graph.microsoft.us",
    "china": "microsoftgraph.chinacloudapi.cn",
}
_CLOUD_OF_GRAPH = {host: cloud for cloud, host in _GRAPH_HOSTS.items()}
_AT_LOGIN = {
    "login.microsoftonline.us": frozenset({"usGov", "usGovDod"}),
    "login.partner.microsoftonline.cn": frozenset({"china"}),
    "login.chinacloudapi.cn": frozenset({"china"}),
}


def audience_of(cloud: str) -> str:
    """Give the name that tokens for a cloud's Graph carry."""
    return f"https://{_GRAPH_HOSTS[cloud]}"


def is_any_graph(resource: str) -> bool:
    """Tell whether a resource is some cloud's Graph."""
    return resource.removeprefix("https://") in _CLOUD_OF_GRAPH


def clouds_at_login(base_url: str) -> frozenset[str]:
    """Give the clouds whose tenants sign in at a host."""
    return _AT_LOGIN.get(urlsplit(base_url).hostname or "", frozenset({GLOBAL}))


def cloud_at_graph(base_url: str) -> str:
    """Give the cloud whose Graph answers at a host."""
    return _CLOUD_OF_GRAPH.get(urlsplit(base_url).hostname or "", GLOBAL)
