"""Start the emulator from a command line: `python -m sidecar.emulator`."""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sidecar.emulator.bounds import check_present
from sidecar.emulator.control.first_tenant import ROOMS_COUNT
from sidecar.emulator.server import EmulatorConfig, main


def run(arguments: list[str] | None = None, *, program: str = "python -m sidecar.emulator") -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Microsoft's login and Graph calendar on this machine. Prints one JSON line when it listens.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of Graph and login, TLS (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of Graph and login; 0 is any free one")
    parser.add_argument("--control-host", default="127.0.0.1", help="address of the control API (default: %(default)s)")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control API; 0 is any free one")
    parser.add_argument("--ca-dir", type=Path, help="where ca.pem is written; a new temporary folder if left out")
    parser.add_argument("--calm", action="store_true", help="quick and orderly instead of unkind")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default: %(default)s)")
    parser.add_argument(
        "--rooms", type=int, default=ROOMS_COUNT, help="of the first tenant; 0 makes none (default: %(default)s)"
    )
    parser.add_argument("--state", type=Path, help="a dumped state to begin with, instead of the first tenant")
    parser.add_argument("--start-at", type=_moment, help="the first present, ISO 8601; now if left out")
    parser.add_argument("--name", action="append", default=[], help="one more host name for the certificate")
    parser.add_argument("--public-host", help="host in the addresses told to callers")
    parser.add_argument(
        "--webhook-ca-file", type=Path, help="authority that webhooks' certificates are checked against"
    )
    options = parser.parse_args(arguments)
    return main(
        EmulatorConfig(
            ca_dir=options.ca_dir or Path(tempfile.mkdtemp(prefix="exchange-emulator-")),
            host=options.host,
            port=options.port,
            control_host=options.control_host,
            control_port=options.control_port,
            public_host=options.public_host,
            names=tuple(options.name),
            webhook_ca_file=options.webhook_ca_file,
            calm=options.calm,
            seed=options.seed,
            start_at=options.start_at,
            rooms_count=0 if options.state else options.rooms,
            state_file=options.state,
        )
    )


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        return check_present(at if at.tzinfo else at.replace(tzinfo=UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(run())
