"""Commands that look at the configuration: what is wrong with it, and where each value comes from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import BaseModel, ValidationError

from sidecar.cli.output import EXIT_USAGE, Output, OutputOption, failing_clearly, show_table
from sidecar.cli.server import ConfigOption, ProfileOption, RolesOption, take_from_command_line
from sidecar.errors import SettingsInvalid
from sidecar.setting_names import judge_variables, settings_of
from sidecar.settings import Environment, Settings, load_settings, named_config_file, read_config_file

app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)

_Source = Literal["default", "file", "environment", "command line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What was given: the file's tree, the environment's tree, and the settings that the command line names."""

    file: Mapping[str, Any]  # Any: values are not checked yet
    environment: Mapping[str, Any]
    command_line: frozenset[str]

    def source(self, path: str) -> _Source:
        """Return where the value of a setting is from."""
        if path in self.command_line:
            return "command line"
        if _has(self.environment, path):
            return "environment"
        return "file" if _has(self.file, path) else "default"


@app.command()
def check(
    config: ConfigOption = None,
    roles: RolesOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read all settings and every file they name, and say what is wrong, everything at once.

    Exit code 0: in order, perhaps with warnings; 2: the service would not start, or would not do what was meant.
    """
    # Imported here: the other commands start in a fraction of the time without them.
    from sidecar.cli.config_files import look_at_files

    take_from_command_line(roles=roles, profile=profile)
    mistakes: dict[str, str] = {}
    try:
        settings = load_settings(config)
    except SettingsInvalid as error:
        mistakes |= error.details
        settings = _as_far_as_it_goes(config, mistakes)
    found = look_at_files(settings, now=datetime.now(UTC))  # noqa: TID251  (of a command; no service has its clock here)
    mistakes |= {one.setting: one.sentence for one in found if one.is_mistake and one.setting not in mistakes}
    warnings = [(one.setting, one.sentence) for one in found if not one.is_mistake]
    _, strangers = judge_variables(Settings, os.environ)
    warnings += [(name, "is no setting of ours, and has no effect") for name in strangers]
    if output is Output.JSON:
        told = [{"setting": name, "sentence": sentence} for name, sentence in warnings]
        print(json.dumps({"mistakes": mistakes, "warnings": told}, indent=2))
    else:
        _tell(mistakes, warnings)
    if mistakes:
        raise typer.Exit(EXIT_USAGE)


def _tell(mistakes: Mapping[str, str], warnings: list[tuple[str, str]]) -> None:
    for name, sentence in warnings:
        print(f"warning: {name}: {sentence}", file=sys.stderr)
    if not mistakes:
        print("the configuration is in order")
        return
    lines = "".join(f"\n  {name}: {sentence}" for name, sentence in mistakes.items())
    print(f"exchange-sidecar: the configuration breaks rules{lines}", file=sys.stderr)


@app.command("show")
def show_config(
    config: ConfigOption = None,
    roles: RolesOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the settings in force, and where each value is from. Secrets are not among them: settings only name their files."""
    given_there = take_from_command_line(roles=roles, profile=profile)
    with failing_clearly():
        settings = load_settings(config)
        file = read_config_file(named_config_file(config))
        given = _Given(file=file, environment=Environment(Settings)(), command_line=given_there)
        paths = [path for path, _ in settings_of(Settings)]
        tree = settings.model_dump(mode="json")
        values = {path: _value(tree, path) for path in paths}
        if output is Output.JSON:
            rows = [{"setting": path, "value": values[path], "from": given.source(path)} for path in paths]
            print(json.dumps(rows, indent=2))
        else:
            show_table(
                ("setting", "value", "from"), [(path, _shown(values[path]), given.source(path)) for path in paths]
            )


def _as_far_as_it_goes(config: Path | None, mistakes: dict[str, str]) -> Settings:
    """Return the settings without their mistakes, so that the files they name are looked at, too.

    A group that breaks a rule as a whole counts as not set, and so does everything when the file cannot be read.
    """
    try:
        file: Mapping[str, Any] = read_config_file(named_config_file(config))
    except SettingsInvalid:
        file = {}
    environment = Environment(Settings)()
    kept: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tree = {**_tree(file.get(name)), **_tree(environment.get(name))}
            sound = {inner: value for inner, value in tree.items() if f"{name}.{inner}" not in mistakes}
            try:
                kept[name] = field.annotation.model_validate(sound)
            except ValidationError:
                kept[name] = field.annotation()
        elif name == "roles":
            kept[name] = field.default  # each role's files are looked at
    return Settings.model_construct(**kept)


def _tree(value: object) -> dict[str, Any]:  # Any: values are not checked yet
    return value if isinstance(value, dict) else {}


def _has(tree: Mapping[str, Any], path: str) -> bool:  # Any: values are not checked yet
    name, _, inner = path.partition(".")
    return name in tree if not inner else inner in _tree(tree.get(name))


def _value(tree: Mapping[str, Any], path: str) -> object:  # Any: of any setting
    name, _, inner = path.partition(".")
    found: object = tree[name][inner] if inner else tree[name]
    return found


def _shown(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
