"""The command that makes bearer tokens. It asks nobody: what it prints is put into a file by whoever runs the service."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated

import typer

from sidecar.aio.clock import SystemClock
from sidecar.cli.output import Output, OutputOption, failing_clearly
from sidecar.model.access import Scope

app = typer.Typer(help="Make tokens for callers of the service.", no_args_is_help=True)


@app.callback()
def _several() -> None:
    """Keep `new` a command of its own: a tree with one command would lose its name."""


@app.command()
def new(
    caller: Annotated[
        str, typer.Argument(help="Who it is for, such as backend; the same for both tokens of a rotation.")
    ],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
    tenant: Annotated[
        list[str] | None, typer.Option(help="Id of a tenant it may name; may be given several times. Without: all.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3_650, help="How long it is good; without: for ever.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a token, and print it once, with the entry for the file that EXCHANGE_GRPC__CALLERS_FILE names.

    The entry holds the token's hash: whoever reads the file can call nothing with it.
    """
    from sidecar.api.callers import check_entry, digest_of, make_token

    with failing_clearly():
        token = make_token()
        entry: dict[str, object] = {
            "id": caller,
            "sha256": digest_of(token).hex(),
            "scopes": sorted(scope),
            "tenants": sorted(tenant) if tenant else "*",
        }
        if days is not None:
            entry["expire_at"] = (SystemClock().now().replace(microsecond=0) + timedelta(days=days)).isoformat()
        check_entry(entry)
        if output is Output.JSON:
            print(json.dumps({"token": token, "entry": entry}))
        else:
            print(
                f"token, shown only now:\n  {token}\nentry for the callers file, under callers:\n  {json.dumps(entry)}"
            )
