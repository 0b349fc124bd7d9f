"""PowerShell's values in Python, and its rules for comparing, converting and telling true from false."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tree_sitter import Node

Value = object
"""None, bool, int, str, bytes, datetime, a list (an array), or one of the classes below."""


class PowerShellError(Exception):
    """What `throw` and failing cmdlets raise, and `catch` catches."""


class NotModelled(AssertionError):
    """The script uses a part of the language that is not played here; the test fails, whatever the script does."""


VOID = object()
"""What a method without a result gives: nothing at all, which is less than $null."""


@dataclass(eq=False)
class Bag:
    """An object or a hashtable: names without regard to case, in order. A pipeline takes it as one thing."""

    entries: dict[str, tuple[str, Value]] = field(default_factory=dict)

    @classmethod
    def of(cls, **entries: Value) -> Bag:
        """Make one."""
        bag = cls()
        for name, value in entries.items():
            bag.set(name, value)
        return bag

    def get(self, name: str) -> Value:
        """Return an entry, None when there is none."""
        return self.entries.get(name.lower(), (name, None))[1]

    def set(self, name: str, value: Value) -> None:
        """Set an entry; its first spelling stays."""
        self.entries[name.lower()] = self.entries.get(name.lower(), (name, None))[0], value

    def items(self) -> Iterator[tuple[str, Value]]:
        """Go through the entries in order."""
        return iter(self.entries.values())


@dataclass(eq=False)
class ArrayList:
    """System.Collections.ArrayList."""

    items: list[Value] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Version:
    """System.Version."""

    parts: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read 1.2.3."""
        return cls(tuple(int(part) for part in text.split(".")))


@dataclass(frozen=True)
class Script:
    """A script block; it runs in the scope of whoever runs it."""

    body: Node


def items_of(value: Value) -> list[Value]:
    """Return what a pipeline sends on for a value."""
    if isinstance(value, ArrayList):
        return list(value.items)
    return list(value) if isinstance(value, list) else [value]


def unrolled(items: list[Value]) -> Value:
    """Return what an assignment keeps of a pipeline's output."""
    return None if not items else items[0] if len(items) == 1 else items


def is_true(value: Value) -> bool:
    """Tell whether a condition holds."""
    if isinstance(value, list):
        return len(value) > 1 or (len(value) == 1 and is_true(value[0]))
    if value is None or isinstance(value, bool | int | str):
        return bool(value)
    return True


def to_text(value: Value) -> str:
    """Convert to a string."""
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, str):
        return value
    raise NotModelled(f"{type(value).__name__} as text")


def convert(type_name: str, value: Value) -> Value:
    """Cast a value."""
    match type_name.lower():
        case "string":
            return to_text(value)
        case "bool" | "switch":
            return is_true(value)
        case "int" | "long":
            return int(to_text(value))
        case "char":
            return chr(int(to_text(value)))
        case "version":
            return Version.parse(to_text(value))
        case "string[]":
            return None if value is None else [to_text(item) for item in items_of(value)]
        case "ordered" | "scriptblock":
            return value
    raise NotModelled(f"[{type_name}]")


def equals(left: Value, right: Value) -> bool:
    """Compare as -eq does: without regard to case, the right side as the left one's kind."""
    if left is None or right is None:
        return left is None and right is None
    if isinstance(left, bool):
        return left == is_true(right)
    if isinstance(left, str):
        return left.lower() == to_text(right).lower()
    if isinstance(left, int):
        return str(left) == to_text(right)
    raise NotModelled(f"{type(left).__name__} -eq")


def compare(operator: str, left: Value, right: Value) -> bool:
    """Carry out a comparison."""
    match operator.lower():
        case "-eq":
            return equals(left, right)
        case "-ne":
            return not equals(left, right)
        case "-contains":
            return any(equals(item, right) for item in items_of(left))
        case "-notcontains":
            return not any(equals(item, right) for item in items_of(left))
        case "-match":
            return _matches(left, right)
        case "-notmatch":
            return not _matches(left, right)
        case "-gt":
            return _order(left, right) > 0
        case "-lt":
            return _order(left, right) < 0
    raise NotModelled(operator)


def _matches(left: Value, right: Value) -> bool:
    pattern = to_text(right).replace(r"\z", r"\Z")  # the same anchor in Python's words
    return re.search(pattern, to_text(left), re.IGNORECASE) is not None


def _order(left: Value, right: Value) -> int:
    for kind in (int, datetime, Version):
        if isinstance(left, kind) and isinstance(right, kind):
            return (left > right) - (left < right)  # type: ignore[operator]  # both are of one kind that can be ordered
    raise NotModelled(f"order of {type(left).__name__} and {type(right).__name__}")
