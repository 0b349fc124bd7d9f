"""Calling webhooks: what of a stranger's answer is believed, read and followed."""

import ssl
from collections.abc import AsyncIterator

import httpx
import pytest

from sidecar.emulator.notify.sender import HttpxSender, SendFailed, WebhookAnswer, webhook_client

URL = "https://hooks.example.org/n?k=7"


async def send(handler: httpx.MockTransport) -> WebhookAnswer:
    async with httpx.AsyncClient(transport=handler, follow_redirects=True) as client:
        return await HttpxSender(client).post(URL, headers={"content-type": "text/plain"}, body=b"hello")


async def test_redirect_is_an_answer_and_not_followed() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": "https://elsewhere.example.org/"})

    assert (await send(httpx.MockTransport(answer))).status == 302
    assert asked == [URL]


async def test_endless_answer_is_read_to_a_limit() -> None:
    given_count = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given_count
        while True:
            given_count += 1
            yield b"x" * 1000

    answer = await send(httpx.MockTransport(lambda request: httpx.Response(200, content=endless())))
    assert (answer.status, len(answer.body)) == (200, 16_384)
    assert given_count < 20


async def test_answer_that_is_no_text_is_none_the_less_an_answer() -> None:
    answer = await send(httpx.MockTransport(lambda request: httpx.Response(200, content=b"\xff\xfe")))
    assert (answer.status, answer.content_type) == (200, "")


@pytest.mark.parametrize(
    ("cause", "is_tls"), [(ssl.SSLError(1, "no protocols in common"), True), (ConnectionRefusedError(), False)]
)
async def test_failure_tells_tls_from_the_rest(cause: Exception, is_tls: bool) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("failed") from cause

    with pytest.raises(SendFailed) as caught:
        await send(httpx.MockTransport(fail))
    assert caught.value.is_tls is is_tls


async def test_url_that_cannot_be_called_is_a_failure() -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(SendFailed):
            await HttpxSender(client).post("https://[/", headers={}, body=b"")


@pytest.mark.parametrize("cause", [RuntimeError("the handler is closed"), UnicodeError("label too long")])
async def test_trouble_below_http_is_a_failure(cause: Exception) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise cause

    with pytest.raises(SendFailed):
        await send(httpx.MockTransport(fail))


async def test_answer_that_is_not_encoded_as_it_says_is_none_the_less_an_answer() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"this is no gzip"

    answer = await send(
        httpx.MockTransport(lambda request: httpx.Response(202, headers={"content-encoding": "gzip"}, content=body()))
    )
    assert (answer.status, answer.body) == (202, "")


async def webhook_answers(**headers: str) -> tuple[list[httpx.Request], list[int]]:
    """Call a webhook twice, by the client that is used for real."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers=headers)

    async with webhook_client(transport=httpx.MockTransport(answer)) as client:
        told = [(await HttpxSender(client).post(URL, headers={}, body=b"")).status for _ in range(2)]
    return asked, told


async def test_cookie_is_not_sent_back() -> None:
    asked, _ = await webhook_answers(**{"set-cookie": "a=b; path=/"})
    assert ["cookie" in request.headers for request in asked] == [False, False]


@pytest.mark.parametrize("location", ["https://[::1", "mailto:x", "//", "https://a:99999999/"])
async def test_redirect_that_leads_nowhere_is_an_answer(location: str) -> None:
    assert (await webhook_answers(location=location))[1] == [302, 302]


async def test_client_offers_tls_1_2_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[ssl.SSLContext] = []
    whole = httpx.AsyncClient.__init__

    def remember(self: httpx.AsyncClient, **options: object) -> None:
        context = options["verify"]
        assert isinstance(context, ssl.SSLContext)
        contexts.append(context)
        whole(self)

    monkeypatch.setattr(httpx.AsyncClient, "__init__", remember)
    async with webhook_client():
        assert contexts[0].maximum_version is ssl.TLSVersion.TLSv1_2
