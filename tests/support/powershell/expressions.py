"""Expressions: what a part of the parse tree is worth. Statements and commands are `machine.py`'s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tree_sitter import Node

from tests.support.powershell.grammar import inner, text_of
from tests.support.powershell.objects import (
    ArrayList,
    Bag,
    NotModelled,
    PowerShellError,
    Script,
    Value,
    compare,
    convert,
    is_true,
    items_of,
    to_text,
    unrolled,
)

_LEVELS = ("logical", "bitwise", "comparison", "additive", "multiplicative", "format", "range")
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}


class World(Protocol):
    """What is outside the script: cmdlets, .NET, and the objects that PowerShell brings along."""

    def variables(self) -> dict[str, Value]:
        """Return the automatic variables, names in lower case."""

    def command(self, name: str, arguments: dict[str, Value], incoming: list[Value]) -> list[Value]:
        """Run a cmdlet; switches are True, positional arguments are named 0, 1, ..."""

    def call(self, target: Value, name: str, arguments: list[Value]) -> Value:
        """Call a method of an object, or of a type given as its name in brackets."""

    def member(self, target: Value, name: str) -> Value:
        """Read a property of an object that is none of PowerShell's own, or of a type."""


@dataclass
class Scope:
    """Variables of one call; those of the callers are seen through it."""

    parent: Scope | None = None
    variables: dict[str, Value] = field(default_factory=dict)

    def read(self, name: str) -> Value:
        """Return a variable, the nearest of that name."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables[name]
            scope = scope.parent
        raise PowerShellError(f"The variable '${name}' cannot be retrieved because it has not been set.")


class Expressions(ABC):
    """Works out expressions in one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    @abstractmethod
    def _pipeline(self, node: Node, scope: Scope) -> list[Value]:
        """Run a pipeline and return its output."""

    @abstractmethod
    def _statements(self, node: Node, scope: Scope, output: list[Value]) -> None:
        """Run statements; what they write is added to `output`."""

    def _assigned(self, right: Node, scope: Scope) -> Value:
        """Return what is assigned: an expression as it is, and what a command gives unrolled."""
        core = inner(right)
        if right.type == "pipeline" and core.type not in {"pipeline_chain", "command", "command_name"}:
            return self._value(core, scope)
        return unrolled(self._pipeline(right, scope))

    def _argument(self, node: Node, scope: Scope) -> Value:
        """Return the value of a command's argument: a bare word is text."""
        core = inner(node)
        if core.type in {"generic_token", "command_name", "simple_name"}:
            return text_of(core)
        return self._value(core, scope)

    def _value(self, node: Node, scope: Scope) -> Value:
        node = inner(node)
        level = node.type.removesuffix("_expression").removesuffix("_argument")
        if level in _LEVELS:
            return self._operation(node, scope)
        evaluate: Mapping[str, Callable[[Node, Scope], Value]] = {
            "variable": self._variable,
            "$_": self._variable,
            "verbatim_string_characters": lambda node, _: text_of(node)[1:-1].replace("''", "'"),
            "expandable_string_literal": self._expanded,
            "decimal_integer_literal": lambda node, _: int(text_of(node)),
            "real_literal": lambda node, _: text_of(node),
            "hexadecimal_integer_literal": lambda node, _: int(text_of(node), 16),
            "array_expression": self._array,
            "array_literal_expression": lambda node, scope: [
                self._value(child, scope) for child in node.children if child.type != ","
            ],
            "parenthesized_expression": lambda node, scope: self._assigned(self._child(node, "pipeline"), scope),
            "sub_expression": lambda node, scope: unrolled(self._array(node, scope)),
            "hash_literal_expression": self._hash,
            "expression_with_unary_operator": self._unary,
            "cast_expression": lambda node, scope: convert(
                text_of(node.children[0]).strip("[]"), self._value(node.children[1], scope)
            ),
            "member_access": self._member,
            "invokation_expression": self._invocation,
            "element_access": self._element,
            "script_block_expression": lambda node, _: Script(self._child(node, "script_block")),
            "type_literal": lambda node, _: text_of(node),
            "type_identifier": lambda node, _: f"[{text_of(node)}]",
        }
        if node.type not in evaluate:
            raise NotModelled(f"{node.type}: {text_of(node)[:80]}")
        return evaluate[node.type](node, scope)

    def _operation(self, node: Node, scope: Scope) -> Value:
        left, operator, right = node.children
        sign = text_of(operator).lower()
        first = self._value(left, scope)
        if sign in {"-and", "-or"}:
            decided = is_true(first) is (sign == "-or")
            return sign == "-or" if decided else is_true(self._value(right, scope))
        if sign in {"-is", "-isnot"}:
            kinds = {"bool": bool, "int": int, "long": int, "string": str}
            kind = kinds[text_of(right).strip("[]").lower()]
            return (type(first) is kind) is (sign == "-is")
        second = self._value(right, scope)
        if sign == "+":
            if isinstance(first, str):
                return first + to_text(second)
            if isinstance(first, list):
                return [*first, *items_of(second)]
            raise NotModelled(text_of(node))
        return compare(sign, first, second)

    def _unary(self, node: Node, scope: Scope) -> Value:
        sign = text_of(node.children[0]).lower()
        if sign != "-not":
            raise NotModelled(text_of(node))
        return not is_true(self._value(node.children[1], scope))

    def _variable(self, node: Node, scope: Scope) -> Value:
        name = self._variable_name(node)
        return _CONSTANTS[name] if name in _CONSTANTS else scope.read(name)

    def _expanded(self, node: Node, scope: Scope) -> Value:
        source, at, parts = node.text or b"", node.start_byte + 1, []
        for child in [child for child in node.children if child.type in {"variable", "sub_expression"}]:
            parts.append(source[at - node.start_byte : child.start_byte - node.start_byte].decode())
            parts.append(to_text(self._value(child, scope)))
            at = child.end_byte
        parts.append(source[at - node.start_byte : -1].decode())
        if "`" in "".join(parts[::2]) or '""' in "".join(parts[::2]):
            raise NotModelled(text_of(node))
        return "".join(parts)

    def _array(self, node: Node, scope: Scope) -> list[Value]:
        output: list[Value] = []
        self._statements(node, scope, output)
        return output

    def _hash(self, node: Node, scope: Scope) -> Bag:
        bag = Bag()
        for body in self._children(node, "hash_literal_body"):
            for entry in self._children(body, "hash_entry"):
                bag.set(text_of(entry.children[0]), self._assigned(self._child(entry, "pipeline"), scope))
        return bag

    def _member(self, node: Node, scope: Scope) -> Value:
        target = self._value(node.children[0], scope)
        name = self._member_name(node, scope)
        if target is None:
            return None
        if name.lower() == "count" and isinstance(target, list | ArrayList):
            return len(items_of(target))
        if name.lower() == "length" and isinstance(target, list | bytes | str):
            return len(target)
        return target.get(name) if isinstance(target, Bag) else self._world.member(target, name)

    def _invocation(self, node: Node, scope: Scope) -> Value:
        target = self._value(node.children[0], scope)
        name = text_of(node.children[2])
        lists = self._children(node, "argument_list")
        given = [
            self._value(child, scope)
            for one in lists
            for expressions in self._children(one, "argument_expression_list")
            for child in expressions.children
            if child.type != ","
        ]
        if target is None:
            raise PowerShellError("You cannot call a method on a null-valued expression.")
        return self._world.call(target, name, given)

    def _element(self, node: Node, scope: Scope) -> Value:
        target, index = self._value(node.children[0], scope), self._value(node.children[2], scope)
        if isinstance(target, Bag):
            return target.get(to_text(index))
        items = items_of(target)
        if not isinstance(index, int):
            raise NotModelled(text_of(node))
        return items[index] if index < len(items) else None

    # Names and children

    def _member_name(self, node: Node, scope: Scope) -> str:
        last = inner(node.children[-1])
        return to_text(self._value(last, scope)) if last.type == "variable" else text_of(last)

    @staticmethod
    def _variable_name(node: Node) -> str:
        return text_of(node).lower().lstrip("$@")

    @staticmethod
    def _bag(value: Value) -> Bag:
        if not isinstance(value, Bag):
            raise NotModelled(f"{type(value).__name__} where a hashtable is needed")
        return value

    @staticmethod
    def _children(node: Node, *types: str) -> list[Node]:
        return [child for child in node.children if child.type in types]

    def _child(self, node: Node, kind: str) -> Node:
        return self._children(node, kind)[0]

    def _text(self, node: Node, kind: str) -> str:
        return text_of(self._child(node, kind))
