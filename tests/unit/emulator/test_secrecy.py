"""Secrets, assertions and tokens: in no record, no refusal and no log, whoever put them where."""

import logging

import jwt
import pytest

from tests.unit.emulator.rig import Rig, rig

pytestmark = pytest.mark.looptime
SECRET = "c4nary~secret"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def everything_told(r: Rig, token: str, assertion: str) -> str:
    """Use credentials well, badly and in the wrong places; give all that was answered, but for the tokens granted."""
    told = []
    path = f"/{r.tenant['tenant_id']}/oauth2/v2.0/token"
    for changes in (
        {"client_secret": SECRET, "scope": "nonsense"},
        {"client_secret": f"{SECRET}!"},
        {"client_assertion": assertion, "client_assertion_type": ASSERTION_TYPE},
        {"client_secret": SECRET, "grant_type": "password"},
        {"client_secret": SECRET, "claims": "{"},
    ):
        told.append((await r.ask_token(**changes)).text)
    query = {"client_secret": SECRET, "Client_Assertion": assertion, "access_token": token}
    told.append((await r.login.post(path, params=query)).text)
    for header in (f"Bearer {token}x", f"Basic {token}", f"Bearer {assertion}", token):
        told.append((await r.graph.get("/subscriptions", headers={"authorization": header})).text)
    told.append((await r.graph.get("/subscriptions", params={"access_token": token})).text)
    batch = {"requests": [{"id": "1", "method": "GET", "url": f"/subscriptions?access_token={token}"}]}
    told.append((await r.graph.post("/$batch", json=batch)).text)
    for kept in ("/requests", "/deliveries?bodies=true", "/pending", "/subscriptions", "/throttle"):
        told.append((await r.control.get(r.path(kept))).text)
    return "\n".join(told)


async def test_credentials_are_told_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="sidecar")
    async with rig(client_secret=SECRET) as r:
        await r.subscribe()
        token = await r.sign_in()
        assertion = jwt.encode({"iss": "x"}, "k" * 32, algorithm="HS256")
        told = await everything_told(r, token, assertion)
        out, errors = capfd.readouterr()
        for canary in (SECRET, token, token.rpartition(".")[2], assertion, assertion.rpartition(".")[2]):
            assert canary not in told
            assert canary not in out + errors + caplog.text
        assert '"query":"client_secret=...&Client_Assertion=...&access_token=..."' in told
