"""Commands about background work: what is due, and having it done now."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer
from exchange_client import SyncExchangeClient
from exchange_client.messages import DrainLaneResponse, Lane, Task, TaskRun

from sidecar.cli.connection import DEFAULT_TARGET, TargetOption, connected, room_of, tenant_of
from sidecar.cli.output import EXIT_REFUSED, Output, OutputOption, at, short, show, show_one, show_table, to_do, to_json

app = typer.Typer(help="Background work: what is due, and chores done now.", no_args_is_help=True)

_NOT_WELL = (TaskRun.STATE_FAILED, TaskRun.STATE_EXPIRED)
TaskArgument = Annotated[str, typer.Argument(help="Name, such as check-rooms; `task list` has them.")]
RunArgument = Annotated[str, typer.Argument(help="TASK/RUN, or the full name.")]


@app.command("list")
def list_all(target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """List the chores: how often each is done by itself, and what for."""
    with connected(target) as client:
        tasks = client.list_tasks()
        show(tasks, ("task", "every", "about", "what for"), map(_task_row, tasks), output)


def _task_row(task: Task) -> tuple[str, ...]:
    every = _span(task.interval.seconds) if task.HasField("interval") else "when caused"
    return _last(task.name), every, short(Task.Scope.Name(task.scope), "SCOPE_"), task.description


def _span(seconds: int) -> str:
    """Return a duration for people, in the largest unit that it is a multiple of."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@app.command()
def lanes(
    show_all: Annotated[bool, typer.Option("--all", help="Of all tenants, whatever is due.")] = False,
    wait: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds to wait for something due.")] = 0.0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only, one a line.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tenants for which something is due and that nobody works for now, the longest waiting first."""
    with connected(target) as client:
        found = list(client.list_lanes()) if show_all else client.wait_due_lanes(wait_s=wait, count_max=1_000)
        if quiet:
            print("".join(f"{lane.name}\n" for lane in found), end="")
            return
        show(found, ("lane", "due", "since", "next", "drained by"), map(_lane_row, found), output)


def _lane_row(lane: Lane) -> tuple[str, ...]:
    by = "nobody may: at rest" if lane.at_rest else lane.drained_by
    return lane.name, str(lane.due_count), at(lane.oldest_due_time), at(lane.next_due_time), by


@app.command()
def drain(
    lane: Annotated[str, typer.Argument(help="TENANT, or a name that `task lanes` shows.")],
    max_duration: Annotated[
        float, typer.Option(min=1.0, max=300.0, help="Begin nothing after so many seconds.")
    ] = 30.0,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Do what is due for a tenant now, in the service's process."""
    with connected(target) as client:
        drained = client.drain_lane(tenant_of(lane), max_s=max_duration)
        if output is Output.JSON:
            show_one(drained, output)
        else:
            _print_drained(drained)


def _print_drained(drained: DrainLaneResponse) -> None:
    if drained.work:
        rows = [
            (work.work, str(work.done_count), str(work.put_off_count), str(work.failed_count)) for work in drained.work
        ]
        show_table(("work", "done", "put off", "failed"), rows)
    if drained.held_elsewhere:
        until = f" until {at(drained.held_until_time)}" if drained.HasField("held_until_time") else ""
        print(f"somebody else has the lane{until}, or the tenant is at rest")
    elif not drained.work:
        print("nothing was due")
    if drained.unfinished:
        print("what was begun goes on")
    if drained.more_due:
        print("more is due")
    elif drained.HasField("next_due_time"):
        print(f"next: {at(drained.next_due_time)}")


@app.command()
def run(
    task: TaskArgument,
    scope: Annotated[str, typer.Argument(help="TENANT or TENANT/ROOM; left out: all.")] = "",
    request_id: Annotated[str, typer.Option(help="The same id gives the same run.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have a chore done now. Exit code 1 with --wait: some of it failed, or it was given up."""
    with connected(target) as client:
        name, about = _task_name(task), _scope_of(scope)
        if dry_run:
            previewed = client.preview_task(name, about)
            if output is Output.JSON:
                show_one(previewed, output)
            else:
                print(_preview_line(previewed))
            return
        begun = client.run_task(name, about, request_id=request_id)
        if wait:
            _follow(client, begun.name, output)
        elif output is Output.JSON:
            show_one(begun, output)
        else:
            print(f"{_line(begun)}\nto follow it: exchange-sidecar task watch {_short(begun.name)}")


@app.command()
def watch(name: RunArgument, target: TargetOption = DEFAULT_TARGET, output: OutputOption = Output.TABLE) -> None:
    """Follow a run to its end: a line whenever it has come further. Exit code 1: some of it failed, or it was given up."""
    with connected(target) as client:
        _follow(client, _run_name(name), output)


@app.command()
def runs(
    task: Annotated[str, typer.Argument(help="Only of this task.")] = "",
    scope: Annotated[str, typer.Option(help="Only about this tenant and its rooms, or this room.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Only so many, the newest.")] = 50,
    target: TargetOption = DEFAULT_TARGET,
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, the newest first."""
    with connected(target) as client:
        found = client.list_task_runs(_task_name(task) if task else "", scope=_scope_of(scope))
        newest = list(islice(found, limit))
        columns = ("run", "about", "began", "ended", "state", "done", "failed", "left")
        show(newest, columns, map(_run_row, newest), output)


def _run_row(one: TaskRun) -> tuple[str, ...]:
    counts = (one.done_count, one.failed_count, one.remaining_count)
    return _short(one.name), one.scope or "all", at(one.start_time), at(one.end_time), _state(one), *map(str, counts)


def _follow(client: SyncExchangeClient, name: str, output: Output) -> None:
    last, told = "", TaskRun()
    try:
        for told in client.watch_task_run(name):
            line = json.dumps(to_json(told)) if output is Output.JSON else _line(told)
            if line != last:
                print(line, flush=True)
                last = line
    except KeyboardInterrupt:
        return
    if output is Output.TABLE:
        print("".join(_problem_lines(told)), end="")
    if told.state in _NOT_WELL:
        raise typer.Exit(EXIT_REFUSED)


def _line(one: TaskRun) -> str:
    parts = [f"{one.done_count} of {one.total_count} done"]
    parts += [f"{one.failed_count} failed"] if one.failed_count else []
    parts += [f"{one.changed_count} changed"] if one.changed_count else []
    return f"{_short(one.name)}: {_state(one)}, {', '.join(parts)}"


def _preview_line(one: TaskRun) -> str:
    more_count = one.total_count - len(one.examples)
    named = [*one.examples, *([f"{more_count} more"] if more_count else [])]
    return f"it would be about {', '.join(named) or 'nothing'}"


def _problem_lines(one: TaskRun) -> Iterable[str]:
    for problem in one.problems:
        example = f", such as {problem.metadata['example']}" if "example" in problem.metadata else ""
        yield f"{problem.reason}: {problem.metadata['count']}{example}. {problem.message}\n  {to_do(problem)}\n"


def _state(one: TaskRun) -> str:
    return short(TaskRun.State.Name(one.state), "STATE_")


def _short(name: str) -> str:
    """Return a run's name as the commands take it."""
    return name.removeprefix("tasks/").replace("/runs/", "/")


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _task_name(task: str) -> str:
    return task if task.startswith("tasks/") else f"tasks/{task}"


def _run_name(name: str) -> str:
    if name.startswith("tasks/"):
        return name
    task, slash, uid = name.partition("/")
    if not slash:
        raise ValueError(f"{name!r} is not a run: write TASK/RUN or tasks/TASK/runs/RUN")
    return f"tasks/{task}/runs/{uid}"


def _scope_of(scope: str) -> str:
    if not scope or scope.startswith("tenants/"):
        return scope
    return room_of(scope) if "/" in scope else tenant_of(scope)
