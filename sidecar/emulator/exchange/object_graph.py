"""Objects that point at each other, as JSON and back: what dumping and restoring the whole state is made of.

Things with an identity (dataclasses that do not compare by value, and classes with `dump_state` and `load_state`) are
numbered and written once; whoever points at one writes its number. Values are written where they stand. Only the types that
a `Types` was given can be written or read: a dump names types, and a name out of it never leads to an import.
"""

import base64
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any, Protocol, TypeGuard, runtime_checkable

import msgspec

from sidecar.emulator.exchange.field_types import field_checks

Json = Any  # Any: JSON of any kind
# What reading raises where a dump has another shape than what was written. OverflowError: numbers beyond measure.
_UNREADABLE = (
    *(KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError),
    msgspec.ValidationError,
)
NOT_DUMPED = {"dump": False}
"""Metadata of a dataclass field that is left out, a cache for instance; it takes its default when it is read back."""


class StateInvalid(Exception):
    """A dump that cannot be read; the message says where and why."""


@runtime_checkable
class Stateful(Protocol):
    """A class that is no dataclass and writes its own state; it is built without arguments."""

    def dump_state(self) -> dict[str, Any]:
        """Give the state as values and objects of known types."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state; every dataclass that it points at is whole by then."""


class Types:
    """The types a dump may hold, by their names."""

    def __init__(self, known: Iterable[type]) -> None:
        self._known = {kind.__name__: kind for kind in known}

    def dump(self, root: dict[str, Any]) -> Json:
        """Write everything that can be reached from the values of `root`."""
        writer = _Writer(self)
        written = {name: writer.write(value) for name, value in root.items()}
        return {"root": written, "objects": writer.write_objects()}

    def load(self, dump: Json) -> dict[str, Any]:
        """Read what `dump` wrote.

        Raises:
            StateInvalid: it is not of that shape, or names a type or a field that is not known.
        """
        try:
            return _Reader(self, dump["objects"]).read_all(dump["root"])
        except _UNREADABLE as error:
            raise StateInvalid(f"the dump is not whole: {type(error).__name__}: {error}") from error

    def name_of(self, kind: type) -> str:
        """Give the name of a type.

        Raises:
            TypeError: the type is not among the known ones, which is a fault of whoever listed them.
        """
        if self._known.get(kind.__name__) is not kind:
            raise TypeError(f"{kind.__qualname__} is not among the types of a dump")
        return kind.__name__

    def named(self, name: str) -> type:
        """Find a type."""
        try:
            return self._known[name]
        except KeyError:
            raise StateInvalid(f"the dump holds a {name!r}, which this emulator does not know") from None


class _Writer:
    def __init__(self, types: Types) -> None:
        self._types = types
        self._numbers: dict[int, int] = {}
        self._waiting: deque[Any] = deque()  # a queue instead of recursion: chains of objects may be long
        self._kept: list[Any] = []  # so that no id() is used twice

    def write_objects(self) -> list[Json]:
        written: list[Json] = []
        while self._waiting:
            one = self._waiting.popleft()
            state = one.dump_state() if _is_stateful(type(one)) else _field_values(one)
            content = {name: self.write(value) for name, value in state.items()}
            written.append({"is": self._types.name_of(type(one)), "of": content})
        return written

    def write(self, value: Any) -> Json:  # Any: whatever a state holds
        if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, Enum)):
            return value
        if type(value) is list:
            return [self.write(one) for one in value]
        return self._write_tagged(value)

    def _write_tagged(self, value: Any) -> Json:
        for kind, (name, write) in _TAGGED.items():
            if type(value) is kind:
                return {name: write(value)}
        if isinstance(value, Enum):
            return {"enum": self._types.name_of(type(value)), "value": value.value}
        if type(value) in (tuple, set, frozenset):
            parts = value if type(value) is tuple else sorted(value, key=repr)
            return {type(value).__name__: [self.write(one) for one in parts]}
        if isinstance(value, Counter):
            return {"counter": [[self.write(key), count] for key, count in value.items()]}
        if isinstance(value, deque):
            return {"deque": [self.write(one) for one in value], "most": value.maxlen}
        if isinstance(value, dict):
            return {"map": [[self.write(key), self.write(one)] for key, one in value.items()]}
        if _is_stateful(type(value)) or (is_dataclass(value) and not _compares_by_value(type(value))):
            return {"ref": self._number(value)}
        content = {name: self.write(one) for name, one in _field_values(value).items()}
        return {"is": self._types.name_of(type(value)), "of": content}

    def _number(self, one: Any) -> int:
        found = self._numbers.get(id(one))
        if found is None:
            found = self._numbers[id(one)] = len(self._numbers)
            self._kept.append(one)
            self._waiting.append(one)
        return found


class _Reader:
    def __init__(self, types: Types, objects: list[Json]) -> None:
        self._types = types
        self._objects = objects
        kinds = [types.named(one["is"]) for one in objects]
        self._made = [kind() if _is_stateful(kind) else _blank(kind) for kind in kinds]

    def read_all(self, root: dict[str, Json]) -> dict[str, Any]:
        stateful = list[tuple[Stateful, dict[str, Any]]]()
        for made, written in zip(self._made, self._objects, strict=True):
            content = {name: self.read(value) for name, value in written["of"].items()}
            if isinstance(made, Stateful):
                stateful.append((made, content))
            else:
                _fill(made, content)
        for one, content in stateful:
            one.load_state(content)
        return {name: self.read(value) for name, value in root.items()}

    def read(self, written: Json) -> Any:
        if isinstance(written, list):
            return [self.read(one) for one in written]
        if not isinstance(written, dict):
            return written
        tag = next(iter(written), None)
        content = written[tag]
        if tag == "ref":
            return self._made[content]
        if tag == "is":
            return self._read_value(self._types.named(content), written["of"])
        if tag == "enum":
            return self._types.named(content)(written["value"])
        if tag == "deque":
            return deque((self.read(one) for one in content), maxlen=written["most"])
        if tag == "counter":
            return Counter({self.read(key): count for key, count in content})
        if tag == "map":
            return {self.read(key): self.read(one) for key, one in content}
        if tag in _GROUPS:
            return _GROUPS[tag](self.read(one) for one in content)
        if tag in _READERS:
            return _READERS[tag](content)
        raise StateInvalid(f"the dump holds {tag!r}, which means nothing here")

    def _read_value(self, kind: type, written: dict[str, Json]) -> Any:
        content = {name: self.read(value) for name, value in written.items()}
        if issubclass(kind, msgspec.Struct):
            made = kind(**content)
            msgspec.convert(msgspec.to_builtins(made), kind)  # which checks what the constructor does not
            return made
        made = _blank(kind)
        _fill(made, content)
        return made


_TAGGED: dict[type, tuple[str, Callable[[Any], Json]]] = {
    datetime: ("at", datetime.isoformat),
    date: ("day", date.isoformat),
    time: ("time", time.isoformat),
    timedelta: ("us", lambda span: round(span / timedelta(microseconds=1))),
    bytes: ("bytes", lambda raw: base64.b64encode(raw).decode()),
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "at": datetime.fromisoformat,
    "day": date.fromisoformat,
    "time": time.fromisoformat,
    "us": lambda count: timedelta(microseconds=count),
    "bytes": base64.b64decode,
}
_GROUPS: dict[str, Callable[[Iterable[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def _fill(made: Any, content: dict[str, Any]) -> None:
    """Set the fields of a dataclass; what the dump leaves out takes its default."""
    kind: type = type(made)
    checks = field_checks(kind)
    for name, value in _complete(kind, content).items():
        if not checks[name](value):
            raise StateInvalid(f"the dump has a {kind.__name__} with an odd {name}")
        object.__setattr__(made, name, value)


def _compares_by_value(kind: type) -> bool:
    return "__eq__" in vars(kind)


def _blank(kind: type[Any]) -> Any:
    """Make an instance without calling its constructor, whose arguments may not exist yet."""
    return object.__new__(kind)


def _is_stateful(kind: type) -> bool:
    return hasattr(kind, "load_state")


def _is_dumped(field: Field[Any]) -> bool:
    return bool(field.metadata.get("dump", True))


def _is_struct(value: object) -> TypeGuard[msgspec.Struct]:
    return isinstance(value, msgspec.Struct)


def _field_values(value: Any) -> dict[str, Any]:
    """Give what is to be written of a dataclass or Struct."""
    if _is_struct(value):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"a {type(value).__qualname__} cannot be part of a state")
    return {field.name: getattr(value, field.name) for field in fields(value) if _is_dumped(field)}


def _complete(kind: type, content: dict[str, Any]) -> dict[str, Any]:
    """Add defaults for what is left out, and refuse what is unknown."""
    known = {field.name: field for field in fields(kind)}
    unknown = set(content) - set(known)
    if unknown:
        raise StateInvalid(f"a {kind.__name__} of this emulator has no {', '.join(sorted(unknown))}")
    missing = [field for name, field in known.items() if name not in content]
    return {**content, **{field.name: _default(kind, field) for field in missing}}


def _default(kind: type, field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    raise StateInvalid(f"the dump has a {kind.__name__} without {field.name}")
