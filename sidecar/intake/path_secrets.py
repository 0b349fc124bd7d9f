"""Words in the webhook's path that only Microsoft is told, so that strangers find nothing behind the address.

They are a hurdle, not the proof: that is the client state of each subscription. The database holds them as part of the
address, and whoever sees Microsoft's requests on their way knows them.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from sidecar.aio.followed import FollowedFiles
from sidecar.errors import SettingsInvalid

_WORD = re.compile("[A-Za-z0-9_-]{16,128}")
_WORDS_MAX = 4
_FILE_BYTES_MAX = 4_096


PathSecrets = FollowedFiles[tuple[str, ...]]


def follow_path_secrets(path: Path | None) -> PathSecrets | None:
    """Read the file, and go on reading it; None: there is none, and the paths stand alone.

    To replace a word, put the new one behind the old one; when all processes have read it, put it first; when all subscriptions
    have moved, which they do by themselves, take the old one out.

    Raises:
        SettingsInvalid: the file cannot be used.
    """
    return None if path is None else FollowedFiles("path_secrets", (path,), partial(read_path_secrets, path))


def read_path_secrets(path: Path) -> tuple[str, ...]:
    """Read the words, one a line and at least one: the first is told to Microsoft, all of them are taken.

    Raises:
        SettingsInvalid: the file cannot be read or breaks the form; nothing of it is quoted.
    """
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
