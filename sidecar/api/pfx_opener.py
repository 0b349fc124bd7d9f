"""Opens PFX files elsewhere: in a child process with a limit to its time, whatever a file asks for.

How often a passphrase is to be hashed is looked up before, but a file may hide the number inside of what it encrypts. Here
that costs a child a few seconds, and this process, which serves everybody, nothing. The child is a new program and no fork:
gRPC's threads do not survive one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from sidecar.api.pfx import complain_about_pfx

_CPU_S = 4
"""What is taken asks for 1.5 s at most, and starting takes 0.2."""
_WALL_S = 15.0
"""On a busy machine; the caller waits."""
_CHILDREN_MAX = 2
"""At once; others wait in line. Registrations are rare, and a core is left to serve with."""
_TOO_LONG = "takes too long to open; export it anew, with fewer rounds of hashing"


class PfxOpener:
    """Opens PFX files, a few at a time."""

    def __init__(self, *, cpu_s: int = _CPU_S) -> None:
        """Have a child killed after so many seconds of work."""
        self._cpu_s = cpu_s
        self._places = asyncio.Semaphore(_CHILDREN_MAX)

    async def open(self, content: bytes, passphrase: str) -> bytes | str:
        """Return what a PFX file holds as PEM text, key and certificates, or a sentence about what is wrong with it.

        Raises:
            OSError, RuntimeError: no child could be started, or it failed for a reason that is not the file's.
        """
        complaint = complain_about_pfx(content, passphrase)
        return complaint if complaint is not None else await self.load(content, passphrase)

    async def load(self, content: bytes, passphrase: str) -> bytes | str:
        """Open a file that nothing is known to be wrong with; see `open`."""
        async with self._places:
            # In a thread, because event loops start programs by forking, and Python's own way does without.
            return await asyncio.get_running_loop().run_in_executor(None, self._run, content, passphrase)

    def _run(self, content: bytes, passphrase: str) -> bytes | str:
        secret = passphrase.encode()
        try:
            ran = subprocess.run(  # noqa: S603  (our own program)
                [sys.executable, "-P", "-B", "-m", "sidecar.api.pfx_child", str(self._cpu_s)],
                input=len(secret).to_bytes(4, "big") + secret + content,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # whatever fails there may show what it was given
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                timeout=_WALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _TOO_LONG
        if ran.returncode < 0:
            return _TOO_LONG  # killed, at the limit of its time or its memory
        if ran.returncode > 0:
            raise RuntimeError("the program that opens PFX files failed")
        return ran.stdout[1:] if ran.stdout[:1] == b"+" else ran.stdout[1:].decode()
