"""Writes the settings table of README.md from the settings themselves, so that the two never differ.

Usage: python -m sidecar.cli.reference --write | --check
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from sidecar.cli.generated import write_or_check
from sidecar.setting_names import settings_of, variable_of
from sidecar.settings import Settings

_README = Path(__file__).resolve().parents[2] / "README.md"
_BEGIN, _END = "<!-- settings -->", "<!-- end of settings -->"


def settings_table() -> str:
    """Return the table in Markdown: a row for each setting, in the order of the code."""
    lines = ["| environment variable | default | meaning |", "|---|---|---|"]
    lines += [_row(path, _default(field), field.description) for path, field in settings_of(Settings)]
    return "\n".join(lines)


def _default(field: FieldInfo) -> object:
    """Return a default as its variable has it: some lists are no JSON there but words with commas."""
    return ",".join(field.default) if NoDecode in field.metadata else field.default


def _row(path: str, default: object, meaning: str | None) -> str:
    shown = "" if default is None else default if isinstance(default, str) else json.dumps(default, default=str)
    text = " ".join((meaning or "").split()).replace("|", "\\|")
    return f"| `{variable_of(path)}` | {f'`{str(shown).strip(chr(34))}`' if shown != '' else 'none'} | {text} |"


def updated(readme: str) -> str:
    """Return the README with the table put between its markers."""
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{settings_table()}\n{_END}{after}"


def main() -> None:
    """Write the table, or say that it is out of date."""
    write_or_check(_README, updated(_README.read_text(encoding="utf-8")), about=__doc__)


if __name__ == "__main__":
    main()
