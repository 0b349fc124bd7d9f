"""PowerShell read by a grammar (tree-sitter's), because the registries do not bring PowerShell itself: see decision 0020."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command: the parameter's name without its dash, None for a positional one; and its value.

    `value` is None for a switch. A hashtable that is splatted (@wish) has the name @.
    """

    name: str | None
    value: Node | None


@lru_cache(maxsize=1)
def _parser() -> Parser:
    return Parser(Language(tree_sitter_powershell.language()))


@lru_cache(maxsize=32)
def parse(script: str) -> Node:
    """Parse a script; many tests read the same one.

    Raises:
        AssertionError: it is not PowerShell; the message shows where.
    """
    root = _parser().parse(script.encode()).root_node
    for node in walk(root):
        is_wrong = node.is_error or node.is_missing
        assert not is_wrong, f"line {node.start_point[0] + 1}: {text_of(node)[:120]!r}"
    return root


def is_powershell(script: str) -> bool:
    """Tell whether the grammar takes a script."""
    return not _parser().parse(script.encode()).root_node.has_error


def walk(node: Node) -> Iterator[Node]:
    """Go through a node and everything below it, outermost first."""
    yield node
    for child in node.children:
        yield from walk(child)


def find(node: Node, *types: str) -> Iterator[Node]:
    """Find the nodes of some types at or below a node."""
    return (found for found in walk(node) if found.type in types)


def text_of(node: Node) -> str:
    """Return the source of a node."""
    assert node.text is not None
    return node.text.decode()


def inner(node: Node) -> Node:
    """Go down through levels of precedence that hold one thing only, to the thing itself."""
    while node.child_count == 1 and node.named_child_count == 1 and node.type != "expandable_string_literal":
        node = node.children[0]
    return node


def name_of(command: Node) -> str:
    """Return the name of a command, empty when it is computed."""
    names = [child for child in command.children if child.type == "command_name"]
    return text_of(names[0]) if names else ""


def arguments_of(command: Node) -> list[Argument]:
    """Return a command's arguments in order."""
    elements = [child for child in command.children if child.type == "command_elements"]
    given: list[Argument] = []
    pending: str | None = None
    for element in [part for node in elements for part in node.children if part.type != "command_argument_sep"]:
        if element.type == "command_parameter":
            if pending is not None:
                given.append(Argument(pending, None))
            pending = text_of(element).removeprefix("-")
        elif text_of(element).startswith("@") and inner(element).type == "variable":
            if pending is not None:
                given.append(Argument(pending, None))
                pending = None
            given.append(Argument("@", element))
        else:
            given.append(Argument(pending, element))
            pending = None
    if pending is not None:
        given.append(Argument(pending, None))
    return given


def function_of(node: Node) -> str:
    """Return the name of the function a node is in, empty for the script itself."""
    above: Node | None = node
    while above is not None:
        if above.type == "function_statement":
            return text_of(next(find(above, "function_name")))
        above = above.parent
    return ""
