"""Carries out a PowerShell script by walking its parse tree, for the part of the language that the onboarding script uses.

It follows PowerShell where scripts go wrong: whatever a function does not swallow is part of what it returns, a single
item is no list, variables of callers are seen, and reading a variable that nobody set is an error. Anything it does not know
fails the test (`NotModelled`) instead of being guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tree_sitter import Node

from tests.support.powershell.expressions import Expressions, Scope, World
from tests.support.powershell.grammar import Argument, arguments_of, inner, name_of, parse, text_of
from tests.support.powershell.objects import (
    VOID,
    Bag,
    NotModelled,
    PowerShellError,
    Script,
    Value,
    convert,
    is_true,
    items_of,
    to_text,
    unrolled,
)


class _Return(Exception):
    """`return`; what it returns is in the output by then."""


class _Continue(Exception):
    """`continue`."""


class Machine(Expressions):
    """Runs one script in one world."""

    def __init__(self, script: str, world: World) -> None:
        self._root = parse(script)
        super().__init__(world)
        self._functions: dict[str, Node] = {}

    def run(self, **parameters: Value) -> list[Value]:
        """Run the script with parameters, and return what it writes to its output.

        Raises:
            PowerShellError: it threw.
        """
        scope = Scope(variables=self._world.variables())
        block = next(child for child in self._root.children if child.type == "param_block")
        self._bind(block, scope, dict(parameters), [])
        output: list[Value] = []
        for child in self._root.children:
            if child.type == "statement_list":
                self._statements(child, scope, output)
        return output

    # Statements

    def _statements(self, node: Node, scope: Scope, output: list[Value]) -> None:
        for child in node.children:
            if child.type in {"{", "}", "(", ")", "comment", "@(", "$(", ";"}:
                continue
            if child.type in {"statement_list", "script_block", "script_block_body", "statement_block"}:
                self._statements(child, scope, output)
            else:
                self._statement(child, scope, output)

    def _statement(self, node: Node, scope: Scope, output: list[Value]) -> None:
        match node.type:
            case "function_statement":
                self._functions[self._text(node, "function_name").lower()] = node
            case "if_statement":
                self._if(node, scope, output)
            case "foreach_statement":
                self._foreach(node, scope, output)
            case "try_statement":
                self._try(node, scope, output)
            case "flow_control_statement":
                self._flow(node, scope, output)
            case "pipeline":
                output.extend(self._pipeline(node, scope))
            case "empty_statement":
                pass
            case _:
                raise NotModelled(f"{node.type}: {text_of(node)[:80]}")

    def _if(self, node: Node, scope: Scope, output: list[Value]) -> None:
        for branch in [node, *self._children(node, "elseif_clauses", "elseif_clause")]:
            branches = self._children(branch, "elseif_clause") if branch.type == "elseif_clauses" else [branch]
            for one in branches:
                condition = next(child for child in one.children if child.type == "pipeline")
                if is_true(unrolled(self._pipeline(condition, scope))):
                    self._statements(self._child(one, "statement_block"), scope, output)
                    return
        for clause in self._children(node, "else_clause"):
            self._statements(self._child(clause, "statement_block"), scope, output)

    def _foreach(self, node: Node, scope: Scope, output: list[Value]) -> None:
        name = self._variable_name(self._child(node, "variable"))
        items = unrolled(self._pipeline(self._child(node, "pipeline"), scope))
        for item in [] if items is None else items_of(items):
            scope.variables[name] = item
            try:
                self._statements(self._child(node, "statement_block"), scope, output)
            except _Continue:
                continue

    def _try(self, node: Node, scope: Scope, output: list[Value]) -> None:
        caught = [clause for clauses in self._children(node, "catch_clauses") for clause in clauses.children]
        finals = self._children(node, "finally_clause")
        try:
            try:
                self._statements(self._child(node, "statement_block"), scope, output)
            except PowerShellError as error:
                if not caught:
                    raise
                record = Bag.of(Exception=Bag.of(Message=str(error)))
                with self._current(scope, record):
                    self._statements(self._child(caught[0], "statement_block"), scope, output)
        finally:
            for clause in finals:
                self._statements(self._child(clause, "statement_block"), scope, output)

    def _flow(self, node: Node, scope: Scope, output: list[Value]) -> None:
        values = [value for child in self._children(node, "pipeline") for value in self._pipeline(child, scope)]
        match node.children[0].type:
            case "return":
                output.extend(values)
                raise _Return
            case "continue":
                raise _Continue
            case "throw":
                raise PowerShellError(to_text(unrolled(values)) if values else self._caught_message(scope))
        raise NotModelled(text_of(node))

    @staticmethod
    def _caught_message(scope: Scope) -> str:
        """Return what the error said that is being handled, for a `throw` that passes it on."""
        record = scope.read("_")
        exception = record.get("Exception") if isinstance(record, Bag) else None
        if not isinstance(exception, Bag):
            raise NotModelled("throw without a word outside of catch")
        return to_text(exception.get("Message"))

    # Pipelines and commands

    def _pipeline(self, node: Node, scope: Scope) -> list[Value]:
        (only,) = [child for child in node.children if child.type != "comment"]
        if only.type == "assignment_expression":
            self._assign(only, scope)
            return []
        flowing: list[Value] = []
        stages = [child for child in only.children if child.type not in {"|", "comment"}]
        for at, stage in enumerate(stages):
            if stage.type == "command":
                flowing = self._command(stage, scope, flowing)
                continue
            if at > 0:
                raise NotModelled(text_of(only))
            value = self._value(stage, scope)
            flowing = [] if value is VOID else items_of(value)
        return flowing

    def _assign(self, node: Node, scope: Scope) -> None:
        left, operator, right = [child for child in node.children if child.type != "comment"]
        if text_of(operator) != "=":
            raise NotModelled(text_of(node))
        value = self._assigned(right, scope)
        target = inner(left)
        match target.type:
            case "variable":
                scope.variables[self._variable_name(target)] = value
            case "member_access":
                owner = self._bag(self._value(target.children[0], scope))
                owner.set(self._member_name(target, scope), value)
            case "element_access":
                owner = self._bag(self._value(target.children[0], scope))
                owner.set(to_text(self._value(target.children[2], scope)), value)
            case _:
                raise NotModelled(text_of(node))

    def _command(self, node: Node, scope: Scope, incoming: list[Value]) -> list[Value]:
        name = name_of(node)
        if not name:
            return self._run_block(self._invoked(node, scope), Scope(parent=scope))
        arguments = arguments_of(node)
        if name.lower() in self._functions:
            return self._function(self._functions[name.lower()], arguments, scope)
        if name in {"Where-Object", "ForEach-Object"}:
            return self._each(name, arguments, scope, incoming)
        given: dict[str, Value] = {}
        for argument in arguments:
            if argument.name == "@":
                splat = self._bag(
                    scope.read(text_of(argument.value).removeprefix("@").lower()) if argument.value else None
                )
                given |= dict(splat.items())
            else:
                key = argument.name or str(sum(known.isdigit() for known in given))
                given[key] = True if argument.value is None else self._argument(argument.value, scope)
        return [value for value in self._world.command(name, given, incoming) if value is not VOID]

    def _invoked(self, node: Node, scope: Scope) -> Script:
        script = self._value(node.children[-1], scope)
        if not isinstance(script, Script):
            raise NotModelled(text_of(node))
        return script

    def _each(self, name: str, arguments: list[Argument], scope: Scope, incoming: list[Value]) -> list[Value]:
        (argument,) = arguments
        script = self._argument(argument.value, scope) if argument.value is not None else None
        if not isinstance(script, Script):
            raise NotModelled(name)
        kept: list[Value] = []
        for item in incoming:
            with self._current(scope, item):
                told = self._run_block(script, scope)
            if name == "ForEach-Object":
                kept += told
            elif is_true(unrolled(told)):
                kept.append(item)
        return kept

    def _run_block(self, script: Script, scope: Scope) -> list[Value]:
        output: list[Value] = []
        self._statements(script.body, scope, output)
        return output

    @contextmanager
    def _current(self, scope: Scope, item: Value) -> Iterator[None]:
        """Have $_ stand for an item."""
        before = scope.variables.get("_", VOID)
        scope.variables["_"] = item
        try:
            yield
        finally:
            if before is VOID:
                del scope.variables["_"]
            else:
                scope.variables["_"] = before

    def _function(self, function: Node, arguments: list[Argument], caller: Scope) -> list[Value]:
        scope = Scope(parent=caller)
        named = {
            argument.name: True if argument.value is None else self._argument(argument.value, caller)
            for argument in arguments
            if argument.name is not None
        }
        positional = [
            self._argument(argument.value, caller) for argument in arguments if argument.name is None and argument.value
        ]
        for declaration in self._children(function, "function_parameter_declaration"):
            self._bind(declaration, scope, named, positional)
        output: list[Value] = []
        try:
            for child in self._children(function, "script_block"):
                self._statements(child, scope, output)
        except _Return:
            pass
        return output

    def _bind(self, declaration: Node, scope: Scope, named: dict[str, Value], positional: list[Value]) -> None:
        given = {name.lower(): value for name, value in named.items()}
        lists = self._children(declaration, "parameter_list")
        parameters = [child for one in lists for child in one.children if child.type == "script_parameter"]
        for parameter in parameters:
            name = self._variable_name(self._child(parameter, "variable"))
            types = [
                text_of(attribute.children[0]).strip("[]")
                for attributes in self._children(parameter, "attribute_list")
                for attribute in attributes.children
                if attribute.children and attribute.children[0].type == "type_literal"
            ]
            types = [f"{kind}[]" if f"{kind}[]" in text_of(parameter) else kind for kind in types]
            if name in given:
                value = given.pop(name)
            elif positional:
                value = positional.pop(0)
            else:
                defaults = self._children(parameter, "script_parameter_default")
                value = self._value(defaults[0].children[-1], scope) if defaults else None
            for kind in types:
                value = convert(kind, value)
            scope.variables[name] = value
        if given or positional:
            raise PowerShellError(f"A parameter cannot be found that matches {sorted(given)} {positional}.")
