"""Names of settings that somebody misspelled: found, and told with the name that was probably meant.

A setting that is not known is a wish that is never heard, so it is a mistake. Variables of other programs that happen to
begin as ours do are none of our business: they are told to whoever asks for a check, and stop nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

from pydantic import BaseModel
from pydantic.fields import FieldInfo

PREFIX = "EXCHANGE_"
_OF_CLIENTS = frozenset(
    f"{PREFIX}{name}" for name in ("TARGET", "TLS", "CA", "CERT", "KEY", "SERVER_NAME", "TOKEN_FILE")
)
"""Read by the commands that call a running service; set beside the settings of one, they do no harm."""
_LINK = re.compile(
    PREFIX
    + r"([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes puts into each container for services of the namespace: one named exchange gives EXCHANGE_PORT."""
_ALIKE = 0.85
"""So alike are a name and its misspelling, by difflib's ratio; names of different settings are less so."""


def settings_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting with its path: roles, grpc.socket; in the order of the code."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for inner, inner_field in field.annotation.model_fields.items():
                yield f"{name}.{inner}", inner_field
        else:
            yield name, field


def value_of(settings: BaseModel, path: str) -> object:
    """Return the value of the setting of a path."""
    found: object = settings
    for name in path.split("."):
        found = getattr(found, name)
    return found


def variable_of(path: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + path.replace(".", "__").upper()


def judge_variables(model: type[BaseModel], names: Iterable[str]) -> tuple[Mapping[str, str], Collection[str]]:
    """Tell misspelled settings from variables that are not ours.

    Args:
        names: of all variables of the environment.
    Returns:
        A sentence for each misspelled one, and the names of those that begin as ours do and are nothing we know.
    """
    known = {variable_of(path) for path, _ in settings_of(model)}
    groups = {variable_of(name) for name in model.model_fields}  # a whole group may be given as JSON
    flat = {name.replace("__", "_"): name for name in known}
    mistakes: dict[str, str] = {}
    strangers: list[str] = []
    for name in sorted({name.upper() for name in names}):
        if not name.startswith(PREFIX) or name in known | groups | _OF_CLIENTS:
            continue
        if name.partition("__")[0] in groups and "__" in name:
            continue  # the settings themselves refuse what their group does not have, with its place in the tree
        meant = flat.get(name.replace("__", "_")) or _closest_variable(name, known)
        if not _LINK.fullmatch(name) and (meant or "__" in name):
            mistakes[name] = _sentence(meant)
        elif not _LINK.fullmatch(name):
            strangers.append(name)
    return mistakes, tuple(strangers)


def no_such_setting(model: type[BaseModel], path: str) -> str:
    """Say that there is no setting of this path, and which one was probably meant."""
    known = [name for name, _ in settings_of(model)]
    return _sentence(_closest(path, known, least=0.6))


def _closest_variable(name: str, known: Collection[str]) -> str | None:
    """Compare what follows the prefix: with it, all names are much alike."""
    found = _closest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known])
    return None if found is None else PREFIX + found


def _closest(name: str, known: Collection[str], *, least: float = _ALIKE) -> str | None:
    return next(iter(get_close_matches(name, known, n=1, cutoff=least)), None)


def _sentence(meant: str | None) -> str:
    return f"there is no such setting; did you mean {meant}?" if meant else "there is no such setting"
