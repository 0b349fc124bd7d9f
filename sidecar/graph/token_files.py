"""Reads the token that another identity provider keeps in a file, for a federated credential.

The file rotates by itself (Kubernetes replaces a mounted token every hour or so), so it is read for every assertion. It was
named by a caller of the API, so nothing outside of one folder is ever opened, whatever links say. No content is quoted.

Source: Kubernetes "Projected volumes", Azure Workload Identity: the file is a link into a folder beside it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sidecar.errors import TokenFileUnusable
from sidecar.model.token_path import token_path

_BYTES_MAX = 16 * 1024
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def read_token_file(folder: Path | None, given: str) -> str:
    """Return the token that a file holds now.

    Raises:
        TokenFileUnusable: it may not be read, cannot be read, or holds something else.
    """
    if folder is None:
        raise _unusable("the settings name no folder for token files (credentials.token_files_folder)")
    path = token_path(folder, given)
    if path is None:
        raise _unusable("the path lies outside of the folder for token files")
    try:
        real = path.resolve(strict=True)
        if folder.resolve(strict=True) not in real.parents:
            raise _unusable("the path leads out of the folder for token files", path)
        # The real path, and no link at its end: nothing can be put in its place between the look and the reading.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unusable("it is not a file", path)
            content = file.read(_BYTES_MAX + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a ring
        raise _unusable(
            f"it cannot be read: {getattr(error, 'strerror', None) or 'its links have no end'}", path
        ) from None
    token = content.decode("ascii", errors="replace").strip()
    if len(content) > _BYTES_MAX or not _JWT.fullmatch(token):
        raise _unusable("it does not hold a token (a JWT)", path)
    return token


def _unusable(cause: str, path: Path | None = None) -> TokenFileUnusable:
    details = {"subject": "token file", "cause": cause}
    if path is not None:
        details["path"] = str(path)
    return TokenFileUnusable("the token file cannot be used", details=details)
