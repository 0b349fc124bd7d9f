"""The command that asks a running service how it is: the health check of the image, and of whoever has no HTTP client.

A health check is a process every few seconds, so this module takes the standard library only, and `__main__` calls it
without the rest of the command line, whose imports take half a second.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Sequence

PATHS = {"live": "/livez", "ready": "/readyz", "started": "/startupz"}
_ADDRESS = "127.0.0.1:9464"
"""As the setting's own default; a test compares the two."""
_TIMEOUT_S = 4.0
"""Shorter than the health check's own limit of 5 s, so that it is us who say what happened."""
_ANSWER_BYTES_MAX = 1_000
"""An answer is one short line."""
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (looked up, not listened on)
"""Addresses that a listener may have and nobody can call, and where to call instead."""


def main(arguments: Sequence[str], *, program: str = "exchange-sidecar probe") -> int:
    """Ask once, and return the exit code: 0 when it is so, 1 when not, with the reason on standard error.

    Raises:
        SystemExit: 2 and a sentence for a command line that is wrong; 0 for `--help`.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description="Ask the running service at its probe address. Exit code 0: it is; 1: it is not, and why.",
    )
    parser.add_argument(
        "what", choices=PATHS, help="live: it runs; ready: it can answer callers; started: its start is over"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=os.environ.get("EXCHANGE_PROBES__LISTEN", _ADDRESS),
        help="where it listens for probes (default: EXCHANGE_PROBES__LISTEN, else %(default)s); settings files are not read",
    )
    options = parser.parse_args(arguments)
    try:
        host, port = where(options.listen)
    except ValueError as error:
        parser.error(str(error))
    trouble = ask(host, port, PATHS[options.what])
    if trouble is not None:
        print(f"not {options.what}: {trouble}", file=sys.stderr)
    return 0 if trouble is None else 1


def where(listen: str) -> tuple[str, int]:
    """Return host and port to call for an address that a service listens on.

    Raises:
        ValueError: it is not host:port.
    """
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{listen!r} is no address to ask: write host:port")
    return _EVERYWHERE.get(host, host), int(port)


def ask(host: str, port: int, path: str) -> str | None:
    """Send one GET; return None for 200, else what is the matter, in one line."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(_ANSWER_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"nothing answers at {host}:{port}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    line = next(iter(text.splitlines()), "")
    return None if answer.status == 200 else f"{line or 'no reason given'} (HTTP {answer.status})"
