"""Files that are made from code: written, or compared with what they would be now."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def write_or_check(file: Path, wanted: str, *, about: str | None) -> None:
    """Do what the command line of a program that makes one file says: `--write` it, or `--check` that it is current.

    Args:
        wanted: the text of the whole file.
        about: what the program is for.
    Raises:
        SystemExit: the file says something else, or the command line is wrong.
    """
    parser = argparse.ArgumentParser(description=about)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help=f"write {file.name}")
    action.add_argument("--check", action="store_true", help=f"fail when {file.name} says something else")
    if parser.parse_args().write:
        file.write_text(wanted, encoding="utf-8")
    elif file.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{file.name} is out of date, run `make docs`")
