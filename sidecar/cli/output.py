"""What a person or a script sees: tables, JSON, and errors with an exit code that tells them apart."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer
from exchange_client import ExchangeError, Unavailable
from exchange_client.messages import CheckResult, Problem
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sidecar.errors import SettingsInvalid, SidecarError

EXIT_REFUSED = 1
"""The service, or a rule, says no; repeating the same call does not help."""
EXIT_USAGE = 2
"""The command line or the configuration is wrong."""
EXIT_UNAVAILABLE = 3
"""The service cannot be reached or is not able now; try again later."""


_PIPE_COLUMNS = 1_000
"""Wider than any row; a table takes no more than it needs."""


class Output(enum.StrEnum):
    """Form of the output."""

    TABLE = "table"
    JSON = "json"


_COLOURS = {"passed": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_ACTORS = {
    Problem.ACTOR_CUSTOMER: "the customer's Microsoft 365 administrator",
    Problem.ACTOR_OPERATOR: "whoever runs the sidecar",
    Problem.ACTOR_MICROSOFT: "Microsoft",
}

OutputOption = Annotated[Output, typer.Option("-o", "--output", help="A table for people, or JSON for programs.")]


def to_json(message: Message) -> dict[str, object]:
    """Return a message as JSON values, with the names of the proto files."""
    return MessageToDict(message, preserving_proto_field_name=True)


def show(messages: Sequence[Message], columns: Sequence[str], rows: Iterable[Sequence[str]], output: Output) -> None:
    """Print messages as a table, or as one JSON list."""
    if output is Output.JSON:
        print(json.dumps([to_json(message) for message in messages], indent=2))
        return
    if messages:
        show_table(columns, rows)
    else:
        print("nothing found")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. Into a file or a pipe each row is one line, however wide, so that it can be searched."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_COLUMNS)
    console.print(table)


def show_one(message: Message, output: Output) -> None:
    """Print one message: as JSON, or as lines of names and values."""
    show_values(to_json(message), output)


def show_values(values: Mapping[str, object], output: Output) -> None:
    """Print names and values: as JSON, or as lines."""
    if output is Output.JSON:
        print(json.dumps(values, indent=2))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in values.items():
        table.add_row(name, value if isinstance(value, str) else json.dumps(value))
    Console().print(table)


def show_checks(checks: Iterable[CheckResult]) -> None:
    """Print what checks found as a table; below it, for each warning and failure, what to do and who must."""
    told = list(checks)
    show_outcomes([("", check) for check in told])
    print_problems(told)


def show_checked(answer: Message, told: str, checks: Sequence[CheckResult], output: Output) -> None:
    """Print an answer of checks, for people with what is told of their subject above them, and end by their outcome."""
    if output is Output.JSON:
        show_one(answer, output)
    else:
        print(told, end="\n\n")
        show_checks(checks)
    exit_by(checks)


def show_outcomes(rows: Sequence[tuple[str, CheckResult]]) -> None:
    """Print what checks found as a table, each with what it is about, unless that is empty everywhere."""
    is_named = any(about for about, _ in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (*(["about"] if is_named else []), "check", "outcome", "what was seen"):
        table.add_column(column, overflow="fold")
    for about, check in rows:
        outcome = short(CheckResult.Outcome.Name(check.outcome), "OUTCOME_")
        coloured = f"[{_COLOURS.get(outcome, 'default')}]{outcome}[/]"
        table.add_row(*([escape(about)] if is_named else []), check.check_id, coloured, escape(check.message))
    Console().print(table)


def to_do(problem: Problem) -> str:
    """Return in words what to do, and who must unless waiting is all."""
    actor = _ACTORS.get(problem.actor, "")
    return f"to do, {actor}: {problem.action}" if actor else f"to do: {problem.action}"


def print_problems(checks: Iterable[CheckResult]) -> None:
    """Print what stands in the way: what several checks met is told once."""
    met: dict[tuple[str, str], list[CheckResult]] = {}
    for check in checks:
        if check.HasField("problem"):
            met.setdefault((check.problem.reason, check.problem.action), []).append(check)
    for (reason, _), group in met.items():
        names = ", ".join(check.check_id for check in group)
        print(f"\n{reason} ({names}): {group[0].problem.message}")
        print(f"  {to_do(group[0].problem)}")


def exit_by(checks: Iterable[CheckResult]) -> None:
    """End the command with an exit code of 1 when a check failed; a warning is no failure."""
    if any(check.outcome == CheckResult.OUTCOME_FAILED for check in checks):
        raise typer.Exit(EXIT_REFUSED)


def at(timestamp: Timestamp) -> str:
    """Return an instant for people: UTC, to the minute; empty when unset."""
    if not timestamp.seconds:
        return ""
    return instant(datetime.fromtimestamp(timestamp.seconds, UTC))


def instant(moment: datetime) -> str:
    """Return an instant for people: UTC, to the minute."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def short(name: str, prefix: str) -> str:
    """Return an enum value's name without its prefix, in lower case."""
    return name.removeprefix(prefix).lower()


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn errors into a sentence on standard error and an exit code."""
    try:
        yield
    except SettingsInvalid as error:
        lines = "".join(f"\n  {name}: {sentence}" for name, sentence in error.details.items())
        fail(f"{error.message}{lines}", EXIT_USAGE)
    except SidecarError as error:
        fail(error.message, EXIT_UNAVAILABLE if error.retryable else EXIT_REFUSED)
    except Unavailable as error:
        # Without a reason it is not the service that answers, but the lack of one.
        fail(f"{error.reason or 'no answer from the service'}: {error.message}", EXIT_UNAVAILABLE)
    except ExchangeError as error:
        fields = "".join(f"\n  {violation.field}: {violation.description}" for violation in error.violations)
        message = error.message if not fields else "the request breaks rules"
        fail(f"{error.reason}: {message}{fields}", EXIT_REFUSED)
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough


def fail(message: str, code: int) -> NoReturn:
    """End the command with a sentence on standard error and an exit code."""
    print(f"exchange-sidecar: {message}", file=sys.stderr)
    raise typer.Exit(code)
