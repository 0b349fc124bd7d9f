"""$filter over directory objects: comparisons and startswith, joined by `and` or by `or`.

Anything beyond that answers 501, because a filter half understood gives wrong lists.

Source: Graph "Use the $filter query parameter" page.
"""

import operator
import re
from collections.abc import Callable, Collection
from typing import Any

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.exchange.event import JsonObject

Test = Callable[[JsonObject], bool]
EQUALITY = frozenset({"eq"})
COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
_LITERAL = r"(?:'((?:[^']|'')*)'|(true|false|null)|(-?\d+(?:\.\d+)?))"
_COMPARISON = re.compile(rf"\s*(\w+)\s+(\w+)\s+{_LITERAL}\s*", re.IGNORECASE)
_STARTSWITH = re.compile(r"\s*startswith\(\s*(\w+)\s*,\s*'((?:[^']|'')*)'\s*\)\s*", re.IGNORECASE)
_JOINT = re.compile(r"(and|or)\s", re.IGNORECASE)
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}


def parse_filter(text: str | None, known: Collection[str], operators: Collection[str]) -> Test:
    """Read $filter into a test of an object; no filter lets everything pass.

    Args:
        known: properties that can be compared.
        operators: comparisons played on this path.
    Raises:
        GraphError: 400 for a text that is no filter, 501 for one that is not played.
    """
    if text is None:
        return lambda _: True
    tests, joints, at = list[Test](), set[str](), 0
    while True:
        test, at = _parse_term(text, at, known, operators)
        tests.append(test)
        if at == len(text):
            break
        joint = _JOINT.match(text, at)
        if joint is None:
            raise NotEmulated(f"$filter={text}")
        joints.add(joint[1].lower())
        at = joint.end()
    if len(joints) > 1:
        raise NotEmulated(f"`and` mixed with `or` in $filter={text}")
    passes = any if joints == {"or"} else all
    return lambda entity: passes(test(entity) for test in tests)


def _parse_term(text: str, at: int, known: Collection[str], operators: Collection[str]) -> tuple[Test, int]:
    start = _STARTSWITH.match(text, at)
    if start is not None:
        name, prefix = _known(start[1], known), _unquoted(start[2]).lower()
        return lambda entity: str(entity[name] or "").lower().startswith(prefix), start.end()
    match = _COMPARISON.match(text, at)
    if match is None:
        if not text.strip():
            raise GraphError(400, "BadRequest", "Invalid filter clause: the expression is empty.")
        raise NotEmulated(f"$filter={text}")
    name, word = _known(match[1], known), match[2].lower()
    if word not in operators:
        raise NotEmulated(f"the operator {word!r} in $filter")
    value = _value(match)
    return lambda entity: _compare(word, entity[name], value), match.end()


def _value(match: re.Match[str]) -> object:
    if match[3] is not None:
        return _unquoted(match[3]).lower()
    return _WORDS[match[4].lower()] if match[4] is not None else float(match[5])


def _compare(word: str, have: Any, want: object) -> bool:  # Any: a JSON value
    have = have.lower() if isinstance(have, str) else have
    if word in ("eq", "ne"):
        return bool(have == want) == (word == "eq")
    return have is not None and isinstance(have, type(want) | int) and bool(getattr(operator, word)(have, want))


def _known(name: str, known: Collection[str]) -> str:
    if name not in known:
        raise NotEmulated(f"the property {name!r} in $filter")
    return name


def _unquoted(text: str) -> str:
    return text.replace("''", "'")
