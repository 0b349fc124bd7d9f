"""Access tokens: how long they live, what ends them, and the documents a client reads before it asks for one."""

import base64
import json
from typing import Any

import jwt
import pytest

from sidecar.emulator.moods import Moods
from tests.unit.emulator.rig import rig

pytestmark = pytest.mark.looptime
CAPABLE = '{"access_token":{"xms_cc":{"values":["CP1"]}}}'


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


async def test_lifetime_is_random_when_unkind_and_fixed_when_calm() -> None:
    async with rig(moods=Moods()) as r:
        lives = [(await r.ask_token()).json()["expires_in"] for _ in range(40)]
        assert len(set(lives)) > 20
        assert min(lives) >= 3599
        assert max(lives) <= 5399
    async with rig() as r:
        assert len({(await r.ask_token()).json()["expires_in"] for _ in range(5)}) == 1


async def test_lifetime_told_is_the_one_of_the_token() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"token_lifetime_min_s": 120, "token_lifetime_max_s": 120})
        body = (await r.ask_token()).json()
        claims = claims_of(body["access_token"])
        assert (body["expires_in"], claims["exp"] - claims["iat"]) == (120, 120)


async def test_refresh_is_told_only_when_asked_for() -> None:
    async with rig() as r:
        assert "refresh_in" not in (await r.ask_token()).json()
        await r.told("PATCH", r.path("/app"), {"tells_refresh": True})
        body = (await r.ask_token()).json()
        assert body["refresh_in"] == body["expires_in"] // 2


async def test_revoked_token_is_refused_and_a_new_one_works() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"revoke_tokens": True})
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")
        assert "claims=" not in answer.headers["www-authenticate"]
        await r.sign_in()
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


@pytest.mark.parametrize("change", [{"revoke_tokens": True}, {"disabled": True}])
async def test_continuous_evaluation_asks_for_a_newer_token(change: dict[str, bool]) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"cae": True})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        await r.told("PATCH", r.path("/app"), change)
        answer = await r.graph.get(f"/users/{r.room}/events")
        assert answer.status_code == 401
        challenge = answer.headers["www-authenticate"]
        assert 'error="insufficient_claims"' in challenge
        claims = json.loads(base64.b64decode(challenge.split('claims="')[1].rstrip('"')))
        assert claims["access_token"]["nbf"]["essential"] is True


async def test_disabled_app_keeps_its_token_without_continuous_evaluation() -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"disabled": True})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        assert (await r.ask_token()).json()["error_codes"] == [7000112]


@pytest.mark.parametrize(
    ("cae", "claims", "is_long"), [(True, CAPABLE, True), (True, "", False), (False, CAPABLE, False)]
)
async def test_only_a_capable_client_of_an_evaluated_app_gets_a_day(cae: bool, claims: str, is_long: bool) -> None:
    async with rig() as r:
        await r.told("PATCH", r.path("/app"), {"cae": cae})
        body = (await r.ask_token(claims=claims)).json()
        assert (24 * 3600 <= body["expires_in"] <= 28 * 3600) == is_long
        assert ("xms_cc" in claims_of(body["access_token"])) == is_long


async def test_token_from_the_future_is_refused() -> None:
    async with rig(
        tenant_id="7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c", client_id="6f1c2b1a-0000-4000-8000-0000000000aa"
    ) as r:
        await r.told("POST", "/control/clock", {"advance_s": 360})
        later = await r.sign_in()
        await r.told("POST", "/control/clock", {"advance_s": 3600})
    async with rig(
        tenant_id="7c1f0d0e-2a55-4f0b-9a11-0d2e6f3a4b5c", client_id="6f1c2b1a-0000-4000-8000-0000000000aa"
    ) as r:
        headers = {"authorization": f"Bearer {later}"}
        answer = await r.graph.get(f"/users/{r.room}/events", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["message"] == "Lifetime validation failed, the token is not yet valid."
        await r.told("POST", "/control/clock", {"advance_s": 60})
        assert (await r.graph.get(f"/users/{r.room}/events", headers=headers)).status_code == 200


async def test_token_of_an_unknown_tenant_is_refused() -> None:
    async with rig() as r:
        token = await r.sign_in()
    async with rig(seed=2) as r:
        answer = await r.graph.get("/users/x/events", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert "identity" in answer.json()["error"]["message"]


async def test_minted_token_verifies_with_the_published_keys_of_both_versions() -> None:
    async with rig() as r:
        token = await r.sign_in()
        for path in ("common/discovery/keys", "common/discovery/v2.0/keys", f"{r.tenant['domain']}/discovery/keys"):
            keys = jwt.PyJWKSet.from_dict((await r.login.get(f"/{path}")).json()).keys
            (key,) = [one for one in keys if one.key_id == jwt.get_unverified_header(token)["kid"]]
            untimed: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience="https://graph.microsoft.com", options=untimed
            )
            assert claims["iss"] == f"https://sts.windows.net/{r.tenant['tenant_id']}/"


@pytest.mark.parametrize(
    ("path", "issuer", "token_path"),
    [
        (
            "common/v2.0/.well-known/openid-configuration",
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "common/oauth2/v2.0/token",
        ),
        ("common/.well-known/openid-configuration", "https://sts.windows.net/{tenantid}/", "common/oauth2/token"),
        (
            "{domain}/v2.0/.well-known/openid-configuration",
            "https://login.microsoftonline.com/{tid}/v2.0",
            "{tid}/oauth2/v2.0/token",
        ),
        ("{tid}/.well-known/openid-configuration", "https://sts.windows.net/{tid}/", "{tid}/oauth2/token"),
    ],
)
async def test_configuration_names_issuer_and_token_endpoint(path: str, issuer: str, token_path: str) -> None:
    async with rig() as r:

        def filled(text: str) -> str:
            return text.replace("{domain}", r.tenant["domain"]).replace("{tid}", r.tenant["tenant_id"])

        document = (await r.login.get(f"/{filled(path)}")).json()
        assert document["issuer"] == filled(issuer)
        assert document["token_endpoint"] == f"https://login.microsoftonline.com/{filled(token_path)}"
        assert (await r.login.get(document["jwks_uri"])).json()["keys"][0]["kty"] == "RSA"


async def test_configuration_tells_the_cloud_of_a_tenant_elsewhere() -> None:
    async with rig() as r:
        path = f"/{r.tenant['tenant_id']}/v2.0/.well-known/openid-configuration"
        assert (await r.login.get(path)).json()["msgraph_host"] == "graph.microsoft.com"
        await r.told("PATCH", r.path("/app"), {"sign_in": {"cloud": "usGov"}})
        document = (await r.login.get(path)).json()
        assert (document["cloud_instance_name"], document["msgraph_host"]) == (
            "microsoftonline.us",
            "graph.microsoft.us",
        )


@pytest.mark.parametrize("tenant", ["nosuch.example", "contoso"])
async def test_documents_of_an_unknown_tenant_are_refused(tenant: str) -> None:
    async with rig() as r:
        for path in (
            "v2.0/.well-known/openid-configuration",
            ".well-known/openid-configuration",
            "discovery/v2.0/keys",
        ):
            answer = await r.login.get(f"/{tenant}/{path}")
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_tenant")


async def test_instance_discovery_answers_in_both_shapes() -> None:
    async with rig() as r:
        asked = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/authorize"
        params = {"authorization_endpoint": asked, "api-version": "1.0"}
        old = (await r.login.get("/common/discovery/instance", params=params)).json()
        endpoint = "https://login.microsoftonline.com/contoso.example/v2.0/.well-known/openid-configuration"
        assert old == {"tenant_discovery_endpoint": endpoint}
        new = (await r.login.get("/common/discovery/instance", params={**params, "api-version": "1.1"})).json()
        assert new["tenant_discovery_endpoint"] == endpoint
        assert new["metadata"][0]["preferred_cache"] == "login.microsoftonline.com"


async def test_instance_discovery_refuses_strange_hosts() -> None:
    async with rig() as r:
        params = {"authorization_endpoint": "https://evil.example/common/oauth2/authorize", "api-version": "1.1"}
        answer = await r.login.get("/common/discovery/instance", params=params)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_instance")


async def test_older_token_endpoint_is_not_played() -> None:
    async with rig() as r:
        answer = await r.login.post(f"/{r.tenant['tenant_id']}/oauth2/token", data={"resource": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "notImplementedByEmulator")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"])
async def test_secret_expires_within_what_can_be_counted(at: str) -> None:
    async with rig() as r:
        answer = await r.control.patch(r.path("/app"), json={"secret_expires_at": at, "disabled": True})
        assert (answer.status_code, "secret_expires_at" in answer.text) == (400, True)
        assert (await r.ask_token()).status_code == 200  # nothing was changed
