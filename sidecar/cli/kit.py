"""Commands about the customer's kit: what an administrator of Microsoft 365 runs, and what came back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from exchange_client.messages import GetOnboardingKitResponse
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, tenant_of
from sidecar.cli.output import EXIT_REFUSED, Output, OutputOption, failing_clearly, show_values, to_json
from sidecar.cli.tenants import CLOUDS, cloud_of

if TYPE_CHECKING:
    from sidecar.onboarding.findings import Finding
    from sidecar.onboarding.report import Obstacle, Report

app = typer.Typer(
    help="The customer's kit: a guide and a script for administrators, and their result.", no_args_is_help=True
)

_ROOMS_NAMED_MAX = 3
_ADDRESSES_BYTES_MAX = 4 * 1024 * 1024
"""More than 10,000 addresses of the greatest length."""


@app.command()
def show(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant, such as acme; registered or not.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to write guide and script into; made when missing.")
    ] = None,
    script: Annotated[bool, typer.Option("--script", help="Print the script instead of the guide.")] = False,
    directory_id: Annotated[str, typer.Option(help="Directory (tenant) id, for a tenant not registered yet.")] = "",
    cloud: Annotated[str, typer.Option(help=f"For a tenant not registered yet: {CLOUDS}.")] = "global",
    display_name: Annotated[str, typer.Option(help="For a tenant not registered yet: name for people.")] = "",
    mailbox: Annotated[
        list[str] | None, typer.Option(help="Address of a room not mapped yet; may be repeated.")
    ] = None,
    mailboxes_file: Annotated[Path | None, typer.Option(help="File with such addresses, one a line.")] = None,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write what the customer's administrator reads and runs: a guide, and one script with the tenant's own values."""
    with connected(target) as client:
        kit = client.get_onboarding_kit(
            tenant_of(tenant),
            directory_id=directory_id,
            cloud=cloud_of(cloud),
            display_name=display_name,
            mailboxes=[*(mailbox or ()), *(_addresses(mailboxes_file) if mailboxes_file is not None else ())],
        )
        if to is not None:
            guide_path, script_path = _save(kit, to)
            values = {"guide": str(guide_path), "script": str(script_path), "rooms_count": len(kit.mailboxes)}
            show_values(values, output)
        elif output is Output.JSON:
            print(json.dumps(to_json(kit), indent=2))
        else:
            print(kit.script if script else kit.guide, end="")


def _addresses(path: Path) -> list[str]:
    raw = _read(path, _ADDRESSES_BYTES_MAX)
    if len(raw) > _ADDRESSES_BYTES_MAX:
        raise ValueError(f"{path} is larger than {_ADDRESSES_BYTES_MAX // 1024 // 1024} MiB")
    lines = raw.decode("utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _save(kit: GetOnboardingKitResponse, folder: Path) -> tuple[Path, Path]:
    guide_path, script_path = folder / "guide.md", folder / Path(kit.script_name).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guide_path.write_text(kit.guide, encoding="utf-8")
        script_path.write_text(kit.script, encoding="ascii")
    except OSError as error:
        raise ValueError(f"cannot write {error.filename}: {error.strerror}") from None
    return guide_path, script_path


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The script's result file; - reads standard input.", allow_dash=True)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Read what came back: which rooms are in reach, and which of their settings will surprise people.

    Takes the result file of the kit's script, or plain output of `Get-CalendarProcessing | ConvertTo-Json`. It asks neither the
    service nor Microsoft. Exit code 1: something has to be changed before the rooms work as promised.
    """
    from sidecar.aio.clock import SystemClock
    from sidecar.onboarding.report import report_on_result, report_on_settings
    from sidecar.onboarding.result_file import RESULT_BYTES_MAX, OnboardingResult, read_result

    with failing_clearly():
        read = read_result(_read(file, RESULT_BYTES_MAX))
        if isinstance(read, OnboardingResult):
            report = report_on_result(read, now=SystemClock().now())
        else:
            report = report_on_settings(read)
        if output is Output.JSON:
            print(json.dumps(_to_json(report), indent=2))
        else:
            _show(report, is_result=isinstance(read, OnboardingResult))
        if report.is_serious:
            raise typer.Exit(EXIT_REFUSED)


def _read(path: Path, bytes_max: int) -> bytes:
    """Return a file's content, one byte more than allowed when it is larger."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(bytes_max + 1)
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def _to_json(report: Report) -> dict[str, object]:
    return {
        "is_serious": report.is_serious,
        "rooms_count": report.rooms_count,
        "rooms_granted_count": report.rooms_granted_count,
        "obstacles": [
            {"about": item.about, "severity": item.severity, "message": item.message, "action": item.action}
            for item in report.obstacles
        ],
        "settings": [
            {
                "mailbox": item.mailbox,
                "setting": item.setting,
                "value": item.value,
                "severity": item.severity,
                "effect": item.effect,
                "command": item.command,
            }
            for item in report.findings
        ],
    }


def _show(report: Report, *, is_result: bool) -> None:
    console = Console()
    if is_result:
        console.print(f"{report.rooms_granted_count} of {report.rooms_count} rooms in reach", highlight=False)
    else:
        console.print(f"{report.rooms_count} rooms; whether they are in reach is not in this file", highlight=False)
    if report.obstacles:
        console.print("\nWhat stands in the way", style="bold")
        console.print(_table(("", "about", "what", "to do"), _obstacle_rows(report.obstacles)))
    if report.findings:
        columns = ("", "setting", "rooms", "what it does to bookings", "what changes it")
        console.print("\nSettings of rooms", style="bold")
        console.print(_table(columns, _finding_rows(report.findings)))
    if not report.obstacles and not report.findings:
        console.print("nothing to say against it")
    elif report.rooms_count > _ROOMS_NAMED_MAX:
        console.print("-o json names every room, and the command for each")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as text: what comes from a file is no markup
    return table


def _obstacle_rows(obstacles: Sequence[Obstacle]) -> Iterator[Sequence[str]]:
    """Give one row for all rooms with the same obstacle."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in obstacles:
        groups.setdefault((item.severity, item.message, item.action), []).append(item.about)
    for (severity, message, action), abouts in groups.items():
        yield severity, _named(abouts), message, action


def _finding_rows(findings: Sequence[Finding]) -> Iterator[Sequence[str]]:
    """Give one row for all rooms that share a setting's value, the worst first."""
    from sidecar.onboarding.findings import RANKS

    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.setting, finding.effect), []).append(finding)
    for group in sorted(groups.values(), key=lambda group: RANKS[group[0].severity]):
        first = group[0]
        value = str(first.value).lower() if isinstance(first.value, bool) else str(first.value)
        command = first.command if len(group) == 1 else f"Set-CalendarProcessing -Identity ROOM {first.change}"
        named = _named([finding.mailbox for finding in group])
        yield first.severity, f"{first.setting} = {value}", named, first.effect, command


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _ROOMS_NAMED_MAX} more" if len(names) > _ROOMS_NAMED_MAX else ""
    return ", ".join(names[:_ROOMS_NAMED_MAX]) + more
