"""Whether a value is what a field's annotation says: what is read back from a dump is held to it.

A mistyped value in a state would raise much later, where rooms answer and notifications are sent, and end the emulator.
Numbers and moments must besides be of a size that can be added to the present.
"""

import types
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from sidecar.emulator.bounds import SECONDS_MAX

Check = Callable[[Any], bool]  # Any: the value in question
_FIRST_YEAR, _LAST_YEAR = 1600, 4600  # of a calendar's moments, and then some
_SPAN_MAX = timedelta(seconds=SECONDS_MAX)


@cache
def field_checks(kind: type) -> dict[str, Check]:
    """Give the check of each annotated field of a class."""
    return {name: check_of(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def check_content(content: Mapping[str, Any], hints: Mapping[str, Any]) -> None:  # Any: values, and annotations
    """Check a mapping's values.

    Raises:
        ValueError: one is missing, or not what its annotation says.
    """
    odd = [name for name, hint in hints.items() if name not in content or not check_of(hint)(content[name])]
    if odd:
        raise ValueError(f"{', '.join(odd)} is not what it should be")


@cache
def check_of(hint: Any) -> Check:  # Any: an annotation
    """Build the check for an annotation; one that it does not know lets everything pass."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return check_of(arguments[0])
    if origin is Literal:
        return lambda value: value in arguments
    if origin in (Union, types.UnionType):
        checks = [check_of(one) for one in arguments]
        return lambda value: any(check(value) for check in checks)
    if origin is tuple:
        return _tuple_check(arguments)
    if origin in (list, set, frozenset, deque):
        return _group_check(origin, check_of(arguments[0]))
    if origin in (dict, Counter):
        return _map_check(origin, *(arguments if origin is dict else (*arguments, int)))
    return _class_check(hint) if isinstance(hint, type) and hint is not Any else lambda _: True


def _class_check(kind: type) -> Check:
    if kind is int:
        return lambda value: type(value) is int
    if kind is float:
        return lambda value: type(value) in (int, float) and abs(value) <= SECONDS_MAX
    if kind is datetime:
        return lambda value: (
            isinstance(value, datetime) and value.tzinfo is not None and _FIRST_YEAR <= value.year <= _LAST_YEAR
        )
    if kind is timedelta:
        return lambda value: isinstance(value, timedelta) and abs(value) <= _SPAN_MAX
    return lambda value: isinstance(value, kind)


def _tuple_check(arguments: tuple[Any, ...]) -> Check:  # Any: annotations
    if arguments[-1] is Ellipsis:
        return _group_check(tuple, check_of(arguments[0]))
    checks = [check_of(one) for one in arguments]

    def fits(value: Any) -> bool:  # Any: as above
        is_long_enough = type(value) is tuple and len(value) == len(checks)
        return is_long_enough and all(check(one) for check, one in zip(checks, value, strict=True))

    return fits


def _group_check(kind: type[Collection[Any]], check: Check) -> Check:  # Any: as above
    return lambda value: type(value) is kind and all(check(one) for one in value)


def _map_check(kind: type, key: Any, one: Any) -> Check:  # Any: annotations
    key_check, check = check_of(key), _is_json if one is Any else check_of(one)

    def fits(value: Any) -> bool:  # Any: as above
        is_map = isinstance(value, dict) and isinstance(value, kind)
        return is_map and all(key_check(name) and check(held) for name, held in value.items())

    return fits


def _is_json(value: Any) -> bool:  # Any: as above
    if isinstance(value, list):
        return all(_is_json(one) for one in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(one) for name, one in value.items())
    return value is None or type(value) in (bool, int, float, str)
