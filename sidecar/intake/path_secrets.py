"""Words in the webhook's path that only Microsoft is told, so that strangers find nothing behind the address.

They are a hurdle, not the proof: that is the client state of each subscription. The database holds them as part of the
address, and whoever sees Microsoft's requests on their way knows them.
"""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.errors import SettingsInvalid

_WORD = re.compile("[A-Za-z0-9_-]{16,128}")
_WORDS_MAX = 4
_FILE_BYTES_MAX = 4_096


def read_path_secrets(path: Path | None) -> tuple[str, ...]:
    """Read the words, one a line: the first is told to Microsoft, all of them are taken. None: there are none.

    To replace one, put the new one first and start anew; take the old one out when all subscriptions have moved, which they do
    by themselves.

    Raises:
        SettingsInvalid: the file cannot be read or breaks the form; nothing of it is quoted.
    """
    if path is None:
        return ()
    try:
        with path.open(encoding="ascii") as file:
            words = file.read(_FILE_BYTES_MAX).split()
    except (OSError, UnicodeDecodeError):
        raise _refusal(path, "cannot be read as text") from None
    if not 1 <= len(words) <= _WORDS_MAX or not all(map(_WORD.fullmatch, words)):
        raise _refusal(path, f"must hold 1 to {_WORDS_MAX} lines of 16 to 128 characters of [A-Za-z0-9_-]")
    return tuple(words)


def _refusal(path: Path, sentence: str) -> SettingsInvalid:
    return SettingsInvalid("a file cannot be used", details={"webhook.path_secrets_file": f"{path} {sentence}"})
