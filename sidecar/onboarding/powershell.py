"""Values of ours in PowerShell: literals that stay what they are, whatever is in them and however the file is read."""

from __future__ import annotations

import re

_RUNS = re.compile(r"([ -~]+)|([^ -~]+)")
"""Printable ASCII, or anything else."""


def powershell_literal(text: str) -> str:
    """Return an expression whose value is the text, in printable ASCII alone.

    Inside single quotes PowerShell expands nothing. Everything but printable ASCII is written as a number, for two reasons:
    PowerShell takes the typographic quotes (U+2018 to U+201B) for quotes, and Windows PowerShell reads a file without a byte
    order mark in the machine's own code page, where a byte of many a letter is such a quote.

    Source: Microsoft's "about_Quoting_Rules" and "about_Character_Encoding".
    """
    parts = [_quoted(plain) if plain else _numbered(other) for plain, other in _RUNS.findall(text)]
    if not parts or not parts[0].startswith("'"):
        parts.insert(0, "''")  # a string comes first, so that + joins text instead of adding numbers
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _quoted(plain: str) -> str:
    return "'" + plain.replace("'", "''") + "'"


def _numbered(text: str) -> str:
    """Write characters as .NET's numbers, of which some of Unicode's need two."""
    encoded = text.encode("utf-16-be", "surrogatepass")
    units = [encoded[at] << 8 | encoded[at + 1] for at in range(0, len(encoded), 2)]
    return " + ".join(f"[char] 0x{unit:04X}" for unit in units)
