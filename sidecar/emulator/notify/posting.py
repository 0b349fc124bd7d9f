"""One POST with notifications: its body, its time limit, and what became of it.

Source: Graph "Receive change notifications through webhooks" page (any 2xx within the limit is taken, anything else is not) and
"Set up change notifications that include resource data" page (one validation token for each app and tenant in the body).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from sidecar.emulator.exchange.directory import Directory, Tenant
from sidecar.emulator.exchange.event import JsonObject
from sidecar.emulator.notify.sender import Sender, SendFailed
from sidecar.emulator.notify.state import Notice
from sidecar.emulator.zones import format_instant

MintValidation = Callable[[Tenant, str], str]
"""Makes the validation token of a tenant and an app, which is given by its client id."""
_HEADERS = {"content-type": "application/json; charset=utf-8"}
_SUMMARY = ("subscriptionId", "changeType", "resource", "lifecycleEvent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of a POST, or why none was made."""

    outcome: str
    status: int | None = None
    number: int = 0
    """Which attempt at these notifications it was; 0 is none."""
    took_s: float = 0.0
    body: bytes | None = None

    @property
    def is_accepted(self) -> bool:
        """Tell whether the notifications were taken."""
        return self.outcome == "accepted"


async def post(sender: Sender, url: str, body: bytes, *, number: int, limit_s: float) -> Attempt:
    """Send a body and judge the answer; one that takes longer than `limit_s` is none."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    status: int | None = None
    try:
        async with asyncio.timeout(limit_s):
            status = (await sender.post(url, headers=_HEADERS, body=body)).status
        outcome = "accepted" if 200 <= status < 300 else "refused"
        took_s = loop.time() - started_s
    except TimeoutError:
        outcome, took_s = "timeout", limit_s
    except SendFailed as error:
        outcome, took_s = f"failed: {error}", loop.time() - started_s
    return Attempt(outcome=outcome, status=status, number=number, took_s=took_s, body=body)


def build_body(notices: list[Notice], directory: Directory, mint_validation: MintValidation) -> bytes:
    """Write the body of a POST, with validation tokens if any of the notifications carries resource data."""
    body: JsonObject = {"value": [notice.item for notice in notices]}
    pairs = dict.fromkeys((notice.tenant_id, notice.client_id) for notice in notices if notice.is_rich)
    tenants = ((directory.find(tenant_id), client_id) for tenant_id, client_id in pairs)
    if pairs:
        body["validationTokens"] = [mint_validation(tenant, client_id) for tenant, client_id in tenants if tenant]
    return msgspec.json.encode(body)


def note_attempt(directory: Directory, notices: list[Notice], attempt: Attempt, now: datetime) -> None:
    """Write an attempt into the record of every tenant that has a part in it."""
    for tenant_id in dict.fromkeys(notice.tenant_id for notice in notices):
        tenant = directory.find(tenant_id)
        if tenant is None:
            continue
        mine = [notice for notice in notices if notice.tenant_id == tenant_id]
        record = {
            "at": format_instant(now),
            "kind": mine[0].kind,
            "url": mine[0].url,
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "took_ms": round(attempt.took_s * 1000),
            "items": [_summary(notice) for notice in mine],
        }
        tenant.note_delivery(record, attempt.body)


def _summary(notice: Notice) -> JsonObject:
    found = {name: notice.item[name] for name in _SUMMARY if name in notice.item}
    return {**found, "noted_at": format_instant(notice.noted_at)}
