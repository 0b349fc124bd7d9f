"""Every refusal of the login server: by the state that causes it, and by a scripted fault."""

from typing import Any

import pytest

from sidecar.emulator.entra.refusals import REFUSALS, Cure
from tests.unit.emulator.rig import Rig, rig

pytestmark = pytest.mark.looptime
GRAPH = "https://graph.microsoft.com/.default"
OUTLOOK = "https://outlook.office365.com/.default"
FORM = "application/x-www-form-urlencoded"
# number: status, error. What the login server's page and its users tell; the emulator's own table must not drift from it.
TOLD: dict[int, tuple[int, str]] = {
    7000215: (401, "invalid_client"),
    7000222: (401, "invalid_client"),
    7000216: (401, "invalid_client"),
    7000218: (401, "invalid_client"),
    7000219: (401, "invalid_client"),
    700016: (400, "unauthorized_client"),
    7000112: (400, "unauthorized_client"),
    700011: (400, "unauthorized_client"),
    70001: (400, "unauthorized_client"),
    90002: (400, "invalid_request"),
    900023: (400, "invalid_request"),
    900021: (400, "invalid_request"),
    90013: (400, "invalid_request"),
    90014: (400, "invalid_request"),
    900144: (400, "invalid_request"),
    9002313: (400, "invalid_request"),
    900561: (400, "invalid_request"),
    50011: (400, "invalid_request"),
    70003: (400, "unsupported_grant_type"),
    70011: (400, "invalid_scope"),
    1002012: (400, "invalid_scope"),
    700022: (400, "invalid_scope"),
    500011: (400, "invalid_resource"),
    50001: (400, "invalid_resource"),
    50049: (400, "invalid_instance"),
    700027: (401, "invalid_client"),
    700024: (401, "invalid_client"),
    700030: (401, "invalid_client"),
    700025: (400, "invalid_client"),
    700211: (401, "invalid_client"),
    700212: (401, "invalid_client"),
    700213: (401, "invalid_client"),
    700229: (401, "invalid_client"),
    53003: (400, "invalid_grant"),
    530032: (400, "invalid_grant"),
    530035: (400, "invalid_grant"),
    65001: (400, "invalid_grant"),
    90038: (400, "invalid_request"),
    900382: (400, "invalid_request"),
    900432: (400, "invalid_request"),
    90006: (503, "temporarily_unavailable"),
    90012: (408, "temporarily_unavailable"),
    90024: (503, "temporarily_unavailable"),
    90033: (503, "temporarily_unavailable"),
    90090: (503, "server_error"),
    90091: (500, "server_error"),
    50000: (500, "server_error"),
    90000: (500, "server_error"),
    90055: (429, "temporarily_unavailable"),
    50196: (400, "invalid_request"),
}
RETRYABLE = {90006, 90012, 90024, 90033, 90090, 90091, 50000, 90000, 90055, 50196}


def test_table_holds_every_number() -> None:
    assert {number: (row.status, row.error) for number, row in REFUSALS.items()} == TOLD


def test_what_heals_by_itself_is_told_apart() -> None:
    assert {number for number, row in REFUSALS.items() if row.cure is Cure.RETRY} == RETRYABLE


@pytest.mark.parametrize("number", sorted(TOLD))
async def test_scripted_refusal_meets_one_token_request(number: int) -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"effect": {"aadsts": number}})
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200
        answer = await r.ask_token()
        body = answer.json()
        assert (answer.status_code, body["error"]) == TOLD[number]
        assert body["error_codes"] == [number]
        assert body["error_description"].startswith(f"AADSTS{number}: ")
        assert ("retry-after" in answer.headers) == (number in (90055, 50196))
        assert (await r.ask_token()).status_code == 200
        assert (await r.told("GET", "/control/faults"))["unconsumed_count"] == 0


@pytest.mark.parametrize("number", [53003, 530032, 530035])
async def test_refusal_by_policy_carries_claims(number: int) -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"effect": {"aadsts": number}})
        body = (await r.ask_token()).json()
        assert body["suberror"] == "message_only"
        assert "capolids" in body["claims"]


async def test_scripted_refusal_may_take_another_oauth_error() -> None:
    async with rig() as r:
        await r.told("POST", "/control/faults", {"effect": {"aadsts": 53003, "code": "interaction_required"}})
        assert (await r.ask_token()).json()["error"] == "interaction_required"


@pytest.mark.parametrize(("share", "between"), [(0, " "), (1, "\r\n")])
async def test_text_of_a_refusal_comes_in_one_line_or_several(share: int, between: str) -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"login_line_break_share": share})
        body = (await r.ask_token(client_secret="wrong")).json()
        tail = (f"Trace ID: {body['trace_id']}", f"Correlation ID: {body['correlation_id']}")
        end = between.join(("", *tail, f"Timestamp: {body['timestamp']}"))
        assert body["error_description"].endswith(end)


async def test_unknown_number_cannot_be_scripted() -> None:
    async with rig() as r:
        answer = await r.control.post("/control/faults", json={"effect": {"aadsts": 12345}})
        assert answer.status_code == 400
        assert "does not play AADSTS12345" in answer.json()["error"]


@pytest.mark.parametrize(
    ("form", "app", "number"),
    [
        ({"client_secret": "{secret_id}"}, {}, 7000215),
        ({"client_secret": ""}, {}, 7000218),
        ({"client_id": ""}, {}, 90014),
        ({"scope": " "}, {}, 90014),
        ({"grant_type": "password"}, {}, 70003),
        ({"scope": f"{GRAPH} {OUTLOOK}"}, {}, 700022),
        ({"scope": "https://graph.microsoft.us/.default"}, {}, 500011),
        ({"claims": "{"}, {}, 9002313),
        ({"client_assertion": "x", "client_assertion_type": "y"}, {}, 900144),
        ({}, {"is_public": True}, 700025),
        ({}, {"sign_in": {"graph_principal": "missing"}}, 500011),
        ({}, {"sign_in": {"graph_principal": "disabled"}}, 50001),
        ({}, {"sign_in": {"block": "conditionalAccess"}}, 53003),
        ({}, {"sign_in": {"block": "securityPolicy"}}, 530032),
        ({}, {"sign_in": {"block": "securityDefaults"}}, 530035),
        ({}, {"sign_in": {"cloud": "china"}}, 90038),
    ],
)
async def test_state_refuses(form: dict[str, str], app: dict[str, Any], number: int) -> None:
    async with rig() as r:
        assert (await r.ask_token()).status_code == 200
        await r.told("PATCH", r.path("/app"), app)
        filled = {name: value.replace("{secret_id}", r.tenant["client_secret_id"]) for name, value in form.items()}
        assert (await r.ask_token(**filled)).json()["error_codes"] == [number]


@pytest.mark.parametrize(
    ("tenant", "number"),
    [
        ("contoso", 900023),
        ("not a domain", 900023),
        ("-x.example", 900023),
        ("common", 900023),
        ("00000000-0000-0000-0000-000000000000", 900021),
        ("11111111-2222-4333-8444-555555555555", 90002),
        ("nosuch.example", 90002),
    ],
)
async def test_tenant_is_refused_by_its_form(tenant: str, number: int) -> None:
    async with rig() as r:
        answer = await r.login.post(f"/{tenant}/oauth2/v2.0/token", data={"client_id": "x"})
        assert answer.json()["error_codes"] == [number]


@pytest.mark.parametrize(
    ("body", "headers", "number"),
    [
        (b"client_id=x", {"content-type": FORM}, 900144),
        (b"scope=a&scope=b", {"content-type": FORM}, 9002313),
        (b'{"grant_type":"client_credentials"}', {"content-type": "application/json"}, 9002313),
        (b"client_id=\xff", {"content-type": FORM}, 90013),
        (b"client_id=%ff", {"content-type": FORM}, 90013),
        (b"", {"authorization": "Basic !"}, 90013),
    ],
)
async def test_malformed_request_is_refused(body: bytes, headers: dict[str, str], number: int) -> None:
    async with rig() as r:
        answer = await r.login.post(f"/{r.tenant['tenant_id']}/oauth2/v2.0/token", content=body, headers=headers)
        assert answer.json()["error_codes"] == [number]


async def test_request_without_any_credential_is_refused() -> None:
    async with rig() as r:
        form = {"client_id": r.tenant["client_id"], "grant_type": "client_credentials", "scope": GRAPH}
        answer = await r.login.post(f"/{r.tenant['tenant_id']}/oauth2/v2.0/token", data=form)
        assert answer.json()["error_codes"] == [7000216]


async def test_token_endpoint_takes_post_only() -> None:
    async with rig() as r:
        answer = await r.login.get(f"/{r.tenant['tenant_id']}/oauth2/v2.0/token")
        assert answer.json()["error_codes"] == [900561]


async def test_loop_of_token_requests_is_refused_for_as_long_as_told() -> None:
    async with rig() as r:
        await r.told("POST", "/control/clock", {"advance_s": 300})  # past the window of the first sign-in
        await r.told("PUT", "/control/throttle", {"limits": {"token_requests": 3}})
        answers = [await r.ask_token() for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 400]
        assert answers[3].json()["error_codes"] == [50196]
        wait_s = int(answers[3].headers["retry-after"])
        await r.told("POST", "/control/clock", {"advance_s": wait_s - 1})
        assert (await r.ask_token()).status_code == 400
        await r.told("POST", "/control/clock", {"advance_s": 1})
        assert (await r.ask_token()).status_code == 200


async def test_new_secret_is_known_after_a_while_and_the_old_one_all_the_time() -> None:
    async with rig() as r:
        added = (await r.told("PATCH", r.path("/app"), {"generate_secret": True, "propagation_s": 60}))["client_secret"]
        assert (await r.ask_token(client_secret=added)).json()["error_codes"] == [7000215]
        assert (await r.ask_token()).status_code == 200
        await r.told("POST", "/control/clock", {"advance_s": 60})
        assert (await r.ask_token(client_secret=added)).status_code == 200


async def test_mood_delays_every_new_secret() -> None:
    async with rig() as r:
        await r.told("PUT", "/control/moods", {"secret_propagation_s": 30})
        added = (await r.told("PATCH", r.path("/app"), {"generate_secret": True}))["client_secret"]
        assert (await r.ask_token(client_secret=added)).status_code == 401
        await r.told("POST", "/control/clock", {"advance_s": 30})
        assert (await r.ask_token(client_secret=added)).status_code == 200


async def ask_consent(r: Rig, **query: str) -> Any:
    asked = {
        "client_id": r.tenant["client_id"],
        "state": "a b",
        "redirect_uri": "https://app.example/done?x=1",
        **query,
    }
    return await r.login.get(f"/{r.tenant['domain']}/adminconsent", params=asked)


async def test_consent_grants_what_the_registration_asks_for() -> None:
    async with rig(roles=[]) as r:
        wish = {"requested_roles": ["Calendars.Read"], "redirect_uris": ["https://app.example/done?x=1"]}
        await r.told("PATCH", r.path("/app"), wish)
        answer = await ask_consent(r)
        tenant_id = r.tenant["tenant_id"]
        target = f"https://app.example/done?x=1&tenant={tenant_id}&state=a+b&admin_consent=True"
        assert (answer.status_code, answer.headers["location"]) == (302, target)
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 403
        await r.sign_in()
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 200


@pytest.mark.parametrize("uri", ["https://app.example/\u2603", "https://app.example/\r\nX: y", "app", ""])
async def test_redirect_uri_that_no_answer_can_carry_is_not_registered(uri: str) -> None:
    async with rig() as r:
        answer = await r.control.patch(r.path("/app"), json={"redirect_uris": [uri], "disabled": True})
        assert (answer.status_code, "not a redirect URI" in answer.text) == (400, True)
        assert (await r.ask_token()).status_code == 200  # nothing was changed


async def test_refused_consent_grants_nothing() -> None:
    async with rig(roles=[]) as r:
        wish = {"requested_roles": ["Calendars.Read"], "redirect_uris": ["https://app.example/done?x=1"]}
        await r.told("PATCH", r.path("/app"), {**wish, "sign_in": {"refuses_consent": True}})
        assert "error=permission_denied" in (await ask_consent(r)).headers["location"]
        await r.sign_in()
        assert (await r.graph.get(f"/users/{r.room}/events")).status_code == 403


@pytest.mark.parametrize(
    ("query", "number"), [({"redirect_uri": "https://elsewhere.example"}, 50011), ({"client_id": "x"}, 700016)]
)
async def test_consent_leads_nowhere_that_is_not_registered(query: dict[str, str], number: int) -> None:
    async with rig() as r:
        assert (await ask_consent(r, **query)).json()["error_codes"] == [number]
