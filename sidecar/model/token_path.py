"""Where the token file of a federated credential may lie. Pure: what links point to is looked at when the file is read."""

from __future__ import annotations

import re
from pathlib import Path

PATH_CHARS_MAX = 400
_PATH = re.compile(r"[A-Za-z0-9._/@+-]+")


def token_path(folder: Path, given: str) -> Path | None:
    """Return the absolute path of a token file, None when it does not lie inside the folder as it is written.

    Args:
        folder: absolute.
        given: absolute, or relative to the folder.
    """
    if len(given) > PATH_CHARS_MAX or not _PATH.fullmatch(given) or given.endswith("/"):
        return None
    path = folder / given  # an absolute one takes the place of the folder
    if ".." in path.parts or folder not in path.parents:
        return None
    return path
