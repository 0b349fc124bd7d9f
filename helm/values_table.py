"""Make the tables of values in the charts' READMEs from the comments of their values.yaml.

The comment above a value is its only documentation, so the table cannot drift from the file an operator edits. Only the
subset of YAML that values.yaml uses is read here: two-space indents and every value on one line; anything else is an
error with its line number.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLES = {
    HERE / "exchange-sidecar" / "values.yaml": HERE / "README.md",
    HERE / "exchange-sidecar-lib" / "values.yaml": HERE / "exchange-sidecar-lib" / "README.md",
}
"""Where the values are, and the README that shows them."""
BEGIN = "<!-- values: made by helm/values_table.py -->"
END = "<!-- end of values -->"

_ENTRY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):(?: +(?P<value>\S.*))?$")
_INDENT = 2


class ValuesUnreadable(Exception):
    """values.yaml has a line that the table cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value that an operator can set: its dotted key, default as written, and comment."""

    key: str
    default: str
    meaning: str


def parse_values(text: str) -> list[Value]:
    """Read every value with its comment, in the file's order.

    Raises:
        ValuesUnreadable: a value has no comment above it, or a line is neither comment nor `key: value`.
    """
    values: list[Value] = []
    path: list[str] = []
    comment: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            comment = []
            continue
        if line.lstrip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
            continue
        entry = _ENTRY.match(line)
        if entry is None:
            raise ValuesUnreadable(f"line {number} is neither a comment nor a value on one line: {line.strip()}")
        path = [*path[: len(entry["indent"]) // _INDENT], entry["key"]]
        if entry["value"] is not None:
            if not comment:
                raise ValuesUnreadable(f"line {number}: {'.'.join(path)} has no comment above it")
            values.append(Value(key=".".join(path), default=entry["value"], meaning=" ".join(comment)))
        comment = []
    return values


def build_table(values: list[Value]) -> str:
    """Write the values as a Markdown table that ends in a newline."""
    rows = [f"| `{v.key}` | `{_cell(v.default)}` | {_cell(v.meaning)} |" for v in values]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + "\n"


def replace_table(readme: str, table: str) -> str:
    """Return the README with the table between the two markers, which must both be there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValuesUnreadable(f"README.md needs the lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def main() -> int:
    """Rewrite the READMEs, or with --check only say whether they are current; 0 means they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a table is out of date")
    check = parser.parse_args().check
    return max(_update(values, readme, check=check) for values, readme in TABLES.items())


def _update(values: Path, readme: Path, *, check: bool) -> int:
    found = readme.read_text(encoding="utf-8")
    try:
        wanted = replace_table(found, build_table(parse_values(values.read_text(encoding="utf-8"))))
    except ValuesUnreadable as error:
        sys.stderr.write(f"{values.relative_to(HERE.parent)}: {error}\n")
        return 1
    if wanted == found:
        return 0
    if check:
        sys.stderr.write(f"{readme.relative_to(HERE.parent)} is out of date; run: python helm/values_table.py\n")
        return 1
    readme.write_text(wanted, encoding="utf-8")
    return 0


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
