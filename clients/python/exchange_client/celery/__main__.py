"""The bridge as a process of its own, which is how it is meant to run.

    python -m exchange_client.celery bridge --app myapp.celery --target unix:///run/exchange/exchange.sock --tenant acme \
        --cursor /var/lib/myapp/exchange-cursor

It ends with 0 after SIGTERM or SIGINT, with everything that it had begun sent and kept; with 0 once the tenant is deleted; with
1 and a sentence when waiting would not help. Nothing else ends it: it waits for a broker or a sidecar that is away.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from celery.app.utils import find_app
from celery.exceptions import ImproperlyConfigured

from exchange_client.celery.bridge import Bridge
from exchange_client.celery.changes import ExchangeChanges, changes_of
from exchange_client.celery.cursor import CursorError
from exchange_client.celery.pressure import HIGH_COUNT
from exchange_client.celery.publisher import QueueMismatch
from exchange_client.celery.running import BridgeOptions, run_bridge
from exchange_client.channel import Tls
from exchange_client.errors import ExchangeError
from exchange_client.token_file import TokenFile
from exchange_client.watching import HEARTBEAT_S

log = logging.getLogger("exchange_client.celery")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # What is importable from where the command was given, as for celery's own commands.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    args = _parser().parse_args(arguments)
    try:
        return asyncio.run(_bridge(_changes(args.app), _options(args)))
    except (ExchangeError, CursorError, QueueMismatch, ImproperlyConfigured, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (a command speaks)
        return 1


def _changes(name: str) -> ExchangeChanges:
    try:
        app = find_app(name)
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(f"{name} names no Celery app: {error}") from error
    return changes_of(app)


async def _bridge(changes: ExchangeChanges, options: BridgeOptions) -> int:
    loop = asyncio.get_running_loop()

    def begun(bridge: Bridge) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, bridge.stop)
        log.info("bridge.started tenant=%s queues_count=%d", options.tenant, changes.layout.queues_count)

    counts = await run_bridge(changes, options, begun=begun)
    fields = (counts.tasks_count, counts.broker_losses_count, counts.pauses_count)
    log.info("bridge.ended tasks_count=%d broker_losses_count=%d pauses_count=%d", *fields)
    return 0


def _options(args: argparse.Namespace) -> BridgeOptions:
    tls = None
    if args.tls or args.ca or args.cert or args.key:
        tls = Tls.from_files(ca=args.ca, cert=args.cert, key=args.key, server_name=args.server_name)
    return BridgeOptions(
        target=args.target,
        tenant=args.tenant,
        rooms=args.room,
        cursor=Path(args.cursor),
        token=TokenFile(args.token_file) if args.token_file else None,
        tls=tls,
        high_count=args.high_water,
        heartbeat_s=args.heartbeat,
        accept_queues=args.accept_queues,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exchange_client.celery", description="Exchange sidecar and Celery."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bridge = commands.add_parser("bridge", help="turn each change of a tenant's rooms into a task")
    add = bridge.add_argument
    add("-A", "--app", required=True, help="the Celery app, as for celery's own commands: myapp.celery:app")
    add("--target", required=True, help="the sidecar: unix:///path/of.sock or host:port")
    add("--tenant", required=True, help="id of the tenant")
    add("--cursor", required=True, help="folder for the place in the log, on a disk that outlives the process")
    add("--room", action="append", default=[], help="id of a room; may be given often; none: all rooms")
    add("--token-file", help="file with the bearer token; read anew when it changes")
    add("--tls", action="store_true", help="use TLS with the system's authorities")
    add("--ca", help="PEM file of the authorities to trust instead")
    add("--cert", help="PEM file of the caller's certificate")
    add("--key", help="PEM file of its private key")
    add("--server-name", default="", help="name in the sidecar's certificate, if it is not that in the target")
    add("--high-water", type=int, default=HIGH_COUNT, help="messages in one queue above which it waits (%(default)s)")
    add("--heartbeat", type=float, default=HEARTBEAT_S, help="seconds between messages of a quiet stream (%(default)s)")
    add("--accept-queues", action="store_true", help="go on with another number of queues than before")
    return parser


if __name__ == "__main__":
    sys.exit(main())
