"""Start the emulator from a command line: `python -m sidecar.emulator`."""

import argparse
import sys
import tempfile
from pathlib import Path

from sidecar.emulator.server import EmulatorConfig, main


def run(arguments: list[str] | None = None) -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m sidecar.emulator",
        description="Microsoft's login and Graph calendar on this machine. Prints one JSON line when it listens.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of Graph and login, TLS (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of Graph and login; 0 is any free one")
    parser.add_argument("--control-host", default="127.0.0.1", help="address of the control API (default: %(default)s)")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control API; 0 is any free one")
    parser.add_argument("--ca-dir", type=Path, help="where ca.pem is written (default: a new temporary directory)")
    parser.add_argument("--calm", action="store_true", help="quick and orderly instead of unkind")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default: %(default)s)")
    parser.add_argument("--name", action="append", default=[], help="one more host name for the certificate")
    parser.add_argument("--public-host", help="host in the addresses told to callers")
    parser.add_argument(
        "--webhook-ca-file", type=Path, help="authority that webhooks' certificates are checked against"
    )
    options = parser.parse_args(arguments)
    return main(
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        ca_dir=options.ca_dir or Path(tempfile.mkdtemp(prefix="emulator-ca-")),
        calm=options.calm,
        seed=options.seed,
        config=EmulatorConfig(
            names=tuple(options.name),
            public_host=options.public_host,
            control_host=options.control_host,
            webhook_ca_file=options.webhook_ca_file,
        ),
    )


if __name__ == "__main__":
    sys.exit(run())
