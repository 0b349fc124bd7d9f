"""The emulator as each of Microsoft's clouds: by the host that it is called by, and for the tenants that live there."""

from __future__ import annotations

import pytest

from tests.unit.emulator.rig import Rig, rig

LOGINS = {
    "global": "https://login.microsoftonline.com",
    "usGov": "https://login.microsoftonline.us",
    "usGovDod": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
GRAPHS = {
    "global": "https://graph.microsoft.com",
    "usGov": "https://graph.microsoft.us",
    "usGovDod": "https://dod-graph.microsoft.us",
    "china": "https://microsoftgraph.chinacloudapi.cn",
}


async def ask(r: Rig, *, login: str, graph: str) -> tuple[int, str]:
    """Ask a cloud's login for a token for a cloud's Graph; give the number of the refusal, or 0 and the token."""
    form = {
        "client_id": r.tenant["client_id"],
        "client_secret": r.tenant["client_secret"],
        "grant_type": "client_credentials",
        "scope": f"{GRAPHS[graph]}/.default",
    }
    answer = (await r.login.post(f"{LOGINS[login]}/{r.tenant['tenant_id']}/oauth2/v2.0/token", data=form)).json()
    return (0, answer["access_token"]) if "access_token" in answer else (answer["error_codes"][0], "")


@pytest.mark.parametrize("cloud", list(LOGINS))
async def test_tenant_signs_in_where_it_lives_and_its_token_opens_that_graph_alone(cloud: str) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"sign_in": {"cloud": cloud}})
        number, token = await ask(r, login=cloud, graph=cloud)
        assert number == 0
        path = f"/v1.0/users/{r.rooms[0]['address']}/calendar"
        for graph, url in GRAPHS.items():
            answer = await r.graph.get(f"{url}{path}", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == (200 if graph == cloud else 401)
        assert answer.status_code == 200 or "Invalid audience" in answer.text


@pytest.mark.parametrize(
    ("lives_in", "login", "graph", "number"),
    [
        ("usGov", "global", "global", 90038),
        ("china", "global", "china", 90038),
        ("global", "usGov", "usGov", 90002),
        ("usGov", "china", "usGov", 90002),
        ("usGov", "usGovDod", "usGovDod", 500011),
        ("usGov", "usGov", "global", 500011),
        ("global", "global", "china", 500011),
    ],
)
async def test_tenant_is_refused_elsewhere(lives_in: str, login: str, graph: str, number: int) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"sign_in": {"cloud": lives_in}})
        assert (await ask(r, login=login, graph=graph))[0] == number
