"""Checks of the way from Microsoft to our webhook: shake hands from outside, and look at when Microsoft last called."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Protocol
from urllib.parse import urlsplit

from sidecar.diagnosis.results import judged, passed, skipped, warned
from sidecar.graph.webhook_call import Handshake, Shaken
from sidecar.model.check import CheckOutcome, CheckResult
from sidecar.model.handshake import OWN_TOKEN_PREFIX, PROOF_HEADER, prove
from sidecar.model.problem import Actor
from sidecar.model.subscription import Subscription
from sidecar.settings import LIFECYCLE_PATH, NOTIFICATIONS_PATH

WEBHOOK_HANDSHAKE = "webhook.handshake"
WEBHOOK_HEARD = "webhook.heard"

_NO_URL = "no webhook address is set: rooms are read at intervals instead"
_ADVICE = {
    Shaken.TIMED_OUT: (
        "Nothing answered there within 10 seconds.",
        "Let Microsoft's addresses through the firewall to webhook.public_url, or look why its way is so slow.",
    ),
    Shaken.UNREACHABLE: (
        "No connection could be made to it.",
        "Check that the name in webhook.public_url leads to this deployment's ingress, and that its port is open.",
    ),
    Shaken.TLS: (
        "Its TLS is not one that Microsoft accepts.",
        "Give the ingress a certificate of a public authority for this name, with its whole chain, and leave TLS 1.2 on.",
    ),
    Shaken.STATUS: (
        "Something in front of the sidecar answered instead of it.",
        "Let both webhook paths through without a login, a redirect or bot protection.",
    ),
    Shaken.WRONG_BODY: (
        "Something in front of the sidecar changed its answer.",
        "Have the answers of both webhook paths passed on as they are.",
    ),
    Shaken.WRONG_TYPE: (
        "Something in front of the sidecar changed the kind of its answer.",
        "Have the answers of both webhook paths passed on as they are: text/plain.",
    ),
}


class Caller(Protocol):
    """Shaking hands; `graph.webhook_call.WebhookCaller` is one."""

    async def shake(self, url: str, token: str, *, proof_header: str) -> Handshake:
        """Send a validation token."""


async def shake_hands(caller: Caller, url: str | None, *, store_id: str, rng: Random, now: datetime) -> CheckResult:
    """Check that a handshake that is sent to the public address arrives at an ingress of this deployment.

    Args:
        url: the configured base address; None: there is none.
    """
    if not url:
        return skipped(WEBHOOK_HANDSHAKE, message=_NO_URL)
    shown = _shown(url)
    facts = {"url": shown}
    for path in (NOTIFICATIONS_PATH, LIFECYCLE_PATH):
        token = f"{OWN_TOKEN_PREFIX}{rng.getrandbits(128):032x}: +/="  # as Microsoft's, with what must survive the way
        told = await caller.shake(url + path, token, proof_header=PROOF_HEADER)
        if told.outcome is not Shaken.RIGHT:
            return _failure(told, path, facts, now)
        if not hmac.compare_digest(told.proof.encode(), prove(store_id, token).encode()):
            return warned(
                WEBHOOK_HANDSHAKE,
                "The handshake was answered rightly, but nothing shows that this deployment answered it.",
                reason="WEBHOOK_UNPROVEN",
                action=f"See where {shown} leads, and have answers passed on with the header {PROOF_HEADER}.",
                actor=Actor.OPERATOR,
                now=now,
                facts={**facts, "path": path},
            )
    how = "" if urlsplit(url).scheme == "https" else ", without TLS"
    return passed(
        WEBHOOK_HANDSHAKE, f"A handshake sent to {shown} from here arrived at this deployment{how}.", facts=facts
    )


def _shown(url: str) -> str:
    """Return an address as people are told it: its path may hold a word that only Microsoft is to know."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/..." if parts.path else url


def _failure(told: Handshake, path: str, facts: dict[str, str], now: datetime) -> CheckResult:
    message, action = _ADVICE[told.outcome]
    details = {**facts, "path": path, "cause": told.outcome.value.upper()}
    if told.status:
        details["status"] = str(told.status)
    if told.cause:
        details["detail"] = told.cause
    return judged(
        WEBHOOK_HANDSHAKE,
        CheckOutcome.FAILED,
        f"The webhook address cannot be used. {message}",
        reason="WEBHOOK_UNREACHABLE",
        action=action,
        actor=Actor.OPERATOR,
        now=now,
        facts=details,
    )


def judge_heard(subscriptions: Sequence[Subscription], *, now: datetime) -> CheckResult:
    """Say when Microsoft last shook hands, announced a change and spoke of maintenance; for one room, or for many.

    It shakes hands whenever it makes a subscription. No announcement is no fault: perhaps nothing has changed.
    """
    made = [one.created_at for one in subscriptions if one.graph_id is not None]
    if not made:
        return skipped(WEBHOOK_HEARD, message="Exchange has no subscription, so it has no reason to call")
    notified = [one.notified_at for one in subscriptions if one.notified_at is not None]
    maintained = [one.lifecycle_at for one in subscriptions if one.lifecycle_at is not None]
    facts = {"handshake_time": _at(max(made))}
    told = [f"Microsoft last shook hands at {_at(max(made))}"]
    if notified:
        facts["notification_time"] = _at(max(notified))
        told.append(f"announced a change at {_at(max(notified))}")
    else:
        told.append("has not announced a change yet")
    if maintained:
        facts["lifecycle_time"] = _at(max(maintained))
        told.append(f"spoke of maintenance at {_at(max(maintained))}")
    return passed(WEBHOOK_HEARD, f"{', '.join(told)}.", facts=facts)


def _at(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%MZ")
