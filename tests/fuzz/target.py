"""What a fuzz target is: a function that is given bytes, and may end only in ways that are written down."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.utils import CryptographyDeprecationWarning

CANARY = "CANARY-7d0e5a"
"""Stands in secrets of seeds; an error that holds it would show a secret."""
INPUT_BYTES_MAX = 64 * 1024
CPU_S_MAX = 2.0
"""For one input: a hundred times what the slowest takes, so that a busy machine does not matter and a loop does."""
CORPUS = Path(__file__).parent / "corpus"


class Misbehaved(Exception):
    """A target ended in a way that is not written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser, or several that read the same bytes.

    Attributes:
        name: of its folder in the corpus.
        run: reads bytes; may raise what `errors` names.
        errors: documented ways to refuse.
        seeds: inputs in good order to begin with.
        examples_count: how many inputs a test run tries.
        is_measured: large inputs are tried, and their memory is measured; not where a file of the operator's is read slowly.
    """

    name: str
    run: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    examples_count: int = 150
    is_measured: bool = True

    def corpus(self) -> list[bytes]:
        """Return its seeds, and everything that was ever found wrong with it."""
        return [*self.seeds, *(path.read_bytes() for path in sorted((CORPUS / self.name).glob("*")))]

    def try_input(self, data: bytes) -> None:
        """Run it on an input.

        Raises:
            Misbehaved: it raised what it must not, told a secret, or took too long.
        """
        began_s = time.thread_time()
        try:
            with warnings.catch_warnings():
                # Of a certificate's odd serial number: the library means to refuse it one day.
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)
                self.run(data)
        except self.errors as error:
            told = f"{error} {getattr(error, 'details', '')} {getattr(error, 'violations', '')}"
            if CANARY in told:
                raise Misbehaved(f"{self.name}: an error tells a secret") from error
        except Misbehaved:
            raise
        except Exception as error:
            raise Misbehaved(f"{self.name}: {type(error).__name__} is no refusal that is written down") from error
        if time.thread_time() - began_s > CPU_S_MAX:
            raise Misbehaved(f"{self.name}: {len(data)} bytes took more than {CPU_S_MAX} s")
