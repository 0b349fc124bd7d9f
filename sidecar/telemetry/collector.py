"""A collector of OTLP over HTTP, as far as this service talks to one: what it is told, and how it is known.

The SDK's own exporter is not used: it takes addresses, secrets and certificates from the environment, and says on each failure
what it was sending to.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from sidecar.errors import SettingsInvalid
from sidecar.settings import TelemetrySettings

_REQUEST_S = 5.0
_ANSWER_BYTES_MAX = 64 * 1024
_HEADERS_BYTES_MAX = 16 * 1024
_HEADERS_MAX = 16
_PASSING = frozenset({408, 429, 502, 503, 504})
"""Answers after which OTLP wants the same to be sent again."""


class NotTaken(Exception):
    """A collector did not take something. `cause` is a kind, never a text of its; `is_passing`: it may the next time."""

    def __init__(self, cause: str, *, is_passing: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_passing = is_passing


class Taker(Protocol):
    """Takes what is sent; `Collector` is one."""

    def post(self, path: str, body: bytes) -> None:
        """Send one request; blocks. Raises NotTaken."""

    def close(self) -> None:
        """Let go of what is held."""


class Collector:
    """An address that takes OTLP over HTTP. Used from one thread at a time; blocks whoever uses it.

    The environment's proxies and certificates are somebody else's and not looked at; redirects are not followed.
    """

    def __init__(
        self, url: str, *, tls: ssl.SSLContext | None, headers_file: Path | None, request_s: float = _REQUEST_S
    ) -> None:
        """Make it; nothing is connected.

        Args:
            tls: what is trusted; None for a http URL.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None, "checked with the settings"
        self._host, self._path, self._tls = parts.hostname, parts.path, tls
        self._port = parts.port
        self._request_s = request_s
        self._headers_file = headers_file
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> None:
        """Send one request.

        Raises:
            NotTaken.
        """
        headers = {"content-type": "application/x-protobuf"}
        try:
            if self._headers_file is not None:
                headers |= read_headers(self._headers_file)
            status = self._exchange(path, body, headers)
        except SettingsInvalid:
            raise NotTaken("HEADERS_FILE_UNUSABLE", is_passing=True) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise NotTaken(type(error).__name__, is_passing=True) from None
        if not 200 <= status < 300:
            raise NotTaken(f"HTTP_{status}", is_passing=status in _PASSING)

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        connection.request("POST", self._path + path, body, dict(headers))
        answer = connection.getresponse()
        answer.read(_ANSWER_BYTES_MAX)
        if not answer.isclosed() or answer.will_close:  # more than any answer to this, or the last on this connection
            self.close()
        return answer.status

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._request_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._request_s, context=self._tls)

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_headers(path: Path) -> dict[str, str]:
    """Read the headers that a collector asks for, one `name: value` a line.

    Raises:
        SettingsInvalid: the file cannot be read or breaks the form; nothing of it is quoted.
    """
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(_HEADERS_BYTES_MAX)
    except (OSError, UnicodeDecodeError):
        raise _unusable(path, "cannot be read as text") from None
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").replace("_", "").isalnum() or not value.strip().isprintable():
            raise _unusable(path, "must hold lines of the form name: value")
        headers[name.strip().lower()] = value.strip()
    if not 1 <= len(headers) <= _HEADERS_MAX:
        raise _unusable(path, f"must hold 1 to {_HEADERS_MAX} headers")
    return headers


def _unusable(path: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("a file cannot be used", details={"telemetry.otlp_headers_file": f"{path} {sentence}"})


def open_collector(settings: TelemetrySettings, *, trusting: Callable[[Path | None], ssl.SSLContext]) -> Collector:
    """Return the collector that is set; nothing is connected.

    Args:
        trusting: makes what a collector is known by, from a file of authorities if there is one.
    Raises:
        SettingsInvalid: a file cannot be used.
    """
    url = settings.otlp_endpoint
    assert url is not None, "asked for only where there is one"
    if settings.otlp_headers_file is not None:
        read_headers(settings.otlp_headers_file)
    try:
        tls = trusting(settings.otlp_ca_file) if url.startswith("https:") else None
    except OSError:  # of which ssl's errors are
        path = settings.otlp_ca_file
        raise SettingsInvalid(
            "a file cannot be used", details={"telemetry.otlp_ca_file": f"{path} is no PEM"}
        ) from None
    return Collector(url, tls=tls, headers_file=settings.otlp_headers_file)
