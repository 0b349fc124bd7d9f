"""The handshake: whether somebody who is to be called wants to be.

Source: Graph "Receive change notifications through webhooks" page (200 with the token as plain text within 10 s); the failure
texts are what users have reported.
"""

import asyncio
from http import HTTPStatus
from urllib.parse import quote_plus, urlsplit

from sidecar.emulator.errors import GraphError
from sidecar.emulator.exchange.directory import Tenant
from sidecar.emulator.exchange.world import World
from sidecar.emulator.notify.sender import Sender, SendFailed, WebhookAnswer
from sidecar.emulator.zones import format_instant

VALIDATION, LIFECYCLE_VALIDATION = "validation", "lifecycle validation"
_TIMEOUT_S = 10.0
_HEADERS = {"content-type": "text/plain; charset=utf-8"}
_TIMED_OUT = "Subscription validation request timed out."
_NO_TLS = (
    "HttpRequestException: An error occurred while sending the request. WebException: The request was aborted: "
    "Could not create SSL/TLS secure channel."
)
_WRONG_ANSWER = "Subscription validation request failed. Response must exactly match validationToken query parameter."


async def shake_hands(world: World, sender: Sender, tenant: Tenant, *, kind: str, url: str) -> None:
    """Ask a URL whether it wants notifications, and keep a record of that.

    Args:
        kind: `VALIDATION` or `LIFECYCLE_VALIDATION`, for the record.
    Raises:
        GraphError: 400; it does not, in Graph's words for how it failed.
    """
    token = f"Validation: Testing client application reachability for subscription Request-Id: {world.ids.guid()}"
    target = f"{url}{'&' if urlsplit(url).query else '?'}validationToken={quote_plus(token)}"
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    status: int | None = None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            answer = await sender.post(target, headers=_HEADERS, body=b"")
        status, failure = answer.status, _failure(answer, token)
    except TimeoutError:
        failure = _TIMED_OUT
    except SendFailed as error:
        failure = _NO_TLS if error.is_tls else _TIMED_OUT
    tenant.note_delivery(
        {
            "at": format_instant(world.now()),
            "kind": kind,
            "url": url,
            "attempt": 1,
            "outcome": failure or "accepted",
            "status": status,
            "took_ms": round((loop.time() - started_s) * 1000),
            "items": [],
        }
    )
    if failure is not None:
        raise GraphError(400, "ValidationError", failure)


def _failure(answer: WebhookAnswer, token: str) -> str | None:
    if answer.status != HTTPStatus.OK:
        return (
            f"Subscription validation request failed. HTTP status code is '{_status_name(answer.status)}'. "
            "Notification endpoint must respond with 200 OK to validation request."
        )
    is_text = answer.content_type.partition(";")[0].strip().lower() == "text/plain"
    return None if is_text and answer.body == token else _WRONG_ANSWER


def _status_name(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.replace(" ", "")
    except ValueError:
        return str(status)
