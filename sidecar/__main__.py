"""Entry point of `exchange-sidecar` and of `python -m sidecar`."""

from __future__ import annotations

import os
import signal
import sys

_ENDED_BY_SIGTERM = 128 + signal.SIGTERM
"""What shells and the kubelet know a process by that SIGTERM ended."""


def main() -> None:
    """Run the command line; a probe without all the rest, because it is run every few seconds and has to be quick."""
    if os.getpid() == 1:
        # The first process of a container is spared the signals that it does not handle: until the service does, and in
        # every other command, SIGTERM would be lost, and the end be waited for in vain.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(_ENDED_BY_SIGTERM))
    if sys.argv[1:2] == ["probe"]:
        from sidecar.cli.probe import main as probe

        sys.exit(probe(sys.argv[2:]))
    from sidecar.cli.main import main as all_commands  # imported here: it takes a good part of a second

    all_commands()


if __name__ == "__main__":
    main()
