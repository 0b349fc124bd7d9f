"""Opens one PFX file in a process of its own, which may be killed: `python -m sidecar.api.pfx_child CPU_SECONDS`.

Reads the length of the passphrase as four bytes, the passphrase and the file from standard input, so that neither is ever an
argument that other processes can see. Writes `+` and PEM text, or `-` and a sentence. Leaves nothing on any disk.
"""

from __future__ import annotations

import resource
import sys

from sidecar.api.pfx import load_pfx

_MEMORY_BYTES_MAX = 1 << 30
"""Ten times what it needs; a file can ask for functions that want much more."""


def main() -> None:
    """Set the limits first: from then on nothing that the file asks for costs more."""
    cpu_s = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the key
    given = sys.stdin.buffer.read()
    length = int.from_bytes(given[:4], "big")
    try:
        opened = load_pfx(given[4 + length :], given[4 : 4 + length].decode())
    except MemoryError:
        opened = "takes too much memory to open; export it anew"
    sys.stdout.buffer.write(b"-" + opened.encode() if isinstance(opened, str) else b"+" + opened)


if __name__ == "__main__":
    main()
