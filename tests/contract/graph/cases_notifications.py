"""Section 3: what a webhook is sent, when, and how its answers are taken."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from sidecar.emulator.clock import sleep
from sidecar.emulator.notify.sender import WebhookAnswer
from tests.contract.graph.case import Table
from tests.contract.graph.emulated import Emulated
from tests.contract.graph.subject import instant

TABLE = Table()
_SEEN = frozenset({"webhook", "deliveries"})
_DAILY = {"type": "daily"}


async def _heard(s: Emulated) -> list[tuple[str, str]]:
    """Give (change type, event id) of what has arrived, and forget it."""
    await s.rest()
    found = s.webhook.changes()
    s.webhook.posts.clear()
    return found


@TABLE.case(
    "3.1", "a notification names the subscription, the item and the tenant, and nothing of its content", needs=_SEEN
)
async def content(s: Emulated) -> None:
    subscription = await s.subscribed()
    made = await s.create()
    await s.rest()
    ((_, url, (item,)),) = s.webhook.posts
    assert url == s.webhook_url  # its query included
    user = (await s.graph.get(f"/users/{s.mailbox}")).json()["id"]
    assert item["subscriptionId"] == subscription["id"]
    assert item["subscriptionExpirationDateTime"][:19] == subscription["expirationDateTime"][:19]
    assert (item["changeType"], item["clientState"], item["tenantId"]) == ("created", "s3cret", s.claims["tid"])
    assert item["resource"] == item["resourceData"]["@odata.id"] == f"Users/{user}/Events/{made['id']}"
    assert item["resourceData"]["@odata.type"] == "#Microsoft.Graph.Event"
    assert item["resourceData"]["@odata.etag"] == made["@odata.etag"]
    assert item["resourceData"]["id"] == made["id"]
    assert "subject" not in item["resourceData"]


@TABLE.case("3.3", "making, changing and deleting an event are told one after the other", needs=_SEEN)
async def life_of_an_event(s: Emulated) -> None:
    await s.subscribed()
    made = await s.create()
    await s.rest()
    await s.patch(made["id"], {"subject": "Changed"})
    await s.rest()
    await s.delete(made["id"])
    assert await _heard(s) == [(kind, made["id"]) for kind in ("created", "updated", "deleted")]


@TABLE.case("2.1", "only the asked change types are told", needs=_SEEN)
async def change_types(s: Emulated) -> None:
    await s.subscribed(changeType="deleted")
    made = await s.create()
    await s.patch(made["id"], {"subject": "Changed"})
    await s.delete(made["id"])
    assert await _heard(s) == [("deleted", made["id"])]


@TABLE.case("2.2", "the create call decides the id format of all notifications", needs=_SEEN)
async def id_format(s: Emulated) -> None:
    await s.subscribed(prefer='IdType="RestId"')
    made = await s.create()
    mutable = (await s.get(made["id"], prefer='IdType="RestId"'))["id"]
    assert await _heard(s) == [("created", mutable)]
    assert mutable != made["id"]


@TABLE.case("2.3", "other mailboxes' events are not told", needs=_SEEN | {"organizer"})
async def other_mailbox(s: Emulated) -> None:
    await s.subscribed()
    await s.create(mailbox=s.organizer)
    assert await _heard(s) == []


@TABLE.case("3.3", "a new series is one item, none for each occurrence", needs=_SEEN)
async def new_series(s: Emulated) -> None:
    await s.subscribed()
    made = await s.create_series(_DAILY)
    assert await _heard(s) == [("created", made["id"])]


@TABLE.case("3.3", "a deleted occurrence is told as its master's change only", needs=_SEEN)
async def deleted_occurrence(s: Emulated) -> None:
    master = await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    await s.subscribed()
    await s.delete(second["id"])
    assert set(await _heard(s)) == {("updated", master["id"])}


@TABLE.case("3.3", "a changed occurrence is told under its own id, and usually its master is", needs=_SEEN)
async def changed_occurrence(s: Emulated) -> None:
    master = await s.create_series(_DAILY)
    second = (await s.view(0, 7))[1]
    await s.subscribed()
    await s.patch(second["id"], {"subject": "Changed"})
    heard = await _heard(s)
    assert {item for _, item in heard} == {second["id"], master["id"]}
    assert {kind for kind, _ in heard} <= {"created", "updated"}


@TABLE.case(
    "3.2",
    "any 2xx takes a notification",
    emulator_only="the webhook answers as told",
    rows={"200": (200,), "202": (202,), "204": (204,)},
)
async def taken(s: Emulated, status: int) -> None:
    await s.subscribed()
    s.webhook.answer = lambda url: WebhookAnswer(status=status, content_type="", body="")
    await s.create()
    await s.rest()
    await sleep(s.rig.clock, 3600)
    assert len(s.webhook.items) == 1


@TABLE.case(
    "3.2",
    "what is not taken is sent again, later and later",
    emulator_only="the webhook answers as told",
    rows={"500": (500,), "404": (404,), "302": (302,)},
)
async def sent_again(s: Emulated, status: int) -> None:
    await s.subscribed()
    refused: list[float] = []

    def answer(url: str) -> WebhookAnswer | None:
        refused.append((s.now() - s.day).total_seconds())
        return WebhookAnswer(status=status, content_type="", body="") if len(refused) < 4 else None

    s.webhook.answer = answer
    made = await s.create()
    await sleep(s.rig.clock, 3600)
    gaps = [later - earlier for earlier, later in pairwise(refused)]
    assert len(refused) == 4
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]
    assert s.webhook.changes() == [("created", made["id"])]


@TABLE.case("3.2", "an answer after three seconds is none", emulator_only="the webhook answers as told")
async def late_answer(s: Emulated) -> None:
    await s.subscribed()
    s.webhook.delay_s = 3.5
    await s.create()
    await sleep(s.rig.clock, 600)
    records = (await s.control("GET", "/deliveries"))["deliveries"]
    outcomes = [one["outcome"] for one in records if one["kind"] == "notification"]
    assert outcomes[0] == "timeout"
    assert outcomes[1] == "accepted"  # a retry may take ten


@TABLE.case("3.2", "after four hours it is given up and `missed` is sent", emulator_only="hours pass")
async def given_up(s: Emulated) -> None:
    lifecycle = "https://hooks.example.org/l"
    made = await s.subscribed(
        lifecycleNotificationUrl=lifecycle, expirationDateTime=instant(s.now() + timedelta(days=1))
    )
    s.webhook.answer = lambda url: None if "/l" in url else WebhookAnswer(status=503, content_type="", body="")
    await s.create()
    await sleep(s.rig.clock, 5 * 3600)
    told = [item for _, url, items in s.webhook.posts for item in items if url == lifecycle]
    missed = [item["subscriptionId"] for item in told if item["lifecycleEvent"] == "missed"]
    assert missed == [made["id"]]  # the token behind it has expired meanwhile, which is told as well


@TABLE.case(
    "3.4",
    "a lifecycle notification goes to its own URL and carries the client state",
    emulator_only="the service's own decision is the cause",
    rows={"reauthorize": ("reauthorizationRequired",), "removed": ("subscriptionRemoved",), "missed": ("missed",)},
)
async def lifecycle(s: Emulated, kind: str) -> None:
    url = "https://hooks.example.org/l"
    made = await s.subscribed(lifecycleNotificationUrl=url)
    await s.control("POST", "/lifecycle", {"subscription_id": made["id"], "event": kind})
    await s.rest()
    ((_, called, (item,)),) = s.webhook.posts
    assert called == url
    assert (item["lifecycleEvent"], item["subscriptionId"]) == (kind, made["id"])
    assert (item["clientState"], item["tenantId"]) == ("s3cret", s.claims["tid"])
    alive = (await s.graph.get(f"/subscriptions/{made['id']}")).status_code
    assert alive == (404 if kind == "subscriptionRemoved" else 200)
