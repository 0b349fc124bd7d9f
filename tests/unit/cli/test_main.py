"""The tree of commands: each is where the table says, and brings only what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from sidecar.cli.main import COMMANDS, app

_HEAVY = ("httpx", "pydantic_settings", "sqlalchemy", "uvicorn", "msal", "sidecar.settings", "sidecar.emulator")
"""What a command that only calls a running service has no use for, and what would double its start."""


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_where_the_table_says(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert name in result.output


def test_all_commands_are_listed_with_a_sentence() -> None:
    listed = CliRunner().invoke(app, ["--help"]).output.splitlines()
    for name in COMMANDS:
        (line,) = [line for line in listed if line.startswith(f"│ {name} ")]
        assert line.strip("│ ").removeprefix(name).strip(), line


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(app, ["nonsense"])
    assert result.exit_code == 2
    assert "No such command 'nonsense'" in result.output


def test_calling_command_imports_nothing_that_it_does_not_use() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from sidecar.cli.main import app;"
        "assert CliRunner().invoke(app, ['tenant', 'list', '--help']).exit_code == 0;"
        f"print(*(name for name in {_HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
