"""Literals: whatever the text, PowerShell reads the same text back, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.onboarding.powershell import powershell_literal
from tests.support.powershell.grammar import find, parse
from tests.unit.onboarding.values import NASTY

_PART = re.compile(r"'((?:[^']|'')*)'|\[char\] 0x([0-9A-F]{4})")


def value_of(literal: str) -> str:
    """Return what PowerShell makes of a literal, by its rules for single quotes, [char] and +; anything else fails."""
    inside = literal[1:-1] if literal.startswith("(") else literal
    units, at = bytearray(), 0
    while True:
        part = _PART.match(inside, at)
        assert part is not None, literal
        quoted, number = part.groups()
        units += quoted.replace("''", "'").encode("utf-16-be") if number is None else bytes.fromhex(number)
        at = part.end()
        if at == len(inside):
            return units.decode("utf-16-be", "surrogatepass")
        assert inside.startswith(" + ", at), literal
        at += 3


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_comes_back(text: str) -> None:
    assert value_of(powershell_literal(text)) == text


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_comes_back(text: str) -> None:
    assert value_of(powershell_literal(text)) == text


@given(st.text())
def test_literal_is_printable_ascii_and_begins_with_a_string(text: str) -> None:
    literal = powershell_literal(text)
    assert re.fullmatch("[ -~]*", literal)
    assert literal.lstrip("(").startswith("'")


@given(st.text(alphabet=st.sampled_from("'\"`$(){}@#;\n‘’‚‛“”„ aé")))
def test_literal_is_one_value_to_the_grammar(text: str) -> None:
    root = parse(f"$x = {powershell_literal(text)}\n$y = 1\n")
    assert len(list(find(root, "assignment_expression"))) == 2
    assert not list(find(root, "command", "sub_expression", "expandable_string_literal", "comment"))
