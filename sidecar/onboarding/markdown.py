"""Values of ours in Markdown: text that is shown as it is, and never becomes a link, a heading or code."""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = re.compile(r"([!-/:-@\[-`{-~])")


def markdown_text(text: str) -> str:
    """Return a text for the inside of a line or of a table's cell.

    Every ASCII punctuation mark is escaped, which CommonMark allows. Control characters, line ends among them, and marks
    that turn the direction of writing become one space each.
    """
    plain = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"} else character for character in text
    )
    return _SPECIAL.sub(r"\\\1", plain.strip())
