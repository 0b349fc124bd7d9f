"""Section 9: which mailboxes an app may use, and mailboxes that cannot be used at all. State decides, so only the emulator."""

from __future__ import annotations

from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import assert_refused

TABLE = Table()
_ADMIN = "an admin's decision is the cause"


@TABLE.case("9.1", "an access policy shuts every mailbox but those it names", emulator_only=_ADMIN)
async def policy(s: Emulated) -> None:
    await s.change_app(access_policy=[s.room])
    assert (await s.graph.get(f"/users/{s.room}/events")).status_code == 200
    for method, path in (("GET", "events"), ("POST", "events"), ("GET", "calendar")):
        answer = await s.graph.request(
            method, f"/users/{s.mailbox}/{path}", json=s.body() if method == "POST" else None
        )
        error = assert_refused(answer, 403, "ErrorAccessDenied")
        assert "Blocked by tenant configured AppOnly AccessPolicy settings" in error["message"]


@TABLE.case(
    "9.1", "an access policy works at once for tokens already issued, and so does its end", emulator_only=_ADMIN
)
async def policy_ends(s: Emulated) -> None:
    for names, status in (([s.room], 403), (None, 200)):
        await s.change_app(access_policy=names)
        assert (await s.graph.get(f"/users/{s.mailbox}/events")).status_code == status


@TABLE.case("9.2", "a grant in Exchange opens its mailboxes to a token without roles", emulator_only=_ADMIN)
async def rbac(s: Emulated) -> None:
    await s.change_app(roles=[], rbac_scope=[s.mailbox])
    await s.sign_in()
    assert "roles" not in s.claims
    made = await s.create()
    await s.delete(made["id"])
    assert_refused(await s.graph.get(f"/users/{s.room}/events"), 403, "ErrorAccessDenied")


@TABLE.case("9.2", "grants add up: consent in Entra leaves a scope in Exchange without effect", emulator_only=_ADMIN)
async def union(s: Emulated) -> None:
    await s.change_app(rbac_scope=[s.room])
    for mailbox in (s.mailbox, s.room):
        assert (await s.graph.get(f"/users/{mailbox}/events")).status_code == 200


@TABLE.case("9.2", "an access policy narrows consent, not a grant in Exchange", emulator_only=_ADMIN)
async def policy_and_rbac(s: Emulated) -> None:
    await s.change_app(access_policy=[s.organizer], rbac_scope=[s.room])
    found = {one: (await s.graph.get(f"/users/{one}/events")).status_code for one in (s.organizer, s.room, s.mailbox)}
    assert found == {s.organizer: 200, s.room: 200, s.mailbox: 403}


@TABLE.case(
    "10",
    "a mailbox that is elsewhere says so",
    emulator_only=_ADMIN,
    rows={
        "on-premises": ("onPremises", 404, "MailboxNotEnabledForRESTAPI"),
        "gone": ("gone", 404, "ErrorInvalidUser"),
        "moving": ("moving", 503, "ErrorMailboxMoveInProgress"),
    },
)
async def mailbox(s: Emulated, kind: str, status: int, code: str) -> None:
    made = await s.create()
    await s.change_mailbox(s.mailbox, kind=kind)
    for answer in (
        await s.graph.get(f"/users/{s.mailbox}/events"),
        await s.graph.get(s.url(made["id"])),
        await s.graph.post(f"/users/{s.mailbox}/events", json=s.body()),
    ):
        assert_refused(answer, status, code)
    await s.change_mailbox(s.mailbox, kind="cloud")
    assert (await s.get(made["id"]))["changeKey"] == made["changeKey"]


@TABLE.case("7.3", "a renamed mailbox keeps its id and its events", emulator_only=_ADMIN)
async def renamed(s: Emulated) -> None:
    made = await s.create()
    user = (await s.graph.get(f"/users/{s.mailbox}")).json()["id"]
    old, new = s.mailbox, f"atrium@{s.mailbox.partition('@')[2]}"
    await s.change_mailbox(old, address=new)
    for name in (user, new):
        assert (await s.get(made["id"], mailbox=name))["id"] == made["id"]
    assert (await s.graph.get(s.url(made["id"], old))).status_code == 404


@TABLE.case("10", "another tenant's token opens nothing here", emulator_only="a second tenant is needed")
async def other_tenant(s: Emulated) -> None:
    other = await s.rig.told("POST", "/control/tenants", {})
    answer = await s.ask_token(
        tenant=other["tenant_id"], client_id=other["client_id"], client_secret=other["client_secret"]
    )
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    found = await s.graph.get(f"/users/{s.mailbox}/events", headers=headers)
    assert_refused(found, 404, "ErrorInvalidUser", "ResourceNotFound")
